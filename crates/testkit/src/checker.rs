//! An independent witness of a session: hears what the client hears, reads what it says, and panics
//! when it says what RFC 5321 and its extensions do not allow, or reports what did not happen.
//!
//! It shares no code with the session: it parses commands and replies by itself and counts replies
//! for itself, so that a mistake in the session's counting shows.

mod command;
mod content;
mod replies;
mod verdict;

use std::collections::{BTreeSet, VecDeque};

use posthaste_session::{Pipelining, TlsPolicy};

use command::Command;
use content::ContentReader;
use replies::{Heard, Reply, ReplyReader};

pub(crate) use verdict::sent_form;

/// What the client was told, as far as it decides what may be said.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The highest mode that it may use.
    pub pipelining: Pipelining,
    /// Whether mail may go without TLS.
    pub tls: TlsPolicy,
    /// Whether it has to authenticate.
    pub authenticates: bool,
    /// Whether it may authenticate without TLS.
    pub allows_plaintext: bool,
}

/// Checks one session from its first octet to its last.
#[derive(Debug)]
pub struct Checker {
    rules: Rules,
    replies: ReplyReader,
    /// What the coming replies answer, the next one first.
    awaited: VecDeque<To>,
    said: u64,
    speech: Speech,
    is_tls: bool,
    is_authenticated: bool,
    is_greeted: bool,
    keywords: BTreeSet<String>,
    transactions: Vec<Transaction>,
    /// Why nothing may be said any more.
    silence: Option<&'static str>,
    has_quit: bool,
    most_awaited: usize,
}

/// What the client is in the middle of saying.
#[derive(Debug)]
enum Speech {
    Command { line: Vec<u8>, start: u64 },
    AuthResponse(Vec<u8>),
    Content(ContentReader),
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Connection,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    /// To MAIL of the transaction with this index.
    Mail(usize),
    Rcpt(usize, usize),
    Data(usize),
    Content(usize),
    Reset,
    Quit,
}

/// A mail transaction as it was seen.
#[derive(Debug)]
struct Transaction {
    mail: command::Mail,
    mail_reply: Option<u16>,
    recipients: Vec<(String, Option<u16>)>,
    has_data: bool,
    data_reply: Option<u16>,
    /// The content without transparency, once its end was said.
    content: Option<Vec<u8>>,
    final_reply: Option<u16>,
    /// A negative reply that came while content was being said.
    early_reply: Option<u16>,
    is_reset: bool,
    /// Position of the client's octets from which on it knew that MAIL or every RCPT was refused.
    hopeless_from: Option<u64>,
}

/// Replies awaited at most: what one group may have, and the rest of the one before.
const MAX_AWAITED: usize = 512 + 2;

impl Checker {
    /// A witness of a connection that was just opened.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            replies: ReplyReader::default(),
            awaited: VecDeque::from([To::Connection]),
            said: 0,
            speech: Speech::Command { line: Vec::new(), start: 0 },
            is_tls: false,
            is_authenticated: false,
            is_greeted: false,
            keywords: BTreeSet::new(),
            transactions: Vec::new(),
            silence: None,
            has_quit: false,
            most_awaited: 0,
        }
    }

    /// The client was told to use another mode.
    pub fn allow(&mut self, mode: Pipelining) {
        self.rules.pipelining = self.rules.pipelining.max(mode);
    }

    /// TLS has begun: whatever was said before is forgotten (RFC 3207 section 4.2).
    pub fn tls_established(&mut self) {
        assert!(!self.replies.is_within_reply(), "TLS begins within a reply");
        assert!(self.awaited.is_empty(), "TLS begins with {:?} unanswered", self.awaited);
        assert_eq!(self.silence.take(), Some("STARTTLS"), "TLS was not to begin");
        self.is_tls = true;
        self.is_greeted = false;
        self.keywords.clear();
    }

    /// Whether QUIT was said.
    pub fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Most replies awaited at once.
    pub fn most_awaited(&self) -> usize {
        self.most_awaited
    }

    /// The client said these octets.
    pub fn said(&mut self, octets: &[u8]) {
        for &octet in octets {
            if let Some(reason) = self.silence {
                panic!("said {:?} behind {reason}", (octet as char));
            }
            self.say(octet);
            self.said += 1;
        }
    }

    fn say(&mut self, octet: u8) {
        match &mut self.speech {
            Speech::Content(reader) => {
                if let Some(content) = reader.push(octet) {
                    self.end_content(content);
                }
            }
            Speech::AuthResponse(line) => {
                line.push(octet);
                if let Some(line) = line.strip_suffix(b"\r\n") {
                    assert!(command::is_auth_response(line), "{}", line.escape_ascii());
                    self.expect(To::Auth);
                    self.speech = Speech::Command { line: Vec::new(), start: 0 };
                }
            }
            Speech::Command { line, start } => {
                if line.is_empty() {
                    *start = self.said;
                    line.push(octet);
                    return self.check_group();
                }
                line.push(octet);
                assert!(octet != b'\n' || line.ends_with(b"\r\n"), "a bare LF in a command");
                if line.ends_with(b"\r\n") {
                    let (line, start) = (std::mem::take(line), *start);
                    self.command(&line[..line.len() - 2], start);
                }
            }
        }
    }

    /// Whether a command may begin now, whatever it is (RFC 2920 section 3.1).
    fn check_group(&self) {
        let Some(last) = self.awaited.back() else { return };
        let ends_group = !matches!(last, To::Mail(_) | To::Rcpt(..) | To::Content(_) | To::Reset);
        assert!(!ends_group, "said on behind {last:?}, which ends a group");
        assert!(self.offers("PIPELINING"), "a group although PIPELINING was not offered");
        let needed = match last {
            To::Content(_) => Pipelining::Cross,
            _ => Pipelining::Envelope,
        };
        assert!(self.rules.pipelining >= needed, "a group of {needed}");
    }

    fn command(&mut self, line: &[u8], start: u64) {
        let command = command::read(line)
            .unwrap_or_else(|error| panic!("{:?}: {error}", line.escape_ascii().to_string()));
        match command {
            Command::Ehlo => self.expect(To::Ehlo),
            Command::Helo => self.expect(To::Helo),
            Command::StartTls => {
                assert!(!self.is_tls && self.offers("STARTTLS"), "STARTTLS was not offered");
                self.expect(To::StartTls);
            }
            Command::Auth { .. } => {
                assert!(self.is_tls || self.rules.allows_plaintext, "AUTH in the clear");
                assert!(self.offers("AUTH"), "AUTH was not offered");
                assert!(self.transactions.is_empty(), "AUTH behind mail");
                self.expect(To::Auth);
            }
            Command::Mail(mail) => self.begin(mail),
            Command::Rcpt(recipient) => {
                let (index, transaction) = self.open("RCPT", start);
                transaction.recipients.push((recipient, None));
                // This one may be accepted. With MAIL refused it was not to be said at all.
                transaction.hopeless_from = None;
                let to = To::Rcpt(index, transaction.recipients.len() - 1);
                self.expect(to);
            }
            Command::Data => {
                let (index, transaction) = self.open("DATA", start);
                assert!(!transaction.recipients.is_empty(), "DATA without RCPT");
                transaction.has_data = true;
                self.expect(To::Data(index));
            }
            Command::Rset => {
                let last = self.transactions.last_mut().expect("RSET before any transaction");
                assert!(last.content.is_none(), "RSET behind content");
                last.is_reset = true;
                self.expect(To::Reset);
            }
            Command::Quit => {
                self.has_quit = true;
                self.silence = Some("QUIT");
                self.expect(To::Quit);
            }
        }
    }

    fn expect(&mut self, to: To) {
        self.awaited.push_back(to);
        self.most_awaited = self.most_awaited.max(self.awaited.len());
        assert!(self.awaited.len() <= MAX_AWAITED, "{} replies awaited", self.awaited.len());
    }

    /// MAIL: only where no transaction is open (RFC 5321 section 4.1.4).
    fn begin(&mut self, mail: command::Mail) {
        assert!(self.is_greeted, "MAIL before EHLO was accepted");
        assert!(self.is_tls || self.rules.tls != TlsPolicy::Require, "MAIL in the clear");
        assert!(self.is_authenticated || !self.rules.authenticates, "MAIL before AUTH");
        for (is_used, keyword) in
            [(mail.size.is_some(), "SIZE"), (mail.is_8bit, "8BITMIME"), (mail.is_utf8, "SMTPUTF8")]
        {
            assert!(!is_used || self.offers(keyword), "{keyword} was not offered");
        }
        if let Some(last) = self.transactions.last() {
            let is_refused = last.mail_reply.is_some_and(|code| code >= 400);
            assert!(is_refused || last.is_reset || last.content.is_some(), "nested MAIL");
        }
        self.transactions.push(Transaction {
            mail,
            mail_reply: None,
            recipients: Vec::new(),
            has_data: false,
            data_reply: None,
            content: None,
            final_reply: None,
            early_reply: None,
            is_reset: false,
            hopeless_from: None,
        });
        self.expect(To::Mail(self.transactions.len() - 1));
    }

    /// The transaction that RCPT and DATA belong to: open, and not known to be refused.
    fn open(&mut self, verb: &str, start: u64) -> (usize, &mut Transaction) {
        let index = self.transactions.len().checked_sub(1).expect("RCPT or DATA before MAIL");
        let last = &mut self.transactions[index];
        assert!(!last.has_data, "{verb} behind DATA");
        assert!(!last.is_reset, "{verb} behind RSET");
        let is_hopeless = last.hopeless_from.is_some_and(|position| position <= start);
        let knows_better = last.mail_reply.is_some_and(|code| code >= 400) || verb == "DATA";
        assert!(!(is_hopeless && knows_better), "{verb} although all was refused");
        (index, last)
    }

    fn end_content(&mut self, content: Vec<u8>) {
        let index = self.transactions.len() - 1;
        let eight_bit_allowed = self.offers("8BITMIME");
        let transaction = &mut self.transactions[index];
        if let Some(size) = transaction.mail.size.filter(|_| transaction.has_accepted()) {
            assert_eq!(size, content.len(), "SIZE is not the content's");
        }
        assert!(transaction.has_accepted() || content.is_empty(), "content for nobody");
        let is_declared = transaction.mail.is_8bit || transaction.mail.is_utf8;
        assert!(content.is_ascii() || is_declared || !eight_bit_allowed, "8 bit, undeclared");
        transaction.content = Some(content);
        self.speech = Speech::Command { line: Vec::new(), start: 0 };
        self.expect(To::Content(index));
    }

    /// The client is about to be told these octets. It has queued `queued` octets already, which
    /// will be said whatever these are.
    pub fn heard(&mut self, octets: &[u8], queued: usize) {
        for &octet in octets {
            if self.silence.is_some() && !self.has_quit {
                return;
            }
            match self.replies.push(octet) {
                None => {}
                Some(Heard::Garbage) => self.silence = Some("octets that are no reply"),
                Some(Heard::Reply(reply)) => self.hear(&reply, queued),
            }
        }
    }

    fn hear(&mut self, reply: &Reply, queued: usize) {
        let Some(to) = self.awaited.pop_front() else {
            if let (Speech::Content(_), Some(last)) = (&self.speech, self.transactions.last_mut()) {
                last.early_reply = Some(reply.code).filter(|_| reply.is_negative());
            }
            self.silence = Some("a reply that answers nothing");
            return;
        };
        if reply.code == 421 && to != To::Quit {
            if let To::Content(index) = to {
                self.transactions[index].final_reply = Some(421);
            }
            self.silence = Some("421");
            return;
        }
        if self.take(to, reply, queued).is_none() {
            self.silence = Some("a reply that its command cannot have");
        }
    }

    /// `None` if this command cannot have this reply.
    fn take(&mut self, to: To, reply: &Reply, queued: usize) -> Option<()> {
        let code = reply.code;
        let usual = match to {
            To::Connection | To::StartTls => code == 220,
            To::Ehlo | To::Helo | To::Reset => code == 250,
            To::Auth => code == 235 || code == 334,
            To::Mail(_) | To::Rcpt(..) | To::Content(_) => reply.is_positive(),
            To::Data(index) => code == 354 && !self.transactions[index].is_mixed_up(),
            To::Quit => true,
        };
        let is_refusal = reply.is_negative() && to != To::Reset;
        if !usual && !is_refusal {
            return None;
        }
        match to {
            To::Ehlo | To::Helo if usual => self.greeted(to, reply),
            To::StartTls if usual => self.silence = Some("STARTTLS"),
            To::Auth if code == 334 => self.speech = Speech::AuthResponse(Vec::new()),
            To::Auth if usual => self.is_authenticated = true,
            To::Mail(index) => self.transactions[index].mail_reply = Some(code),
            To::Rcpt(index, recipient) => {
                self.transactions[index].recipients[recipient].1 = Some(code);
            }
            To::Data(index) => {
                self.transactions[index].data_reply = Some(code);
                if usual {
                    self.speech = Speech::Content(ContentReader::default());
                }
            }
            To::Content(index) => self.transactions[index].final_reply = Some(code),
            _ => {}
        }
        if let To::Mail(index) | To::Rcpt(index, _) = to {
            let known_from = self.said + queued as u64;
            self.transactions[index].note_hopelessness(known_from);
        }
        Some(())
    }

    fn greeted(&mut self, to: To, reply: &Reply) {
        self.is_greeted = true;
        self.keywords.clear();
        if to == To::Ehlo {
            let words = reply.lines.iter().skip(1);
            let words = words
                .filter_map(|line| line.trim_ascii().split(|b| b" \t=".contains(b)).next())
                .map(|word| String::from_utf8_lossy(word).to_ascii_uppercase());
            self.keywords = words.collect();
        }
    }

    fn offers(&self, keyword: &str) -> bool {
        self.keywords.contains(keyword)
    }
}

impl Transaction {
    /// Whether it may have content: MAIL and a recipient were accepted.
    fn has_accepted(&self) -> bool {
        self.mail_reply.is_some_and(|code| code < 300) && self.has_recipient()
    }

    /// MAIL was refused and a recipient accepted: whatever the server has, it is not this.
    fn is_mixed_up(&self) -> bool {
        self.mail_reply.is_some_and(|code| code >= 400) && self.has_recipient()
    }

    fn has_recipient(&self) -> bool {
        self.recipients.iter().any(|(_, reply)| reply.is_some_and(|code| code < 300))
    }

    /// With MAIL refused, or all of several RCPT, nothing more of it is to be said.
    fn note_hopelessness(&mut self, known_from: u64) {
        let mail_is_refused = self.mail_reply.is_some_and(|code| code >= 400);
        let refused = |(_, reply): &(String, Option<u16>)| reply.is_some_and(|code| code >= 400);
        let all_are_refused = !self.recipients.is_empty() && self.recipients.iter().all(refused);
        if (mail_is_refused || all_are_refused) && self.hopeless_from.is_none() {
            self.hopeless_from = Some(known_from);
        }
        if !mail_is_refused && !all_are_refused {
            self.hopeless_from = None;
        }
    }
}
