//! The rows.

use Example::{Aborted, Garbage, Injected, Lacks, Lost, Objected, Said, Timeout, Unconnected};
use Stage::{
    Auth, Connect, Content, Data, Final, Greeting, Hello, Idle, Mail, Quit, Rcpt, Reset, StartTls,
    Tls,
};
use Verdict::{Delivered, Failed, InDoubt};
use posthaste_session::{Objection, Requirement, Stage};

use super::{Example, Row, Standing};
use crate::failure::{Charge, Closed, ConnectFailure, Greylisting, Lesson, Part, Verdict, Weight};
use crate::planner::Answer;

const COUNTED: Verdict = Verdict::Again(Charge::Counted);
const THROTTLED: Verdict = Verdict::Again(Charge::Throttled);
const FAILURE: Closed = Closed::Failure(Weight::Single);
const ABSENT: Closed = Closed::Absent(Weight::Single);

/// Something that happens at these stages, with no effects so far.
const fn row(number: u8, stages: &'static [Stage], what: &'static str) -> Row {
    Row {
        number,
        stages,
        what,
        mail: None,
        answer: Answer::Nothing,
        end: None,
        lesson: Lesson::Nothing,
        examples: &[],
        standing: Standing::Here,
    }
}

/// What a mail costs that was interrupted in its envelope, or in its content.
const fn interrupted(part: Part) -> Verdict {
    Verdict::Again(Charge::Interrupted(part))
}

impl Row {
    const fn mail(self, verdict: Verdict, answer: Answer) -> Self {
        Self { mail: Some(verdict), answer, ..self }
    }

    const fn ends(self, closed: Closed) -> Self {
        Self { end: Some(closed), ..self }
    }

    const fn teaches(self, lesson: Lesson) -> Self {
        Self { lesson, ..self }
    }

    const fn such_as(self, examples: &'static [Example]) -> Self {
        Self { examples, ..self }
    }

    const fn differs(self, why: &'static str) -> Self {
        Self { standing: Standing::Differs(why), ..self }
    }

    const fn elsewhere(self, whose: &'static str) -> Self {
        Self { standing: Standing::Elsewhere(whose), ..self }
    }

    const fn missing(self, what: &'static str) -> Self {
        Self { standing: Standing::Missing(what), ..self }
    }
}

/// All rows, in the order of a session.
pub static TABLE: &[Row] = &[
    row(1, &[Connect], "the DNS does not answer").missing("there is no routing by DNS"),
    row(2, &[Connect], "the domain does not exist").missing("there is no routing by DNS"),
    row(3, &[Connect], "the domain takes no mail (RFC 7505)").missing("there is no routing by DNS"),
    row(4, &[Connect], "nobody listens, or there is no way").ends(ABSENT).such_as(&[
        Unconnected(ConnectFailure::Refused),
        Unconnected(ConnectFailure::Unreachable),
        Unconnected(ConnectFailure::Resolve),
    ]),
    row(5, &[Connect], "nobody answers in time")
        .ends(Closed::Absent(Weight::Double))
        .teaches(Lesson::Overloaded)
        .such_as(&[Unconnected(ConnectFailure::Timeout)]),
    row(6, &[Connect], "this machine lacks descriptors, ports, or the source address")
        .ends(Closed::Local)
        .such_as(&[Unconnected(ConnectFailure::Local)]),
    row(7, &[Greeting], "too many connections")
        .ends(Closed::TooManyConnections)
        .teaches(Lesson::Ceiling)
        .such_as(&[
            Said(Greeting, "421 4.7.0 Too many concurrent SMTP connections; try later"),
            Said(Greeting, "451 4.7.651 too many connections from your IP"),
            Said(Greeting, "421 Trop de connexions OFR005_104"),
            Said(Greeting, "554 too many connections"),
        ]),
    row(8, &[Greeting], "the server takes no mail for now")
        .ends(FAILURE)
        .such_as(&[Said(Greeting, "450 4.7.1 try later"), Said(Greeting, "451 hm")]),
    row(8, &[Greeting], "the server has too much to do")
        .ends(FAILURE)
        .teaches(Lesson::Overloaded)
        .such_as(&[
            Said(Greeting, "450 4.3.2 busy"),
            Said(Greeting, "554 temporarily deferred, try again later"),
        ]),
    row(8, &[Greeting], "the server closes")
        .ends(Closed::Shutdown)
        .differs(
            "A failure by the book, whatever else works; here only if the connection was of no \
             use, which one that is greeted so always is as long as there is mail.",
        )
        .such_as(&[Said(Greeting, "421 mx.example.org closing")]),
    row(9, &[Greeting], "the server wants no mail from here").ends(Closed::Unwelcome).such_as(&[
        Said(Greeting, "554 5.7.1 you are on a list"),
        Said(Greeting, "521 no mail here"),
    ]),
    row(10, &[Greeting], "nobody who speaks SMTP")
        .ends(ABSENT)
        .such_as(&[Lost(Greeting), Garbage(Greeting)]),
    row(10, &[Greeting], "silence instead of a greeting")
        .ends(ABSENT)
        .teaches(Lesson::Overloaded)
        .such_as(&[Timeout(Greeting)]),
    row(11, &[Hello], "EHLO, and HELO after it, is refused for now")
        .ends(FAILURE)
        .such_as(&[Said(Hello, "450 4.7.1 bad name"), Said(Hello, "451 local error")]),
    row(11, &[Hello], "EHLO, and HELO after it, is refused for good")
        .ends(Closed::Unwelcome)
        .differs(
            "A failure as any by the book; but as little as a greeting with 5yz does it change \
             within seconds.",
        )
        .such_as(&[Said(Hello, "550 5.7.1 bad name")]),
    row(12, &[StartTls, Tls], "TLS is broken, and optional").elsewhere(
        "The session goes on in the clear, or the connector connects again without TLS.",
    ),
    row(12, &[StartTls], "STARTTLS is refused, and TLS demanded").ends(FAILURE).such_as(&[
        Said(StartTls, "454 4.7.0 TLS not available"),
        Said(StartTls, "500 5.5.1 unknown command"),
    ]),
    row(12, &[StartTls], "STARTTLS is not offered, and TLS demanded")
        .ends(Closed::Requirement)
        .such_as(&[Lacks(Requirement::Tls)]),
    row(12, &[Tls], "the handshake fails, and TLS is demanded")
        .ends(ABSENT)
        .such_as(&[Unconnected(ConnectFailure::Tls)]),
    row(13, &[Tls], "the certificate proves nothing")
        .ends(Closed::Requirement)
        .differs(
            "Costs each mail an attempt by the book; but none was tried, and the setting says \
             whether they wait or fail.",
        )
        .such_as(&[Unconnected(ConnectFailure::Certificate)]),
    row(14, &[Auth], "the credentials are not accepted").ends(Closed::Credentials).such_as(&[
        Said(Auth, "535 5.7.8 authentication failed"),
        Said(Auth, "534 5.7.9 mechanism too weak"),
        Said(Auth, "432 4.7.12 a password transition is needed"),
    ]),
    row(14, &[Auth], "no mechanism in common, or none without TLS")
        .ends(Closed::Requirement)
        .such_as(&[Lacks(Requirement::AuthMechanism), Lacks(Requirement::TlsForAuth)]),
    row(15, &[Auth], "authentication is not possible for now").ends(FAILURE).such_as(&[
        Said(Auth, "454 4.7.0 temporary failure"),
        Said(Auth, "535 5.7.8 temporary internal error"),
    ]),
    row(15, &[Auth], "too many logins: each further one lengthens the lock")
        .ends(Closed::Failure(Weight::Double))
        .such_as(&[
            Said(Auth, "454 4.7.0 Too many login attempts"),
            Said(Auth, "535 login frequency limited, too many login attempts"),
        ]),
    row(15, &[Auth], "too many connections of this account")
        .ends(Closed::TooManyConnections)
        .teaches(Lesson::Ceiling)
        .such_as(&[Said(Auth, "432 4.3.2 Concurrent connections limit exceeded")]),
    row(15, &[Auth], "the server closes")
        .ends(Closed::Shutdown)
        .such_as(&[Said(Auth, "421 4.7.0 closing")]),
    row(16, &[Mail], "the server closes")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Shutdown)
        .teaches(Lesson::PerhapsSessionCap)
        .such_as(&[Said(Mail, "421 closing transmission channel")]),
    row(16, &[Mail], "the server closes, since it has too much to do")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Shutdown)
        .teaches(Lesson::Overloaded)
        .such_as(&[Said(Mail, "421 4.3.2 all server ports are busy")]),
    row(16, &[Mail], "the server waited for too long")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Shutdown)
        .such_as(&[Said(Mail, "421 4.4.2 timeout exceeded")]),
    row(17, &[Mail], "too many connections")
        .mail(THROTTLED, Answer::Throttled)
        .teaches(Lesson::Ceiling)
        .such_as(&[Said(Mail, "450 4.7.0 Too many concurrent connections")]),
    row(17, &[Mail], "too many connections, and the server closes")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::TooManyConnections)
        .teaches(Lesson::Ceiling)
        .such_as(&[Said(Mail, "421 Too many concurrent SMTP connections")]),
    row(17, &[Mail], "too much mail").mail(THROTTLED, Answer::Throttled).such_as(&[
        Said(Mail, "451 4.7.1 rate limit exceeded"),
        Said(Mail, "454 Throttling failure: Maximum sending rate exceeded."),
        Said(Mail, "452 4.3.2 Connection rate limit exceeded"),
    ]),
    row(17, &[Mail], "too much mail, and the server closes")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Throttled)
        .such_as(&[Said(Mail, "421 4.7.28 unusual rate of mail")]),
    row(17, &[Mail], "the server has too much to do")
        .mail(THROTTLED, Answer::Throttled)
        .teaches(Lesson::Overloaded)
        .such_as(&[
            Said(Mail, "450 4.3.2 system not accepting connections"),
            Said(Mail, "452 4.4.5 server busy"),
        ]),
    row(17, &[Mail], "too much mail from this sender, or for good by the code")
        .mail(COUNTED, Answer::Refused)
        .differs(
            "Free by the book; but others may send, so that a sender who is always told so would \
             go round for ever.",
        )
        .such_as(&[Said(Mail, "550 Sender frequency limited")]),
    row(17, &[Mail], "too much mail, for good by the code")
        .mail(COUNTED, Answer::Throttled)
        .differs("Free by the book; but what is called a refusal for good must come to an end.")
        .such_as(&[Said(Mail, "550 Ip frequency limited")]),
    row(17, &[Mail], "the connection is used up, if not closed yet")
        .mail(interrupted(Part::Envelope), Answer::Exhausted)
        .such_as(&[Said(Mail, "451 4.4.2 Timeout - closing connection")]),
    row(18, &[Mail], "the server is in trouble")
        .mail(COUNTED, Answer::Deferred)
        .teaches(Lesson::PerhapsSessionCap)
        .differs(
            "Five mails in a row that are deferred make a failure by the book; here they slow all \
             mail down, which also stops the connections that are open.",
        )
        .such_as(&[
            Said(Mail, "452 4.3.1 no space"),
            Said(Mail, "451 4.3.0 local error"),
            Said(Mail, "451 hm"),
        ]),
    row(18, &[Mail], "the sender is not liked for now").mail(COUNTED, Answer::Refused).such_as(&[
        Said(Mail, "450 4.1.8 <a@b.test>: Sender address rejected: Domain not found"),
        Said(Mail, "450 4.7.26 SPF failed"),
    ]),
    row(19, &[Mail], "the sender is refused").mail(Failed, Answer::Refused).such_as(&[
        Said(Mail, "550 5.7.1 sender refused"),
        Said(Mail, "553 Mail from must equal authorized user"),
    ]),
    row(20, &[Mail], "a parameter is not understood")
        .mail(Failed, Answer::Refused)
        .differs(
            "Sent again without optional parameters by the book; but only such are used as the \
             server offers, and 5yz is not repeated.",
        )
        .such_as(&[
            Said(Mail, "555 5.5.4 unsupported parameter"),
            Said(Mail, "501 5.5.4 syntax error in parameters"),
        ]),
    row(21, &[Rcpt], "the recipient is accepted")
        .differs(
            "A success of the server by the book; but what it is for is to take the content, and \
             many refuse only then.",
        )
        .such_as(&[Said(Rcpt, "250 2.1.5 ok"), Said(Rcpt, "251 will forward")]),
    row(22, &[Rcpt], "too many recipients")
        .mail(Verdict::Again(Charge::Split), Answer::Refused)
        .teaches(Lesson::RecipientCap)
        .such_as(&[
            Said(Rcpt, "452 4.5.3 Error: too many recipients"),
            Said(Rcpt, "552 5.5.3 too many recipients"),
            Said(Rcpt, "452 Too many recipients"),
            Said(Rcpt, "552"),
        ]),
    row(22, &[Rcpt], "recipients of several domains")
        .mail(Verdict::Again(Charge::Split), Answer::Refused)
        .such_as(&[Said(Rcpt, "451 4.3.0 Multiple destination domains per transaction")]),
    row(23, &[Rcpt, Final], "greylisted")
        .mail(Verdict::Greylisted(Greylisting::Said), Answer::Refused)
        .such_as(&[
            Said(Rcpt, "450 4.7.1 Greylisted, come back later"),
            Said(Rcpt, "451 4.7.1 <a@b>: Recipient: Greylisting in action"),
            Said(Final, "451 4.7.1 Greylisted"),
        ]),
    row(23, &[Rcpt], "perhaps greylisted")
        .mail(Verdict::Greylisted(Greylisting::Guessed), Answer::Refused)
        .differs(
            "Only the first 4yz of a sender and recipient by the book; here each without a reason \
             of its own, and the first time it is tried again as early as anything.",
        )
        .such_as(&[Said(Rcpt, "451 4.7.1 please try again"), Said(Rcpt, "450 hm")]),
    row(24, &[Rcpt], "the recipient is deferred").mail(COUNTED, Answer::Refused).such_as(&[
        Said(Rcpt, "450 4.2.1 mailbox is busy"),
        Said(Rcpt, "452 4.2.2 mailbox full"),
        Said(Rcpt, "450 4.2.1 The user is receiving mail too quickly"),
        Said(Rcpt, "450 4.3.0 try later"),
    ]),
    row(24, &[Rcpt], "the recipient is deferred, since there is too much mail")
        .mail(COUNTED, Answer::Throttled)
        .such_as(&[
            Said(Rcpt, "450 4.7.1 rate limit exceeded"),
            Said(Rcpt, "550 Ip frequency limited"),
        ]),
    row(25, &[Rcpt], "the server closes")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Shutdown)
        .differs(
            "A failure when it happens three times in a row by the book; here already when the \
             connection was of no use.",
        )
        .such_as(&[
            Said(Rcpt, "421 4.7.0 too many errors"),
            Said(Rcpt, "421 closing transmission channel"),
        ]),
    row(26, &[Rcpt], "the recipient is refused").mail(Failed, Answer::Refused).such_as(&[
        Said(Rcpt, "550 5.1.1 no such user"),
        Said(Rcpt, "552 5.2.2 mailbox full"),
        Said(Rcpt, "571 x"),
    ]),
    row(26, &[Rcpt], "25 recipients in a row are refused")
        .missing("nobody counts them; servers that mind say 421 after 20, which is row 25"),
    row(27, &[Rcpt], "RCPT is refused because MAIL was")
        .elsewhere("The session gives each recipient what was said to MAIL."),
    row(28, &[Mail, Rcpt], "503 in a pipelined flight, or words about pipelining")
        .mail(Verdict::Again(Charge::Unsent), Answer::Nothing)
        .ends(Closed::Objected)
        .such_as(&[
            Objected(Rcpt, Objection::BadSequence),
            Objected(Mail, Objection::Synchronization),
        ]),
    row(28, &[Rcpt], "503 with nothing pipelined")
        .mail(Failed, Answer::Refused)
        .differs(
            "Out of step and free by the book; but where each command waits for its reply, the \
             reply means what it says.",
        )
        .such_as(&[Said(Rcpt, "503 5.5.1 bad sequence of commands")]),
    row(29, &[Data], "354 although no recipient was accepted")
        .elsewhere("The session sends a dot alone (RFC 2920 section 3.1)."),
    row(30, &[Data], "DATA is refused for now")
        .mail(COUNTED, Answer::Refused)
        .teaches(Lesson::PerhapsSessionCap)
        .such_as(&[Said(Data, "451 4.3.0 try later"), Said(Data, "452 4.3.1 no space")]),
    row(30, &[Data], "DATA is refused for good")
        .mail(Failed, Answer::Refused)
        .such_as(&[Said(Data, "554 5.5.1 no valid recipients"), Said(Data, "550 5.7.1 refused")]),
    row(31, &[Content], "the connection breaks, or hangs, within the content")
        .mail(interrupted(Part::Content), Answer::Nothing)
        .ends(FAILURE)
        .teaches(Lesson::Overloaded)
        .such_as(&[Lost(Content), Timeout(Content)]),
    row(31, &[Content], "the server closes within the content")
        .mail(interrupted(Part::Content), Answer::Nothing)
        .ends(Closed::Shutdown)
        .such_as(&[Said(Content, "421 4.4.2 took too long")]),
    row(32, &[Content], "the server refuses before the end of content")
        .mail(Failed, Answer::Refused)
        .ends(Closed::Unremarkable)
        .such_as(&[Said(Content, "552 5.3.4 too big")]),
    row(32, &[Content], "the server defers before the end of content")
        .mail(COUNTED, Answer::Refused)
        .ends(Closed::Unremarkable)
        .such_as(&[Said(Content, "451 4.3.0 try later")]),
    row(33, &[Final], "the mail is delivered")
        .mail(Delivered, Answer::Accepted)
        .such_as(&[Said(Final, "250 2.0.0 queued as 4711"), Said(Final, "299 ok")]),
    row(34, &[Mail, Data], "the session had its share of mails")
        .mail(interrupted(Part::Envelope), Answer::Exhausted)
        .teaches(Lesson::SessionCap)
        .such_as(&[
            Said(Mail, "451 exceeded maximum number of messages per connection"),
            Said(Mail, "452 4.5.0 Too many messages in this session"),
            Said(Data, "451 4.7.0 Too many messages in this session"),
        ]),
    row(34, &[Final], "the session had its share of mails, and says so behind the content")
        .mail(interrupted(Part::Content), Answer::Exhausted)
        .teaches(Lesson::SessionCap)
        .such_as(&[Said(Final, "451 4.7.0 Too many messages in this session")]),
    row(34, &[Mail, Data], "the session had its share of mails, and the server closes")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Shutdown)
        .teaches(Lesson::SessionCap)
        .such_as(&[
            Said(Mail, "421 too many messages in this connection"),
            Said(Mail, "421 Max message per connection reached, closing transmission channel"),
        ]),
    row(35, &[Final], "the mail is deferred")
        .mail(COUNTED, Answer::Refused)
        .such_as(&[Said(Final, "451 4.3.0 try later"), Said(Final, "450 4.2.0 mailbox busy")]),
    row(35, &[Final], "the mail is deferred, and the server closes")
        .mail(COUNTED, Answer::Nothing)
        .ends(Closed::Shutdown)
        .such_as(&[Said(Final, "421 4.3.0 going down")]),
    row(35, &[Final], "the mail is deferred, since there is too much of it")
        .mail(COUNTED, Answer::Throttled)
        .such_as(&[Said(Final, "451 4.7.1 rate limit exceeded")]),
    row(36, &[Final], "the mail is refused")
        .mail(Failed, Answer::Refused)
        .such_as(&[Said(Final, "550 5.7.1 content refused"), Said(Final, "554 5.6.0 no From")]),
    row(37, &[Final], "the mail is refused over the reputation of its source")
        .mail(Failed, Answer::Refused)
        .teaches(Lesson::Slowed)
        .such_as(&[
            Said(Final, "554 5.7.1 blocked using dnsbl.example.net"),
            Said(Final, "550 5.7.1 poor reputation"),
            Said(Final, "550 5.7.1 unusual rate of unsolicited mail"),
        ]),
    row(37, &[Final], "too much mail, for good by the code")
        .mail(COUNTED, Answer::Throttled)
        .differs("The mail fails by the book; but the server wants less of it, not none (Q40).")
        .such_as(&[Said(Final, "550 rate limit exceeded")]),
    row(38, &[Final], "silence behind the end of content")
        .mail(InDoubt, Answer::Nothing)
        .ends(FAILURE)
        .teaches(Lesson::Overloaded)
        .such_as(&[Timeout(Final)]),
    row(38, &[Final], "the connection breaks behind the end of content")
        .mail(InDoubt, Answer::Nothing)
        .ends(Closed::Broken)
        .such_as(&[Lost(Final)]),
    row(39, &[Final], "one reply for each recipient (RFC 2033)")
        .elsewhere("The session gives each recipient its own, and then it is row 33, 35 or 36."),
    row(40, &[Idle, Reset], "the server closes, or breaks off, between mails")
        .ends(Closed::Unremarkable)
        .such_as(&[Lost(Idle), Lost(Reset), Timeout(Reset), Said(Reset, "554 no")]),
    row(40, &[Idle, Reset], "the server says goodbye between mails")
        .ends(Closed::Shutdown)
        .such_as(&[Said(Idle, "421 4.4.2 timeout exceeded"), Said(Reset, "421 4.3.2 closing")]),
    row(41, &[Quit], "whatever becomes of QUIT")
        .ends(Closed::Unremarkable)
        .such_as(&[Lost(Quit), Timeout(Quit)]),
    row(42, &[], "what is no reply, before the end of content")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Violation)
        .such_as(&[Garbage(Mail), Garbage(Rcpt), Garbage(Data)]),
    row(42, &[], "what is no reply, behind the end of content")
        .mail(InDoubt, Answer::Nothing)
        .ends(Closed::Violation)
        .such_as(&[Garbage(Final)]),
    row(43, &[StartTls], "octets in the clear behind the reply to STARTTLS")
        .ends(Closed::Violation)
        .differs(
            "Logged and no more by the book; but whoever is between here and the server would \
             have it tried again and again.",
        )
        .such_as(&[Injected]),
    row(44, &[], "aborted from here, before the end of content")
        .mail(interrupted(Part::Envelope), Answer::Nothing)
        .ends(Closed::Unremarkable)
        .such_as(&[Aborted(Mail), Aborted(Rcpt)]),
    row(44, &[], "aborted from here, behind the end of content")
        .mail(InDoubt, Answer::Nothing)
        .ends(Closed::Unremarkable)
        .such_as(&[Aborted(Final)]),
    row(45, &[], "a mail's time is over while it is being sent")
        .elsewhere("The planner lets it finish: only mails that wait expire."),
];
