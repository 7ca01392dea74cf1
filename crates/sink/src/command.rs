//! The grammar of one client command (RFC 5321 4.1.1 and its extensions): a line without its CRLF
//! becomes a typed [`Command`] that borrows from it.

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take, take_while, take_while_m_n, take_while1};
use nom::character::complete::u64;
use nom::combinator::{all_consuming, fail, map, opt, recognize, rest, value, verify};
use nom::multi::many0_count;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

/// A client command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `EHLO domain`
    Ehlo(&'a [u8]),
    /// `HELO domain`
    Helo(&'a [u8]),
    /// `LHLO domain` (RFC 2033)
    Lhlo(&'a [u8]),
    /// `MAIL FROM:<reverse-path> [parameters]`; the null reverse-path is an empty path.
    Mail(Path<'a>),
    /// `RCPT TO:<forward-path> [parameters]`
    Rcpt(Path<'a>),
    /// `DATA`
    Data,
    /// `BDAT size [LAST]` (RFC 3030)
    Bdat(Chunk),
    /// `RSET`
    Rset,
    /// `NOOP [text]`
    Noop,
    /// `QUIT`
    Quit,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `AUTH mechanism [initial-response]` (RFC 4954)
    Auth(Auth<'a>),
    /// `XCLIENT attribute=value ...` (Postfix): the attributes behind the verb.
    Xclient(&'a [u8]),
    /// `VRFY text`
    Vrfy,
    /// `HELP [text]`
    Help,
}

/// A path and the parameters behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    /// The mailbox without angle brackets and source route; empty for `<>`.
    pub mailbox: &'a [u8],
    /// The parameters, checked for form.
    pub parameters: Parameters<'a>,
}

/// The header of a BDAT chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command line.
    pub size: u64,
    /// Whether this chunk ends the content.
    pub last: bool,
}

/// The arguments of AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The mechanism's name as sent.
    pub mechanism: &'a [u8],
    /// The initial response as sent: base64, or `=` for an empty one.
    pub initial_response: Option<&'a [u8]>,
}

/// The keyword of a parameter, and its value.
pub type Parameter<'a> = (&'a [u8], Option<&'a [u8]>);

/// ESMTP parameters: `SP keyword ["=" value]`, any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters<'a>(&'a [u8]);

impl<'a> Parameters<'a> {
    /// The parameters as they were sent, blanks between them included.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.trim_ascii_start()
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (rest, item) = parameter(self.0).ok()?;
        self.0 = rest;
        Some(item)
    }
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The verb is not one this server knows: `500`.
    #[error("expected a known command verb")]
    UnknownVerb,
    /// The verb is known and its arguments are not as the grammar wants them: `501`.
    #[error("expected arguments as the grammar of the command has them")]
    Arguments,
}

impl<'a> Command<'a> {
    /// Parses one line, given without its line end.
    ///
    /// # Errors
    ///
    /// [`CommandError`] says whether the verb or its arguments were at fault.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        // Trailing blanks are tolerated: RFC 5321 4.1.1 asks receivers to.
        let line = line.trim_ascii_end();
        let length = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let (verb, arguments) = line.split_at(length);
        let parsed = match Verb::parse(verb).ok_or(CommandError::UnknownVerb)? {
            Verb::Mail => mail(arguments),
            Verb::Rcpt => rcpt(arguments),
            Verb::Bdat => map(bdat, Command::Bdat).parse(arguments),
            Verb::Auth => map(auth, Command::Auth).parse(arguments),
            Verb::Xclient => map(xclient, Command::Xclient).parse(arguments),
            Verb::Ehlo => map(hello_name, Command::Ehlo).parse(arguments),
            Verb::Helo => map(hello_name, Command::Helo).parse(arguments),
            Verb::Lhlo => map(hello_name, Command::Lhlo).parse(arguments),
            Verb::Noop => value(Command::Noop, rest).parse(arguments),
            Verb::Help => value(Command::Help, rest).parse(arguments),
            Verb::Vrfy => value(Command::Vrfy, preceded(tag(" "), word)).parse(arguments),
            Verb::Data => return Self::Data.without(arguments),
            Verb::Rset => return Self::Rset.without(arguments),
            Verb::Quit => return Self::Quit.without(arguments),
            Verb::StartTls => return Self::StartTls.without(arguments),
        };
        match parsed {
            Ok(([], command)) => Ok(command),
            Ok(_) | Err(_) => Err(CommandError::Arguments),
        }
    }

    /// The verb of this command.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Helo(_) => Verb::Helo,
            Self::Lhlo(_) => Verb::Lhlo,
            Self::Mail(_) => Verb::Mail,
            Self::Rcpt(_) => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat(_) => Verb::Bdat,
            Self::Rset => Verb::Rset,
            Self::Noop => Verb::Noop,
            Self::Quit => Verb::Quit,
            Self::StartTls => Verb::StartTls,
            Self::Auth(_) => Verb::Auth,
            Self::Xclient(_) => Verb::Xclient,
            Self::Vrfy => Verb::Vrfy,
            Self::Help => Verb::Help,
        }
    }

    /// This command if nothing follows its verb.
    fn without(self, arguments: &[u8]) -> Result<Self, CommandError> {
        if arguments.is_empty() { Ok(self) } else { Err(CommandError::Arguments) }
    }
}

/// The verbs a session knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the verb of its name")]
pub enum Verb {
    Ehlo,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Quit,
    StartTls,
    Auth,
    Xclient,
    Vrfy,
    Help,
}

impl Verb {
    /// Every verb, in the order of [`Verb::index`].
    pub(crate) const ALL: [Self; 15] = [
        Self::Ehlo,
        Self::Helo,
        Self::Lhlo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Bdat,
        Self::Rset,
        Self::Noop,
        Self::Quit,
        Self::StartTls,
        Self::Auth,
        Self::Xclient,
        Self::Vrfy,
        Self::Help,
    ];

    /// The position in [`Verb::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The verb as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::Lhlo => "LHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Bdat => "BDAT",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Xclient => "XCLIENT",
            Self::Vrfy => "VRFY",
            Self::Help => "HELP",
        }
    }

    /// One comparison of four octets instead of a chain of string compares: commands are most of
    /// what a session does.
    fn parse(verb: &[u8]) -> Option<Self> {
        if let Ok(verb) = <[u8; 4]>::try_from(verb) {
            return match &upper(verb) {
                b"MAIL" => Some(Self::Mail),
                b"RCPT" => Some(Self::Rcpt),
                b"DATA" => Some(Self::Data),
                b"BDAT" => Some(Self::Bdat),
                b"RSET" => Some(Self::Rset),
                b"EHLO" => Some(Self::Ehlo),
                b"HELO" => Some(Self::Helo),
                b"LHLO" => Some(Self::Lhlo),
                b"NOOP" => Some(Self::Noop),
                b"QUIT" => Some(Self::Quit),
                b"AUTH" => Some(Self::Auth),
                b"VRFY" => Some(Self::Vrfy),
                b"HELP" => Some(Self::Help),
                _ => None,
            };
        }
        match verb.to_ascii_uppercase().as_slice() {
            b"STARTTLS" => Some(Self::StartTls),
            b"XCLIENT" => Some(Self::Xclient),
            _ => None,
        }
    }
}

/// These upper-case letters, in any case.
fn letters<'a, const N: usize>(
    expected: &'static [u8; N],
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    verify(take(N), |found: &[u8]| found.first_chunk().is_some_and(|it| upper(*it) == *expected))
}

/// Letters in upper case. Other octets change, too, but none into a letter.
fn upper<const N: usize>(octets: [u8; N]) -> [u8; N] {
    octets.map(|octet| octet & !0x20)
}

/// `" FROM:" Reverse-path [Mail-parameters]`
fn mail(input: &[u8]) -> IResult<&[u8], Command<'_>> {
    let path = alt((value(&b""[..], tag("<>")), angle_path(mailbox)));
    let from = (tag(" "), letters(b"FROM"), tag(":"), opt(tag(" ")));
    let (input, mailbox) = preceded(from, path).parse(input)?;
    let (input, parameters) = parameters(input)?;
    Ok((input, Command::Mail(Path { mailbox, parameters })))
}

/// `" TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [Rcpt-parameters]`
fn rcpt(input: &[u8]) -> IResult<&[u8], Command<'_>> {
    let path = angle_path(alt((mailbox, tag_no_case("postmaster"))));
    let to = (tag(" "), letters(b"TO"), tag(":"), opt(tag(" ")));
    let (input, mailbox) = preceded(to, path).parse(input)?;
    let (input, parameters) = parameters(input)?;
    Ok((input, Command::Rcpt(Path { mailbox, parameters })))
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`: the source route is accepted and dropped (5321 4.1.1.3).
fn angle_path<'a>(
    inner: impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>>,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    delimited(tag("<"), preceded(opt(source_route), inner), tag(">"))
}

/// `A-d-l = At-domain *( "," At-domain )`
fn source_route(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let hop = || preceded(tag("@"), domain);
    let hops = (hop(), many0_count(preceded(tag(","), hop())));
    recognize(terminated(hops, tag(":"))).parse(input)
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`
fn mailbox(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let local_part = alt((dot_string, quoted_string));
    recognize(separated_pair(local_part, tag("@"), alt((domain, address_literal)))).parse(input)
}

/// `Dot-string = Atom *("." Atom)`, with UTF-8 in atoms (RFC 6531 3.3).
fn dot_string(input: &[u8]) -> IResult<&[u8], &[u8]> {
    dot_separated(&ATOM, input)
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`
fn quoted_string(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let text = take_while1(|b| is_printable(b) && b != b'"' && b != b'\\');
    let pair =
        recognize((tag("\\"), take_while_m_n(1, 1, |b: u8| b.is_ascii() && is_printable(b))));
    recognize(delimited(tag("\""), many0_count(alt((text, pair))), tag("\""))).parse(input)
}

/// `Domain = sub-domain *("." sub-domain)`. Underscores are let through, as servers do.
fn domain(input: &[u8]) -> IResult<&[u8], &[u8]> {
    dot_separated(&LABEL, input)
}

/// Octets of a set, with dots between them. Looked at once, since most of what clients say is
/// addresses.
fn dot_separated<'a>(set: &[bool; 256], input: &'a [u8]) -> IResult<&'a [u8], &'a [u8]> {
    let mut rest = input;
    loop {
        let length = rest.iter().position(|&octet| !set[usize::from(octet)]).unwrap_or(rest.len());
        if length == 0 {
            return fail().parse(input);
        }
        rest = &rest[length..];
        match rest {
            [b'.', behind @ ..] => rest = behind,
            _ => return Ok((rest, &input[..input.len() - rest.len()])),
        }
    }
}

/// `address-literal = "[" ( IPv4 / IPv6 / General ) "]"`
fn address_literal(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let text = take_while1(|b: u8| b.is_ascii_graphic() && !b"[]\\".contains(&b));
    recognize(delimited(tag("["), text, tag("]"))).parse(input)
}

/// `*( SP esmtp-param )`, kept as text and read again by [`Parameters`].
fn parameters(input: &[u8]) -> IResult<&[u8], Parameters<'_>> {
    if input.is_empty() {
        return Ok((input, Parameters(input)));
    }
    map(recognize(many0_count(parameter)), Parameters).parse(input)
}

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]`, with UTF-8 in values (RFC 6531 3.3).
fn parameter(input: &[u8]) -> IResult<&[u8], Parameter<'_>> {
    let keyword = take_while1(|b: u8| b.is_ascii_alphanumeric() || b == b'-');
    let value = take_while1(|b| is_printable(b) && b != b'=' && b != b' ');
    preceded(take_while1(|b| b == b' '), (keyword, opt(preceded(tag("="), value)))).parse(input)
}

/// `bdat-cmd = "BDAT" SP chunk-size [ SP "LAST" ]` (RFC 3030 2)
fn bdat(input: &[u8]) -> IResult<&[u8], Chunk> {
    let last = map(opt(preceded(tag(" "), letters(b"LAST"))), |last| last.is_some());
    map(preceded(tag(" "), (u64, last)), |(size, last)| Chunk { size, last }).parse(input)
}

/// `"XCLIENT" 1*( SP attribute-name "=" attribute-value )`
fn xclient(input: &[u8]) -> IResult<&[u8], &[u8]> {
    fn attribute(input: &[u8]) -> IResult<&[u8], &[u8]> {
        let name = take_while1(|b: u8| b.is_ascii_alphabetic());
        let value = take_while1(|b: u8| b.is_ascii_graphic() && b != b'=');
        recognize((name, tag("="), value)).parse(input)
    }
    let more = many0_count(preceded(tag(" "), attribute));
    preceded(tag(" "), recognize((attribute, more))).parse(input)
}

/// `"AUTH" SP sasl-mech [SP initial-response]` (RFC 4954 8)
fn auth(input: &[u8]) -> IResult<&[u8], Auth<'_>> {
    let mechanism = take_while1(|b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let (input, (mechanism, initial_response)) =
        preceded(tag(" "), (mechanism, opt(preceded(tag(" "), word)))).parse(input)?;
    Ok((input, Auth { mechanism, initial_response }))
}

/// The name in EHLO, HELO and LHLO: anything printable, because a server has to live with what
/// clients call themselves.
fn hello_name(input: &[u8]) -> IResult<&[u8], &[u8]> {
    all_consuming(preceded(tag(" "), word)).parse(input)
}

fn word(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize((take_while1(|b| is_printable(b) && b != b' '), take_while(is_printable)))
        .parse(input)
}

fn is_printable(b: u8) -> bool {
    (0x20..0x7f).contains(&b) || b >= 0x80
}

/// `atext` of RFC 5322 3.2.3 and UTF-8, as a table: it is asked for every octet of every address.
const ATOM: [bool; 256] = octets(b"!#$%&'*+-/=?^_`{|}~");

/// Letters, digits, hyphens and UTF-8.
const LABEL: [bool; 256] = octets(b"-_");

/// Letters, digits, UTF-8 and `others`.
const fn octets(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut b = 0;
    while b < 256 {
        let octet = b as u8;
        set[b] = octet.is_ascii_alphanumeric() || octet >= 0x80;
        b += 1;
    }
    let mut i = 0;
    while i < others.len() {
        set[others[i] as usize] = true;
        i += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command<'_>) {
        assert_eq!(Command::parse(line.as_bytes()), Ok(expected), "{line:?}");
    }

    #[track_caller]
    fn check_mailbox(line: &str, expected: &str) {
        match Command::parse(line.as_bytes()) {
            Ok(Command::Mail(path) | Command::Rcpt(path)) => {
                assert_eq!(String::from_utf8_lossy(path.mailbox), expected, "{line:?}");
            }
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn check_error(line: &str, expected: CommandError) {
        assert_eq!(Command::parse(line.as_bytes()), Err(expected), "{line:?}");
    }

    #[test]
    fn verbs_are_read_in_any_case() {
        check("EHLO client.example", Command::Ehlo(b"client.example"));
        check("ehlo [192.0.2.1]", Command::Ehlo(b"[192.0.2.1]"));
        check("Helo x", Command::Helo(b"x"));
        check("LHLO x", Command::Lhlo(b"x"));
        check("DATA", Command::Data);
        check("data ", Command::Data);
        check("RSET", Command::Rset);
        check("QUIT", Command::Quit);
        check("NOOP", Command::Noop);
        check("noop what ever", Command::Noop);
        check("StartTLS", Command::StartTls);
        check("VRFY someone", Command::Vrfy);
        check("HELP", Command::Help);
    }

    #[test]
    fn paths_lose_brackets_and_source_route() {
        check_mailbox("MAIL FROM:<a@b.example>", "a@b.example");
        check_mailbox("mail from: <a@b.example>", "a@b.example");
        check_mailbox("MAIL FROM:<>", "");
        check_mailbox("RCPT TO:<@one.example,@two.example:u@b.example>", "u@b.example");
        check_mailbox("RCPT TO:<postmaster>", "postmaster");
        check_mailbox("RCPT TO:<\"a \\\"b\"@c.example>", "\"a \\\"b\"@c.example");
        check_mailbox("RCPT TO:<u@[IPv6:2001:db8::1]>", "u@[IPv6:2001:db8::1]");
        check_mailbox("RCPT TO:<jos\u{e9}@b\u{fc}cher.example>", "jos\u{e9}@b\u{fc}cher.example");
    }

    #[test]
    fn parameters_are_keyword_and_value() {
        let line = b"MAIL FROM:<a@b> SIZE=1024 BODY=8BITMIME SMTPUTF8";
        let Ok(Command::Mail(path)) = Command::parse(line) else { panic!() };
        let expected: Vec<(&[u8], Option<&[u8]>)> =
            vec![(b"SIZE", Some(b"1024")), (b"BODY", Some(b"8BITMIME")), (b"SMTPUTF8", None)];
        assert_eq!(path.parameters.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn chunks_have_a_size_and_may_be_last() {
        check("BDAT 0", Command::Bdat(Chunk { size: 0, last: false }));
        check("BDAT 1024 LAST", Command::Bdat(Chunk { size: 1024, last: true }));
        check("bdat 1 last", Command::Bdat(Chunk { size: 1, last: true }));
        for line in ["BDAT", "BDAT x", "BDAT 1 2", "BDAT -1", "BDAT 99999999999999999999"] {
            check_error(line, CommandError::Arguments);
        }
    }

    #[test]
    fn auth_has_a_mechanism_and_perhaps_a_response() {
        let auth =
            |mechanism, initial_response| Command::Auth(Auth { mechanism, initial_response });
        check("AUTH LOGIN", auth(b"LOGIN", None));
        check("AUTH SCRAM-SHA-256 biws", auth(b"SCRAM-SHA-256", Some(b"biws")));
        check("auth external =", auth(b"external", Some(b"=")));
    }

    #[test]
    fn xclient_has_attributes() {
        let attributes = b"NAME=spike.example ADDR=[UNAVAILABLE]";
        check("XCLIENT NAME=spike.example ADDR=[UNAVAILABLE]", Command::Xclient(attributes));
        for line in ["XCLIENT", "XCLIENT NAME", "XCLIENT NAME=", "XCLIENT NAME=a  ADDR=b"] {
            check_error(line, CommandError::Arguments);
        }
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for line in ["", "MAI", "FOO bar", "MAILFROM:<a@b>", "\u{0}"] {
            check_error(line, CommandError::UnknownVerb);
        }
        // IN-07: nothing may follow the closing bracket but parameters.
        for line in [
            "MAIL",
            "MAIL FROM:",
            "MAIL FROM:a@b",
            "MAIL FROM:<a@b>,<c@d>",
            "MAIL FROM:<a@b>SIZE=1",
            "MAIL FROM:<a b@c>",
            "MAIL FROM:<a..b@c>",
            "MAIL FROM:<a@b> SIZE==1",
            "RCPT TO:<>",
            "RCPT TO:<a>",
            "RCPT TO:<a@b\u{1}>",
            "DATA x",
            "QUIT now",
            "RSET x",
            "EHLO",
            "EHLO  ",
            "STARTTLS x",
            "AUTH",
            "VRFY",
        ] {
            check_error(line, CommandError::Arguments);
        }
    }
}
