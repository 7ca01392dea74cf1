//! The parameters of MAIL and RCPT, each read by the letter of its extension.

use crate::command::{Parameter, Parameters};
use crate::hello::{FutureRelease, Hello};

/// What the parameters of MAIL say, as far as it matters to a server that delivers nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) size: Option<u64>,
    pub(crate) eight_bit: bool,
    pub(crate) binary: bool,
    pub(crate) utf8: bool,
    /// HOLDFOR or HOLDUNTIL came; the other may not.
    is_held: bool,
}

/// Why a parameter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Its extension is not offered to this client now.
    Unoffered,
    /// Not as its extension defines it, or there twice.
    Form,
    /// Beyond a limit that was stated with the offer.
    BeyondOffer,
}

/// Reads the parameters of MAIL.
pub(crate) fn mail(parameters: Parameters<'_>, offer: &Hello) -> Result<Declared, Wrong> {
    let mut declared = Declared::default();
    each(parameters, |parameter| declared.set(parameter, offer))?;
    Ok(declared)
}

/// Reads the parameters of RCPT in a transaction that declared this.
pub(crate) fn rcpt(
    parameters: Parameters<'_>,
    offer: &Hello,
    declared: Declared,
) -> Result<(), Wrong> {
    each(parameters, |(keyword, value)| match upper(keyword, &mut [0; LONGEST_KEYWORD]) {
        b"NOTIFY" => value.required(offer.dsn, is_notify),
        b"ORCPT" => value.required(offer.dsn, |value| is_original_recipient(value, declared.utf8)),
        b"RRVS" => value.required(offer.offers(b"RRVS"), is_rrvs),
        name => offered(offer.offers(name)),
    })
}

/// Hands each parameter on, and sees to it that none comes twice.
fn each<'a>(
    parameters: Parameters<'a>,
    mut take: impl FnMut(Parameter<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    for (index, parameter) in parameters.enumerate() {
        take(parameter)?;
        let mut earlier = parameters.take(index);
        if earlier.any(|(keyword, _)| keyword.eq_ignore_ascii_case(parameter.0)) {
            return Err(Wrong::Form);
        }
    }
    Ok(())
}

impl Declared {
    fn set(&mut self, (keyword, value): Parameter<'_>, offer: &Hello) -> Result<(), Wrong> {
        match upper(keyword, &mut [0; LONGEST_KEYWORD]) {
            b"SIZE" => {
                // 1*20DIGIT (RFC 1870 section 5); what is beyond 64 bits is too big for anybody.
                let is_size = |value: &[u8]| is_digits(value, 1..=20);
                value.required(offer.size, is_size)?;
                self.size = Some(number(value).unwrap_or(u64::MAX));
                Ok(())
            }
            b"BODY" => self.set_body(value, offer),
            b"SMTPUTF8" => {
                self.utf8 = true;
                value.absent(offer.utf8)
            }
            b"AUTH" => value.required(!offer.mechanisms.is_empty(), is_authority),
            b"RET" => value.required(offer.dsn, |value| is_one_of(value, &["FULL", "HDRS"])),
            b"ENVID" => value.required(offer.dsn, is_envelope_id),
            b"BY" => deliver_by(value, offer.deliver_by),
            b"MT-PRIORITY" => value.required(offer.offers(b"MT-PRIORITY"), is_priority),
            keyword @ (b"HOLDFOR" | b"HOLDUNTIL") => {
                if std::mem::replace(&mut self.is_held, true) {
                    return Err(Wrong::Form);
                }
                hold(keyword, value, offer.future_release.as_ref())
            }
            b"REQUIRETLS" => value.absent(offer.offers(b"REQUIRETLS")),
            keyword => offered(offer.offers(keyword)),
        }
    }

    fn set_body(&mut self, value: Option<&[u8]>, offer: &Hello) -> Result<(), Wrong> {
        let is = |name: &str| value.is_some_and(|value| is_one_of(value, &[name]));
        self.binary = is("BINARYMIME");
        self.eight_bit = self.binary || is("8BITMIME");
        match (self.binary, self.eight_bit) {
            // CHUNK-10: without BDAT there is no way to send it.
            (true, _) => offered(offer.binary && offer.chunking),
            (false, true) => offered(offer.eight_bit),
            (false, false) => value.required(offer.eight_bit, |value| is_one_of(value, &["7BIT"])),
        }
    }
}

/// What a parameter's value may be, provided that its extension is offered.
trait Value {
    fn required(self, is_offered: bool, is_valid: impl FnOnce(&[u8]) -> bool) -> Result<(), Wrong>;
    fn absent(self, is_offered: bool) -> Result<(), Wrong>;
}

impl Value for Option<&[u8]> {
    fn required(self, is_offered: bool, is_valid: impl FnOnce(&[u8]) -> bool) -> Result<(), Wrong> {
        offered(is_offered)?;
        if self.is_some_and(is_valid) { Ok(()) } else { Err(Wrong::Form) }
    }

    fn absent(self, is_offered: bool) -> Result<(), Wrong> {
        offered(is_offered)?;
        if self.is_none() { Ok(()) } else { Err(Wrong::Form) }
    }
}

fn offered(is_offered: bool) -> Result<(), Wrong> {
    if is_offered { Ok(()) } else { Err(Wrong::Unoffered) }
}

/// `by-value = by-time ";" by-mode [by-trace]` (RFC 2852 section 4)
fn deliver_by(value: Option<&[u8]>, offer: Option<u64>) -> Result<(), Wrong> {
    let least = offer.ok_or(Wrong::Unoffered)?;
    let value = value.ok_or(Wrong::Form)?;
    let place = value.iter().position(|&b| b == b';').ok_or(Wrong::Form)?;
    let (time, mode) = (&value[..place], &value[place + 1..]);
    let (is_negative, digits) = match time {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !is_digits(digits, 1..=9) {
        return Err(Wrong::Form);
    }
    if is_one_of(mode, &["N", "NT"]) {
        return Ok(());
    }
    let seconds = number(Some(digits)).unwrap_or(0);
    if !is_one_of(mode, &["R", "RT"]) || is_negative || seconds == 0 {
        return Err(Wrong::Form);
    }
    if seconds < least { Err(Wrong::BeyondOffer) } else { Ok(()) }
}

/// `HOLDFOR=1*9DIGIT` or `HOLDUNTIL=date-time` (RFC 4865 section 4)
fn hold(keyword: &[u8], value: Option<&[u8]>, offer: Option<&FutureRelease>) -> Result<(), Wrong> {
    let offer = offer.ok_or(Wrong::Unoffered)?;
    let value = value.ok_or(Wrong::Form)?;
    let (is_valid, is_within) = if keyword == b"HOLDFOR" {
        let seconds = number(Some(value));
        (is_digits(value, 1..=9), seconds.is_some_and(|seconds| seconds <= offer.longest))
    } else {
        // Times in UTC compare as text.
        (is_date_time(value), offer.latest.is_empty() || value <= offer.latest.as_bytes())
    };
    match (is_valid, is_within) {
        (false, _) => Err(Wrong::Form),
        (true, false) => Err(Wrong::BeyondOffer),
        (true, true) => Ok(()),
    }
}

/// `NEVER`, or a list without repetitions (RFC 3461 section 4.1).
fn is_notify(value: &[u8]) -> bool {
    let mut seen: Vec<&[u8]> = Vec::with_capacity(3);
    let mut is_new = |word: &[u8]| {
        let known = ["SUCCESS", "FAILURE", "DELAY"];
        let is_new = !seen.iter().any(|earlier| earlier.eq_ignore_ascii_case(word));
        seen.push(known.iter().find(|name| is_one_of(word, &[name])).map_or(b"", |n| n.as_bytes()));
        is_new && is_one_of(word, &known)
    };
    is_one_of(value, &["NEVER"]) || value.split(|&b| b == b',').all(&mut is_new)
}

/// `addr-type ";" xtext`, at most 500 octets (RFC 3461 section 4.2); with the type `utf-8`, the forms
/// of RFC 6533 section 3.
fn is_original_recipient(value: &[u8], is_utf8_allowed: bool) -> bool {
    let Some(place) = value.iter().position(|&b| b == b';') else { return false };
    let (kind, address) = (&value[..place], &value[place + 1..]);
    let is_kind = !kind.is_empty() && kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let is_address = if is_one_of(kind, &["UTF-8"]) {
        is_utf8_address(address, is_utf8_allowed)
    } else {
        decode_xtext(address).is_some_and(|decoded| !decoded.is_empty() && is_printable(&decoded))
    };
    value.len() <= 500 && is_kind && is_address
}

/// `1*(QCHAR / EmbeddedUnicodeChar)`, and UTF-8 itself if it is allowed.
fn is_utf8_address(address: &[u8], is_utf8_allowed: bool) -> bool {
    let Ok(mut rest) = std::str::from_utf8(address) else { return false };
    if rest.is_empty() {
        return false;
    }
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => {
                let embedded = rest.strip_prefix("\\x{").and_then(|rest| rest.split_once('}'));
                let Some((digits, _)) = embedded else { return false };
                let is_hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                if !digits.bytes().all(is_hex) || code.is_none_or(char::is_control) {
                    return false;
                }
                digits.len() + 4
            }
            '+' | '=' => return false,
            '!'..='~' => 1,
            c if is_utf8_allowed && !c.is_ascii() => c.len_utf8(),
            _ => return false,
        };
        rest = &rest[length..];
    }
    true
}

/// xtext of at most 100 octets that is printable when decoded (RFC 3461 section 4.4).
fn is_envelope_id(value: &[u8]) -> bool {
    value.len() <= 100 && decode_xtext(value).is_some_and(|decoded| is_printable(&decoded))
}

/// `<>` or a mailbox as xtext (RFC 4954 section 5).
fn is_authority(value: &[u8]) -> bool {
    let is_mailbox = |decoded: Vec<u8>| decoded.contains(&b'@') && is_printable(&decoded);
    value == b"<>" || decode_xtext(value).is_some_and(is_mailbox)
}

/// `["-"] NZDIGIT / "0"` (RFC 6710 section 4)
fn is_priority(value: &[u8]) -> bool {
    matches!(value, b"0" | [b'1'..=b'9'] | [b'-', b'1'..=b'9'])
}

/// `date-time [";" ("C" / "R")]` (RFC 7293 section 3.1)
fn is_rrvs(value: &[u8]) -> bool {
    let place = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let (time, action) = value.split_at(place);
    is_date_time(time) && (action.is_empty() || is_one_of(&action[1..], &["C", "R"]))
}

/// `2030-01-31T12:00:00Z`, with `+hh:mm` or `-hh:mm` instead of the Z (RFC 3339 section 5.6).
fn is_date_time(value: &[u8]) -> bool {
    let Some((time, zone)) = value.split_at_checked(19) else { return false };
    let fits = |text: &[u8], form: &[u8]| {
        let fits =
            |(b, form): (&u8, &u8)| if *form == b'0' { b.is_ascii_digit() } else { b == form };
        text.len() == form.len() && text.iter().zip(form).all(fits)
    };
    let two = |at: usize| number(time.get(at..at + 2)).unwrap_or(99);
    fits(time, b"0000-00-00T00:00:00")
        && (1..=12).contains(&two(5))
        && (1..=31).contains(&two(8))
        && two(11) <= 23
        && two(14) <= 59
        && two(17) <= 60
        && (zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

/// The octets that xtext stands for (RFC 3461 section 4); `None` if it is none.
pub(crate) fn decode_xtext(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'+' => {
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                let digit = |b: u8| match b {
                    b'0'..=b'9' => Some(b - b'0'),
                    b'A'..=b'F' => Some(b - b'A' + 10),
                    _ => None,
                };
                octets.push(digit(digits[0])? * 16 + digit(digits[1])?);
                rest = behind;
            }
            b'=' => return None,
            b'!'..=b'~' => octets.push(*first),
            _ => return None,
        }
    }
    Some(octets)
}

fn is_printable(octets: &[u8]) -> bool {
    octets.iter().all(|b| (b' '..=b'~').contains(b))
}

fn is_digits(value: &[u8], length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

fn number(digits: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(digits?).ok()?.parse().ok()
}

fn is_one_of(value: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()))
}

/// A keyword in upper case; one that is longer than any that is known here, as it is.
fn upper<'a>(keyword: &'a [u8], buffer: &'a mut [u8; LONGEST_KEYWORD]) -> &'a [u8] {
    let Some(buffer) = buffer.get_mut(..keyword.len()) else { return keyword };
    buffer.copy_from_slice(keyword);
    buffer.make_ascii_uppercase();
    buffer
}

/// Octets of MT-PRIORITY.
const LONGEST_KEYWORD: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::config::Config;

    const ALL: &str = "DELIVERBY=240,MT-PRIORITY,FUTURERELEASE=600 2030-01-01T00:00:00Z,\
                       AUTH=PLAIN,RRVS,REQUIRETLS,X-OWN";

    fn read(line: &str, offer: &str) -> Result<Declared, Wrong> {
        let config = Config { offer: offer.parse().unwrap(), ..Config::default() };
        let offer = Hello::new(&config, config.keywords(true));
        match Command::parse(line.as_bytes()).unwrap() {
            Command::Mail(path) => mail(path.parameters, &offer),
            Command::Rcpt(path) => {
                rcpt(path.parameters, &offer, Declared::default()).map(|()| Declared::default())
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(parameters: &str, expected: Result<(), Wrong>) {
        let is_of_rcpt =
            ["notify", "NOTIFY", "ORCPT", "RRVS"].iter().any(|name| parameters.starts_with(name));
        let path = if is_of_rcpt { "RCPT TO:<a@b>" } else { "MAIL FROM:<a@b>" };
        let line = format!("{path} {parameters}");
        assert_eq!(read(&line, ALL).map(|_| ()), expected, "{line}");
    }

    /// DSN-01 to DSN-04.
    #[test]
    fn dsn() {
        for good in [
            "NOTIFY=NEVER",
            "notify=success,Failure,DELAY",
            "NOTIFY=DELAY ORCPT=rfc822;a+2Bb@c",
            "ORCPT=utf-8;j\\x{FC}rgen@c",
            &format!("ORCPT=rfc822;{}", "a".repeat(493)),
            "RET=FULL ENVID=a+20b",
            "ret=hdrs",
            &format!("ENVID={}", "a".repeat(100)),
        ] {
            check(good, Ok(()));
        }
        for bad in [
            "NOTIFY",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=DELAY,DELAY",
            "NOTIFY=DELAY,",
            "NOTIFY=ALWAYS",
            "NOTIFY=NEVER NOTIFY=NEVER",
            "ORCPT=a@b",
            "ORCPT=;a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+b@c",
            "ORCPT=rfc822;a+2bb@c",
            "ORCPT=rfc822;a+00@c",
            "ORCPT=utf-8;\u{fc}@c",
            "ORCPT=utf-8;a+2B@c",
            "ORCPT=utf-8;\\x{fc}@c",
            &format!("ORCPT=rfc822;{}", "a".repeat(494)),
            "RET=ALL",
            "ENVID=+0A",
            &format!("ENVID={}", "a".repeat(101)),
        ] {
            check(bad, Err(Wrong::Form));
        }
    }

    /// DLVBY-01, FUTREL-01, MTPRI-01, AUTH-16, RRVS-01.
    #[test]
    fn when_and_how() {
        for good in [
            "BY=240;R",
            "BY=999999999;rt",
            "BY=-5;N",
            "BY=0;NT",
            "HOLDFOR=600",
            "HOLDUNTIL=2029-12-31T23:59:60Z",
            "MT-PRIORITY=-9",
            "MT-PRIORITY=0",
            "AUTH=<>",
            "AUTH=e+3Dmc2@example.com",
            "RRVS=2014-04-03T23:01:00Z;C",
            "SIZE=99999999999999999999",
            "REQUIRETLS",
            "X-OWN=anything",
        ] {
            check(good, Ok(()));
        }
        for bad in [
            "BY=0;R",
            "BY=-1;R",
            "BY=1234567890;N",
            "BY=240",
            "BY=240;X",
            "HOLDFOR=1234567890",
            "HOLDFOR=1 HOLDUNTIL=2029-12-31T23:59:59Z",
            "HOLDUNTIL=2029-13-31T23:59:59Z",
            "HOLDUNTIL=2029-12-31",
            "MT-PRIORITY=10",
            "MT-PRIORITY=-0",
            "MT-PRIORITY=+1",
            "REQUIRETLS=1",
            "AUTH=a@b+c",
            "AUTH=a",
            "RRVS=2014-04-03T23:01:00Z;X",
            "SIZE=100000000000000000000",
            "SIZE=-1",
            "BODY=9BIT",
            "SMTPUTF8=1",
        ] {
            check(bad, Err(Wrong::Form));
        }
        for beyond in ["BY=239;R", "HOLDFOR=601", "HOLDUNTIL=2030-01-01T00:00:01Z"] {
            check(beyond, Err(Wrong::BeyondOffer));
        }
    }

    /// EHLO-13, CHUNK-10: whatever is not offered is refused, however well-formed.
    #[test]
    fn nothing_is_taken_that_is_not_offered() {
        let none = "-SIZE,-8BITMIME,-SMTPUTF8,-CHUNKING,-DSN";
        for parameter in [
            "SIZE=1",
            "BODY=8BITMIME",
            "BODY=7BIT",
            "BODY=BINARYMIME",
            "SMTPUTF8",
            "AUTH=<>",
            "RET=FULL",
            "ENVID=a",
            "BY=240;N",
            "MT-PRIORITY=1",
            "HOLDFOR=1",
            "REQUIRETLS",
            "X-OWN",
        ] {
            let line = format!("MAIL FROM:<a@b> {parameter}");
            assert_eq!(read(&line, none), Err(Wrong::Unoffered), "{line}");
        }
        for parameter in ["NOTIFY=NEVER", "ORCPT=rfc822;a@b", "RRVS=x", "X-OWN"] {
            let line = format!("RCPT TO:<a@b> {parameter}");
            assert_eq!(read(&line, none), Err(Wrong::Unoffered), "{line}");
        }
    }
}
