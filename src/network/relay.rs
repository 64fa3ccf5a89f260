//! One connection: the program's side and the host's, joined. Never in here: whether it is allowed.

use super::account::Account;
use super::limits::RELAY_BYTES;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Passes bytes in both directions until both sides have ended; an abrupt end of one is one of the other. When the
/// program is gone (`closing`), until what it sent has arrived.
pub(super) async fn join(
    mut inner: TcpStream,
    outer: TcpStream,
    account: &Account,
    closing: &CancellationToken,
) {
    let _ = inner.set_nodelay(true);
    let delivered = CancellationToken::new();
    let mut outer = Counted { stream: outer, account, delivered: &delivered };
    let over = async {
        closing.cancelled().await;
        delivered.cancelled().await;
    };
    let copied = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut inner, &mut outer, RELAY_BYTES, RELAY_BYTES) => copied.map(drop),
        () = over => Ok(()),
    };
    if copied.is_err() {
        reset(inner);
        reset(outer.stream);
    }
}

/// Ends a connection so that the other side sees a failure, not an orderly end.
pub(super) fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// The host's side: counts, and says when the program's last byte and its end have been passed on.
struct Counted<'a> {
    stream: TcpStream,
    account: &'a Account,
    delivered: &'a CancellationToken,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.account.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.account.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.delivered.cancel();
        Poll::Ready(Ok(()))
    }
}
