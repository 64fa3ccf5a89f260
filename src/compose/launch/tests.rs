//! Programs in the jail and their network, whole: the launcher, its listeners, the gate, and clients as users have them.

use super::{Launched, Starter};
use crate::network::{Network, Resolve, Rules};
use crate::plugins::launch::{Ended, Jail, Launch, Start, Status};
use crate::sandbox::{Isolation, Launcher};
use flexcore_actors::domain::outcome::{NetworkUse, SandboxUsed, Unreached};
use flexcore_actors::domain::plugin::Limits;
use flexcore_actors::ports::BoxFuture;
use futures::FutureExt;
use std::io::{self, PipeReader, Read, Write, pipe};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const PYTHON: &str = "/usr/bin/python3";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Every name is this host's.
struct AllLocal;

impl Resolve for AllLocal {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async { Ok(vec![LOCAL]) }.boxed()
    }
}

/// A starter whose names are all this host's, which they may be if `permitted`.
fn starter(permitted: bool) -> Starter {
    let rules = Rules { permitted: if permitted { vec![LOCAL] } else { vec![] }, ..Rules::default() };
    let launcher = Launcher::new(std::env::current_exe().unwrap());
    let sandbox = SandboxUsed { level: "no-cgroup".to_owned(), missing: Vec::new() };
    Starter { launcher, network: Network::new(Arc::new(AllLocal), rules), sandbox }
}

/// A program that may connect to `connect`, and what it prints.
fn described(workdir: &TempDir, connect: &[String], argv: &[&str]) -> (Start, PipeReader) {
    let (output, stdout) = pipe().unwrap();
    let start = Start {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        workdir: workdir.path().to_owned(),
        stdin: None,
        stderr: stdout.try_clone().unwrap().into(),
        stdout: stdout.into(),
        limits: Limits::default(),
        jail: Some(Jail { connect: connect.to_vec(), subprocess: true, ..Jail::default() }),
    };
    (start, output)
}

/// What a program that may connect to `connect` prints, and its end.
async fn run(starter: &Starter, connect: &[String], argv: &[&str]) -> (String, Ended) {
    let workdir = tempfile::tempdir().unwrap();
    let (start, mut output) = described(&workdir, connect, argv);
    let Launched { ended, .. } = starter.start(start).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    (said, ended)
}

async fn python(starter: &Starter, connect: &[String], script: &str) -> (String, Ended) {
    run(starter, connect, &[PYTHON, "-c", script]).await
}

/// A server that answers each connection with what it was sent, up to the end of the line.
fn echo() -> u16 {
    let server = TcpListener::bind((LOCAL, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                let _ = stream.write_all(&byte);
                if byte == *b"\n" {
                    break;
                }
            }
        }
    });
    port
}

fn network(ended: &Ended) -> NetworkUse {
    ended.network.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn granted_hosts_are_reached_by_name_and_by_address_and_counted() {
    let (starter, port) = (starter(true), echo());
    let connect = [format!("db.internal:{port}"), format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    for host in ["db.internal", "127.0.0.1", "localhost"] {
        let script = format!(
            "import socket\ns = socket.create_connection(('{host}', {port}))\ns.sendall(b'hello\\n')\n\
             print(s.makefile().readline(), end='')"
        );
        let (said, ended) = python(&starter, &connect, &script).await;
        assert_eq!((said.as_str(), ended.status), ("hello\n", Status::Exit(0)), "{host}");
        let used = NetworkUse { connections: 1, sent_bytes: 6, received_bytes: 6, ..NetworkUse::default() };
        assert_eq!(network(&ended), used, "{host}");
    }
}

/// Tries each way out, or those that are named, and prints what came of it: a way that leads out says so.
const WAYS_OUT: &str = r#"
import socket, sys, os
port, other, udp, abstract, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
named = sys.argv[6:]
def attempt(name, way):
    if named and name not in named: return
    try:
        way()
        print(name, "out")
    except OSError:
        print(name, "refused")
def tcp(host, port):
    s = socket.create_connection((host, port), timeout=20)
    s.sendall(b"x\n")
    if not s.recv(1): raise OSError("closed")
def send(family, kind, to):
    s = socket.socket(family, kind)
    s.settimeout(2)
    s.connect(to)
    if family == unix: return
    s.send(b"x\n")
    if not s.recv(1): raise OSError("closed")
inet, inet6, unix, stream, dgram = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM
attempt("granted", lambda: tcp("db.internal", port))
attempt("another port of it", lambda: tcp("db.internal", other))
attempt("the host's loopback", lambda: tcp("127.0.0.1", port))
attempt("the host's loopback, other", lambda: tcp("127.0.0.1", other))
attempt("another loopback address", lambda: tcp("127.1.0.2", port))
attempt("the host's IPv6 loopback", lambda: tcp("::1", port))
attempt("an address", lambda: tcp("192.0.2.1", 443))
attempt("an IPv6 address", lambda: tcp("2001:db8::1", 443))
attempt("metadata", lambda: tcp("169.254.169.254", 80))
attempt("an unlisted host", lambda: tcp("evil.example", 443))
attempt("UDP to the host", lambda: send(inet, dgram, ("127.0.0.1", udp)))
attempt("UDP", lambda: send(inet, dgram, ("192.0.2.1", 53)))
attempt("an abstract socket", lambda: send(unix, stream, "\0" + abstract))
attempt("a socket of /run", lambda: send(unix, stream, "/run/postgresql/.s.PGSQL.5432"))
attempt("a socket in a file", lambda: send(unix, stream, path))
attempt("raw", lambda: socket.socket(inet, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW, 0))
attempt("vsock", lambda: socket.socket(40, stream))
attempt("a network namespace", lambda: os.open("/proc/1/ns/net", os.O_RDONLY))
"#;

/// What there is outside for [`WAYS_OUT`]; kept open by this.
struct Outside {
    port: u16,
    other: TcpListener,
    udp: UdpSocket,
    abstract_name: String,
    _sockets: [UnixListener; 2],
    folder: TempDir,
}

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let abstract_name = format!("flexcore-test-{}", std::process::id());
        let of_name = UnixAddr::from_abstract_name(&abstract_name).unwrap();
        let by_name = UnixListener::bind_addr(&of_name).unwrap();
        let in_file = UnixListener::bind(folder.path().join("socket")).unwrap();
        let other = TcpListener::bind((LOCAL, 0)).unwrap();
        other.set_nonblocking(true).unwrap();
        let udp = UdpSocket::bind((LOCAL, 0)).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { port: echo(), other, udp, abstract_name, _sockets: [by_name, in_file], folder }
    }

    fn arguments(&self) -> [String; 5] {
        let port = |at: io::Result<SocketAddr>| at.unwrap().port().to_string();
        [
            self.port.to_string(),
            port(self.other.local_addr()),
            port(self.udp.local_addr()),
            self.abstract_name.clone(),
            self.folder.path().join("socket").to_string_lossy().into_owned(),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_reached() {
    let (starter, outside) = (starter(true), Outside::new());
    let arguments = outside.arguments();
    let argv: Vec<&str> =
        [PYTHON, "-c", WAYS_OUT].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let (said, ended) = run(&starter, &[format!("db.internal:{}", outside.port)], &argv).await;
    assert_eq!(ended.status, Status::Exit(0), "{said}");
    let mut ways = said.lines();
    assert_eq!(ways.next(), Some("granted out"), "{said}");
    let others: Vec<&str> = ways.collect();
    assert_eq!(others.len(), 18, "{said}");
    assert!(others.iter().all(|way| way.ends_with(" refused")), "{said}");
    assert_eq!(outside.other.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody came");
    assert_eq!(outside.udp.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing came");

    let used = network(&ended);
    assert_eq!((used.connections, used.sent_bytes, used.received_bytes), (1, 2, 2));
    let denied: Vec<(&str, Option<u16>)> =
        used.denials.iter().map(|one| (one.host.as_str(), one.port)).collect();
    assert_eq!(denied, [("evil.example", None)], "the one that can be seen");
    // the control: outside, the same program gets through by the ways that are open on every host
    let ways = ["the host's loopback", "an abstract socket", "a socket in a file"];
    let control = std::process::Command::new(PYTHON).args(&argv[1..]).args(ways).output().unwrap();
    let expected: String = ways.iter().map(|way| format!("{way} out\n")).collect();
    assert_eq!(String::from_utf8_lossy(&control.stdout), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_name_that_leads_to_this_host_is_denied() {
    let (starter, port) = (starter(false), echo());
    let script = format!(
        "import socket\ns = socket.create_connection(('rebound.example', {port}))\n\
         try: print(s.recv(1))\nexcept ConnectionResetError: print('reset')"
    );
    let (said, ended) = python(&starter, &[format!("rebound.example:{port}")], &script).await;
    assert_eq!(said, "reset\n");
    let used = network(&ended);
    assert_eq!(used.connections, 0);
    let [Unreached { host, port: Some(denied), reason, times: 1 }] = used.denials.as_slice() else {
        panic!("{used:?}")
    };
    assert_eq!((host.as_str(), *denied), ("rebound.example", port));
    assert!(reason.contains("loopback"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_named_with_the_reason() {
    let free = TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port();
    let script = format!(
        "import socket\ns = socket.create_connection(('127.0.0.1', {free}))\n\
         try: s.recv(1)\nexcept ConnectionResetError: print('reset')"
    );
    let (said, ended) = python(&starter(true), &[format!("127.0.0.1:{free}")], &script).await;
    assert_eq!(said, "reset\n");
    let used = network(&ended);
    let [Unreached { host, port, reason, .. }] = used.failures.as_slice() else { panic!("{used:?}") };
    assert_eq!((host.as_str(), *port, reason.as_str()), ("127.0.0.1", Some(free), "connection refused"));
    assert!(used.denials.is_empty(), "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_granted_do_not_exist_at_once_and_are_noted_without_any_grant() {
    let script = "import socket, time\nstart = time.monotonic()\n\
                  try: socket.getaddrinfo('evil.example', 443)\n\
                  except socket.gaierror as error: print(error.errno == socket.EAI_NONAME, time.monotonic() - start < 2)";
    let (said, ended) = python(&starter(true), &[], script).await;
    assert_eq!(said, "True True\n");
    let used = network(&ended);
    assert_eq!(used.denials.iter().map(|one| one.host.as_str()).collect::<Vec<_>>(), ["evil.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_dns_itself_finds_granted_names_and_a_program_may_talk_to_itself() {
    // a question for the address of db.internal, as any resolver makes it, and the last four bytes of the answer
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.settimeout(20)\n\
                  s.sendto(bytes([0,7,1,0,0,1,0,0,0,0,0,0,2]) + b'db' + bytes([8]) + b'internal' + bytes([0,0,1,0,1]), ('127.0.0.1', 53))\n\
                  print(list(s.recv(512)[-4:]))\n\
                  own = socket.create_server(('127.0.0.1', 0))\n\
                  client = socket.create_connection(own.getsockname()); peer, _ = own.accept()\n\
                  client.sendall(b'x'); print(peer.recv(1))";
    let (said, ended) = python(&starter(true), &["db.internal:1".to_owned()], script).await;
    assert_eq!(said, "[127, 1, 0, 1]\nb'x'\n");
    assert_eq!(ended.network, None, "nothing of that left the program");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_clients_check_the_servers_name() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=db.internal", "-addext", "subjectAltName=DNS:db.internal"])
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let server = "import ssl, socket, sys\nc = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1], sys.argv[2])\n\
                  s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n\
                  while True:\n  try:\n    p = c.wrap_socket(s.accept()[0], server_side=True); p.sendall(p.recv(100).upper()); p.close()\n  except OSError: pass";
    let mut server = std::process::Command::new(PYTHON)
        .args(["-c", server])
        .args([&certificate, &key])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    let trusted = std::fs::read_to_string(&certificate).unwrap();
    let script = format!(
        "import ssl, socket\nc = ssl.create_default_context(cadata='''{trusted}''')\n\
         for name in ('db.internal', 'other.internal'):\n  try:\n    \
         s = c.wrap_socket(socket.create_connection((name, {port})), server_hostname=name); s.sendall(b'secret'); print(s.recv(100))\n  \
         except ssl.SSLCertVerificationError: print('not', name)"
    );
    let connect = [format!("db.internal:{port}"), format!("other.internal:{port}")];
    let (said, ended) = python(&starter(true), &connect, &script).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(said, "b'SECRET'\nnot other.internal\n");
    assert_eq!(network(&ended).connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_gone_with_its_program() {
    let (starter, port) = (starter(true), echo());
    let connect = [format!("db.internal:{port}")];
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    python(&starter, &connect, "").await;
    let before = open();
    for _ in 0..5 {
        let script =
            format!("import socket; socket.create_connection(('db.internal', {port})).sendall(b'x')");
        let (said, ended) = python(&starter, &connect, &script).await;
        assert_eq!((ended.status, network(&ended).sent_bytes), (Status::Exit(0), 1), "{said}");
    }
    assert!(open() <= before, "{before} descriptors before, {} after", open());
}

#[tokio::test]
async fn without_namespaces_what_is_to_connect_is_not_started() {
    let Starter { launcher, network, sandbox } = starter(true);
    let isolation = Isolation { namespaces: false, landlock: true, seccomp: true };
    let starter = Starter { launcher: launcher.with_isolation(isolation), network, sandbox };
    let workdir = tempfile::tempdir().unwrap();
    let refused = starter.start(described(&workdir, &["db.internal:1".to_owned()], &["/bin/true"]).0).await;
    let why = refused.err().unwrap().to_string();
    assert!(why.contains("capabilities.connect") && why.contains("namespaces"), "{why}");
    let (start, _) = described(&workdir, &[], &["/bin/true"]);
    assert_eq!(starter.start(start).await.unwrap().ended.await.network, None);
}
