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

use memchr::memchr;
use nom::bytes::complete::{tag, take, take_while, take_while_m_n};
use nom::combinator::{map_opt, peek, rest, verify};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use crate::code::ReplyCode;
use crate::enhanced::EnhancedStatusCode;

/// What a parser found, or nothing: where it is worth an explanation, the framer gives it.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

/// One line of a reply.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) code: ReplyCode,
    pub(crate) is_last: bool,
    /// Ended by LF without CR.
    pub(crate) has_bare_lf: bool,
    /// Without code, separator and line end.
    pub(crate) text: &'a [u8],
}

/// `Reply-code ( "-" / SP ) [ textstring ] line-end`, or `Reply-code line-end`.
#[inline]
pub(crate) fn line(input: &[u8]) -> Parsed<'_, Line<'_>> {
    let (input, (code, (text, has_bare_lf))) = (reply_code, up_to_line_end).parse(input)?;
    let (is_last, text) = match text.split_first() {
        None => (true, text),
        Some((b' ', text)) => (true, text),
        Some((b'-', text)) => (false, text),
        Some(_) => return Err(nom::Err::Error(())),
    };
    Ok((input, Line { code, is_last, has_bare_lf, text }))
}

/// `Reply-code`
#[inline]
fn reply_code(input: &[u8]) -> Parsed<'_, ReplyCode> {
    map_opt(take(3_usize), |digits: &[u8]| ReplyCode::from_digits(digits.try_into().ok()?))
        .parse(input)
}

/// What comes before `line-end`, and whether that is an LF alone.
///
/// A CR elsewhere is text like any other octet.
#[inline]
fn up_to_line_end(input: &[u8]) -> Parsed<'_, (&[u8], bool)> {
    let line_feed = memchr(b'\n', input).ok_or(nom::Err::Error(()))?;
    let (line, rest) = input.split_at(line_feed);
    let rest = rest.get(1..).unwrap_or_default();
    Ok((
        rest,
        match line {
            [text @ .., b'\r', b'\r'] | [text @ .., b'\r'] => (text, false),
            text => (text, true),
        },
    ))
}

/// `status-code` at the start of a line's text, after any blanks and before a blank or the end.
///
/// A token that only starts like one (`5.7.1.`, `5.1000.1`) is text.
#[inline]
pub(crate) fn leading_status_code(text: &[u8]) -> Parsed<'_, EnhancedStatusCode> {
    let token_end = verify(rest, |rest: &[u8]| rest.first().is_none_or(is_blank));
    delimited(blanks, status_code, peek(token_end)).parse(text)
}

/// `status-code`
#[inline]
pub(crate) fn status_code(input: &[u8]) -> Parsed<'_, EnhancedStatusCode> {
    let class = map_opt(take(1_usize), |class: &[u8]| match class {
        b"2" => Some(2),
        b"4" => Some(4),
        b"5" => Some(5),
        _ => None,
    });
    let numbers = (class, preceded(tag(&b"."[..]), number), preceded(tag(&b"."[..]), number));
    map_opt(numbers, |numbers| EnhancedStatusCode::try_from(numbers).ok()).parse(input)
}

/// `1*3DIGIT`
#[inline]
fn number(input: &[u8]) -> Parsed<'_, u16> {
    take_while_m_n(1, 3, |octet: u8| octet.is_ascii_digit())
        .map(|digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .parse(input)
}

#[inline]
fn blanks(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(|octet| is_blank(&octet)).parse(input)
}

/// SP or HTAB, which servers mix.
pub(crate) fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Without the blanks at both ends.
pub(crate) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
