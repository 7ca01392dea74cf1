//! Connections that break, and what the server may have said before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use posthaste_connection::session::{
    CloseReason, Config, Envelope, ForwardPath, Mail, Mailbox, NotSent, Outcome, Refusal, Stage,
    Timeouts, TlsPolicy,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::audited::converse;
use crate::support::{
    Notes, Peer, accept, delivered, listen, mail, mail_with, now, octets, plain, recorder, run,
};

/// Where a server hangs up, what was awaited then, and what becomes of the mail.
fn losses() -> Vec<(usize, Stage, Option<Outcome>)> {
    let interrupted = |stage| Some(Outcome::NotSent(NotSent::Interrupted(stage)));
    vec![
        (0, Stage::Greeting, None),
        (1, Stage::Hello, None),
        (2, Stage::Mail, interrupted(Stage::Mail)),
        (3, Stage::Rcpt, interrupted(Stage::Rcpt)),
        (4, Stage::Data, interrupted(Stage::Data)),
        (5, Stage::Final, Some(Outcome::InDoubt)), // TX-16
    ]
}

/// Follows a session without PIPELINING and stops before the reply with this number.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, replies: usize) {
    let script = ["220 mx", "250 mx", "250 ok", "250 ok", "354 go"];
    for (number, reply) in script[..replies].iter().enumerate() {
        peer.say(reply).await;
        if number == 4 {
            peer.hear_content().await;
        } else {
            peer.line().await;
        }
    }
}

#[track_caller]
fn check_loss(notes: &Notes, stage: Stage, outcome: Option<Outcome>) {
    assert_eq!(notes.closed(), CloseReason::Lost { stage });
    assert_eq!(notes.outcomes(), Vec::from_iter(outcome), "{stage}");
}

/// CL-01, QUIT-03: FIN instead of each reply.
#[tokio::test(start_paused = true)]
async fn an_end_instead_of_each_reply() {
    for (replies, stage, outcome) in losses() {
        let notes =
            run(plain(), 4096, [mail(0)], async |mut peer| serve(&mut peer, replies).await).await;
        check_loss(&notes, stage, outcome);
    }
}

/// CL-01: RST instead of each reply.
#[tokio::test]
async fn a_reset_instead_of_each_reply() {
    for (replies, stage, outcome) in losses() {
        let notes = over_tcp(mail(0), async |mut peer| {
            serve(&mut peer, replies).await;
            peer.stream.get_ref().set_zero_linger().unwrap();
        })
        .await;
        check_loss(&notes, stage, outcome);
    }
}

/// Drives a session with one mail over a real connection.
async fn over_tcp(mail: Mail, script: impl AsyncFnOnce(Peer<TcpStream>)) -> Notes {
    let (listener, port) = listen().await;
    let near = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let recorder = recorder([mail]);
    let notes = recorder.notes.clone();
    let config = plain();
    tokio::join!(converse(config, near, recorder), async { script(accept(&listener).await).await });
    notes
}

/// CL-02
#[tokio::test(start_paused = true)]
async fn an_end_behind_the_invitation() {
    let notes = run(plain(), 4096, [mail_with(0, octets(1 << 16))], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
    })
    .await;
    check_loss(
        &notes,
        Stage::Content,
        Some(Outcome::NotSent(NotSent::Interrupted(Stage::Content))),
    );
}

/// CL-03: what comes together with the end of the connection counts.
#[tokio::test(start_paused = true)]
async fn octets_together_with_the_end() {
    let notes = run(plain(), 4096, [mail(0), mail(1)], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
    })
    .await;
    assert_eq!(delivered(&notes.outcomes()[0]), "250 queued 0");
    assert!(matches!(notes.outcomes()[1], Outcome::NotSent(_)));
}

/// CL-03 over a socket, and CL-05: a half-close with a reply before it.
#[tokio::test]
async fn a_reply_and_a_half_close() {
    let notes = over_tcp(mail(0), async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
        peer.stream.shutdown().await.unwrap();
        peer.line().await;
    })
    .await;
    assert_eq!(delivered(&notes.outcomes()[0]), "250 queued 0");
}

#[track_caller]
fn check_explained(notes: &Notes, expected: &str) {
    let [Outcome::Refused(Refusal { stage: Stage::Content, reply })] = &notes.outcomes()[..] else {
        panic!("not explained: {notes:?}")
    };
    assert_eq!(reply.to_string(), expected);
    let CloseReason::Refused { stage: Stage::Content, .. } = notes.closed() else {
        panic!("not explained: {notes:?}")
    };
}

/// TX-19: a server that has heard enough.
#[tokio::test(start_paused = true)]
async fn an_early_refusal_stops_the_content() {
    let notes = run(plain(), 4096, [mail_with(0, octets(1 << 20))], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer.line().await;
        peer.say("552 too big").await;
        // It reads no more, and the client does not wait for that.
        let since = now();
        while peer.stream.get_mut().write_u8(b' ').await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(now() - since < Duration::from_secs(1));
    })
    .await;
    check_explained(&notes, "552 too big");
}

/// TX-20: the connection is gone when the client next writes, and the reason is waiting to be read.
#[tokio::test(start_paused = true)]
async fn a_failed_write_is_explained_by_the_reply_before_it() {
    let notes = run(plain(), 4096, [mail_with(0, octets(1 << 20))], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer.line().await;
        peer.say("554 spam").await;
    })
    .await;
    check_explained(&notes, "554 spam");
}

/// TX-20, CL-04: the same with sockets, where what was not read turns the close into a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_explained_by_the_reply_before_it() {
    // More than both sockets hold.
    let big = mail_with(0, octets(12 << 20));
    for _ in 0..50 {
        let notes = over_tcp(big.clone(), async |mut peer| {
            peer.introduce(&["PIPELINING"]).await;
            peer.hear_envelope(0).await;
            peer.say("250 ok\r\n250 ok\r\n354 go").await;
            peer.line().await;
            peer.say("554 spam").await;
        })
        .await;
        check_explained(&notes, "554 spam");
    }
}

/// A stream whose writes fail from some point on, while its reads do what they did.
struct Deaf<S> {
    stream: S,
    octets_left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Deaf<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deaf<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.octets_left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let octets = buf.len().min(self.octets_left);
        let result = Pin::new(&mut self.stream).poll_write(cx, &buf[..octets]);
        if let Poll::Ready(Ok(octets)) = result {
            self.octets_left -= octets;
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A mail to a server that hears the first 200 octets and then says something, or nothing, a moment
/// later.
async fn run_deaf(last_words: &str) -> Notes {
    let (near, far) = duplex(4096);
    let recorder = recorder([mail_with(0, octets(1 << 12))]);
    let notes = recorder.notes.clone();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        sleep(Duration::from_millis(10)).await;
        peer.say(last_words).await;
        std::future::pending::<()>().await;
    };
    let stream = Deaf { stream: near, octets_left: 200 };
    tokio::select! {
        () = converse(plain(), stream, recorder) => notes,
        () = serve => unreachable!(),
    }
}

/// TX-20: the runtime may learn of a failed write before it learns that there is something to be
/// read.
#[tokio::test(start_paused = true)]
async fn a_failed_write_is_explained_a_moment_later() {
    check_explained(&run_deaf("554 spam").await, "554 spam");
}

/// TX-20: where nothing explains it, the end comes soon all the same.
#[tokio::test(start_paused = true)]
async fn a_failed_write_without_explanation_ends_soon() {
    let since = now();
    let notes = run_deaf("").await;
    assert!(now() - since < Duration::from_secs(5));
    assert_eq!(notes.outcomes(), [Outcome::NotSent(NotSent::Interrupted(Stage::Content))]);
}

/// A server that offers STARTTLS to a driver that cannot do it: the session ends and says so.
#[tokio::test(start_paused = true)]
async fn a_driver_without_tls_gives_up_when_it_is_wanted() {
    let config = Config { tls: TlsPolicy::May, ..plain() };
    let notes = run(config, 4096, [mail(0)], async |mut peer| {
        peer.introduce(&["STARTTLS"]).await;
        peer.hear(&["STARTTLS"]).await;
        peer.say("220 go").await;
        peer.hear_end().await;
    })
    .await;
    assert!(matches!(notes.closed(), CloseReason::Aborted { stage: Stage::Tls }));
}

/// A listener whose connections hold no more than some KiB that have not been read.
fn narrow_listener() -> (TcpListener, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// PIPE-08, FL-04 over sockets: 5 000 recipients for a server that has room for few of them and
/// reads none before its reply to the one before is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_recipients_go_through_narrow_sockets() {
    const RECIPIENTS: usize = 5000;
    let (listener, port) = narrow_listener();
    let from: Mailbox = "a@client.example".parse().unwrap();
    let to: ForwardPath = "b@mx.example".parse().unwrap();
    let big = Mail { envelope: Envelope::new(from, vec![to; RECIPIENTS]).unwrap(), ..mail(0) };
    let near = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let recorder = recorder([big]);
    let notes = recorder.notes.clone();
    let driver = tokio::spawn(converse(plain(), near, recorder));
    let mut peer = accept(&listener).await;
    peer.introduce(&["PIPELINING"]).await;
    peer.line().await;
    peer.say("250 ok").await;
    let reply = format!("{}250 ok", "250-so it is\r\n".repeat(20));
    for _ in 0..RECIPIENTS {
        peer.hear(&["RCPT TO:<b@mx.example>"]).await;
        peer.say(&reply).await;
    }
    peer.hear(&["DATA"]).await;
    peer.say("354 go").await;
    peer.hear_content().await;
    peer.say("250 queued").await;
    peer.part().await;
    driver.await.unwrap();
    assert_eq!(notes.outcomes().len(), RECIPIENTS);
    assert!(notes.outcomes().iter().all(Outcome::is_delivered));
}

/// FL-03 over sockets: content for a server that has invited it and does not read.
#[tokio::test]
async fn content_for_a_server_that_does_not_read_is_given_up() {
    let (listener, port) = narrow_listener();
    let near = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let content = Duration::from_millis(100);
    let timeouts = Timeouts { content, min_rate: None, ..Timeouts::default() };
    let recorder = recorder([mail_with(0, octets(8 << 20))]);
    let notes = recorder.notes.clone();
    let config = Config { timeouts, ..plain() };
    let serve = async {
        let mut peer = accept(&listener).await;
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        peer
    };
    let ((), _peer) = tokio::join!(converse(config, near, recorder), serve);
    assert_eq!(notes.closed(), CloseReason::Timeout { stage: Stage::Content });
    assert_eq!(notes.outcomes(), [Outcome::NotSent(NotSent::Interrupted(Stage::Content))]);
}
