//! The flags of `posthaste send` that ask the server for more than delivery.

use std::time::Duration;

use posthaste::session::{
    Authority, DeliverBy, Envelope, EnvelopeId, Hold, LateDelivery, MailOptions, Notify,
    OptionError, Priority, RecipientOptions, ReturnContent, ReversePath,
};

use crate::units::duration;

/// What each mail asks of the server. Wishes are dropped where the server does not offer the extension; conditions
/// (--deliver-by with return, --hold, --require-tls-beyond) fail the mail.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Requests to the server")]
pub(crate) struct RequestArgs {
    /// When the sender is to be notified: never, or a list of success, failure, delay (DSN)
    #[arg(long, value_name = "WHEN", value_parser = str::parse::<Notify>)]
    notify: Option<Notify>,
    /// How much of the mail a notification of failure returns: full or hdrs (DSN)
    #[arg(long, value_name = "PART", value_parser = str::parse::<ReturnContent>)]
    notify_return: Option<ReturnContent>,
    /// What notifications call the mail (DSN)
    #[arg(long, value_name = "ID", value_parser = EnvelopeId::new)]
    envid: Option<EnvelopeId>,
    /// Deliver within TIME, or else return the mail; TIME,notify delivers it late and tells (DELIVERBY)
    #[arg(long, value_name = "TIME[,notify]", value_parser = deliver_by)]
    deliver_by: Option<DeliverBy>,
    /// The mail's place among others, from -9 to 9 (MT-PRIORITY)
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = priority)]
    priority: Option<Priority>,
    /// Deliver no sooner than in TIME, or at a time like 2026-12-24T18:00:00Z (FUTURERELEASE)
    #[arg(long, value_name = "TIME", value_parser = hold)]
    hold: Option<Hold>,
    /// Let the mail travel only under verified TLS, through every server on its way (REQUIRETLS)
    #[arg(long)]
    require_tls_beyond: bool,
    /// On whose authority the mail is sent; '' if nobody knows (AUTH)
    #[arg(long, value_name = "ADDR", value_parser = authority)]
    authority: Option<Authority>,
}

impl RequestArgs {
    /// The envelope with what is asked for.
    pub(crate) fn apply(&self, envelope: Envelope) -> Envelope {
        let mail = MailOptions {
            return_content: self.notify_return,
            envelope_id: self.envid.clone(),
            deliver_by: self.deliver_by,
            priority: self.priority,
            hold: self.hold.clone(),
            require_tls: self.require_tls_beyond,
            authority: self.authority.clone(),
            others: Vec::new(),
        };
        let recipient = RecipientOptions { notify: self.notify, ..RecipientOptions::default() };
        envelope.with_options(mail).with_recipient_options(recipient)
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { notify, notify_return, envid, deliver_by, priority, hold, .. } = self;
        notify.is_none()
            && notify_return.is_none()
            && envid.is_none()
            && deliver_by.is_none()
            && priority.is_none()
            && hold.is_none()
            && !self.require_tls_beyond
            && self.authority.is_none()
    }
}

fn deliver_by(text: &str) -> Result<DeliverBy, String> {
    let (time, late) = match text.split_once(',') {
        None => (text, LateDelivery::Return),
        Some((time, "notify")) => (time, LateDelivery::Notify),
        Some((time, "return")) => (time, LateDelivery::Return),
        Some((_, other)) => return Err(format!("expected return or notify, got {other:?}")),
    };
    let time = seconds(time)?;
    DeliverBy::new(time, late).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<i64, String> {
    let time: Duration = duration(text).map_err(|error| error.to_string())?;
    i64::try_from(time.as_secs()).map_err(|_| "expected a shorter time".to_owned())
}

fn hold(text: &str) -> Result<Hold, String> {
    let hold = match duration(text) {
        Ok(time) => Hold::for_time(time),
        Err(_) if text.contains('T') => Hold::until(text),
        Err(error) => return Err(error.to_string()),
    };
    hold.map_err(|error| error.to_string())
}

fn priority(text: &str) -> Result<Priority, OptionError> {
    Priority::new(text.parse().map_err(|_| OptionError::Range("-9 to 9"))?)
}

fn authority(text: &str) -> Result<Authority, String> {
    let path: ReversePath = match text {
        "" => ReversePath::Null,
        text => text.parse().map_err(|error| format!("{error}"))?,
    };
    Ok(path.into())
}
