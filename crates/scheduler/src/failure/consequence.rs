//! What follows from a reply, at whatever stage it was said.

use std::time::Duration;

use posthaste_session::Stage;
use posthaste_session::reply::{Class, Classification, Reply, ReplyCode, SaidTo, Scope, classify};

/// What the scheduler does about a reply. Complete on purpose: each reply leads to one of these.
///
/// Whether something was refused, and for how long, is the reply code's to say, and that is what is
/// reported. Only *when to try again* follows the words where they say otherwise: a server that
/// says `550 Ip frequency limited` wants less mail, not none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// The session goes on.
    Proceed,
    /// The mail is delivered.
    Deliver,
    /// The recipient, or all of the mail, fails for good.
    Fail,
    /// Another attempt later; this one counts.
    Retry,
    /// Another attempt after the minutes that greylisting takes.
    Greylist,
    /// The recipients left over go at once, in a transaction of their own; that costs nothing.
    Split,
    /// This connection has had its share: the mail goes over another one, at once and at no cost.
    Reconnect,
    /// Mail for this server is slowed down.
    SlowDown,
    /// There are as many connections as the server bears; what was refused is tried over those.
    LimitConnections,
    /// The server, as this account sees it, is left alone for a growing while.
    BackOff,
    /// The account is left alone until somebody has looked at its credentials.
    HoldAccount,
    /// The server wants no mail from here, and is left alone for long.
    HoldServer,
}

impl Consequence {
    /// Its name in records, e.g. `slow_down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Deliver => "deliver",
            Self::Fail => "fail",
            Self::Retry => "retry",
            Self::Greylist => "greylist",
            Self::Split => "split",
            Self::Reconnect => "reconnect",
            Self::SlowDown => "slow_down",
            Self::LimitConnections => "limit_connections",
            Self::BackOff => "back_off",
            Self::HoldAccount => "hold_account",
            Self::HoldServer => "hold_server",
        }
    }
}

/// A reply in the light of the stage at which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it means.
    pub class: Class,
    /// What it is about.
    pub scope: Scope,
    /// What follows.
    pub consequence: Consequence,
    /// How long the server would like to be left alone with this, where it is known.
    pub wait: Option<Duration>,
}

/// Reads a reply that was said at this stage.
pub fn read(stage: Stage, reply: Reply<'_>) -> Reading {
    let found = classify(reply, said_to(stage));
    let Classification { class, scope, wait } = found;
    let severity = Severity::of(reply.code());
    let consequence = match stage {
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Content | Stage::Final => {
            about_mail(stage, severity, found)
        }
        Stage::Connect
        | Stage::Tls
        | Stage::Greeting
        | Stage::Hello
        | Stage::StartTls
        | Stage::Xclient => about_server(stage, severity, class, scope),
        Stage::Auth => about_account(severity, class, scope),
        // No mail is on its way, so there is nothing to lose but the connection.
        Stage::Reset | Stage::Idle | Stage::Quit => match (severity, scope) {
            (Severity::Positive, _) => Consequence::Proceed,
            (_, Scope::Connections) => Consequence::LimitConnections,
            (Severity::Closing | Severity::Transient | Severity::Permanent, _) => {
                Consequence::Reconnect
            }
        },
    };
    Reading { class, scope, consequence, wait }
}

/// What the code says, of which 421 is more than a transient negative (RFC 5321 section 3.8).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    Positive,
    Closing,
    Transient,
    Permanent,
}

impl Severity {
    fn of(code: ReplyCode) -> Self {
        match code {
            ReplyCode::NOT_AVAILABLE => Self::Closing,
            code if code.is_transient_negative() => Self::Transient,
            code if code.is_permanent_negative() => Self::Permanent,
            _ => Self::Positive,
        }
    }
}

fn about_mail(stage: Stage, severity: Severity, found: Classification) -> Consequence {
    use Consequence::{
        Deliver, Fail, Greylist, LimitConnections, Proceed, Reconnect, Retry, SlowDown, Split,
    };
    match (severity, found.class, found.scope) {
        (Severity::Positive, ..) if stage == Stage::Final => Deliver,
        (Severity::Positive, ..) => Proceed,
        (Severity::Closing, Class::Throttled, Scope::Connections) => LimitConnections,
        (_, Class::Throttled, Scope::Connection | Scope::Session) => Reconnect,
        (
            _,
            Class::Throttled,
            Scope::Connections | Scope::Host | Scope::Source | Scope::Account,
        ) => SlowDown,
        (Severity::Closing, ..) => Reconnect,
        (
            _,
            Class::Throttled,
            Scope::Sender | Scope::Recipient | Scope::Transaction | Scope::Mail,
        ) => Retry,
        (_, Class::TooManyRecipients, _) if stage == Stage::Rcpt => Split,
        (_, Class::Greylisted, _) => Greylist,
        (Severity::Transient, Class::Timeout, _) => Reconnect,
        (Severity::Transient, Class::ShuttingDown, _) => SlowDown,
        (Severity::Transient, ..) => Retry,
        // It says for good what will pass.
        (Severity::Permanent, Class::ShuttingDown, _) => Retry,
        (Severity::Permanent, Class::LocalError, _) if found.wait.is_some() => Retry,
        (Severity::Permanent, ..) => Fail,
    }
}

/// Before the session is there, whatever is refused is refused to all mail.
fn about_server(stage: Stage, severity: Severity, class: Class, scope: Scope) -> Consequence {
    let passes = matches!(
        class,
        Class::Throttled | Class::Greylisted | Class::ShuttingDown | Class::Timeout
    );
    match (severity, class, scope) {
        (Severity::Positive, ..) => Consequence::Proceed,
        (_, Class::Throttled, Scope::Connections) => Consequence::LimitConnections,
        // Whoever offers TLS has it, most of the time.
        (Severity::Permanent, ..) if stage != Stage::StartTls && !passes => Consequence::HoldServer,
        (Severity::Closing | Severity::Transient | Severity::Permanent, ..) => Consequence::BackOff,
    }
}

/// AUTH-09, AUTH-10: a bad password stays one; a server that is busy does not.
fn about_account(severity: Severity, class: Class, scope: Scope) -> Consequence {
    match (severity, class, scope) {
        (Severity::Positive, ..) => Consequence::Proceed,
        (_, Class::Throttled, Scope::Connections) => Consequence::LimitConnections,
        (_, Class::Throttled, _) => Consequence::BackOff,
        (_, Class::AuthTemp, _) => Consequence::BackOff,
        // Of the transient ones it is 432: a password transition is needed.
        (Severity::Transient, Class::AuthFailed, _) | (Severity::Permanent, ..) => {
            Consequence::HoldAccount
        }
        (Severity::Closing | Severity::Transient, ..) => Consequence::BackOff,
    }
}

fn said_to(stage: Stage) -> SaidTo {
    match stage {
        Stage::Connect | Stage::Tls | Stage::Greeting | Stage::Idle => SaidTo::Connecting,
        Stage::Hello | Stage::Xclient => SaidTo::Hello,
        Stage::StartTls => SaidTo::StartTls,
        Stage::Auth => SaidTo::Auth,
        Stage::Mail => SaidTo::Mail,
        Stage::Rcpt => SaidTo::Rcpt,
        Stage::Data => SaidTo::Data,
        Stage::Content | Stage::Final => SaidTo::Content,
        Stage::Reset => SaidTo::Reset,
        Stage::Quit => SaidTo::Quit,
    }
}

#[cfg(test)]
mod tests {
    use Consequence::{
        BackOff, Deliver, Fail, Greylist, HoldAccount, HoldServer, LimitConnections, Proceed,
        Reconnect, Retry, SlowDown, Split,
    };
    use Stage::{Auth, Data, Final, Greeting, Hello, Idle, Mail, Quit, Rcpt, Reset, StartTls};

    use super::*;

    #[track_caller]
    fn check(stage: Stage, line: &str, expected: Consequence) {
        let octets = format!("{line}\r\n");
        let reply = Reply::parse(octets.as_bytes()).unwrap();
        assert_eq!(read(stage, reply).consequence, expected, "{stage} {line}");
    }

    /// REP-07, REP-08, REP-18, REP-22, REP-24, Q36, Q41.
    #[test]
    fn the_digit_decides_where_the_words_do_not() {
        check(Rcpt, "250 failed!", Proceed);
        check(Rcpt, "299 ok", Proceed);
        check(Final, "299 ok", Deliver);
        check(Final, "250 rejected as spam", Deliver);
        check(Data, "354 go ahead", Proceed);
        check(Auth, "235 auth failure", Proceed);
        check(Rcpt, "550 OK", Fail);
        check(Rcpt, "599 hm", Fail);
        check(Final, "461 hm", Retry);
        // Q40: for now is never for good, whatever it is about.
        check(Rcpt, "450 4.1.1 <u@b.test>: unverified address", Retry);
        check(Rcpt, "450 4.7.1 blocked using dnsbl.example.net", Retry);
        check(Rcpt, "450 4.2.1 mailbox is disabled", Retry);
    }

    /// Q40, SCHED-05: throttles by whom they are about.
    #[test]
    fn throttles_slow_down_whom_they_are_about() {
        check(Rcpt, "550 Ip frequency limited [x]", SlowDown);
        check(Mail, "550 Domain frequency limited", SlowDown);
        check(Mail, "454 Throttling failure: Maximum sending rate exceeded.", SlowDown);
        check(Final, "451 4.7.500 Server busy", SlowDown);
        check(Mail, "421 4.7.28 unusual rate of mail", SlowDown);
        check(Final, "421 4.7.28 unusual rate of mail from your DKIM domain", SlowDown);
        check(Final, "421 4.7.32 Your mail has been rate limited: no DKIM", SlowDown);
        check(Rcpt, "450 4.2.1 The user is receiving mail too quickly", Retry);
        check(Rcpt, "452 4.2.2 mailbox daily quota exceeded, limit reached", Retry);
        check(Rcpt, "452 4.2.2 Recipient has exceeded its daily receiving limit", Retry);
        check(Mail, "550 Sender frequency limited", Retry);
        check(Mail, "450 4.7.0 Too many concurrent connections", SlowDown);
        check(Mail, "421 4.7.0 Too many concurrent connections", LimitConnections);
        check(Greeting, "421 4.7.0 Too many concurrent connections", LimitConnections);
        check(Greeting, "554 too many connections", LimitConnections);
    }

    /// Q36, Q40: for good by the digit, for now by the words.
    #[test]
    fn what_will_pass_is_tried_again() {
        check(Rcpt, "550 5.7.1 Your host has been temporarily blocked, try again soon", SlowDown);
        check(Final, "554 5.7.1 Message temporarily rejected, try again later", Retry);
        check(Rcpt, "550 Mailbox temporarily unavailable, try later", Retry);
        check(Rcpt, "550 5.2.1 Mailbox temporarily disabled", Retry);
        check(Mail, "554 5.3.2 shutting down", Retry);
        check(Rcpt, "550 5.7.1 Service refused, please try later. OFR_999", Retry);
        check(Rcpt, "554 5.2.122 x", Retry);
        check(Rcpt, "550 5.2.121 x", Retry);
        check(Rcpt, "550 Domain x has exceeded the max emails per hour. Discarded", Retry);
        check(Rcpt, "550 Mail quota exceeded for this domain: too many messages per hour", Retry);
        check(Rcpt, "524 5.2.4 Mailing list expansion problem", Fail);
        check(Rcpt, "550 5.1.1 User unknown, try again later", Fail);
        check(Rcpt, "552 5.2.2 Mailbox full, try again later", Fail);
        check(Final, "554 5.7.1 Looks like spam, try again later", Fail);
    }

    /// Whom a text is about besides the server that says it.
    #[test]
    fn others_trouble_slows_nobody_down() {
        check(Rcpt, "450 4.3.2 Recipient's mail server temporarily unavailable", Retry);
        check(Rcpt, "450 4.1.1 undeliverable: host x said: 421 Too many connections", Retry);
        check(Final, "451 timeout exceeded while scanning", Retry);
        check(Final, "550 5.7.1 Too many spam reports about you, closing connection", Fail);
        check(Final, "554 too many Received headers; connection closed", Fail);
        check(Final, "550 too many URLs; session logged", Fail);
        check(Mail, "552 5.3.4 Message size exceeds maximum number of 10 MB per session", Fail);
        check(Rcpt, "550 5.1.1 <\"daily limit exceeded\"@x>: User unknown", Fail);
        check(Rcpt, "550 5.1.1 <\"too many connections\"@x>: User unknown", Fail);
    }

    /// Q64, Q65.
    #[test]
    fn connections_that_have_had_enough_are_replaced() {
        check(Mail, "421 too many messages in this connection", Reconnect);
        check(Mail, "451 exceeded maximum number of messages per connection", Reconnect);
        check(Mail, "451 4.4.2 Timeout - closing connection", Reconnect);
        check(Final, "554 connection timed out", Fail);
        check(Final, "421 4.4.2 timeout exceeded", Reconnect);
        check(Idle, "421 4.4.2 timeout exceeded", Reconnect);
        check(Reset, "554 too many nonmail commands", Reconnect);
        check(Quit, "221 bye", Proceed);
    }

    /// REP-19, REP-20, Q33, Q34.
    #[test]
    fn recipients_too_many_are_split_off() {
        check(Rcpt, "452 4.5.3 too many recipients", Split);
        check(Rcpt, "552 5.5.3 too many recipients", Split);
        check(Rcpt, "552 Too many recipients", Split);
        check(Rcpt, "552", Split);
        check(Rcpt, "452", Split);
        check(Rcpt, "451 4.3.0 Multiple destination domains per transaction", Split);
        check(Rcpt, "552 5.2.2 mailbox full", Fail);
        check(Rcpt, "552 Mailbox full", Fail);
        check(Rcpt, "452 4.5.3 Your message has too many recipients. See sending limits", Split);
        check(Rcpt, "450 4.5.3 Recipient limit of 100 per session reached", Split);
        check(Rcpt, "452 4.5.3 Maximum number of recipients per session exceeded", Split);
        check(Final, "452 4.5.3 too many recipients", Retry);
        check(Final, "554 5.5.3 too many recipients", Fail);
    }

    /// Q38, Q39.
    #[test]
    fn greylisting_takes_minutes() {
        check(Rcpt, "450 4.2.0 Greylisted", Greylist);
        check(Rcpt, "451 4.7.1 Try again later", Greylist);
        check(Final, "451 4.7.1 Greylisted", Greylist);
        check(Rcpt, "450 4.3.0 try later", Retry);
    }

    /// Whatever 4yz: only a password transition needs somebody to look at the credentials.
    #[test]
    fn transient_replies_hold_no_account() {
        for code in (400..500).filter(|code| *code != 432) {
            for text in ["", "4.7.8 x", "4.7.12 x", "4.5.6 x", "4.7.9 authentication failed"] {
                check(Auth, &format!("{code} {text}"), BackOff);
            }
        }
    }

    /// AUTH-09, AUTH-10, Q61, Q62.
    #[test]
    fn accounts_are_held_or_left_alone_for_a_while() {
        check(Auth, "535 5.7.8 authentication failed", HoldAccount);
        check(Auth, "534 5.7.9 mechanism too weak", HoldAccount);
        check(Auth, "538 5.7.11 encryption required", HoldAccount);
        check(Auth, "432 4.7.12 A password transition is needed", HoldAccount);
        check(Auth, "432 4.3.2 Concurrent connections limit exceeded", LimitConnections);
        check(Auth, "432 4.3.2 sender thread limit exceeded", LimitConnections);
        check(Auth, "432 4.3.2", BackOff);
        check(Mail, "432 4.3.2", SlowDown);
        check(Auth, "454 4.7.0 Temporary authentication failure", BackOff);
        check(Auth, "454 4.7.0 Too many login attempts, please try again later", BackOff);
        check(Auth, "421 4.7.0 Too many login attempts", BackOff);
        check(Auth, "535 login frequency limited", HoldAccount);
        // What passes is no reason to fail a whole queue.
        check(Auth, "454 4.7.8 Error: authentication failed: temporary backend failure", BackOff);
        check(Auth, "550 5.7.1 Too many failed login attempts, try again in 10 minutes", BackOff);
        check(Auth, "535 5.7.8 too many failed login attempts, try again later", BackOff);
        check(Auth, "535 5.7.8 Connection lost to authentication server", BackOff);
        check(Auth, "550 internal error", BackOff);
        check(Auth, "554 internal server error", BackOff);
    }

    /// CONN-04, CONN-05, Q68, NULLMX-01.
    #[test]
    fn servers_are_held_or_left_alone_for_a_while() {
        check(Greeting, "220 mx.example.org", Proceed);
        check(Greeting, "450 4.3.2 busy", BackOff);
        check(Greeting, "421 4.3.2 busy", BackOff);
        check(Greeting, "554 5.7.1 you are on a list", HoldServer);
        check(Greeting, "554 Service temporarily unavailable, please try again later", BackOff);
        check(Greeting, "554 Server overloaded, try later", BackOff);
        check(Greeting, "554 5.7.1 no reverse DNS, mend it and try again", HoldServer);
        check(Greeting, "550 Access temporarily denied", BackOff);
        check(Hello, "554 internal server error", BackOff);
        check(Greeting, "521 host does not accept mail", HoldServer);
        check(Greeting, "554 mx.example.org ESMTP not accepting connections", BackOff);
        check(Greeting, "550 Connection frequency limited", BackOff);
        check(Hello, "550 5.7.1 bad name", HoldServer);
        check(StartTls, "454 4.7.0 TLS not available", BackOff);
        check(StartTls, "502 not implemented", BackOff);
        check(Rcpt, "556 5.1.10 Recipient address has null MX", Fail);
        check(Mail, "550 5.7.27 Sender address has null MX", Fail);
        check(Rcpt, "550 5.7.17 Mailbox owner has changed", Fail);
    }
}
