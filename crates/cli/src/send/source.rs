//! The mails of a `send`, read ahead and handed to the mailer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use posthaste::session::Mail;
use posthaste::{Class, Mailer, Report, Submission, TenantId};
use tokio::sync::{mpsc, watch};

use super::SendError;
use crate::input::{How, InputError, InputMail, Inputs};
use crate::outcome::Sent;
use crate::requests::RequestArgs;

/// Mails that are read ahead of the scheduler.
const READ_AHEAD: usize = 64;
/// Mails whose report is awaited at most: as many as the scheduler's intake holds of the smallest, and
/// few enough to be held in memory when they are all reported as not sent.
const MAX_AWAITED: usize = 256 * 1024;
/// Tenants that are told apart; a name for each mail would be no name of a tenant.
const MAX_TENANTS: usize = 10_000;

/// Reads mails in a thread of its own, since reading and rendering would hold up the engine.
pub(super) struct Source {
    mails: mpsc::Receiver<InputMail>,
    /// The first bad mail of an input that could not be checked before; nothing behind it is read.
    pub(super) bad: Arc<Mutex<Option<InputError>>>,
}

impl Source {
    pub(super) fn start(inputs: &Inputs) -> Result<Self, SendError> {
        let input = inputs.open()?;
        let (sender, mails) = mpsc::channel(READ_AHEAD);
        let bad = Arc::new(Mutex::new(None));
        let first_bad = Arc::clone(&bad);
        // A thread that nobody waits for: it may hang in a read from a terminal when the command ends.
        std::thread::spawn(move || {
            for mail in input {
                match mail {
                    Ok(mail) => {
                        if sender.blocking_send(mail).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        if let Ok(mut bad) = first_bad.lock() {
                            *bad = Some(error);
                        }
                        return;
                    }
                }
            }
        });
        Ok(Self { mails, bad })
    }

    /// Sends the mails with their `requests`; what became of them comes in the order in which they are
    /// done. Once `ended`, no more are read.
    pub(super) fn send(
        self,
        mailer: &Mailer,
        class: Class,
        requests: &RequestArgs,
        ended: watch::Receiver<bool>,
    ) -> impl Stream<Item = (Sent, Report)> {
        let mut tenants = Tenants::new(mailer.clone(), class);
        let mails = self.read(ended).map(move |InputMail { id, mut mail, how }| {
            if !requests.is_empty() {
                mail.envelope = requests.apply(mail.envelope);
            }
            (Sent::new(id, &mail), tenants.submission(how), mail)
        });
        let tickets = mails.then(move |(sent, how, mail): (Sent, Submission, Mail)| async move {
            (sent, mailer.submit(how, mail).await)
        });
        let reports = tickets.map(|(sent, ticket)| async move { (sent, ticket.await) });
        reports.buffer_unordered(MAX_AWAITED)
    }

    fn read(self, ended: watch::Receiver<bool>) -> impl Stream<Item = InputMail> {
        stream::unfold((self.mails, ended), |(mut mails, mut ended)| async move {
            let next = tokio::select! {
                biased;
                () = is_true(&mut ended), if !mails.is_closed() => None,
                mail = mails.recv() => Some(mail),
            };
            let mail = match next {
                Some(mail) => mail,
                None => {
                    // What was read ahead is still to come.
                    mails.close();
                    mails.recv().await
                }
            };
            Some((mail?, (mails, ended)))
        })
    }
}

/// The tenants that the input names.
struct Tenants {
    mailer: Mailer,
    /// Of mails that say nothing else.
    class: Class,
    known: HashMap<Box<str>, TenantId>,
}

impl Tenants {
    fn new(mailer: Mailer, class: Class) -> Self {
        Self { mailer, class, known: HashMap::new() }
    }

    fn submission(&mut self, how: How) -> Submission {
        let tenant = how.tenant.map_or(TenantId::DEFAULT, |name| self.tenant(name));
        self.mailer.submission().class(how.class.unwrap_or(self.class)).tenant(tenant)
    }

    fn tenant(&mut self, name: Box<str>) -> TenantId {
        if self.known.len() >= MAX_TENANTS && !self.known.contains_key(&name) {
            return TenantId::DEFAULT;
        }
        *self.known.entry(name).or_insert_with(|| self.mailer.add_tenant(1))
    }
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    // Nobody left to set it is as good.
    let _ = flag.wait_for(|flag| *flag).await;
}
