//! The session alone, without I/O: mails of 1 KiB for one recipient, handed in, written and answered
//! in the flights of each mode. Checking a mail when it is made is not part of it.
//!
//! Target: 0.2 µs a mail in `stream`.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use posthaste_session::{
    Config, Content, Envelope, Event, ForwardPath, Mail, Mailbox, Pipelining, Session,
};

/// Mails of one iteration: many windows.
const MAILS: usize = 10_000;
/// Mails in memory: more than any window has.
const POOL: usize = 128;
/// What a driver reads at once.
const READ_SIZE: usize = 16 * 1024;
const HELLO: &str = "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 10240000\r\n";
const ENVELOPE: &str = "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n";
const START: &str = "354 End data with <CR><LF>.<CR><LF>\r\n";
const QUEUED: &str = "250 2.0.0 Ok: queued as 4F0C41A0\r\n";
const RESET: &str = "250 2.0.0 Ok\r\n";

/// A session with its server, which takes everything.
struct Pair {
    now: Instant,
    session: Session,
    pool: Vec<Mail>,
    replies: String,
}

impl Pair {
    fn new(mode: Pipelining) -> Self {
        let now = Instant::now();
        let mut config = Config::new("client.example".parse().unwrap());
        config.pipelining = mode;
        let session = Session::new(now, config);
        let pool = vec![mail(); POOL];
        let mut pair = Self { now, session, pool, replies: String::new() };
        pair.session.handle_input(now, b"220 mx.example ESMTP\r\n");
        pair.write();
        pair.session.handle_input(now, HELLO.as_bytes());
        assert!(matches!(pair.session.poll_event(), Some(Event::Ready)));
        pair
    }

    fn write(&mut self) {
        while self.session.has_transmit() {
            let mut slices = [IoSlice::new(&[]); 64];
            let used = self.session.poll_transmit(&mut slices);
            let octets = slices[..used].iter().map(|slice| slice.len()).sum();
            self.session.transmitted(self.now, octets);
        }
    }

    /// Sends so many mails, in flights as large as there is room for.
    fn send(&mut self, mails: usize) {
        let (mut submitted, mut answered, mut finished) = (0, 0, 0);
        while finished < mails {
            while submitted < mails && self.session.room() > 0 {
                let mail = self.pool.pop().unwrap();
                self.session.submit(self.now, mail).unwrap();
                submitted += 1;
            }
            self.write();
            self.replies.clear();
            if self.session.pipelining() == Pipelining::Stream {
                (answered..submitted).for_each(|number| self.answer_whole(number));
                answered = submitted;
            } else {
                // The content of one mail, and the envelope of the next.
                self.replies.push_str(if answered > finished { QUEUED } else { "" });
                if answered < submitted {
                    self.replies.push_str(ENVELOPE);
                    self.replies.push_str(START);
                    answered += 1;
                }
            }
            for octets in self.replies.as_bytes().chunks(READ_SIZE) {
                self.session.handle_input(self.now, octets);
            }
            finished += self.take_finished();
        }
    }

    fn answer_whole(&mut self, number: usize) {
        self.replies.push_str(if number > 0 { RESET } else { "" });
        self.replies.push_str(ENVELOPE);
        self.replies.push_str(QUEUED);
    }

    fn take_finished(&mut self) -> usize {
        let before = self.pool.len();
        while let Some(event) = self.session.poll_event() {
            if let Event::Finished(it) = event {
                assert!(black_box(&it.outcomes)[0].is_delivered());
                self.pool.push(it.mail);
            }
        }
        self.pool.len() - before
    }
}

fn mail() -> Mail {
    let from: Mailbox = "sender@client.example".parse().unwrap();
    let to: ForwardPath = "recipient@mx.example".parse().unwrap();
    let content = Content::new(("x".repeat(62) + "\r\n").repeat(16)).unwrap();
    Mail::new(Envelope::new(from, [to]).unwrap(), content)
}

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(MAILS as u64));
    for mode in [Pipelining::Cross, Pipelining::Stream] {
        group.bench_function(mode.as_str(), |bencher| {
            bencher.iter_batched_ref(
                || Pair::new(mode),
                |pair| pair.send(MAILS),
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, session);
criterion_main!(benches);
