//! A line to a server that can be cut as a network is: what one side sends goes nowhere, nothing is closed, and nobody is
//! told. When it is mended, what was sent meanwhile arrives, as TCP sends again what was lost.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// What gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Everything.
    Whole,
    /// Answers alone: what clients send is lost.
    RequestsLost,
    /// Requests alone: what the server sends is lost.
    AnswersLost,
    /// Nothing.
    Cut,
}

impl Line {
    const fn passes(self, requests: bool) -> bool {
        match self {
            Self::Whole => true,
            Self::RequestsLost => !requests,
            Self::AnswersLost => requests,
            Self::Cut => false,
        }
    }
}

/// The line; it ends with the test's runtime.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

impl Relay {
    /// A line to the server at this address, on a free port of the loopback address.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let line = watch::Sender::new(Line::Whole);
        let state = Arc::new(line.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, watch::Receiver::clone(&state)));
            }
        });
        Self { address, line }
    }

    /// Where the server is reached over this line.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on only this gets through.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Ends, and closes both connections, when one direction ends.
async fn relay(client: TcpStream, server: SocketAddr, mut line: watch::Receiver<Line>) {
    // nobody gets to know a server that hears nothing
    if line.wait_for(|line| line.passes(true)).await.is_err() {
        return;
    }
    // a server that is away refuses the connection, and so does the line
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, true, line.clone()) => {}
        () = pass(from_server, to_client, false, line) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    requests: bool,
    mut line: watch::Receiver<Line>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let through = line.wait_for(|line| line.passes(requests)).await.is_ok();
        if !through || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_is_sent_over_a_cut_line_arrives_when_it_is_mended() {
        let relay = Relay::to(echo().await).await;
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        let mut word = [0; 4];
        for line in [Line::Whole, Line::RequestsLost, Line::AnswersLost, Line::Cut] {
            relay.set(line);
            stream.write_all(b"word").await.unwrap();
            let read = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut word)).await;
            assert_eq!(read.is_ok(), line == Line::Whole, "{line:?}");
            if line != Line::Whole {
                relay.set(Line::Whole);
                stream.read_exact(&mut word).await.unwrap();
            }
            assert_eq!(&word, b"word");
            word = [0; 4];
        }
    }
}
