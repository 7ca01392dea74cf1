//! Whether what a session reports is what happened.

use posthaste_session::{Finished, Mail, NotSent, Outcome, Pipelining, Stage};

use super::{Checker, Transaction};

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
        };
        for (index, outcome) in outcomes.iter().enumerate() {
            let problem = match (transaction, outcome) {
                (Some(transaction), outcome) => {
                    transaction.objection(mail, index, outcome, context)
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
    }
}

/// What matters to a transaction and is not its own.
#[derive(Clone, Copy, Debug)]
struct Context {
    is_behind: bool,
    is_out_of_step: bool,
}

impl Transaction {
    /// Whether a reply to it was still to come, or the last one was of a server that goes down.
    fn is_open(&self) -> bool {
        let is_unanswered = self.recipients.iter().any(|(_, reply)| reply.is_none());
        let is_shut_down = self.final_reply == Some(421);
        let awaits_end = self.content.is_some() && self.final_reply.is_none();
        is_unanswered || awaits_end || is_shut_down
    }

    /// What speaks against this outcome.
    fn objection(
        &self,
        mail: &Mail,
        index: usize,
        outcome: &Outcome,
        context: Context,
    ) -> Option<&'static str> {
        let recipient = self.recipients.get(index).and_then(|(_, reply)| *reply);
        let is_accepted = recipient.is_some_and(|code| code < 300);
        let is_handed_over = self.content.is_some();
        let mail_is_refused = self.mail_reply.is_some_and(|code| code >= 400);
        let objections: &[(bool, &'static str)] = match outcome {
            Outcome::Delivered(reply) => &[
                (!is_accepted, "the recipient was not accepted"),
                (mail_is_refused, "MAIL was refused"),
                (!self.has_content_of(mail), "the content is another"),
                (!self.has_envelope_of(mail), "the envelope is another"),
                (self.final_reply != Some(reply.code().value()), "that was not the final reply"),
                (reply.code().value() >= 300, "that is not positive"),
            ],
            Outcome::Refused(refusal) => {
                let (code, stage) = (Some(refusal.reply.code().value()), refusal.stage);
                &[
                    (code < Some(400), "that is not negative"),
                    (self.reply_at(stage, index) != code, "that was not the reply"),
                    (is_accepted && stage == Stage::Rcpt, "the recipient was accepted"),
                ]
            }
            Outcome::InDoubt => &[
                (!is_accepted, "the recipient was not accepted"),
                (!is_handed_over, "the content's end was not said"),
                (self.final_reply.is_some(), "the final reply came"),
            ],
            Outcome::NotSent(reason) => {
                let is_positive = self.final_reply.is_some_and(|code| code < 300);
                let is_unanswered = is_handed_over && is_accepted && self.final_reply.is_none();
                let is_interrupted = matches!(reason, NotSent::Interrupted(_));
                let refusal_counts = is_interrupted && !context.is_out_of_step;
                let is_untouched = context.is_behind && self.mail_reply.is_none();
                &[
                    (is_positive, "it was delivered"),
                    (is_unanswered, "it may have been delivered"),
                    (
                        is_interrupted && self.final_reply.is_some() && is_accepted,
                        "the final reply came",
                    ),
                    (refusal_counts && recipient.is_some_and(|code| code >= 400), "it was refused"),
                    (refusal_counts && mail_is_refused, "MAIL was refused"),
                    (*reason == NotSent::AllOrNothing && self.has_data, "DATA was said"),
                    (
                        *reason == NotSent::NeverStarted && !mail_is_refused && !is_untouched,
                        "MAIL was said, and not in vain",
                    ),
                ]
            }
        };
        objections.iter().find(|(applies, _)| *applies).map(|(_, text)| *text)
    }

    fn reply_at(&self, stage: Stage, index: usize) -> Option<u16> {
        match stage {
            Stage::Mail => self.mail_reply,
            Stage::Rcpt => self.recipients.get(index).and_then(|(_, reply)| *reply),
            Stage::Data => self.data_reply,
            Stage::Content => self.early_reply,
            Stage::Final => self.final_reply,
            _ => None,
        }
    }

    fn has_content_of(&self, mail: &Mail) -> bool {
        self.content.as_deref() == Some(&sent_form(mail))
    }

    fn has_envelope_of(&self, mail: &Mail) -> bool {
        let said = self.recipients.iter().map(|(path, _)| path.as_str());
        said.eq(mail.envelope.forward_paths().iter().map(|path| path.as_str()))
    }
}

/// The octets that a server has to store for this mail: with a final CRLF.
pub(crate) fn sent_form(mail: &Mail) -> Vec<u8> {
    let mut octets = mail.content.as_bytes().to_vec();
    if !octets.is_empty() && !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
