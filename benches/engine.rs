//! The engine under load, whole, as its users have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use posthaste::scheduler::{PipeliningPolicy, SchedulerConfig};
use posthaste::session::{Pipelining, Window};
use posthaste::{Content, Envelope, ForwardPath, Mail, Mailbox, Mailer};
use tokio::runtime;

use crate::load::{FROM, Load, TO};

/// Sends a load by scheduler, connections and sessions. What the mails have in common is
/// checked once, and the field in which they differ mail by mail. Returns how long that took, up to the last report.
///
/// # Panics
///
/// When a mail is not delivered.
///
/// # Cancel safety
///
/// What was not delivered by then is not.
pub async fn send(load: Load, mode: Pipelining) -> Duration {
    let (delivered, elapsed) = send_numbers(load, mode, 0..load.mails).await;
    assert_eq!(delivered, load.mails);
    elapsed
}

/// The same from several threads, each with a mailer of its own and a share of the connections. They take the mails
/// from one queue.
///
/// # Panics
///
/// When a mail is not delivered, or there are fewer connections than threads.
pub fn send_from(threads: usize, load: Load, mode: Pipelining) -> Duration {
    let share = Load { connections: load.connections / threads, ..load };
    assert!(share.connections > 0, "fewer connections than threads");
    let queue = Arc::new(AtomicUsize::new(0));
    let send = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(send_numbers(share, mode, from_queue(queue, load.mails)))
    };
    let threads: Vec<_> = (0..threads).map(|_| thread::spawn(send.clone())).collect();
    let (mut delivered, mut longest) = (0, Duration::ZERO);
    for (mails, elapsed) in threads.into_iter().map(|thread| thread.join().unwrap()) {
        delivered += mails;
        longest = longest.max(elapsed);
    }
    assert_eq!(delivered, load.mails);
    longest
}

/// Numbers up to that of the last mail, of which each goes to one of those who share a queue.
fn from_queue(queue: Arc<AtomicUsize>, mails: usize) -> impl Iterator<Item = usize> + Send {
    let take = move || queue.fetch_add(HANDFUL, Relaxed);
    let handfuls = std::iter::repeat_with(take).take_while(move |&first| first < mails);
    handfuls.flat_map(move |first| first..mails.min(first + HANDFUL))
}

/// Sends those mails of a load that have these numbers. Returns how many these were, and how long it took.
async fn send_numbers(
    load: Load,
    mode: Pipelining,
    numbers: impl Iterator<Item = usize> + Send + 'static,
) -> (usize, Duration) {
    let start = Instant::now();
    let from: Mailbox = FROM.parse().unwrap();
    let to: ForwardPath = TO.parse().unwrap();
    let contents = load.contents();
    let rest = Content::new(contents.rest().to_vec()).unwrap();
    let mails = stream::iter(numbers.map(move |number| {
        let envelope = Envelope::to_one(from.clone(), to.clone());
        Mail::new(envelope, rest.with_fields(contents.field(number)).unwrap())
    }));
    let window = if load.connections <= FEW { large_window() } else { Window::default() };
    let under_way = match mode {
        Pipelining::Stream => window.mails() as usize,
        Pipelining::Off | Pipelining::Envelope | Pipelining::Cross => UNDER_WAY,
    };
    let intake = load.connections * AHEAD * under_way * load.size;
    let scheduler =
        SchedulerConfig { intake: intake.max(INTAKE_MIN), ..SchedulerConfig::default() };
    let mailer = Mailer::builder(&load.server.to_string()).unwrap().scheduler(scheduler);
    let mailer = mailer
        .max_connections(u32::try_from(load.connections).unwrap())
        .pipelining(PipeliningPolicy::Fixed(mode))
        .window(window)
        .unyielding()
        .build()
        .unwrap();
    let mut reports = mailer.send_all(mails);
    let mut delivered = 0;
    while let Some((_, report)) = reports.next().await {
        assert!(report.is_delivered(), "{report:?}");
        delivered += 1;
    }
    let elapsed = start.elapsed();
    mailer.shutdown().await;
    (delivered, elapsed)
}

/// Mails taken from a queue at once by one of those who share it.
const HANDFUL: usize = 64;

/// Mails that a session has at most, but in `stream`.
const UNDER_WAY: usize = 2;

/// So many times what is under way is taken in: what is in the sessions, and as much that is ready when that is done.
/// More would be a queue, and each mail cold in memory when its turn comes.
const AHEAD: usize = 2;

/// So few connections that each gets a [large window](large_window).
const FEW: usize = 20;

/// For a long line to a server that answers many mails at once, as Postfix does.
fn large_window() -> Window {
    Window::new(256, 1 << 20).unwrap()
}

/// Octets that may be under way in any case.
const INTAKE_MIN: usize = 64 << 10;
