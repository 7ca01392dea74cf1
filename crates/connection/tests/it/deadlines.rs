//! How long the driver waits for what.

use std::time::Duration;

use posthaste_connection::Command;
use posthaste_connection::session::{CloseReason, Config, NotSent, Outcome, Stage, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use crate::audited::converse;
use crate::support::{
    Peer, delivered, mail, mail_with, now, octets, ordered, plain, run, run_to_the_end,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Brings a conversation to where the reply for `stage` is awaited.
async fn proceed(peer: &mut Peer<DuplexStream>, stage: Stage) {
    if stage == Stage::Greeting {
        return;
    }
    peer.say("220 mx.example").await;
    peer.line().await;
    if stage == Stage::Hello {
        return;
    }
    // Without PIPELINING each reply is awaited alone.
    peer.offer(&[]).await;
    for (step, reply) in [(Stage::Mail, "250 ok"), (Stage::Rcpt, "250 ok"), (Stage::Data, "354 go")]
    {
        peer.line().await;
        if stage == step {
            return;
        }
        peer.say(reply).await;
    }
    peer.hear_content().await;
}

const STAGES: [Stage; 6] =
    [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final];

/// TIME-01, TIME-02, TIME-03, TIME-04, TIME-10: silence ends at the stage's own deadline.
#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline_of_its_stage() {
    let minutes = [5, 5, 5, 5, 2, 10];
    for (stage, minutes) in STAGES.into_iter().zip(minutes) {
        let mut waited = Duration::ZERO;
        let notes = run(plain(), 4096, [mail(0)], async |mut peer| {
            proceed(&mut peer, stage).await;
            let since = now();
            peer.hear_end().await;
            waited = now() - since;
        })
        .await;
        assert_eq!(notes.closed(), CloseReason::Timeout { stage });
        assert_eq!(waited.as_secs(), 60 * minutes, "{stage}");
        // TX-16: only behind the end of content is there doubt.
        assert_eq!(notes.outcomes().contains(&Outcome::InDoubt), stage == Stage::Final);
    }
}

/// TIME-08, FL-01: an octet now and then puts no deadline off.
#[tokio::test(start_paused = true)]
async fn octets_do_not_put_a_deadline_off() {
    let config = Config { timeouts: Timeouts::uniform(10 * SECOND), ..plain() };
    for stage in STAGES {
        let mut waited = Duration::ZERO;
        let notes = run(config.clone(), 4096, [mail(0)], async |mut peer| {
            proceed(&mut peer, stage).await;
            let since = now();
            for octet in "250-an endless reply".bytes() {
                if peer.stream.get_mut().write_u8(octet).await.is_err() {
                    break;
                }
                waited = now() - since;
                sleep(9 * SECOND).await;
            }
        })
        .await;
        assert_eq!(notes.closed(), CloseReason::Timeout { stage });
        // The octets at 0 s and 9 s were taken, the one at 18 s was not.
        assert_eq!(waited.as_secs(), 9, "{stage}");
    }
}

/// FL-06, TIME-02
#[tokio::test(start_paused = true)]
async fn a_greeting_after_299_seconds_is_accepted() {
    let notes = run(plain(), 4096, [mail(0)], async |mut peer| {
        sleep(299 * SECOND).await;
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
        peer.part().await;
    })
    .await;
    assert_eq!(notes.closed(), CloseReason::Quit);
}

/// TIME-06, FL-07
#[tokio::test(start_paused = true)]
async fn a_final_reply_after_599_seconds_is_accepted() {
    let notes = run(plain(), 4096, [mail(0)], async |mut peer| {
        proceed(&mut peer, Stage::Final).await;
        sleep(10 * MINUTE - SECOND).await;
        peer.say("250 queued").await;
        peer.part().await;
    })
    .await;
    assert_eq!(delivered(&notes.outcomes()[0]), "250 queued");
}

/// TIME-13, FL-02: each reply of a flight has its own time.
#[tokio::test(start_paused = true)]
async fn each_reply_of_a_flight_has_its_own_time() {
    let notes = run(plain(), 4096, [mail(0)], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        for reply in ["250 ok", "250 ok"] {
            sleep(5 * MINUTE - SECOND).await;
            peer.say(reply).await;
        }
        sleep(2 * MINUTE - SECOND).await;
        peer.say("354 go").await;
        peer.hear_content().await;
        peer.say("250 queued").await;
        peer.part().await;
    })
    .await;
    assert!(notes.outcomes()[0].is_delivered());
}

/// TIME-05, FL-03: a server that invites content and reads none of it.
#[tokio::test(start_paused = true)]
async fn content_that_makes_no_progress_is_given_up() {
    let mut invited = now();
    let notes = run_to_the_end(plain(), [mail_with(0, octets(1 << 20))], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        invited = now();
        peer
    })
    .await;
    assert_eq!((now() - invited).as_secs(), 180);
    assert_eq!(notes.closed(), CloseReason::Timeout { stage: Stage::Content });
    // TX-17
    assert_eq!(notes.outcomes(), [Outcome::NotSent(NotSent::Interrupted(Stage::Content))]);
}

/// TIME-05: without a least rate progress is what counts, however slow.
#[tokio::test(start_paused = true)]
async fn slow_content_is_not_given_up() {
    let content = octets(8 * 1024);
    let timeouts = Timeouts { min_rate: None, ..Timeouts::default() };
    let notes = run(
        Config { timeouts, ..plain() },
        256,
        [mail_with(0, content.clone())],
        async |mut peer| {
            peer.introduce(&["PIPELINING"]).await;
            peer.hear_envelope(0).await;
            peer.say("250 ok\r\n250 ok\r\n354 go").await;
            let mut received = vec![0; content.len()];
            for part in received.chunks_mut(256) {
                sleep(3 * MINUTE - SECOND).await;
                peer.stream.get_mut().read_exact(part).await.unwrap();
            }
            peer.hear(&["."]).await;
            peer.say("250 queued").await;
            peer.part().await;
        },
    )
    .await;
    assert!(notes.outcomes()[0].is_delivered());
}

/// TIME-09, FL-05: a server that reads some octets a second all day long is given up.
#[tokio::test(start_paused = true)]
async fn content_that_is_read_too_slowly_is_given_up() {
    let mut invited = now();
    let notes = run(plain(), 256, [mail_with(0, octets(1 << 20))], async |mut peer| {
        peer.introduce(&["PIPELINING"]).await;
        peer.hear_envelope(0).await;
        peer.say("250 ok\r\n250 ok\r\n354 go").await;
        invited = now();
        let mut octets = [0; 64];
        while peer.stream.get_mut().read_exact(&mut octets).await.is_ok() {
            sleep(SECOND).await;
        }
    })
    .await;
    // 3 minutes, and a second for each KiB of the content.
    assert!(now() - invited < 30 * MINUTE, "{:?}", now() - invited);
    assert_eq!(notes.closed(), CloseReason::Timeout { stage: Stage::Content });
    assert_eq!(notes.outcomes(), [Outcome::NotSent(NotSent::Interrupted(Stage::Content))]);
}

/// TIME-11, QUIT-02: whatever comes back for QUIT, or does not, the end is the same and near.
#[tokio::test(start_paused = true)]
async fn quit_ends_in_bounded_time() {
    for answer in ["221 bye\r\n", "500 what\r\n", "421 gone\r\n", "22", "", "FIN"] {
        let since = now();
        let notes = run(plain(), 4096, [mail(0)], async |mut peer| {
            peer.introduce(&["PIPELINING"]).await;
            peer.take_mail(0).await;
            peer.hear(&["QUIT"]).await;
            match answer {
                "FIN" => drop(peer),
                answer => {
                    peer.say_exactly(answer).await;
                    peer.hear_end().await;
                }
            }
        })
        .await;
        assert_eq!(notes.closed(), CloseReason::Quit, "{answer:?}");
        assert!(notes.outcomes()[0].is_delivered());
        assert!(now() - since <= 3 * SECOND, "{answer:?}");
    }
}

/// An idle connection has no deadline: how long it stays is for others to say.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_waits() {
    let (recorder, orders) = ordered([mail(0)]);
    let notes = recorder.notes.clone();
    let (near, far) = duplex(4096);
    let config = plain();
    let serve = async {
        let mut peer = Peer::new(far);
        peer.introduce(&["PIPELINING"]).await;
        peer.take_mail(0).await;
        sleep(60 * MINUTE).await;
        assert!(notes.closings().is_empty());
        orders.send(Command::Quit).unwrap();
        peer.part().await;
    };
    tokio::join!(converse(config, near, recorder), serve);
    assert_eq!(notes.closed(), CloseReason::Quit);
}
