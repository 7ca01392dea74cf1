//! Reading, writing and what leaves together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::drive;
use posthaste_connection::session::{
    CloseReason, Config, Envelope, ForwardPath, ImplicitTls, Mail, Mailbox, Pipelining, Session,
    TlsState,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, duplex};
use tokio::time::sleep;

use crate::support::{Peer, delivered, mail, mail_with, now, octets, plain, recorder, run};
use crate::tls::Authority;

/// What each write took.
pub(crate) type Log = Arc<Mutex<Vec<Vec<u8>>>>;

/// A stream that notes what each write took.
pub(crate) struct Writes<S> {
    pub(crate) stream: S,
    pub(crate) writes: Log,
}

impl<S: AsyncRead + Unpin> AsyncRead for Writes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Writes<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(octets)) = result {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            self.writes.lock().unwrap().push(all[..octets].to_vec());
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn mode(pipelining: Pipelining) -> Config {
    Config { pipelining, ..plain() }
}

#[tokio::test(start_paused = true)]
async fn mails_go_from_greeting_to_quit() {
    let notes = run(plain(), 4096, [mail(0), mail(1)], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        assert_eq!(peer.take_mail(0).await, b"Subject: 0\r\n");
        assert_eq!(peer.take_mail(1).await, b"Subject: 1\r\n");
        peer.part().await;
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Quit);
    assert_eq!(delivered(&notes.outcomes()[0]), "250 queued 0");
    assert_eq!(delivered(&notes.outcomes()[1]), "250 queued 1");
}

/// Two mails with dots at line starts, which make several slices of the content.
fn dotted() -> [Mail; 2] {
    [mail_with(0, "a\r\n.b\r\n"), mail_with(1, ".c\r\n")]
}

/// Takes them in mode `cross`, without a greeting.
async fn take_both<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) {
    peer.hear_envelope(0).await;
    peer.say("250 ok\r\n250 ok\r\n354 go").await;
    peer.hear_content().await;
    peer.hear_envelope(1).await;
    peer.say("250 queued 0\r\n250 ok\r\n250 ok\r\n354 go").await;
    peer.hear_content().await;
    peer.say("250 queued 1").await;
}

/// CONN-11: what can leave together leaves in one write, of content and commands alike.
async fn writes(pipelining: Pipelining) -> Vec<String> {
    let (near, far) = duplex(1 << 16);
    let writes = Arc::default();
    let stream = Writes { stream: near, writes: Arc::clone(&writes) };
    let session = Session::new(now(), mode(pipelining));
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        if pipelining == Pipelining::Cross {
            take_both(&mut peer).await;
        } else {
            peer.take_mail(0).await;
            peer.take_mail(1).await;
        }
        peer.part().await;
    };
    tokio::join!(drive(session, stream, recorder(dotted())), serve);
    let writes = std::mem::take(&mut *writes.lock().unwrap());
    writes.into_iter().map(|write| String::from_utf8(write).unwrap()).collect()
}

fn envelope(number: usize) -> String {
    format!(
        "MAIL FROM:<from{number}@client.example>\r\nRCPT TO:<to{number}@mx.example>\r\nDATA\r\n"
    )
}

/// CONN-11, Q10: the end of content leaves with the content.
#[tokio::test(start_paused = true)]
async fn each_group_leaves_in_one_write() {
    let expected = [
        "EHLO client.example\r\n".to_owned(),
        envelope(0),
        "a\r\n..b\r\n.\r\n".to_owned(),
        envelope(1),
        "..c\r\n.\r\n".to_owned(),
        "QUIT\r\n".to_owned(),
    ];
    assert_eq!(writes(Pipelining::Envelope).await, expected);
}

/// PIPE-11
#[tokio::test(start_paused = true)]
async fn content_and_the_next_envelope_leave_in_one_write() {
    let expected = [
        "EHLO client.example\r\n".to_owned(),
        envelope(0),
        format!("a\r\n..b\r\n.\r\n{}", envelope(1)),
        "..c\r\n.\r\nQUIT\r\n".to_owned(),
    ];
    assert_eq!(writes(Pipelining::Cross).await, expected);
}

/// CONN-11: TLS makes one record of each group, and one write of each record.
#[tokio::test(start_paused = true)]
async fn each_group_leaves_in_one_write_with_tls() {
    let authority = Authority::new();
    let (near, far) = duplex(1 << 16);
    let writes = Arc::default();
    let stream = Writes { stream: near, writes: Arc::clone(&writes) };
    let (stream, far) = tokio::join!(
        authority.client().connect("mx.example".try_into().unwrap(), stream),
        authority.acceptor(&["mx.example"]).accept(far)
    );
    writes.lock().unwrap().clear();
    let serve = async {
        let mut peer = Peer::new(far.unwrap());
        peer.introduce(&["PIPELINING"]).await;
        take_both(&mut peer).await;
        peer.part().await;
    };
    let session = Session::with_tls(
        now(),
        mode(Pipelining::Cross),
        ImplicitTls::Established(TlsState::default()),
    );
    let stream = stream.unwrap();
    tokio::join!(drive(session, stream, recorder(dotted())), serve);
    // EHLO, envelope, content with envelope, content with QUIT, and the alert that ends TLS.
    assert_eq!(writes.lock().unwrap().len(), 5);
}

/// PIPE-08, FL-04, TX-26: the server reads no command before it has got rid of its reply to the one
/// before, and the buffers between the two hold much less than a flight.
#[tokio::test(start_paused = true)]
async fn a_server_that_answers_before_it_reads_on_does_not_block() {
    const RECIPIENTS: usize = 5000;
    let from: Mailbox = "a@client.example".parse().unwrap();
    let to: ForwardPath = "b@mx.example".parse().unwrap();
    let big = Mail { envelope: Envelope::new(from, vec![to; RECIPIENTS]).unwrap(), ..mail(0) };
    let long = format!("{}250 ok", "250-so it is\r\n".repeat(20));
    let notes = run(plain(), 512, [big], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.line().await;
        peer.say(&long).await;
        for _ in 0..RECIPIENTS {
            peer.hear(&["RCPT TO:<b@mx.example>"]).await;
            peer.say(&long).await;
        }
        peer.hear(&["DATA"]).await;
        peer.say("354 go").await;
        peer.hear_content().await;
        peer.say("250 queued").await;
        peer.part().await;
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Quit);
    assert!(notes.outcomes().iter().all(|outcome| outcome.is_delivered()));
    assert_eq!(notes.outcomes().len(), RECIPIENTS);
}

/// PIPE-08, FL-04: the same while 10 MiB of content are on their way to a slow reader.
#[tokio::test(start_paused = true)]
async fn big_content_goes_to_a_slow_reader() {
    const SIZE: usize = 10 << 20;
    let content = octets(SIZE);
    let mails = [mail_with(0, content.clone()), mail(1)];
    // Longer than both buffers.
    let queued = format!("{}250 queued 0", format!("250-{}\r\n", "y".repeat(400)).repeat(100));
    let notes = run(mode(Pipelining::Cross), 16 * 1024, mails, async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        let mut received = vec![0; content.len()];
        for part in received.chunks_mut(64 * 1024) {
            sleep(Duration::from_secs(1)).await;
            peer.stream.read_exact(part).await.unwrap();
        }
        assert!(received == content);
        peer.hear(&["."]).await;
        peer.say(&queued).await;
        peer.hear_envelope(1).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer.hear_content().await;
        peer.say("250 queued 1").await;
        peer.part().await;
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Quit);
    assert!(notes.outcomes().iter().all(|outcome| outcome.is_delivered()));
}

/// Replies in any pieces, also one octet at a time.
#[tokio::test(start_paused = true)]
async fn pieces_of_replies_are_put_together() {
    for size in [1, 2, 3, 7] {
        let notes = run(plain(), size, [mail(0)], async |mut peer| {
            peer.introduce(&["PIPELINING", "SIZE 1000"]).await;
            peer.line().await;
            peer.hear(&["RCPT TO:<to0@mx.example>", "DATA"]).await;
            peer.say("250-2.1.0 fine\r\n250 2.1.0 ok\r\n250 ok\r\n354 go").await;
            peer.hear_content().await;
            for octet in "250 queued\r\n".chars() {
                sleep(Duration::from_millis(1)).await;
                peer.say_exactly(&octet.to_string()).await;
            }
            peer.part().await;
        })
        .await;
        assert_eq!(delivered(&notes.outcomes()[0]), "250 queued");
    }
}

/// CONN-01, CONN-02, Q01: nothing is said before the greeting has ended.
#[tokio::test(start_paused = true)]
async fn the_greeting_is_heard_out() {
    run(plain(), 4096, [], async |mut peer| {
        peer.say("220-mx.example").await;
        let early = tokio::time::timeout(Duration::from_secs(6), peer.stream.read_u8()).await;
        assert!(early.is_err());
        peer.introduce(&[]).await;
        peer.part().await;
    })
    .await;
}

/// What a stream holds back is flushed, as TLS needs it.
#[tokio::test(start_paused = true)]
async fn writes_are_flushed() {
    let (near, far) = duplex(4096);
    let buffered = tokio::io::BufWriter::new(near);
    let recorder = recorder([mail(0)]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
        peer.part().await;
    };
    tokio::join!(drive(Session::new(now(), plain()), buffered, recorder), serve);
    assert_eq!(notes.closed(), CloseReason::Quit);
}

/// A writer whose shutdown never comes to an end.
struct Stuck<W>(W);

impl<W: AsyncWrite + Unpin> AsyncWrite for Stuck<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// TIME-11: a shutdown that hangs does not hold up the end.
#[tokio::test(start_paused = true)]
async fn a_stuck_shutdown_is_given_up() {
    let (near, far) = duplex(4096);
    let (reader, writer) = tokio::io::split(near);
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&[]).await;
        peer.part().await;
    };
    let before = now();
    let stream = tokio::io::join(reader, Stuck(writer));
    tokio::join!(drive(Session::new(now(), plain()), stream, recorder([])), serve);
    assert!(now() - before < Duration::from_secs(2));
}
