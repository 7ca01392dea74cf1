//! The grammar of a reply.
//!
//! ```abnf
//! ; RFC 5321, 4.2, as it is spoken
//! Reply       = *( Reply-code "-" [ textstring ] line-end )
//!               Reply-code [ SP [ textstring ] ] line-end
//! Reply-code  = %x32-35 2DIGIT
//! textstring  = 1*( %x00-09 / %x0B-FF )
//! line-end    = *2CR LF
//! ; RFC 3463, 2; at the start of a textstring as in RFC 2034, 4
//! status-code = class "." subject "." detail
//! class       = "2" / "4" / "5"
//! subject     = 1*3DIGIT
//! detail      = 1*3DIGIT
//! ```

// The parsers of what each line has are always inlined: measured, else their results are copied on
// the way out, which costs more than the parsing.

use nom::bytes::complete::take;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;

/// What a parser found, or nothing: where a reason is wanted, the framer gives it.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

const FAILED: nom::Err<()> = nom::Err::Error(());

/// One line of a reply, behind its code.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) is_last: bool,
    /// Ended by LF without CR.
    pub(crate) has_bare_lf: bool,
    /// Without code, separator and line end.
    pub(crate) text: &'a [u8],
}

/// One line of a reply, up to its LF and no further.
#[inline(always)]
pub(crate) fn line(input: &[u8]) -> Parsed<'_, (ReplyCode, Line<'_>)> {
    (reply_code, behind_code).parse(input)
}

/// A line that was read before.
#[inline(always)]
pub(crate) fn known_line(input: &[u8]) -> Parsed<'_, Line<'_>> {
    preceded(take(3_usize), behind_code).parse(input)
}

/// `Reply-code`
#[inline(always)]
fn reply_code(input: &[u8]) -> Parsed<'_, ReplyCode> {
    let (&digits, input) = input.split_first_chunk().ok_or(FAILED)?;
    let code = ReplyCode::from_digits(digits).ok_or(FAILED)?;
    Ok((input, code))
}

/// `( "-" / SP ) [ textstring ] line-end`, or `line-end`
#[inline(always)]
fn behind_code(input: &[u8]) -> Parsed<'_, Line<'_>> {
    // What nearly all lines are, in one look. Measured: without it a reply of twelve lines takes a fifth longer.
    if let [separator @ (b'-' | b' '), text @ .., b'\r', b'\n'] = input
        && !text.ends_with(b"\r")
    {
        return Ok((&[], Line { is_last: *separator == b' ', has_bare_lf: false, text }));
    }
    let (has_bare_lf, line) = match input {
        [line @ .., b'\r', b'\r', b'\n'] => (false, line),
        [line @ .., b'\r', b'\n'] => (false, line),
        [line @ .., b'\n'] => (true, line),
        _ => return Err(FAILED),
    };
    let (is_last, text) = match line {
        [b'-', text @ ..] => (false, text),
        [b' ', text @ ..] => (true, text),
        [] => (true, line),
        _ => return Err(FAILED),
    };
    Ok((&[], Line { is_last, has_bare_lf, text }))
}

/// `status-code` at the start of a line's text, after any blanks and before a blank or the end.
///
/// A token that only starts like one (`5.7.1.`, `5.1000.1`) is text.
#[inline(always)]
pub(crate) fn leading_status_code(text: &[u8]) -> Parsed<'_, EnhancedStatusCode> {
    if let Ok(found) = short_status_code(text) {
        return Ok(found);
    }
    let (rest, code) = status_code(skip_blanks(text))?;
    if rest.first().is_none_or(is_blank) { Ok((rest, code)) } else { Err(FAILED) }
}

/// Whether a text that begins with this octet may begin with a [status code](leading_status_code).
#[inline(always)]
pub(crate) fn may_start_status_code(first: u8) -> bool {
    matches!(first, b'2' | b'4' | b'5') || is_blank(&first)
}

/// `class "." DIGIT "." DIGIT` before SP, as nearly all are. Measured: a third of the time that
/// the grammar takes.
#[inline(always)]
fn short_status_code(text: &[u8]) -> Parsed<'_, EnhancedStatusCode> {
    let value = |digit: u8| u32::from(digit - b'0');
    match text {
        [
            class @ (b'2' | b'4' | b'5'),
            b'.',
            subject @ b'0'..=b'9',
            b'.',
            detail @ b'0'..=b'9',
            rest @ ..,
        ] if rest.first() == Some(&b' ') => {
            let code = EnhancedStatusCode::new(value(*class), value(*subject), value(*detail));
            Ok((rest, code.ok_or(FAILED)?))
        }
        _ => Err(FAILED),
    }
}

/// `status-code`
#[inline(always)]
pub(crate) fn status_code(input: &[u8]) -> Parsed<'_, EnhancedStatusCode> {
    let (input, class) = class(input)?;
    let (input, (subject, detail)) = subject_and_detail(input)?;
    Ok((input, EnhancedStatusCode::new(class, subject, detail).ok_or(FAILED)?))
}

/// `"." subject "." detail`
fn subject_and_detail(input: &[u8]) -> Parsed<'_, (u32, u32)> {
    (preceded(dot, number), preceded(dot, number)).parse(input)
}

/// `class`
#[inline(always)]
fn class(input: &[u8]) -> Parsed<'_, u32> {
    match input {
        [digit @ (b'2' | b'4' | b'5'), rest @ ..] => Ok((rest, u32::from(digit - b'0'))),
        _ => Err(FAILED),
    }
}

#[inline(always)]
fn dot(input: &[u8]) -> Parsed<'_, ()> {
    match input {
        [b'.', rest @ ..] => Ok((rest, ())),
        _ => Err(FAILED),
    }
}

/// `subject` or `detail`: `1*3DIGIT`
#[inline(always)]
fn number(input: &[u8]) -> Parsed<'_, u32> {
    let (mut input, mut number) = digit(input)?;
    for _ in 0..2 {
        let Ok((rest, next)) = digit(input) else { break };
        (input, number) = (rest, number * 10 + next);
    }
    Ok((input, number))
}

#[inline(always)]
fn digit(input: &[u8]) -> Parsed<'_, u32> {
    match input {
        [digit @ b'0'..=b'9', rest @ ..] => Ok((rest, u32::from(digit - b'0'))),
        _ => Err(FAILED),
    }
}

/// SP or HTAB, which servers mix.
pub(crate) fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Without the blanks at the start.
#[inline]
fn skip_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Without the blanks at both ends.
#[inline]
pub(crate) fn trim_blanks(text: &[u8]) -> &[u8] {
    let mut text = skip_blanks(text);
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: Option<(u8, u16, u16)>, rest: &str) {
        let expected = code.map(|numbers| (rest, EnhancedStatusCode::try_from(numbers).unwrap()));
        let found = leading_status_code(text.as_bytes()).ok();
        let found = found.map(|(rest, code)| (str::from_utf8(rest).unwrap(), code));
        assert_eq!(found, expected, "{text:?}");
    }

    /// REP-23, RF-15.
    #[test]
    fn status_codes_start_a_text() {
        check("5.7.1", Some((5, 7, 1)), "");
        check("5.7.1 no", Some((5, 7, 1)), " no");
        check("5.7.1\tno", Some((5, 7, 1)), "\tno");
        check(" \t4.999.0  x", Some((4, 999, 0)), "  x");
        check("2.0.010 x", Some((2, 0, 10)), " x");
    }

    /// REP-23, RF-15, Q43.
    #[test]
    fn other_tokens_are_text() {
        for text in [
            "",
            " ",
            "5",
            "5.",
            "5.7",
            "5.7.",
            "5..1",
            "5.7.1.",
            "5.7.1.1",
            "5.7.1x",
            "5.7.1:",
            "05.1.1",
            "5.1000.1",
            "5.1.1000",
            "5.99999999999.1",
            "3.1.1",
            "1.1.1",
            "6.1.1",
            "+5.1.1",
            "5.+1.1",
            "5.-1.1",
            "5 .1.1",
            "5. 1.1",
            "#5.1.0",
            "(#5.1.1)",
            "x 5.1.1",
            "٥.١.١",
        ] {
            check(text, None, "");
        }
    }
}
