//! From a granted host to a connected socket: resolved once, checked, and from then on the same addresses for as long as
//! the program runs. Never in here: the program's side of the connection.

use super::account::Reason;
use super::limits::{CONNECT_WAIT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, MOST_ADDRESSES, RESOLVE_WAIT};
use super::plan::Destination;
use super::resolve::Resolve;
use super::rules::Rules;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// What resolving and checking needs, of the whole node.
#[derive(Clone)]
pub(super) struct Guide {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) rules: Arc<Rules>,
}

/// The addresses of one host, as they were when it was first asked for. Shared by its ports.
pub(super) type Pin = Arc<OnceCell<Vec<IpAddr>>>;

/// The way to one host and port.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) destination: Destination,
    pub(super) pin: Pin,
    pub(super) guide: Guide,
}

impl Route {
    /// Connects with the first address that answers.
    pub(super) async fn connect(&self) -> Result<TcpStream, Reason> {
        let addresses = match &self.destination {
            Destination::Literal(addresses) => addresses,
            // a failure is not kept: the next connection asks again
            Destination::Name => self.pin.get_or_try_init(|| self.resolve()).await?,
        };
        let mut reason = Reason::Failed("its name has no address".to_owned());
        for address in addresses {
            let address = SocketAddr::new(*address, self.port);
            if self.destination == Destination::Name
                && let Some(objection) = self.guide.rules.objection(address)
            {
                reason = Reason::Forbidden(objection.to_owned());
                continue;
            }
            match timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(attend(stream)),
                Ok(Err(error)) => reason = Reason::Failed(plain(&error)),
                Err(_) => {
                    let waited = CONNECT_WAIT.as_secs();
                    reason = Reason::Failed(format!("it did not answer within {waited} s"));
                }
            }
        }
        Err(reason)
    }

    async fn resolve(&self) -> Result<Vec<IpAddr>, Reason> {
        let asked = timeout(RESOLVE_WAIT, self.guide.resolver.resolve(&self.host)).await;
        let mut addresses = match asked {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                return Err(Reason::Failed(format!("its name could not be resolved: {}", plain(&error))));
            }
            Err(_) => {
                let waited = RESOLVE_WAIT.as_secs();
                return Err(Reason::Failed(format!("its name was not resolved within {waited} s")));
            }
        };
        addresses.truncate(MOST_ADDRESSES);
        Ok(addresses)
    }
}

/// As a client would have it: small messages at once, and a host that vanished is noticed.
fn attend(stream: TcpStream) -> TcpStream {
    // a connection works without them
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    stream
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}
