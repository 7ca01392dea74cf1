//! What a sink counts. Sessions count for themselves and add to the shared counters once per
//! input, so that counting costs a busy sink nothing.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use serde::{Serialize, Serializer};

use crate::command::Verb;
use crate::message_id::MessageId;

/// A snapshot of everything a sink has counted. Serializes to the JSON of `posthaste sink --stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Mails kept: those given a positive final reply, and those a fault kept all the same.
    pub mails: u64,
    /// Recipients of these mails.
    pub recipients: u64,
    /// Octets of their content, without transparency.
    pub bytes: u64,
    /// Connections.
    pub connections: Connections,
    /// Recipients that got a mail with a Message-ID they already had a mail with. Counted only when
    /// the sink was told to.
    pub duplicates: u64,
    /// What else Message-IDs tell. Counted only together with `duplicates`.
    pub message_ids: MessageIds,
    /// How often each limit refused something, by its name, and each fault rule applied, by its text.
    pub refusals: BTreeMap<String, u64>,
    /// What a strict server would have objected to, by name.
    pub violations: BTreeMap<&'static str, u64>,
    /// Commands by verb.
    pub commands: BTreeMap<&'static str, u64>,
}

/// What the Message-IDs of mails tell: whether a client's mails came all, and in order.
///
/// ```
/// use posthaste_sink::MessageIds;
///
/// let sent = MessageIds::digest_of(["<run.1@client.example>", "<run.2@client.example>"]);
/// // The order of the mails, and who got which from which connection, makes no difference.
/// let same = MessageIds::digest_of(["<run.2@client.example>", "<run.1@client.example>"]);
/// assert_eq!(sent, same);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageIds {
    /// Mails that have one.
    pub mails: u64,
    /// The sum, modulo 2^64, of the hashes of all their Message-IDs with their angle brackets: XXH3
    /// with 64 bits and seed 0. In JSON, 16 hexadecimal digits.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: u64,
    /// Mails whose number is lower than that of the mail before on the same connection, where the
    /// Message-IDs differ in nothing else: 17 in `<run.17@client.example>`. A mail that is sent again
    /// after others counts here, too.
    pub out_of_order: u64,
    /// Recipients not looked at for duplicates, since there was no room to remember them: where it
    /// is 0, no duplicate was missed.
    pub unchecked: u64,
}

impl MessageIds {
    /// The [`digest`](Self::digest) that a sink has after mails with these Message-IDs.
    pub fn digest_of<I>(ids: I) -> u64
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let digests = ids.into_iter().map(|id| MessageId::new(id.as_ref()).digest);
        digests.fold(0, u64::wrapping_add)
    }
}

fn hexadecimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

/// Connections of a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Connections {
    /// Connections that got a session.
    pub opened: u64,
    /// Connections turned away at the greeting by `max_conns`.
    pub refused: u64,
    /// Sessions open now.
    pub open: u64,
    /// The most sessions open at once.
    pub open_max: u64,
}

/// Something a strict server would object to. The sink counts it and carries on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Violation {
    /// Octets came before the greeting was sent.
    BeforeGreeting,
    /// Octets came in one flight behind EHLO, HELO or LHLO, which end a group (RFC 2920 3.1).
    BehindHello,
    /// Octets came in one flight behind DATA.
    BehindData,
    /// Octets came in one flight behind NOOP, VRFY or HELP.
    BehindNoop,
    /// Octets came in one flight behind QUIT.
    BehindQuit,
    /// Octets came in one flight behind STARTTLS (RFC 3207 4).
    BehindStartTls,
    /// Octets came in one flight behind AUTH or a line of its exchange.
    BehindAuth,
    /// Octets came in one flight behind XCLIENT, which ends a group.
    BehindXclient,
    /// A group of commands although PIPELINING was not offered.
    UnofferedPipelining,
    /// A keyword's command or parameter although the keyword was not offered.
    UnofferedExtension,
    /// More than was stated with the offer: LIMITS (RFC 9422), or a time beyond those of DELIVERBY
    /// and FUTURERELEASE.
    BeyondOffer,
    /// What came was no PROXY header.
    ProxyHeader,
    /// An unknown verb, or arguments the grammar does not have.
    Syntax,
    /// A command where the session was in no state for it, answered 503.
    Sequence,
    /// MAIL during a mail transaction.
    NestedMail,
    /// A command line beyond the limit of RFC 5321 4.5.3.1.4 and what extensions add to it.
    LongCommand,
    /// A CR without LF in content or a command.
    BareCr,
    /// An LF without CR in content or a command.
    BareLf,
    /// A text line of more than 1000 octets.
    LongLine,
    /// Octets above 0x7f in content without `BODY=8BITMIME` (once per input).
    EightBit,
    /// NUL octets in content (once per input).
    Nul,
    /// A UTF-8 address without SMTPUTF8.
    Utf8Address,
    /// Content larger than the SIZE declared for it.
    SizeExceeded,
}

impl Violation {
    const ALL: [Self; 23] = [
        Self::BeforeGreeting,
        Self::BehindHello,
        Self::BehindData,
        Self::BehindNoop,
        Self::BehindQuit,
        Self::BehindStartTls,
        Self::BehindAuth,
        Self::BehindXclient,
        Self::UnofferedPipelining,
        Self::UnofferedExtension,
        Self::BeyondOffer,
        Self::ProxyHeader,
        Self::Syntax,
        Self::Sequence,
        Self::NestedMail,
        Self::LongCommand,
        Self::BareCr,
        Self::BareLf,
        Self::LongLine,
        Self::EightBit,
        Self::Nul,
        Self::Utf8Address,
        Self::SizeExceeded,
    ];

    /// The name in [`Stats::violations`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeGreeting => "before_greeting",
            Self::BehindHello => "behind_hello",
            Self::BehindData => "behind_data",
            Self::BehindNoop => "behind_noop",
            Self::BehindQuit => "behind_quit",
            Self::BehindStartTls => "behind_starttls",
            Self::BehindAuth => "behind_auth",
            Self::BehindXclient => "behind_xclient",
            Self::UnofferedPipelining => "unoffered_pipelining",
            Self::UnofferedExtension => "unoffered_extension",
            Self::BeyondOffer => "beyond_offer",
            Self::ProxyHeader => "proxy_header",
            Self::Syntax => "syntax",
            Self::Sequence => "sequence",
            Self::NestedMail => "nested_mail",
            Self::LongCommand => "long_command",
            Self::BareCr => "bare_cr",
            Self::BareLf => "bare_lf",
            Self::LongLine => "long_line",
            Self::EightBit => "eight_bit",
            Self::Nul => "nul",
            Self::Utf8Address => "utf8_address",
            Self::SizeExceeded => "size_exceeded",
        }
    }
}

/// A limit that refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    MaxConnections,
    MaxPerConnection,
    MaxRecipients,
    MaxSize,
    Greylist,
    Capacity,
    Credentials,
    Storage,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::MaxConnections,
        Self::MaxPerConnection,
        Self::MaxRecipients,
        Self::MaxSize,
        Self::Greylist,
        Self::Capacity,
        Self::Credentials,
        Self::Storage,
    ];

    /// The name in [`Stats::refusals`]: that of the flag where there is one.
    fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max-conns",
            Self::MaxPerConnection => "max-per-conn",
            Self::MaxRecipients => "max-rcpts",
            Self::MaxSize => "max-size",
            Self::Greylist => "greylist",
            Self::Capacity => "capacity",
            Self::Credentials => "credentials",
            Self::Storage => "storage",
        }
    }
}

/// The counts of one session since it last added them to [`Counters`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    mails: u32,
    recipients: u32,
    bytes: u64,
    duplicates: u32,
    ids: u32,
    digest: u64,
    out_of_order: u32,
    unchecked: u32,
    commands: [u32; Verb::ALL.len()],
    trouble: Option<Box<Trouble>>,
}

/// What a session without trouble does not count, and what costs it nothing.
#[derive(Debug, Clone, Default)]
struct Trouble {
    violations: [u32; Violation::ALL.len()],
    refusals: [u32; Refusal::ALL.len()],
}

impl Tally {
    pub(crate) fn mail(&mut self, recipients: usize, bytes: u64) {
        self.mails += 1;
        // Recipients per mail are bounded far below 2^32.
        self.recipients += recipients as u32;
        self.bytes += bytes;
    }

    pub(crate) fn duplicates(&mut self, count: u32) {
        self.duplicates += count;
    }

    pub(crate) fn message_id(&mut self, digest: u64, is_out_of_order: bool) {
        self.ids += 1;
        self.digest = self.digest.wrapping_add(digest);
        self.out_of_order += u32::from(is_out_of_order);
    }

    pub(crate) fn unchecked(&mut self, count: u32) {
        self.unchecked += count;
    }

    pub(crate) fn command(&mut self, verb: Verb) {
        self.commands[verb.index()] += 1;
    }

    pub(crate) fn violation(&mut self, violation: Violation) {
        self.trouble.get_or_insert_default().violations[violation as usize] += 1;
    }

    pub(crate) fn refusal(&mut self, refusal: Refusal) {
        self.trouble.get_or_insert_default().refusals[refusal as usize] += 1;
    }

    #[cfg(test)]
    pub(crate) fn violations(&self) -> impl Iterator<Item = (Violation, u32)> + '_ {
        let counts =
            self.trouble.iter().flat_map(|it| Violation::ALL.into_iter().zip(it.violations));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// The counters that all sessions of a sink share.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    mails: AtomicU64,
    recipients: AtomicU64,
    bytes: AtomicU64,
    duplicates: AtomicU64,
    ids: AtomicU64,
    digest: AtomicU64,
    out_of_order: AtomicU64,
    unchecked: AtomicU64,
    opened: AtomicU64,
    open: AtomicU64,
    open_max: AtomicU64,
    commands: [AtomicU64; Verb::ALL.len()],
    violations: [AtomicU64; Violation::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
}

impl Counters {
    /// Adds a session's counts and clears them.
    pub(crate) fn add(&self, tally: &mut Tally) {
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        };
        add(&self.recipients, tally.recipients.into());
        add(&self.bytes, tally.bytes);
        add(&self.duplicates, tally.duplicates.into());
        add(&self.ids, tally.ids.into());
        add(&self.digest, tally.digest);
        add(&self.out_of_order, tally.out_of_order.into());
        add(&self.unchecked, tally.unchecked.into());
        for (counter, count) in self.commands.iter().zip(tally.commands) {
            add(counter, count.into());
        }
        if let Some(trouble) = &tally.trouble {
            let pairs = (self.violations.iter().zip(trouble.violations))
                .chain(self.refusals.iter().zip(trouble.refusals));
            pairs.for_each(|(counter, count)| add(counter, count.into()));
        }
        // Last, so that who sees a mail counted sees the rest of it, too; and in one order with what
        // is waited for, so that either the session or who waits sees the other.
        if tally.mails > 0 {
            self.mails.fetch_add(tally.mails.into(), SeqCst);
        }
        *tally = Tally::default();
    }

    /// Admits a session unless `limit` of them are open.
    pub(crate) fn open(&self, limit: Option<u64>) -> bool {
        let admitted = self.open.fetch_update(Relaxed, Relaxed, |open| {
            limit.is_none_or(|limit| open < limit).then_some(open + 1)
        });
        if let Ok(before) = admitted {
            self.open_max.fetch_max(before + 1, Relaxed);
            self.opened.fetch_add(1, Relaxed);
        }
        admitted.is_ok()
    }

    /// An admitted session has ended.
    pub(crate) fn close(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(crate) fn open_sessions(&self) -> u64 {
        self.open.load(Relaxed)
    }

    pub(crate) fn mails(&self) -> u64 {
        self.mails.load(SeqCst)
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let refused = &self.refusals[Refusal::MaxConnections as usize];
        Stats {
            mails: self.mails(),
            recipients: load(&self.recipients),
            bytes: load(&self.bytes),
            connections: Connections {
                opened: load(&self.opened),
                refused: load(refused),
                open: load(&self.open),
                open_max: load(&self.open_max),
            },
            duplicates: load(&self.duplicates),
            message_ids: MessageIds {
                mails: load(&self.ids),
                digest: load(&self.digest),
                out_of_order: load(&self.out_of_order),
                unchecked: load(&self.unchecked),
            },
            refusals: named(Refusal::ALL.map(|r| r.as_str().to_owned()), &self.refusals),
            violations: named(Violation::ALL.map(Violation::as_str), &self.violations),
            commands: named(Verb::ALL.map(Verb::as_str), &self.commands),
        }
    }
}

/// The counters that counted something, by name.
fn named<K: Ord>(names: impl IntoIterator<Item = K>, counters: &[AtomicU64]) -> BTreeMap<K, u64> {
    let counts = counters.iter().map(|counter| counter.load(Relaxed));
    names.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}
