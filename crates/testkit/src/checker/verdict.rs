//! Whether what a session reports is what happened.

use posthaste_session::{Finished, Mail, NotSent, Outcome, Pipelining, Stage};

use super::offer::Offer;
use super::{Checker, Recipient, Transaction};

impl Checker {
    /// Panics unless every outcome is borne out by what was said and heard.
    ///
    /// A mail is known by its reverse-path, so no two may have the same.
    pub fn judge(&self, finished: &Finished) {
        let Finished { mail, outcomes, .. } = finished;
        assert_eq!(outcomes.len(), mail.envelope.forward_paths().len(), "one outcome each");
        let path = mail.envelope.reverse_path().as_str();
        let place = self.transactions.iter().rposition(|t| t.mail.reverse_path == path);
        let transaction = place.map(|place| &self.transactions[place]);
        let context = Context {
            // The server may not have come to it yet.
            is_behind: place
                .is_some_and(|place| place > 0 && self.transactions[place - 1].is_open()),
            // Refusals may have been meant for the mail before.
            is_out_of_step: self.rules.pipelining == Pipelining::Cross
                // The start of a line that is no reply is enough for the client.
                && (self.silence.is_some() || self.replies.is_within_reply()),
            has_envelope: transaction.is_some_and(|it| it.has_envelope_of(finished, &self.offer)),
            limits_recipients: ["RCPTMAX", "RCPTDOMAINMAX"]
                .iter()
                .any(|name| self.offer.limit(name).is_some()),
        };
        // Recipients that were left out have no place on the wire.
        let mut said = transaction.map_or(&[][..], |it| &it.recipients).iter();
        for (index, outcome) in outcomes.iter().enumerate() {
            let is_withheld = *outcome == Outcome::NotSent(NotSent::Limit);
            let recipient = if is_withheld { None } else { said.next() };
            let problem = match (transaction, outcome) {
                (_, Outcome::NotSent(NotSent::Limit)) => {
                    (!context.limits_recipients).then_some("the server has no such limit")
                }
                (Some(transaction), outcome) => {
                    transaction.objection(mail, recipient, outcome, context)
                }
                (None, Outcome::NotSent(NotSent::Interrupted(_) | NotSent::AllOrNothing)) => {
                    Some("nothing was said of it")
                }
                (None, Outcome::NotSent(NotSent::NeverStarted | NotSent::Pipelining)) => None,
                (None, _) => Some("it was never sent"),
            };
            if let Some(problem) = problem {
                panic!("<{path}>, recipient {index}: {outcome:?}, but {problem}: {transaction:?}");
            }
        }
        assert!(said.next().is_none(), "<{path}>: said for more recipients than are reported");
    }
}

/// What matters to a transaction and is not its own.
#[derive(Clone, Copy, Debug)]
struct Context {
    is_behind: bool,
    is_out_of_step: bool,
    has_envelope: bool,
    limits_recipients: bool,
}

impl Transaction {
    /// Whether a reply to it was still to come, or the last one was of a server that goes down.
    fn is_open(&self) -> bool {
        let is_unanswered = self.recipients.iter().any(|recipient| recipient.reply.is_none());
        let mut final_replies = self.recipients.iter().map(|it| self.final_reply_for(Some(it)));
        let is_shut_down = final_replies.any(|reply| reply == Some(421));
        let awaits = |it: &Recipient| it.is_accepted() && self.final_reply_for(Some(it)).is_none();
        let awaits_end = self.content.is_some() && self.recipients.iter().any(awaits);
        let awaits_lone_dot = self.content.is_some() && self.final_reply.is_none();
        is_unanswered || awaits_end || is_shut_down || awaits_lone_dot && !self.has_accepted()
    }

    /// The final reply as far as it is about this recipient: its own in LMTP.
    fn final_reply_for(&self, recipient: Option<&Recipient>) -> Option<u16> {
        recipient.and_then(|it| it.final_reply).or(self.final_reply)
    }

    /// What speaks against this outcome of a recipient, who may not have been named yet.
    fn objection(
        &self,
        mail: &Mail,
        recipient: Option<&Recipient>,
        outcome: &Outcome,
        context: Context,
    ) -> Option<&'static str> {
        let reply = recipient.and_then(|it| it.reply);
        let final_reply = self.final_reply_for(recipient);
        let is_accepted = recipient.is_some_and(Recipient::is_accepted);
        let is_handed_over = self.content.is_some();
        let mail_is_refused = self.mail_reply.is_some_and(|code| code >= 400);
        let objections: &[(bool, &'static str)] = match outcome {
            Outcome::Delivered(reply) => &[
                (!is_accepted, "the recipient was not accepted"),
                (mail_is_refused, "MAIL was refused"),
                (!self.has_content_of(mail), "the content is another"),
                (!context.has_envelope, "the envelope is another"),
                (final_reply != Some(reply.code().value()), "that was not the final reply"),
                (reply.code().value() >= 300, "that is not positive"),
            ],
            Outcome::Refused(refusal) => {
                let (code, stage) = (Some(refusal.reply.code().value()), refusal.stage);
                &[
                    (code < Some(400), "that is not negative"),
                    (self.reply_at(stage, recipient) != code, "that was not the reply"),
                    (is_accepted && stage == Stage::Rcpt, "the recipient was accepted"),
                ]
            }
            Outcome::InDoubt => &[
                // Out of step, its refusal may have been another's, in LMTP the final one, too.
                (!is_accepted && !context.is_out_of_step, "the recipient was not accepted"),
                (!is_handed_over, "the content's end was not said"),
                (
                    final_reply.is_some_and(|code| code < 400 || !context.is_out_of_step),
                    "the final reply came",
                ),
            ],
            Outcome::NotSent(reason) => {
                let is_positive = final_reply.is_some_and(|code| code < 300);
                let is_unanswered = is_handed_over && is_accepted && final_reply.is_none();
                let is_interrupted = matches!(reason, NotSent::Interrupted(_));
                let refusal_counts = is_interrupted && !context.is_out_of_step;
                let is_untouched =
                    self.starts_over || context.is_behind && self.mail_reply.is_none();
                let was_refused = reply.is_some_and(|code| code >= 400);
                let has_content = self.has_data || self.has_chunks;
                &[
                    (is_accepted && is_positive, "it was delivered"),
                    (is_unanswered && !self.needs_reset, "it may have been delivered"),
                    (is_interrupted && final_reply.is_some() && is_accepted, "it has its reply"),
                    (refusal_counts && was_refused, "it was refused"),
                    (refusal_counts && mail_is_refused, "MAIL was refused"),
                    (*reason == NotSent::AllOrNothing && has_content, "content was said"),
                    (
                        *reason == NotSent::NeverStarted && !mail_is_refused && !is_untouched,
                        "MAIL was said, and not in vain",
                    ),
                ]
            }
        };
        objections.iter().find(|(applies, _)| *applies).map(|(_, text)| *text)
    }

    fn reply_at(&self, stage: Stage, recipient: Option<&Recipient>) -> Option<u16> {
        match stage {
            Stage::Mail => self.mail_reply,
            Stage::Rcpt => recipient.and_then(|it| it.reply),
            Stage::Data => self.data_reply,
            Stage::Content => self.chunk_refusal.or(self.early_reply),
            Stage::Final => self.final_reply_for(recipient),
            _ => None,
        }
    }

    fn has_content_of(&self, mail: &Mail) -> bool {
        self.content.as_deref() == Some(&sent_form(mail))
    }

    /// Whether the envelope on the wire is that of the mail, but for recipients that were left out;
    /// with all that is asked for and offered (DSN-05).
    fn has_envelope_of(&self, finished: &Finished, offer: &Offer) -> bool {
        let envelope = &finished.mail.envelope;
        let is_sent = |outcome: &Outcome| *outcome != Outcome::NotSent(NotSent::Limit);
        let mut places = finished.outcomes.iter().enumerate().filter(|(_, it)| is_sent(it));
        let mut said = self.recipients.iter();
        let are_theirs = said.by_ref().all(|recipient| {
            let Some((place, _)) = places.next() else { return false };
            let options = envelope.recipient_options(place);
            let notify = options.and_then(|it| it.notify).map(|it| format!("NOTIFY={it}"));
            let original = options.and_then(|it| it.original.as_ref());
            let original = original.map(|it| format!("ORCPT={}", it.as_xtext()));
            let path = envelope.forward_paths()[place].as_str();
            let parameters = recipient.command.parameters.iter();
            let parameters: Vec<_> =
                parameters.map(|it| format!("{}={}", it.keyword, it.value)).collect();
            let wanted = [notify, original].into_iter().flatten().filter(|_| offer.has("DSN"));
            recipient.command.forward_path == path
                && wanted.into_iter().all(|wanted| parameters.contains(&wanted))
        });
        are_theirs && places.next().is_none() && self.has_options_of(finished, offer)
    }

    fn has_options_of(&self, finished: &Finished, offer: &Offer) -> bool {
        let options = finished.mail.envelope.options();
        let asked_for = [
            ("RET", "DSN", options.return_content.is_some()),
            ("ENVID", "DSN", options.envelope_id.is_some()),
            ("BY", "DELIVERBY", options.deliver_by.is_some()),
            ("MT-PRIORITY", "MT-PRIORITY", options.priority.is_some()),
            ("REQUIRETLS", "REQUIRETLS", options.require_tls),
            ("AUTH", "AUTH", options.authority.is_some()),
        ];
        asked_for.iter().all(|(keyword, extension, is_asked_for)| {
            let is_said = self.mail.parameter(keyword).is_some();
            is_said == (*is_asked_for && offer.has(extension))
        })
    }
}

/// The octets that a server has to store for this mail: text has a final CRLF.
pub(crate) fn sent_form(mail: &Mail) -> Vec<u8> {
    let mut octets = mail.content.as_bytes().to_vec();
    if !mail.content.is_binary() && !octets.is_empty() && !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
