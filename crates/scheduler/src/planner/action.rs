//! What a planner is told, and what it asks for.

use std::time::Duration;

use posthaste_session::Pipelining;

use super::slots::Key;
use crate::failure::{Charge, Closed, Lesson};
use crate::time::Time;

/// A mail that a planner schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(super) Key);

/// A connection, from the wish to open it until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(super) Key);

/// Where mails go: one server, or several that serve the same. Destinations are never forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub(super) u32);

/// One server of a destination. Servers are never forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(super) u32);

/// On whose behalf a mail is sent: tenants of the same weight get equal shares of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub(super) u32);

/// A limit of [`Planner::add_limit`](super::Planner::add_limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub(super) u32);

impl JobId {
    /// Small, and used again once the job is done with: for tables by job.
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

impl ConnectionId {
    /// Small, and used again once the connection is closed: for tables by connection.
    pub fn index(self) -> usize {
        self.0.index as usize
    }
}

impl DestinationId {
    /// Counts up from 0 in the order of
    /// [`Planner::add_destination`](super::Planner::add_destination).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ServerId {
    /// Counts up from 0, over all destinations in the order in which they were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl TenantId {
    /// The tenant of whoever has no other.
    pub const DEFAULT: Self = Self(0);

    /// Counts up from 1 in the order of [`Planner::add_tenant`](super::Planner::add_tenant).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl LimitId {
    /// Counts up from 0 in the order of [`Planner::add_limit`](super::Planner::add_limit).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How urgent a mail is. Where all wait, they are served 8 : 3 : 1, by recipients and octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody is waiting for it: a login code, a password reset.
    Interactive,
    /// A mail like any other.
    #[default]
    Normal,
    /// One of many: a newsletter.
    Bulk,
}

impl Class {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Normal, Self::Bulk];

    /// Its name in records, e.g. `interactive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// A mail to be scheduled, or a batch of its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Where it goes.
    pub destination: DestinationId,
    /// How urgent it is.
    pub class: Class,
    /// On whose behalf.
    pub tenant: TenantId,
    /// How many recipients it has.
    pub recipients: u32,
    /// Octets of content.
    pub octets: u64,
    /// When it is given up, wherever it waits; by default
    /// [`PlannerConfig::lifetime`](super::PlannerConfig) from now.
    pub expires: Option<Time>,
}

impl NewJob {
    /// A mail with one recipient and no content to speak of.
    pub fn new(destination: DestinationId) -> Self {
        let (class, tenant) = (Class::default(), TenantId::DEFAULT);
        Self { destination, class, tenant, recipients: 1, octets: 0, expires: None }
    }
}

/// What a connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pull {
    /// Send this mail.
    Job {
        /// Which.
        job: JobId,
        /// To how many recipients at most: those that are left over are another attempt's.
        recipients: u32,
    },
    /// Nothing to do: [`Action::Wake`] or [`Action::Quit`] will come.
    Wait,
    /// QUIT, once the mails it has are finished.
    Quit,
}

/// What became of a job in one attempt, see [`Ledger::attempted`](crate::Ledger::attempted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// `None` if every recipient has its final outcome.
    pub again: Option<Again>,
    /// What the attempt says about the server.
    pub answer: Answer,
    /// How many recipients the next attempt has.
    pub recipients: u32,
    /// How many recipients the server took before it said that they were too many, if it did.
    pub recipient_cap: Option<u32>,
    /// How long the server wants to be left alone, as far as it said so.
    pub pause: Duration,
    /// What the attempt teaches about the server.
    pub lesson: Lesson,
}

impl AttemptResult {
    /// Every recipient has its outcome.
    pub fn done(answer: Answer) -> Self {
        Self {
            again: None,
            answer,
            recipients: 0,
            recipient_cap: None,
            pause: Duration::ZERO,
            lesson: Lesson::Nothing,
        }
    }
}

/// How a connection ended, or why it did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it means for the server.
    pub how: Closed,
    /// How long the server wants to be left alone, as far as it said so.
    pub pause: Duration,
    /// What it teaches about the server.
    pub lesson: Lesson,
}

impl From<Closed> for Ending {
    /// An end without words.
    fn from(how: Closed) -> Self {
        Self { how, pause: Duration::ZERO, lesson: Lesson::Nothing }
    }
}

/// Another attempt for recipients that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// What it costs.
    pub charge: Charge,
    /// The shortest wait, where the attempt counts.
    pub wait: Duration,
    /// The wait that the server would like, as far as the [`RetryPolicy`](crate::RetryPolicy)
    /// allows one so long.
    pub asked: Duration,
    /// Another server would not do: this one remembers that it has seen the mail.
    pub same_server: bool,
}

impl Again {
    /// Another attempt at this price, as soon as may be.
    pub fn at_once(charge: Charge) -> Self {
        let (wait, asked) = (Duration::ZERO, Duration::ZERO);
        Self { charge, wait, asked, same_server: false }
    }
}

/// What an attempt says about the server and the connection. The order is that of a mail with
/// several recipients: what stands further down wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It did not answer.
    Nothing,
    /// It deferred the mail at MAIL: one says something about the mail, several in a row about the
    /// server.
    Deferred,
    /// It refused.
    Refused,
    /// It wants less mail in the same time.
    Throttled,
    /// It wants no more mail over this connection; another one may go on.
    Exhausted,
    /// It took the mail, for somebody at least.
    Accepted,
}

/// What became of the wish to cancel a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Cancelled {
    /// It is forgotten. No action follows.
    Removed,
    /// It is being sent; there will be no attempt after this one.
    InFlight(ConnectionId),
    /// There is no such job any more.
    Unknown,
}

/// Whether a connection may use something that its server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// As the session is configured.
    #[default]
    AsConfigured,
    /// No.
    Never,
}

/// What a planner wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Open a connection. It ends with
    /// [`Planner::connection_closed`](super::Planner::connection_closed), come what may.
    Open {
        /// Where to.
        server: ServerId,
        /// What to call it.
        connection: ConnectionId,
        /// The pipelining mode to start with.
        pipelining: Pipelining,
        /// Whether BDAT may be used; not where the server offers it and has been found not to know it.
        bdat: Use,
        /// Whether TLS may be used where it is not demanded; not where the last handshake failed.
        tls: Use,
    },
    /// Let the connection pull: there is work. It may be gone before it hears of it.
    Wake {
        /// One that was told [`Pull::Wait`].
        connection: ConnectionId,
    },
    /// Change a connection's pipelining mode.
    SetPipelining {
        /// Which.
        connection: ConnectionId,
        /// The mode from now on.
        mode: Pipelining,
    },
    /// QUIT, once the mails that the connection has are finished.
    Quit {
        /// Which.
        connection: ConnectionId,
    },
    /// Close a connection at once, whatever it is doing.
    Abort {
        /// Which.
        connection: ConnectionId,
    },
    /// A job ends here; the planner has forgotten it.
    GiveUp {
        /// Which.
        job: JobId,
        /// Why.
        cause: GiveUp,
        /// How many attempts it had that counted.
        attempts: u32,
    },
    /// Something worth knowing happened; there is nothing to do.
    Record(Record),
}

/// Why a job ends before each of its recipients has a final outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// It had all the attempts that the [`RetryPolicy`](crate::RetryPolicy) allows.
    AttemptsUsedUp,
    /// Its time is over.
    Expired,
    /// Its server failed too often in a row.
    ServerExhausted,
    /// Its server does not take the credentials.
    Authentication,
    /// Its server does not have what the settings demand.
    Requirement,
    /// Its server wants no mail from here.
    Unwelcome,
    /// The planner is drained.
    Drained,
    /// It was cancelled while it was being sent, and that attempt did not finish it.
    Cancelled,
    /// Its connection was closed without a word about it: nobody knows what became of it.
    Unreported,
}

/// Something worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A server failed and is left alone.
    BackOff {
        /// Which.
        server: ServerId,
        /// How many failures in a row that makes.
        failures: u32,
        /// No connection is opened before.
        until: Time,
    },
    /// A server that had failed works.
    Recovered {
        /// Which.
        server: ServerId,
        /// How many failures are held against it still.
        failures: u32,
    },
    /// A server wants no mail, or not as fast; it is left alone, and that is no failure.
    Held {
        /// Which.
        server: ServerId,
        /// Why.
        hold: Hold,
        /// No connection is opened before, or, if it is throttled, no mail started.
        until: Time,
    },
    /// A server's limit of connections was found.
    CeilingLearned {
        /// Which.
        server: ServerId,
        /// How many it bears.
        connections: u32,
        /// When one more is tried.
        until: Time,
    },
    /// How many mails a server takes over one connection was found.
    SessionCapLearned {
        /// Which.
        server: ServerId,
        /// How many.
        mails: u32,
    },
    /// How many recipients a server takes in one mail was found.
    RecipientCapLearned {
        /// Which.
        server: ServerId,
        /// How many.
        recipients: u32,
    },
    /// How many mails a server takes in a while was found, since it said that they come too fast.
    PaceLearned {
        /// Which.
        server: ServerId,
        /// So many a minute.
        per_minute: u32,
    },
    /// How long a server that greylists lets a mail wait was found.
    GreylistLearned {
        /// Which.
        server: ServerId,
        /// After this long it took one.
        wait: Duration,
    },
    /// A server takes longer than it used to, or does not answer: fewer mails are sent at a time.
    Overloaded {
        /// Which.
        server: ServerId,
        /// So many at a time.
        window: u32,
    },
    /// The pipelining mode of a server changed.
    PipeliningLearned {
        /// Which.
        server: ServerId,
        /// The mode from now on.
        mode: Pipelining,
    },
    /// A connection could not be opened, or was closed.
    Closed {
        /// Of which server.
        server: ServerId,
        /// Which.
        connection: ConnectionId,
        /// How.
        how: Closed,
    },
    /// A job waits for its next attempt.
    Deferred {
        /// Which.
        job: JobId,
        /// How many attempts it had that counted.
        attempts: u32,
        /// When the next one is due.
        until: Time,
    },
    /// A job is back in its queue, free of charge.
    Requeued {
        /// Which.
        job: JobId,
        /// Why.
        charge: Charge,
    },
}

/// Why a server is left alone although it does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// It has as many connections as it wants, none of them ours.
    Full,
    /// It said that mail comes too fast, or deferred several mails in a row.
    Throttled,
    /// It does not take the credentials.
    Credentials,
    /// It does not have what the settings demand.
    Requirement,
    /// It wants no mail from here.
    Unwelcome,
    /// This machine lacks something.
    Local,
}
