//! Whether what a session reports is what happened.

use posthaste_session::{Finished, Mail, NotSent, Outcome, Pipelining, Stage};

use super::envelope::{Likeness, domain_of, is_left_out};
use super::{Checker, Recipient, Transaction};

impl Checker {
    /// Panics unless every outcome is borne out by what was said and heard.
    ///
    /// A mail is known by its reverse-path, so no two may have the same. Mails come in the order in
    /// which they were handed in.
    pub fn judge(&mut self, finished: &Finished) {
        self.judge_outcomes(&finished.mail, &finished.outcomes);
    }

    pub(super) fn judge_outcomes(&mut self, mail: &Mail, outcomes: &[Outcome]) {
        assert_eq!(outcomes.len(), mail.envelope.forward_paths().len(), "one outcome each");
        let path = mail.envelope.reverse_path().as_str();
        assert!(self.reported.insert(path.to_owned()), "<{path}> is reported twice");
        self.note_domains(mail, outcomes);
        let mut places = self.transactions.iter().enumerate();
        let place = places.rfind(|(_, it)| it.mail.reverse_path == path).map(|(place, _)| place);
        for (_, earlier) in places.filter(|(_, it)| it.mail.reverse_path == path) {
            assert!(earlier.may_start_over(), "<{path}> began again: {earlier:?}");
        }
        let transaction = place.map(|place| &self.transactions[place]);
        let context = Context {
            // The server may not have come to it yet.
            is_behind: place
                .is_some_and(|place| place > 0 && self.transactions[place - 1].is_open()),
            // Refusals may have been meant for the mail before.
            is_out_of_step: self.rules.pipelining >= Pipelining::Cross
                // The start of a line that is no reply is enough for the client.
                && (self.silence.is_some() || self.replies.is_within_reply() || self.has_objected),
            likeness: transaction.map_or(Likeness::Part, |transaction| {
                transaction.likeness(mail, outcomes, &self.offer)
            }),
        };
        // Recipients that were left out have no place on the wire.
        let mut said = transaction.map_or(&[][..], |it| &it.recipients).iter();
        for (index, outcome) in outcomes.iter().enumerate() {
            let recipient = if is_left_out(outcome) { None } else { said.next() };
            let problem = match (transaction, outcome) {
                (_, Outcome::NotSent(NotSent::Limit)) => {
                    let is_needed = self.is_over_limit(mail, outcomes, index);
                    (!is_needed).then_some("no limit of the server was reached")
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

    /// What a session has for domains, a mail uses up when it is handed in (LIM-03).
    fn note_domains(&mut self, mail: &Mail, outcomes: &[Outcome]) {
        let paths = mail.envelope.forward_paths().iter().zip(outcomes);
        let kept = paths.filter(|(_, outcome)| !is_left_out(outcome));
        self.reported_domains.extend(kept.map(|(path, _)| domain_of(path.as_str())));
    }

    /// Whether the recipient at this place was rightly left out: the others of its mail are as many
    /// as go at once, or its domain would have been one too many.
    fn is_over_limit(&self, mail: &Mail, outcomes: &[Outcome], place: usize) -> bool {
        let kept = outcomes.iter().filter(|outcome| !is_left_out(outcome)).count();
        let domain = domain_of(mail.envelope.forward_paths()[place].as_str());
        let domains = &self.reported_domains;
        let has_room = |most: usize| domains.contains(&domain) || domains.len() < most;
        self.offer.limit("RCPTMAX").is_some_and(|most| kept >= most)
            || self.offer.limit("RCPTDOMAINMAX").is_some_and(|most| !has_room(most))
    }
}

/// What matters to a transaction and is not its own.
#[derive(Clone, Copy, Debug)]
struct Context {
    is_behind: bool,
    is_out_of_step: bool,
    likeness: Likeness,
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

    /// Whether the same mail may begin anew in this session: the server objected to the mode, and
    /// nothing was handed to it.
    fn may_start_over(&self) -> bool {
        self.mail_reply == Some(503) && self.content.is_none() && !self.has_chunks
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
        // In `stream` content may be out with the envelope unanswered.
        let is_pending = self.is_streamed && reply.is_none();
        let is_certain =
            self.is_turned_away || recipient.is_some_and(|recipient| recipient.is_turned_away);
        let is_whole = context.likeness == Likeness::Whole;
        if context.likeness == Likeness::Foreign {
            return Some("the envelope is another");
        }
        let objections: &[(bool, &'static str)] = match outcome {
            Outcome::Delivered(reply) => &[
                (!is_accepted, "the recipient was not accepted"),
                (mail_is_refused, "MAIL was refused"),
                (!self.has_content_of(mail), "the content is another"),
                (!is_whole, "the envelope is another"),
                (final_reply != Some(reply.code().value()), "that was not the final reply"),
                (reply.code().value() >= 300, "that is not positive"),
            ],
            Outcome::Refused(refusal) => {
                let (code, stage) = (Some(refusal.reply.code().value()), refusal.stage);
                &[
                    (code < Some(400), "that is not negative"),
                    (self.reply_at(stage, recipient) != code, "that was not the reply"),
                    // Q21: the first reply that says no tells why.
                    (stage > Stage::Mail && mail_is_refused, "MAIL had been refused"),
                    (stage > Stage::Rcpt && !is_accepted, "the recipient was not accepted"),
                    (
                        stage == Stage::Final && self.chunk_refusal.is_some(),
                        "a chunk had been refused",
                    ),
                ]
            }
            Outcome::InDoubt => &[
                // Out of step, its refusal may have been another's, in LMTP the final one, too.
                (
                    !(is_accepted || is_pending || context.is_out_of_step),
                    "the recipient was not accepted",
                ),
                (mail_is_refused && !context.is_out_of_step, "MAIL was refused"),
                (is_certain, "the server went instead of taking it"),
                (!is_handed_over, "the content's end was not said"),
                (!self.has_content_of(mail), "the content is another"),
                (!is_whole, "the envelope is another"),
                (
                    final_reply.is_some_and(|code| code < 400 || !context.is_out_of_step),
                    "the final reply came",
                ),
            ],
            Outcome::NotSent(reason) => {
                let is_positive = final_reply.is_some_and(|code| code < 300);
                let may_be_accepted =
                    (is_accepted || is_pending && !is_certain) && !mail_is_refused;
                let is_unanswered = is_handed_over && may_be_accepted && final_reply.is_none();
                let is_interrupted = matches!(reason, NotSent::Interrupted(_));
                let refusal_counts = is_interrupted && !context.is_out_of_step;
                let is_untouched =
                    self.starts_over || context.is_behind && self.mail_reply.is_none();
                // 503 in the middle of a stream is about the mode.
                let is_of_stream = self.is_streamed || self.is_in_stream;
                let was_refused =
                    reply.is_some_and(|code| code >= 400 && !(is_of_stream && code == 503));
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
}

/// The octets that a server has to store for this mail: text has a final CRLF.
pub(crate) fn sent_form(mail: &Mail) -> Vec<u8> {
    let mut octets = mail.content.to_bytes().to_vec();
    if !mail.content.is_binary() && !octets.is_empty() && !octets.ends_with(b"\r\n") {
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
