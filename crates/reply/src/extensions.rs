//! What a server offers in its reply to EHLO (RFC 5321, 4.1.1.1).

use std::fmt;
use std::time::Duration;

use crate::grammar::{is_blank, trim_blanks};
use crate::keyword::{Flag, Flags, Keyword};
use crate::mechanism::AuthMechanisms;
use crate::parameters::{DeliverBy, FutureRelease, Limits9422, Size};
use crate::reply::Reply;
use crate::text::Escaped;

/// The service extensions that a server offers. [`Default`] is none, as after HELO.
///
/// They hold until the next EHLO or the upgrade to TLS, and never beyond the connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Those that have no parameters, or none that matter.
    flags: Flags,
    size: Option<Size>,
    auth: AuthMechanisms,
    deliver_by: Option<DeliverBy>,
    future_release: Option<FutureRelease>,
    limits: Limits9422,
    /// Lines with other keywords, without outer blanks, each followed by LF.
    unknown: Vec<u8>,
}

impl Extensions {
    /// Reads the reply to EHLO. The first line is the server's identity, never a keyword.
    ///
    /// Never fails: a parameter that cannot be understood counts as missing, a line with an
    /// unknown keyword is kept. Allocates for unknown keywords and mechanisms only.
    // Measured: inlined, it is not moved when it is whole.
    #[inline]
    pub fn parse(reply: Reply<'_>) -> Self {
        let mut extensions = Self::default();
        extensions.read(reply);
        extensions
    }

    fn read(&mut self, reply: Reply<'_>) {
        let mut lines = reply.lines();
        let _identity = lines.next();
        for line in lines {
            // Measured: nearly all lines are a keyword alone, which needs no further look.
            match Keyword::spelled(line) {
                Some(Keyword::Flag(flag)) => self.flags.insert(flag),
                Some(_) | None => self.add(trim_blanks(line)),
            }
        }
        self.adopt_exchange_auth();
    }

    fn add(&mut self, line: &[u8]) {
        let (keyword, parameters) = split_keyword(line);
        match Keyword::named(keyword) {
            Some(Keyword::Auth) => self.auth.add_list(parameters),
            Some(Keyword::DeliverBy) => self.deliver_by = Some(DeliverBy::parse(parameters)),
            Some(Keyword::FutureRelease) => {
                self.future_release = Some(FutureRelease::parse(parameters));
            }
            Some(Keyword::Limits) => self.limits = Limits9422::parse(parameters),
            Some(Keyword::Size) => self.size = Some(Size::parse(parameters)),
            Some(Keyword::Flag(flag)) => self.flags.insert(flag),
            None => self.add_unknown(line),
        }
    }

    fn add_unknown(&mut self, line: &[u8]) {
        if !line.is_empty() {
            self.unknown.extend_from_slice(line);
            self.unknown.push(b'\n');
        }
    }

    /// Old Exchange servers name their mechanisms under X-EXPS, and some only there.
    fn adopt_exchange_auth(&mut self) {
        if !self.auth.is_empty() || self.unknown.is_empty() {
            return;
        }
        let mut auth = AuthMechanisms::default();
        for (name, parameters) in self.unknown().map(split_keyword) {
            if name.eq_ignore_ascii_case(b"X-EXPS") {
                auth.add_list(parameters);
            }
        }
        self.auth = auth;
    }

    /// PIPELINING (RFC 2920).
    pub const fn pipelining(&self) -> bool {
        self.flags.contains(Flag::Pipelining)
    }

    /// CHUNKING: the BDAT command (RFC 3030).
    pub const fn chunking(&self) -> bool {
        self.flags.contains(Flag::Chunking)
    }

    /// BINARYMIME (RFC 3030); of use only together with [`chunking`](Self::chunking).
    pub const fn binarymime(&self) -> bool {
        self.flags.contains(Flag::BinaryMime)
    }

    /// 8BITMIME (RFC 6152).
    pub const fn eight_bit_mime(&self) -> bool {
        self.flags.contains(Flag::EightBitMime)
    }

    /// SMTPUTF8 (RFC 6531).
    pub const fn smtputf8(&self) -> bool {
        self.flags.contains(Flag::SmtpUtf8)
    }

    /// STARTTLS (RFC 3207).
    pub const fn starttls(&self) -> bool {
        self.flags.contains(Flag::StartTls)
    }

    /// ENHANCEDSTATUSCODES (RFC 2034); replies are read the same way without it.
    pub const fn enhanced_status_codes(&self) -> bool {
        self.flags.contains(Flag::EnhancedStatusCodes)
    }

    /// DSN (RFC 3461).
    pub const fn dsn(&self) -> bool {
        self.flags.contains(Flag::Dsn)
    }

    /// REQUIRETLS (RFC 8689).
    pub const fn requiretls(&self) -> bool {
        self.flags.contains(Flag::RequireTls)
    }

    /// MT-PRIORITY (RFC 6710). The profile that may follow changes nothing for a client.
    pub const fn mt_priority(&self) -> bool {
        self.flags.contains(Flag::MtPriority)
    }

    /// SIZE (RFC 1870).
    pub const fn size(&self) -> Option<Size> {
        self.size
    }

    /// DELIVERBY (RFC 2852).
    pub const fn deliver_by(&self) -> Option<DeliverBy> {
        self.deliver_by
    }

    /// FUTURERELEASE (RFC 4865).
    pub const fn future_release(&self) -> Option<FutureRelease> {
        self.future_release
    }

    /// The mechanisms of AUTH (RFC 4954) and of its older form `AUTH=`, together; empty without.
    pub const fn auth(&self) -> &AuthMechanisms {
        &self.auth
    }

    /// LIMITS (RFC 9422); nothing is limited without.
    pub const fn limits(&self) -> Limits9422 {
        self.limits
    }

    /// The lines with keywords that are not known here, without outer blanks.
    pub fn unknown(&self) -> impl Iterator<Item = &[u8]> {
        self.unknown.split_inclusive(|&octet| octet == b'\n').filter_map(|line| {
            let (_, line) = line.split_last()?;
            Some(line)
        })
    }

    /// Whether the server offers this keyword, whatever its case.
    pub fn offers(&self, keyword: &str) -> bool {
        match Keyword::named(keyword.as_bytes()) {
            Some(Keyword::Auth) => !self.auth.is_empty(),
            Some(Keyword::DeliverBy) => self.deliver_by.is_some(),
            Some(Keyword::FutureRelease) => self.future_release.is_some(),
            Some(Keyword::Limits) => self.limits != Limits9422::default(),
            Some(Keyword::Size) => self.size.is_some(),
            Some(Keyword::Flag(flag)) => self.flags.contains(flag),
            None => self
                .unknown()
                .any(|line| split_keyword(line).0.eq_ignore_ascii_case(keyword.as_bytes())),
        }
    }

    /// Forgets a keyword, whatever its case, with all that came with it: for a server that does
    /// not do what it offers.
    ///
    /// # Examples
    ///
    /// ```
    /// # use posthaste_reply::{Extensions, Reply};
    /// let reply = Reply::parse(b"250-mx.example.org\r\n250-CHUNKING\r\n250 SIZE 1000\r\n")?;
    /// let mut extensions = Extensions::parse(reply);
    /// extensions.ignore("chunking");
    /// assert!(!extensions.chunking());
    /// assert_eq!(extensions.size().unwrap().limit, Some(1000));
    /// # Ok::<(), posthaste_reply::ReplyError>(())
    /// ```
    pub fn ignore(&mut self, keyword: &str) {
        match Keyword::named(keyword.as_bytes()) {
            Some(Keyword::Auth) => self.auth = AuthMechanisms::default(),
            Some(Keyword::DeliverBy) => self.deliver_by = None,
            Some(Keyword::FutureRelease) => self.future_release = None,
            Some(Keyword::Limits) => self.limits = Limits9422::default(),
            Some(Keyword::Size) => self.size = None,
            Some(Keyword::Flag(flag)) => self.flags.remove(flag),
            None => self.ignore_unknown(keyword.as_bytes()),
        }
    }

    fn ignore_unknown(&mut self, keyword: &[u8]) {
        let mut kept = Self::default();
        for line in self.unknown() {
            let (name, _) = split_keyword(line);
            if !name.eq_ignore_ascii_case(keyword) {
                kept.add_unknown(line);
            }
        }
        self.unknown = kept.unknown;
    }
}

impl fmt::Display for Extensions {
    /// Keywords with their parameters, separated by comma and space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = List { f, is_empty: true };
        for name in self.flags.names() {
            list.add(format_args!("{}", name.escape_ascii()))?;
        }
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        for (name, offered) in [
            ("SIZE", self.size.map(|size| size.limit)),
            ("DELIVERBY", self.deliver_by.map(|by| seconds(by.minimum))),
            ("FUTURERELEASE", self.future_release.map(|release| seconds(release.maximum))),
        ] {
            match offered {
                Some(Some(number)) => list.add(format_args!("{name} {number}"))?,
                Some(None) => list.add(format_args!("{name}"))?,
                None => {}
            }
        }
        if !self.auth.is_empty() {
            list.add(format_args!("AUTH {}", self.auth))?;
        }
        if self.limits != Limits9422::default() {
            list.add(format_args!("LIMITS {}", self.limits))?;
        }
        for line in self.unknown() {
            list.add(format_args!("{}", Escaped(line)))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({self})")
    }
}

/// Writes items with commas between them.
struct List<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    is_empty: bool,
}

impl List<'_, '_> {
    fn add(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if !self.is_empty {
            self.f.write_str(", ")?;
        }
        self.is_empty = false;
        self.f.write_fmt(item)
    }
}

/// The keyword of a line and the parameters behind it.
///
/// An equals sign counts as a blank, for the draft of RFC 2554 had `AUTH=` and some servers still
/// do.
fn split_keyword(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|octet| is_blank(octet) || *octet == b'=');
    let (keyword, parameters) = line.split_at(end.unwrap_or(line.len()));
    (keyword, parameters.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mechanism;

    fn offered(lines: &[&str]) -> Extensions {
        let mut reply = String::from("250-mx.example.org Hello\r\n");
        for line in lines {
            reply.push_str("250-");
            reply.push_str(line);
            reply.push_str("\r\n");
        }
        reply.push_str("250\r\n");
        Extensions::parse(Reply::parse(reply.as_bytes()).unwrap())
    }

    #[track_caller]
    fn check(lines: &[&str], shown: &str) {
        assert_eq!(offered(lines).to_string(), shown);
    }

    #[test]
    fn each_keyword_has_its_method() {
        for (keyword, method) in [
            ("PIPELINING", Extensions::pipelining as fn(&Extensions) -> bool),
            ("CHUNKING", Extensions::chunking),
            ("BINARYMIME", Extensions::binarymime),
            ("8BITMIME", Extensions::eight_bit_mime),
            ("SMTPUTF8", Extensions::smtputf8),
            ("STARTTLS", Extensions::starttls),
            ("ENHANCEDSTATUSCODES", Extensions::enhanced_status_codes),
            ("DSN", Extensions::dsn),
            ("REQUIRETLS", Extensions::requiretls),
            ("MT-PRIORITY MIXER", Extensions::mt_priority),
            ("SIZE", |extensions| extensions.size().is_some()),
            ("DELIVERBY", |extensions| extensions.deliver_by().is_some()),
            ("FUTURERELEASE", |extensions| extensions.future_release().is_some()),
            ("AUTH PLAIN", |extensions| !extensions.auth().is_empty()),
            ("LIMITS MAILMAX=5", |extensions| extensions.limits().mail_max == Some(5)),
        ] {
            assert!(!method(&Extensions::default()), "{keyword}");
            let mut extensions = offered(&[keyword]);
            assert!(method(&extensions), "{keyword}");
            assert_eq!(extensions.unknown().count(), 0, "{keyword}");
            // EHLO-11: in any case.
            assert_eq!(offered(&[&keyword.to_lowercase()]), extensions);
            // EHLO-21.
            let name = keyword.split(' ').next().unwrap().to_lowercase();
            extensions.ignore(&name);
            assert_eq!(extensions, Extensions::default(), "{keyword}");
        }
    }

    /// EHLO-09, EHLO-10.
    #[test]
    fn the_first_line_is_no_keyword() {
        for reply in [&b"250-PIPELINING\r\n250 SIZE 5\r\n"[..], b"250 PIPELINING\r\n"] {
            let extensions = Extensions::parse(Reply::parse(reply).unwrap());
            assert!(!extensions.pipelining());
            assert_eq!(extensions.size().is_some(), reply.len() > 20);
        }
    }

    /// EHLO-12, EHLO-22, Q07, Q08, Q09.
    #[test]
    fn unknown_keywords_are_kept_as_they_came() {
        let lines = ["coremail 1Uxr2xKj7kG0xkI17xGrU", "XXXXXXXA", "X-EXPS=LOGIN", "=", "SIZEX 5"];
        let extensions = offered(&lines);
        let unknown: Vec<_> =
            extensions.unknown().map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(unknown, lines);
        assert_eq!(extensions.size(), None);

        let mut extensions = offered(&["XFOO a", "xfoo b", "XFOOD", "PIPELINING"]);
        extensions.ignore("XFoo");
        assert_eq!(extensions, offered(&["XFOOD", "PIPELINING"]));
    }

    /// EHLO-17, Q05.
    #[test]
    fn blanks_and_repetition_are_tolerated() {
        check(&[" SIZE  1000 \t"], "SIZE 1000");
        check(&["\tPIPELINING", "", "  ", "PIPELINING"], "PIPELINING");
        check(&["SIZE 5", "SIZE 6"], "SIZE 6");
    }

    /// EHLO-16, Q06.
    #[test]
    fn both_forms_of_auth_are_one_list() {
        check(&["AUTH=LOGIN", "AUTH PLAIN"], "AUTH PLAIN LOGIN");
        check(&["AUTH=LOGIN PLAIN", "AUTH LOGIN PLAIN NTLM"], "AUTH PLAIN LOGIN NTLM");
        check(&["auth cram-md5"], "AUTH CRAM-MD5");
        check(&["AUTH"], "");
    }

    /// XAUTH-01, Q07.
    #[test]
    fn exchange_auth_counts_where_auth_is_missing() {
        let extensions = offered(&["X-EXPS=LOGIN", "X-EXPS NTLM LOGIN"]);
        assert!(extensions.auth().contains(Mechanism::Login));
        assert_eq!(extensions.auth().others().collect::<Vec<_>>(), ["NTLM"]);
        let extensions = offered(&["X-EXPS LOGIN", "AUTH PLAIN"]);
        assert!(!extensions.auth().contains(Mechanism::Login));
    }

    #[test]
    fn extensions_are_displayed_as_a_list() {
        check(
            &[
                "LIMITS RCPTMAX=50 MAILMAX=2",
                "HELP",
                "AUTH NTLM XOAUTH2",
                "DELIVERBY",
                "FUTURERELEASE 60 2026-12-24T00:00:00Z",
                "SIZE 10",
                "XFOO \u{1b}[2J",
                "PIPELINING",
            ],
            "PIPELINING, HELP, SIZE 10, DELIVERBY, FUTURERELEASE 60, AUTH XOAUTH2 NTLM, \
             LIMITS MAILMAX=2 RCPTMAX=50, XFOO \\u{1b}[2J",
        );
        check(&[], "");
        assert_eq!(format!("{:?}", offered(&["DSN"])), "Extensions(DSN)");
    }
}
