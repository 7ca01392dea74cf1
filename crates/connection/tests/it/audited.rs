//! A stream on which all that the client says is held against what it has heard.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use posthaste_connection::session::{Config, Pipelining, Session, TlsPolicy};
use posthaste_connection::{Dispatch, drive};
use posthaste_testkit::checker::{Checker, Rules};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::now;

/// Drives a session on a stream, and panics when it says what a strict server would not take.
pub(crate) async fn converse<S, D>(config: Config, stream: S, dispatch: D)
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: Dispatch,
{
    let stream = Audited::new(stream, &config);
    drive(Session::new(now(), config), stream, dispatch).await;
}

/// A client's stream and its witness, who says no more once TLS may have begun.
struct Audited<S> {
    stream: S,
    checker: Checker,
}

impl<S> Audited<S> {
    fn new(stream: S, config: &Config) -> Self {
        // Orders may change the mode.
        let rules = Rules { pipelining: Pipelining::Cross, ..Rules::of(config) };
        let checker = match config.tls {
            TlsPolicy::Off => Checker::new(rules),
            TlsPolicy::May | TlsPolicy::Require => Checker::on_the_line(rules),
        };
        Self { stream, checker }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Audited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        // How much is queued behind what was written, only the driver knows.
        self.checker.heard(&buffer.filled()[before..], usize::MAX);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Audited<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
        self.checker.said(&octets[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let length = slice.len().min(left);
            self.checker.said(&slice[..length]);
            left -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
