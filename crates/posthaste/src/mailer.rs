//! One handle that sends mails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_connection::TlsSetupError;
use posthaste_scheduler::{
    DestinationId, Explanation, LimitId, LimitScope, Question, Rate, Report, Scheduler, SendAll,
    ServerId, ServerStatus, Submission, TenantId, Ticket, Time,
};
use posthaste_session::Mail;

use crate::url::UrlError;

mod builder;

pub use self::builder::{MailerBuilder, Transcript};

/// How long [`Mailer::shutdown`] lets mails that are being sent take.
const SHUTDOWN_TIME: Duration = Duration::from_secs(30);

/// Sends mails to one server, or to several that serve the same, over connections that are opened as
/// needed and used again and again.
///
/// Cheap to clone; all clones share the connections.
///
/// # Examples
///
/// ```no_run
/// use posthaste::{Mailer, compose::Draft};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mailer = Mailer::connect("smtps://news:secret@smtp.example.com")?;
/// let mail = Draft::new()
///     .from("News <news@example.com>")
///     .to("Jörg <joerg@example.org>")
///     .subject("Hello")
///     .text("How are you?")
///     .build()?;
/// let report = mailer.send(mail).await;
/// for recipient in &report.recipients {
///     println!("{}: {}", recipient.forward_path, recipient.state.as_str());
/// }
/// mailer.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Mailer {
    scheduler: Scheduler,
    destination: DestinationId,
    /// What its servers are called.
    names: Arc<[Arc<str>]>,
}

/// What is known about one of the servers at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerView {
    /// What it is called: `mx.example:25`.
    pub name: Arc<str>,
    /// What the scheduler calls it.
    pub id: ServerId,
    /// How it does.
    pub status: ServerStatus,
}

/// Why a mailer cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The server's address.
    #[error("server address cannot be used")]
    Url(#[from] UrlError),
    /// Certificates, keys, names.
    #[error("TLS settings cannot be used")]
    Tls(#[from] TlsSetupError),
    /// A user name without a password.
    #[error("user {0:?} has no password")]
    NoPassword(String),
}

impl Mailer {
    /// A mailer for a server given as a URL, see [`ServerUrl`](crate::ServerUrl), with the default settings.
    ///
    /// Nothing is connected before the first mail.
    ///
    /// # Errors
    ///
    /// When the URL names no server.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect(url: &str) -> Result<Self, SetupError> {
        Self::builder(url)?.build()
    }

    /// Settings for a server given as a URL.
    ///
    /// # Errors
    ///
    /// When the URL names no server.
    pub fn builder(url: &str) -> Result<MailerBuilder, SetupError> {
        Ok(MailerBuilder::new(url.parse()?))
    }

    /// Sends a mail, and says for each recipient what became of it.
    ///
    /// What a server defers is tried again; the report comes when every recipient has its outcome.
    /// Waits while too much is queued already.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens; after that the mail goes its way and
    /// only its report is lost.
    pub async fn send(&self, mail: Mail) -> Report {
        self.scheduler.send(self.destination, mail).await
    }

    /// Sends every mail of a stream, and gives a stream of `(place in the input, report)`, in the
    /// order in which the mails are done. No more mails are taken than can be queued.
    pub fn send_all<S>(&self, mails: S) -> SendAll<S> {
        self.scheduler.send_all(self.destination, mails)
    }

    /// How mails go where nothing else is said; change it for
    /// [`submit`](Self::submit).
    ///
    /// ```no_run
    /// # use posthaste::{Mail, Mailer, Class};
    /// # async fn example(mailer: Mailer, mail: Mail) {
    /// let report = mailer.submit(mailer.submission().class(Class::Interactive), mail).await.await;
    /// # }
    /// ```
    pub fn submission(&self) -> Submission {
        Submission::new(self.destination)
    }

    /// Queues a mail, as soon as there is room for it: how urgent it is, on whose behalf, and how
    /// long it may take is said by `how`. The [`Ticket`] gives its report, and can stop it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the mail was queued, nothing happens.
    pub async fn submit(&self, how: Submission, mail: Mail) -> Ticket {
        self.scheduler.submit(how, mail).await
    }

    /// Somebody on whose behalf mails are sent. Those who have mails waiting get shares of the
    /// connections by their weights.
    pub fn add_tenant(&self, weight: u16) -> TenantId {
        self.scheduler.add_tenant(weight)
    }

    /// Sends no faster than this on a tenant's behalf.
    pub fn limit_tenant(&self, tenant: TenantId, rate: Rate) -> LimitId {
        self.scheduler.add_limit(LimitScope::Tenant(tenant), rate)
    }

    /// What is known about the servers at the moment, in the order in which they were given.
    pub fn servers(&self) -> Vec<ServerView> {
        let ids = self.scheduler.servers_of(self.destination);
        let view = |(name, id): (&Arc<str>, ServerId)| ServerView {
            name: Arc::clone(name),
            id,
            status: self.scheduler.status(id),
        };
        self.names.iter().zip(ids).map(view).collect()
    }

    /// What is known about the first server at the moment.
    pub fn status(&self) -> ServerStatus {
        // A destination has a server at least.
        self.scheduler.status(self.scheduler.servers_of(self.destination)[0])
    }

    /// Why mails are not moving, and until when.
    pub fn explain(&self) -> Explanation {
        self.scheduler.explain(Question::Destination(self.destination))
    }

    /// The present time, as statuses and explanations tell it.
    pub fn now(&self) -> Time {
        self.scheduler.now()
    }

    /// What this is made of, for all that is not here.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Takes no more mails, finishes those that are being sent, reports the others as not sent, and
    /// closes every connection. Takes half a minute at the most.
    pub async fn shutdown(&self) {
        self.shutdown_within(SHUTDOWN_TIME).await;
    }

    /// The same within a time of your choice; what is under way then is cut off.
    pub async fn shutdown_within(&self, time: Duration) {
        self.scheduler.shutdown(time).await;
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("servers", &self.names).finish_non_exhaustive()
    }
}
