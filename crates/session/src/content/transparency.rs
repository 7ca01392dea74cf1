//! Dots that begin a line, doubled (RFC 5321 section 4.5.2).

use memchr::memmem;

/// More line-initial dots than one in this many octets, and a stuffed copy is cheaper than slices:
/// below it a slice would be smaller than what a system call spends on handling it.
const OCTETS_PER_SLICE: usize = 256;

/// More of them than one in this many octets, and it is cheaper to copy octet by octet than line by line.
const OCTETS_PER_COPY: usize = 24;

/// How the dots at line starts are doubled.
pub(super) enum Transparency {
    /// There are none.
    Clean,
    /// Offsets of the few there are.
    Sparse(Box<[usize]>),
    /// So many that a copy with all of them doubled is cheaper.
    Dense(Box<[u8]>),
}

impl Transparency {
    /// Of octets that have dots at line starts, lines being what ends in LF.
    pub(super) fn of_dotted(octets: &[u8]) -> Self {
        let dots = count(octets);
        if dots > octets.len() / OCTETS_PER_COPY {
            Self::Dense(stuff_each(octets, dots))
        } else if dots > octets.len() / OCTETS_PER_SLICE {
            Self::Dense(stuff_lines(octets, dots))
        } else {
            Self::Sparse(offsets(octets).collect())
        }
    }
}

/// How many there are.
fn count(octets: &[u8]) -> usize {
    let is_first = usize::from(octets.starts_with(b"."));
    let after = octets.get(1..).unwrap_or_default();
    let blocks = octets.chunks(BLOCK).zip(after.chunks(BLOCK));
    let in_block = |(before, after): (&[u8], &[u8])| {
        let pairs = before.iter().zip(after);
        let dots =
            pairs.map(|(&before, &after)| u8::from(before == b'\n') & u8::from(after == b'.'));
        usize::from(dots.fold(0, u8::wrapping_add))
    };
    is_first + blocks.map(in_block).sum::<usize>()
}

/// So few that an octet can count them.
const BLOCK: usize = 255;

/// Where they are.
fn offsets(octets: &[u8]) -> impl Iterator<Item = usize> {
    let first = octets.starts_with(b".").then_some(0);
    first.into_iter().chain(memmem::find_iter(octets, b"\n.").map(|lf| lf + 1))
}

fn stuff_lines(octets: &[u8], dots: usize) -> Box<[u8]> {
    let mut stuffed = Vec::with_capacity(octets.len() + dots);
    let mut rest = octets;
    let mut done = 0;
    for dot in offsets(octets) {
        // The one that is doubled begins the next piece.
        let (piece, after) = rest.split_at(dot - done);
        stuffed.extend_from_slice(piece);
        stuffed.push(b'.');
        (rest, done) = (after, dot);
    }
    stuffed.extend_from_slice(rest);
    stuffed.into()
}

fn stuff_each(octets: &[u8], dots: usize) -> Box<[u8]> {
    let mut stuffed = vec![b'.'; octets.len() + dots];
    let mut before = b'\n';
    let mut at = 0;
    for &octet in octets {
        at += usize::from(before == b'\n' && octet == b'.');
        if let Some(place) = stuffed.get_mut(at) {
            *place = octet;
        }
        at += 1;
        before = octet;
    }
    stuffed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_stuff_give_the_same() {
        for text in [".", "..", "a", "\r\n.\r\n..\r\n", ".a.\r\n\r\n.b\r\n.", "\n.\n."] {
            let text = text.repeat(100);
            let expected = text.replace("\n.", "\n..");
            let expected = if text.starts_with('.') { format!(".{expected}") } else { expected };
            let octets = text.as_bytes();
            assert_eq!(count(octets), expected.len() - text.len(), "{text:?}");
            assert_eq!(*stuff_each(octets, count(octets)), *expected.as_bytes(), "{text:?}");
            assert_eq!(*stuff_lines(octets, count(octets)), *expected.as_bytes(), "{text:?}");
        }
    }
}
