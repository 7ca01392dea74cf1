//! What the client says, held against what it may say now.

use posthaste_session::{Chunking, Pipelining, Protocol, TlsPolicy};

use super::command::{self, Command};
use super::content::ChunkReader;
use super::envelope::domain_of;
use super::transaction::{Recipient, Transaction};
use super::{
    CHUNK_SIZES, Checker, MAX_AWAITED, MAX_CHUNKS_AWAITED, MAX_STREAMED, MAX_STREAMED_RECIPIENTS,
    Place, QUIT, Speech, To,
};

impl Checker {
    /// The client said these octets.
    pub fn said(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let [octet, ..] = rest {
            match self.silence {
                Some(reason) if self.place == Place::Client => {
                    panic!("said {:?} behind {reason}", char::from(*octet));
                }
                // It may have been under way.
                Some(_) => return,
                None => {}
            }
            let length = match &self.speech {
                Speech::Chunk { left, .. } => rest.len().min(*left),
                Speech::Content(_) => {
                    rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |place| place + 1)
                }
                Speech::Command { .. } | Speech::AuthResponse(_) => 1,
            };
            let (octets, behind) = rest.split_at(length);
            match &mut self.speech {
                Speech::Chunk { .. } => self.say_chunk(octets),
                Speech::Content(reader) => {
                    if let Some(content) = reader.push(octets) {
                        self.end_data(content);
                    }
                }
                Speech::Command { .. } | Speech::AuthResponse(_) => self.say(*octet),
            }
            self.said += length as u64;
            rest = behind;
        }
    }

    /// Takes octets of one chunk.
    fn say_chunk(&mut self, octets: &[u8]) {
        if let Some(chunks) = self.transactions.last_mut().and_then(|it| it.chunks.as_mut()) {
            chunks.push(octets);
        }
        if let Speech::Chunk { left, .. } = &mut self.speech {
            *left -= octets.len();
            if *left == 0 {
                self.end_chunk();
            }
        }
    }

    /// Takes an octet of a line.
    fn say(&mut self, octet: u8) {
        match &mut self.speech {
            Speech::Content(_) | Speech::Chunk { .. } => {}
            Speech::AuthResponse(line) => {
                line.push(octet);
                if let Some(line) = line.strip_suffix(b"\r\n") {
                    assert!(command::is_auth_response(line), "{}", line.escape_ascii());
                    self.expect(To::Auth);
                    self.speech = Speech::default();
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
                    self.command(&line, start);
                }
            }
        }
    }

    /// Whether a command may begin now, whatever it is (RFC 2920 section 3.1).
    fn check_group(&mut self) {
        while let Some((_, mode)) = self.mode_changes.pop_front_if(|(from, _)| *from <= self.said) {
            self.mode = mode;
        }
        let Some(last) = self.awaited.back() else { return };
        let is_behind_last = matches!(last, To::LastChunk(..));
        let goes_on = is_behind_last && self.streams()
            || matches!(
                last,
                To::Mail(_) | To::Rcpt(..) | To::Content(..) | To::Chunk(_) | To::Reset
            );
        assert!(goes_on, "said on behind {last:?}, which ends a group");
        assert!(self.offer.has("PIPELINING"), "a group although PIPELINING was not offered");
        let is_behind_content = self.awaited.iter().any(|to| matches!(to, To::Content(..)));
        let needed = if is_behind_content { Pipelining::Cross } else { Pipelining::Envelope };
        assert!(self.mode >= needed, "a group of {needed}, in {}", self.mode);
    }

    /// Handles a command line with its CRLF.
    fn command(&mut self, line: &[u8], start: u64) {
        let text = &line[..line.len() - 2];
        let command = command::read(text)
            .unwrap_or_else(|error| panic!("{:?}: {error}", text.escape_ascii().to_string()));
        let verb = std::str::from_utf8(&text[..4]).unwrap_or_default();
        let most = self.offer.longest_line(verb);
        assert!(line.len() <= most, "{verb} of {} octets, at most {most}: CMD-05", line.len());
        let is_chunk = matches!(command, Command::Bdat { .. });
        let is_behind_chunk = matches!(self.awaited.back(), Some(To::Chunk(_)));
        assert!(is_chunk || !is_behind_chunk, "{verb} behind a chunk whose reply is to come");
        match command {
            Command::Ehlo | Command::Lhlo => {
                let is_lmtp = command == Command::Lhlo;
                assert_eq!(is_lmtp, self.rules.protocol == Protocol::Lmtp, "{verb}: LMTP-01");
                self.expect(To::Hello);
            }
            Command::Helo => {
                assert_eq!(self.rules.protocol, Protocol::Smtp, "HELO in LMTP: LMTP-01");
                self.expect(To::Helo);
            }
            Command::StartTls => {
                assert!(!self.is_tls && self.offer.has("STARTTLS"), "STARTTLS was not offered");
                self.expect(To::StartTls);
            }
            Command::Auth { mechanism } => self.authenticate(&mechanism),
            Command::Xclient { attributes } => self.introduce_client(&attributes),
            Command::Mail(mail) => self.begin(mail),
            Command::Rcpt(rcpt) => self.recipient(rcpt, start),
            Command::Data => self.data(start),
            Command::Bdat { octets, is_last } => self.begin_chunk(octets, is_last, start),
            Command::Rset => {
                let last = self.transactions.last_mut().expect("RSET before any transaction");
                assert!(!last.is_reset, "RSET again: TX-24");
                let is_needed = last.is_in_stream || last.needs_reset;
                assert!(is_needed || !last.is_in_vain(), "RSET although MAIL was refused: TX-24");
                assert!(is_needed || last.content.is_none(), "RSET behind content");
                last.is_reset = true;
                self.expect(To::Reset);
            }
            Command::Quit => {
                self.has_quit = true;
                self.silence = Some(QUIT);
                self.expect(To::Quit);
            }
        }
    }

    fn expect(&mut self, to: To) {
        self.awaited.push_back(to);
        self.most_awaited = self.most_awaited.max(self.awaited.len());
        let is_final = |to: &&To| matches!(to, To::Content(..) | To::LastChunk(..));
        let awaited = self.awaited.iter().filter(|to| !is_final(to)).count();
        let most = if self.streams() { MAX_STREAMED } else { MAX_AWAITED };
        assert!(awaited <= most, "{awaited} replies awaited");
    }

    /// ST-01: with TLS to be had nothing goes in the clear that need not. What is offered behind
    /// XCLIENT changes nothing.
    fn settle_tls(&mut self) {
        let is_missed = self.offer.has("STARTTLS") && self.rules.tls != TlsPolicy::Off;
        assert!(
            self.is_tls || self.is_past_tls || !is_missed,
            "STARTTLS was offered and not tried"
        );
        self.is_past_tls = true;
    }

    /// AUTH-01, AUTH-02, AUTH-13
    fn authenticate(&mut self, mechanism: &str) {
        self.settle_tls();
        let is_plain = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"].contains(&mechanism);
        let is_safe = self.is_tls || self.rules.allows_plaintext || !is_plain;
        assert!(is_safe, "AUTH {mechanism} in the clear");
        let keyword = if self.offer.has("AUTH") { "AUTH" } else { "X-EXPS" };
        let mut offered = self.offer.parameters(keyword).iter();
        let is_offered = offered.any(|known| known.eq_ignore_ascii_case(mechanism));
        assert!(is_offered, "AUTH {mechanism} was not offered");
        assert!(self.transactions.is_empty(), "AUTH behind mail");
        assert!(!self.is_authenticated, "AUTH again");
        self.expect(To::Auth);
    }

    /// XCLIENT-01
    fn introduce_client(&mut self, attributes: &[String]) {
        self.settle_tls();
        let offered = self.offer.parameters("XCLIENT");
        for attribute in attributes {
            assert!(offered.contains(attribute), "XCLIENT {attribute} was not offered");
        }
        assert!(self.transactions.is_empty(), "XCLIENT behind mail");
        self.expect(To::Xclient);
    }

    /// MAIL: only where no transaction is open (RFC 5321 section 4.1.4).
    fn begin(&mut self, mail: command::Mail) {
        assert!(self.is_greeted, "MAIL before EHLO was accepted");
        assert!(self.is_tls || self.rules.tls != TlsPolicy::Require, "MAIL in the clear");
        self.settle_tls();
        assert!(self.is_authenticated || !self.rules.authenticates, "MAIL before AUTH");
        let is_reported = self.reported.contains(&mail.reverse_path);
        assert!(!is_reported, "MAIL for a mail that is done with: <{}>", mail.reverse_path);
        mail.parameters.iter().for_each(|parameter| self.offer.check(parameter));
        let has_size = mail.parameter("SIZE").is_some();
        assert!(has_size || !self.offer.has("SIZE"), "MAIL without SIZE: SIZE-01");
        let is_plain = mail.reverse_path.is_ascii();
        assert!(is_plain || mail.is_utf8(), "MAIL without SMTPUTF8: UTF8-01");
        assert!(mail.parameter("REQUIRETLS").is_none() || self.is_tls, "REQUIRETLS: RTLS-01");
        assert!(self.transactions.last().is_none_or(Transaction::is_over), "nested MAIL");
        let most = self.offer.limit("MAILMAX").unwrap_or(usize::MAX);
        assert!(self.transactions.len() < most, "more than {most} MAIL: LIM-01");
        let is_in_stream = self.streams();
        let last = self.transactions.last();
        let needs_reset = last.is_some_and(|it| it.is_in_stream && is_in_stream && !it.is_reset);
        assert!(!needs_reset, "MAIL without RSET in stream: CHUNK-14b");
        self.transactions.push(Transaction { is_in_stream, ..Transaction::new(mail) });
        self.expect(To::Mail(self.transactions.len() - 1));
    }

    fn recipient(&mut self, rcpt: command::Rcpt, start: u64) {
        rcpt.parameters.iter().for_each(|parameter| self.offer.check(parameter));
        let most = self.offer.limit("RCPTMAX").unwrap_or(usize::MAX);
        self.domains.insert(domain_of(&rcpt.forward_path));
        let most_domains = self.offer.limit("RCPTDOMAINMAX").unwrap_or(usize::MAX);
        assert!(self.domains.len() <= most_domains, "domains {:?}: LIM-03", self.domains);
        let (index, transaction) = self.open("RCPT", start);
        let is_plain = rcpt.forward_path.is_ascii();
        assert!(is_plain || transaction.mail.is_utf8(), "RCPT without SMTPUTF8: UTF8-01");
        assert!(transaction.recipients.len() < most, "more than {most} RCPT: LIM-02");
        let (reply, final_reply, is_turned_away) = (None, None, false);
        let recipient = Recipient { command: rcpt, reply, final_reply, is_turned_away };
        transaction.recipients.push(recipient);
        // This one may be accepted. With MAIL refused it was not to be said at all.
        transaction.hopeless_from = None;
        let to = To::Rcpt(index, transaction.recipients.len() - 1);
        self.expect(to);
    }

    fn data(&mut self, start: u64) {
        let (index, transaction) = self.open("DATA", start);
        assert!(!transaction.recipients.is_empty(), "DATA without RCPT");
        assert!(!transaction.mail.is_binary(), "DATA with binary content: CHUNK-10");
        transaction.has_data = true;
        self.expect(To::Data(index));
    }

    /// The transaction that RCPT and DATA belong to: open, and not known to be refused.
    fn open(&mut self, verb: &str, start: u64) -> (usize, &mut Transaction) {
        let index = self.transactions.len().checked_sub(1).expect("RCPT or DATA before MAIL");
        let last = &mut self.transactions[index];
        assert!(!last.has_data, "{verb} behind DATA");
        assert!(!last.has_chunks, "{verb} behind BDAT: CHUNK-03");
        assert!(!last.is_reset, "{verb} behind RSET");
        let is_hopeless = last.hopeless_from.is_some_and(|position| position <= start);
        let knows_better = last.mail_reply.is_some_and(|code| code >= 400) || verb == "DATA";
        assert!(!(is_hopeless && knows_better), "{verb} although all was refused");
        (index, last)
    }

    /// CHUNK-01 to CHUNK-06, CHUNK-12, CHUNK-14, CHUNK-16
    fn begin_chunk(&mut self, octets: usize, is_last: bool, start: u64) {
        assert!(self.offer.has("CHUNKING"), "BDAT was not offered");
        assert!(!self.bdat_refused, "BDAT although the server does not do it: CHUNK-17");
        let streams = self.streams();
        let transaction = self.transactions.last_mut().expect("BDAT before MAIL");
        let is_binary = transaction.mail.is_binary();
        let is_wanted = match self.rules.chunking {
            Chunking::Always => true,
            Chunking::Auto => is_binary || streams || transaction.is_in_stream,
            Chunking::Off => false,
        };
        assert!(is_wanted, "BDAT although it was not asked for");
        assert!(!transaction.has_data && !transaction.is_reset, "BDAT behind DATA or RSET");
        assert!(transaction.content.is_none(), "BDAT behind LAST: CHUNK-05");
        let may_be_ahead =
            streams && is_last && transaction.is_in_stream && !transaction.has_chunks;
        let is_ahead = !transaction.is_settled();
        assert!(may_be_ahead || !is_ahead, "BDAT before its envelope was taken: CHUNK-14");
        let recipients = transaction.recipients.len();
        assert!(!is_ahead || recipients <= MAX_STREAMED_RECIPIENTS, "{recipients} ahead");
        transaction.is_streamed = may_be_ahead;
        let is_in_vain = transaction.chunkless_from.is_some_and(|position| position <= start);
        assert!(!is_in_vain, "BDAT behind one that was refused: CHUNK-06");
        let least = if is_last { 0 } else { *CHUNK_SIZES.start() };
        assert!((least..=*CHUNK_SIZES.end()).contains(&octets), "a chunk of {octets} octets");
        let is_empty = !transaction.has_chunks && octets == 0;
        assert!(octets > 0 || is_empty, "an empty chunk at the end: CHUNK-19");
        transaction.has_chunks = true;
        transaction.chunks.get_or_insert_with(|| ChunkReader::new(!is_binary));
        self.speech = Speech::Chunk { left: octets, is_last };
        if octets == 0 {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        let speech = std::mem::take(&mut self.speech);
        let index = self.transactions.len() - 1;
        if let Speech::Chunk { is_last: false, .. } = speech {
            self.expect(To::Chunk(index));
            let chunks = self.awaited.iter().filter(|to| matches!(to, To::Chunk(_))).count();
            return assert!(chunks <= MAX_CHUNKS_AWAITED, "{chunks} chunks unanswered");
        }
        if let Some(chunks) = self.transactions[index].chunks.take() {
            self.end_content(chunks.end(), |place| To::LastChunk(index, place));
        }
    }

    fn end_data(&mut self, content: Vec<u8>) {
        self.speech = Speech::default();
        let index = self.transactions.len() - 1;
        self.end_content(content, |place| To::Content(index, place));
    }

    /// The content has been said to its end: one reply comes, in LMTP one for each recipient that was
    /// accepted (LMTP-03 to LMTP-05).
    fn end_content(&mut self, content: Vec<u8>, reply: impl Fn(Option<usize>) -> To) {
        let most = self.offer.size_limit().unwrap_or(u64::MAX);
        assert!(content.len() as u64 <= most, "content over the limit: SIZE-02");
        let Some(transaction) = self.transactions.last_mut() else { return };
        if let Some(size) = transaction.mail.size().filter(|_| transaction.has_accepted()) {
            assert_eq!(size, content.len(), "SIZE is not the content's");
        }
        let is_for_somebody = transaction.has_accepted() || transaction.is_streamed;
        assert!(is_for_somebody || content.is_empty(), "content for nobody");
        let is_8bit = transaction.mail.is_8bit();
        assert!(content.is_ascii() || is_8bit, "8 bit, undeclared: TX-13");
        transaction.content = Some(content);
        if transaction.is_streamed && transaction.final_reply.is_some() {
            // It came before the end.
            return;
        }
        match self.rules.protocol {
            Protocol::Smtp => self.expect(reply(None)),
            Protocol::Lmtp => {
                let places = transaction.accepted_places();
                places.into_iter().for_each(|place| self.expect(reply(Some(place))));
            }
        }
    }
}
