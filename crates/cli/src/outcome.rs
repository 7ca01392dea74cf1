//! Outcomes as lines of JSON, and counted.

use std::collections::HashMap;
use std::io::{self, Write};

use posthaste::reply::ReplyBuf;
use posthaste::scheduler::GiveUp;
use posthaste::session::Mail;
use posthaste::{Cause, RecipientReport, RecipientState, Report};
use serde::Serialize;

use crate::exit::Exit;

/// Most different replies that are told apart; the rest is counted together.
const MAX_REPLIES: usize = 1000;

/// One recipient's outcome, as `--log` writes it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    from: &'a str,
    rcpt: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    attempts: u32,
    server: &'a str,
    stage: Option<&'static str>,
    code: Option<u16>,
    enhanced: Option<String>,
    text: Option<String>,
    queue_id: Option<String>,
    bytes: usize,
    queued_ms: u64,
    sent_ms: u64,
}

/// What is remembered of a mail until its report comes.
#[derive(Debug)]
pub(crate) struct Sent {
    id: String,
    from: String,
    octets: usize,
}

impl Sent {
    pub(crate) fn new(id: String, mail: &Mail) -> Self {
        Self {
            id,
            from: mail.envelope.reverse_path().as_str().to_owned(),
            octets: mail.content.len(),
        }
    }

    /// Length of the mail's content in octets.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Writes a line for each recipient. `trouble` is what went wrong with the server last.
    pub(crate) fn log(
        &self,
        out: &mut dyn Write,
        server: &str,
        report: &Report,
        trouble: Option<&str>,
    ) -> io::Result<()> {
        let milliseconds =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let queued_ms = milliseconds(report.timing.queued());
        let sent_ms = milliseconds(report.timing.total()).saturating_sub(queued_ms);
        for recipient in &report.recipients {
            let reply = recipient.reply.as_ref();
            let line = Line {
                id: &self.id,
                from: &self.from,
                rcpt: recipient.forward_path.as_str(),
                state: recipient.state.as_str(),
                cause: recipient.cause.map(Cause::as_str),
                attempts: recipient.attempts,
                server,
                stage: recipient.stage.map(|stage| stage.as_str()),
                code: reply.map(|reply| reply.code().value()),
                enhanced: enhanced(recipient),
                text: text(recipient, trouble),
                queue_id: reply
                    .filter(|_| recipient.state == RecipientState::Delivered)
                    .and_then(queue_id),
                bytes: self.octets,
                queued_ms,
                sent_ms,
            };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn enhanced(recipient: &RecipientReport) -> Option<String> {
    match (&recipient.reply, recipient.cause) {
        (Some(reply), _) => reply.enhanced().map(|enhanced| enhanced.to_string()),
        (None, Some(Cause::Unsendable(reason))) => Some(reason.enhanced().to_owned()),
        (None, _) => None,
    }
}

/// What explains the outcome best: the server's words, or else our own.
fn text(recipient: &RecipientReport, trouble: Option<&str>) -> Option<String> {
    match (&recipient.reply, recipient.cause) {
        (_, Some(Cause::Unsendable(reason))) => Some(reason.to_string()),
        (Some(reply), _) => Some(reply.text().to_string()),
        (None, Some(cause)) => Some(trouble.unwrap_or(in_words(cause)).to_owned()),
        (None, None) => None,
    }
}

fn in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Refused => "refused",
        Cause::AllOrNothing => "another recipient was refused",
        Cause::Unsendable(_) => "the server cannot take such a mail",
        Cause::NoFinalReply => "connection was lost before the final reply",
        Cause::GivenUp(why) => match why {
            GiveUp::AttemptsUsedUp => "all attempts are used up",
            GiveUp::Expired => "its time is over",
            GiveUp::ServerExhausted => "the server failed too often in a row",
            GiveUp::Authentication => "the server does not take the credentials",
            GiveUp::Requirement => "the server does not have what is required",
            GiveUp::Unwelcome => "the server wants no mail from here",
            GiveUp::Drained | GiveUp::Cancelled => "not sent before the command ended",
            GiveUp::Unreported => "nobody knows what became of it",
        },
        _ => cause.as_str(),
    }
}

/// The name that the server gave the mail: `queued as 4XyZ123` (Postfix), `OK id=1rX-…` (Exim).
fn queue_id(reply: &ReplyBuf) -> Option<String> {
    let text = reply.text().to_string();
    let behind = ["queued as ", "id="].iter().find_map(|mark| text.split_once(mark))?.1;
    let id =
        behind.split(|c: char| c.is_whitespace() || matches!(c, ')' | ']' | ';' | ',')).next()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// How many recipients ended how.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) mails: u64,
    /// Mails that somebody got.
    pub(crate) delivered_mails: u64,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) deferred: u64,
    pub(crate) in_doubt: u64,
    /// Octets of content, counted once for each mail that somebody got.
    pub(crate) octets: u64,
    /// A recipient that failed for want of credentials or TLS, as the settings demand them.
    denied: u64,
    replies: HashMap<String, u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, report: &Report, octets: usize, trouble: Option<&str>) {
        self.mails += 1;
        let mut is_delivered = false;
        for recipient in &report.recipients {
            match recipient.state {
                RecipientState::Delivered => self.delivered += 1,
                RecipientState::Failed => self.failed += 1,
                RecipientState::Deferred => self.deferred += 1,
                RecipientState::InDoubt => self.in_doubt += 1,
            }
            is_delivered |= recipient.state == RecipientState::Delivered;
            let denied = [GiveUp::Authentication, GiveUp::Requirement].map(Cause::GivenUp);
            self.denied += u64::from(recipient.cause.is_some_and(|cause| denied.contains(&cause)));
            self.count_reply(recipient, trouble);
        }
        if is_delivered {
            self.delivered_mails += 1;
            self.octets += octets as u64;
        }
    }

    fn count_reply(&mut self, recipient: &RecipientReport, trouble: Option<&str>) {
        let words = match (&recipient.reply, text(recipient, trouble)) {
            (Some(reply), _) => {
                let enhanced = reply.enhanced().map(|e| format!(" {e}")).unwrap_or_default();
                let words = match queue_id(reply) {
                    Some(id) => reply.text().to_string().replace(&id, "…"),
                    None => without_ids(&reply.text().to_string()),
                };
                format!("{}{enhanced} {words}", reply.code())
            }
            (None, Some(text)) => text,
            (None, None) => recipient.cause.map_or("no reply", in_words).to_owned(),
        };
        let is_told_apart = self.replies.contains_key(&words) || self.replies.len() < MAX_REPLIES;
        *self.replies.entry(if is_told_apart { words } else { "other".to_owned() }).or_default() +=
            1;
    }

    pub(crate) fn recipients(&self) -> u64 {
        self.delivered + self.failed + self.deferred + self.in_doubt
    }

    /// The most frequent replies, the most frequent one first.
    pub(crate) fn top_replies(&self, most: usize) -> Vec<(&str, u64)> {
        let mut replies: Vec<_> =
            self.replies.iter().map(|(text, &count)| (text.as_str(), count)).collect();
        replies.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        replies.truncate(most);
        replies
    }

    /// How a command that sent these ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self { denied: 1.., .. } => Exit::Denied,
            Self { failed: 1.., .. } => Exit::Failed,
            Self { deferred: 1.., .. } | Self { in_doubt: 1.., .. } => Exit::Deferred,
            Self { .. } => Exit::Done,
        }
    }
}

/// A reply without what is different in each: words of six or more characters with a digit in them.
fn without_ids(text: &str) -> String {
    let is_id = |word: &&str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.len() >= 6 && word.bytes().any(|b| b.is_ascii_digit())
    };
    let words: Vec<_> = text.split(' ').map(|word| if is_id(&word) { "…" } else { word }).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use posthaste::reply::Reply;

    use super::*;

    #[track_caller]
    fn check(reply: &str, id: Option<&str>, generic: &str) {
        let reply = Reply::parse(reply.as_bytes()).unwrap().to_owned();
        assert_eq!(queue_id(&reply).as_deref(), id);
        assert_eq!(without_ids(&reply.text().to_string()), generic);
    }

    #[test]
    fn names_that_servers_give() {
        check(
            "250 2.0.0 Ok: queued as 4XyZ123AbCzQ7\r\n",
            Some("4XyZ123AbCzQ7"),
            "Ok: queued as …",
        );
        check("250 OK id=1rXabc-0001Ab-2C\r\n", Some("1rXabc-0001Ab-2C"), "OK …");
        check("250 2.0.0 Ok\r\n", None, "Ok");
    }
}
