//! The one look that content gets: at memory speed, as long as nothing is wrong with it.

use memchr::{memchr, memchr_iter};

use super::{ContentError, MAX_LINE};

/// What a look at whole octets has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Octets above 127.
    pub(super) has_8bit: bool,
    /// A dot that begins a line.
    pub(super) has_dots: bool,
}

/// Checks that octets are lines that end in CRLF, of which none is too long, and none has a NUL in it.
pub(super) fn check(octets: &[u8]) -> Result<Findings, ContentError> {
    look::<ANY>(octets)
}

/// Checks that, and that they are header fields: whole lines, and none of them empty.
pub(super) fn check_fields(octets: &[u8]) -> Result<Findings, ContentError> {
    let findings = look::<FIELDS>(octets)?;
    if octets.starts_with(b"\r") || !octets.ends_with(b"\n") {
        return Err(ContentError::NotFields);
    }
    Ok(findings)
}

/// Octets among which a line end is looked for: so few that a line that is too long leaves one such block at least
/// without any.
const BLOCK: usize = MAX_LINE / 64 * 32;

const ANY: bool = false;
const FIELDS: bool = true;

fn look<const KIND: bool>(octets: &[u8]) -> Result<Findings, ContentError> {
    // Each octet is looked at with the one before it, and before the first one a line begins.
    let Some((&first, followers)) = octets.split_first() else { return Ok(Findings::default()) };
    let mut all = Pairs::default();
    all.see_one::<KIND>(b'\n', first);
    let mut may_have_long_lines = false;
    for (before, after) in octets.chunks(BLOCK).zip(followers.chunks(BLOCK)) {
        let mut block = Pairs::default();
        block.see_all::<KIND>(before, after);
        may_have_long_lines |= after.len() == BLOCK && any(block.line_feeds) == 0;
        all.add(&block);
    }
    if any(all.wrong) != 0 || octets.ends_with(b"\r") || may_have_long_lines {
        check_each_line(octets)?;
    }
    if any(all.empty_lines) != 0 {
        return Err(ContentError::NotFields);
    }
    Ok(Findings { has_8bit: !any(all.octets).is_ascii(), has_dots: any(all.dots) != 0 })
}

/// Octets that are looked at together: as many as a machine instruction takes everywhere.
const LANES: usize = 16;

/// Neither does it end a line, nor begin one, nor stand for anything.
const FILLER: u8 = b'a';

/// What pairs of octets have, by their place among [`LANES`]: 1 where one of them has it. As numbers and without
/// branches, because then the compiler finds machine instructions that look at many pairs at once.
#[derive(Clone, Copy, Default)]
struct Pairs {
    /// A NUL, a CR without an LF, or an LF without a CR.
    wrong: [u8; LANES],
    /// A dot behind an LF.
    dots: [u8; LANES],
    line_feeds: [u8; LANES],
    /// A CR behind an LF; in fields only.
    empty_lines: [u8; LANES],
    /// All octets in one.
    octets: [u8; LANES],
}

impl Pairs {
    /// Sees octets, each with the one before it.
    #[inline]
    fn see_all<const KIND: bool>(&mut self, before: &[u8], octets: &[u8]) {
        let (before, _) = before.split_at(octets.len());
        let (all_before, _) = before.as_chunks();
        let (all_octets, rest) = octets.as_chunks();
        for (before, octets) in all_before.iter().zip(all_octets) {
            self.see::<KIND>(before, octets);
        }
        match (before.last_chunk(), octets.last_chunk()) {
            _ if rest.is_empty() => {}
            // Some for the second time, which makes no difference.
            (Some(before), Some(octets)) => self.see::<KIND>(before, octets),
            _ => before.iter().zip(octets).for_each(|(&before, &octet)| {
                self.see_one::<KIND>(before, octet);
            }),
        }
    }

    #[inline]
    fn see_one<const KIND: bool>(&mut self, before: u8, octet: u8) {
        let (mut all_before, mut all_octets) = ([FILLER; LANES], [FILLER; LANES]);
        (all_before[0], all_octets[0]) = (before, octet);
        self.see::<KIND>(&all_before, &all_octets);
    }

    #[inline]
    fn see<const KIND: bool>(&mut self, before: &[u8; LANES], octets: &[u8; LANES]) {
        for lane in 0..LANES {
            let (before, octet) = (before[lane], octets[lane]);
            let is_lf = u8::from(octet == b'\n');
            let is_after_lf = u8::from(before == b'\n');
            self.wrong[lane] |= u8::from(before == b'\r') ^ is_lf | u8::from(octet == 0);
            self.dots[lane] |= is_after_lf & u8::from(octet == b'.');
            self.line_feeds[lane] |= is_lf;
            if KIND == FIELDS {
                self.empty_lines[lane] |= is_after_lf & u8::from(octet == b'\r');
            }
            self.octets[lane] |= octet;
        }
    }

    #[inline]
    fn add(&mut self, other: &Self) {
        for lane in 0..LANES {
            self.wrong[lane] |= other.wrong[lane];
            self.dots[lane] |= other.dots[lane];
            self.line_feeds[lane] |= other.line_feeds[lane];
            self.empty_lines[lane] |= other.empty_lines[lane];
            self.octets[lane] |= other.octets[lane];
        }
    }
}

/// What any of them has.
#[inline]
fn any(lanes: [u8; LANES]) -> u8 {
    lanes.into_iter().fold(0, |all, lane| all | lane)
}

/// The same line by line, to say what is wrong and where, if anything is.
fn check_each_line(octets: &[u8]) -> Result<(), ContentError> {
    if let Some(at) = memchr(0, octets) {
        return Err(ContentError::Nul { at });
    }
    let (mut lines, mut start) = (0, 0);
    for lf in memchr_iter(b'\n', octets) {
        // A slice ending in the LF always has the octet before it, unless the LF is the first of all.
        let Some(b'\r') = lf.checked_sub(1).and_then(|before| octets.get(before)) else {
            return Err(ContentError::BareLf { at: lf });
        };
        lines += 1;
        check_line(lines, (lf - 1).saturating_sub(start))?;
        start = lf + 1;
    }
    if let Some(at) = bare_cr(octets) {
        return Err(ContentError::BareCr { at });
    }
    check_line(lines + 1, octets.len() - start)
}

fn check_line(line: usize, octets: usize) -> Result<(), ContentError> {
    if octets > MAX_LINE {
        return Err(ContentError::LongLine { line, octets });
    }
    Ok(())
}

fn bare_cr(octets: &[u8]) -> Option<usize> {
    memchr_iter(b'\r', octets).find(|cr| octets.get(cr + 1) != Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// What is said of many octets at once is what is said of each line.
        #[test]
        fn both_looks_agree(
            lines in proptest::collection::vec("[a.]{0,3}|[a\0ü\r\n.]{0,3}|\\.{495,505}|b{990,1002}", 0..6),
            last in "[a.]{0,3}|\r|\n|c{990,1002}",
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let octets = [text.as_bytes(), last.as_bytes()].concat();
            let has_dots = octets.split_inclusive(|&octet| octet == b'\n').any(|line| line[0] == b'.');
            let expected = Findings { has_8bit: !octets.is_ascii(), has_dots };
            proptest::prop_assert_eq!(check(&octets), check_each_line(&octets).map(|()| expected));
        }
    }
}
