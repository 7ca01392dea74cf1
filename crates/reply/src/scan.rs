//! Where a line ends.

use memchr::memchr;

/// What comes before the first LF and what comes behind it.
#[inline]
pub(crate) fn split_at_line_feed(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = octets.split_at_checked(line_feed(octets)?)?;
    let (_, behind) = rest.split_first()?;
    Some((before, behind))
}

/// The offset of the first LF.
///
/// Most reply lines are so short that they end before a vectorised search is set up, so the first
/// words are searched here, eight octets at once.
#[inline]
pub(crate) fn line_feed(octets: &[u8]) -> Option<usize> {
    /// Measured: up to about here the words are faster.
    const SHORT: usize = 64;
    let (words, _) = octets.get(..SHORT).unwrap_or(octets).as_chunks();
    for (at, word) in words.iter().enumerate() {
        if let Some(offset) = line_feed_in_word(*word) {
            return Some(at * 8 + offset);
        }
    }
    if octets.len() > SHORT {
        let (_, rest) = octets.split_at_checked(SHORT)?;
        return Some(SHORT + memchr(b'\n', rest)?);
    }
    match octets.last_chunk::<8>() {
        // Overlaps the last word, which has none.
        Some(word) => Some(octets.len() - 8 + line_feed_in_word(*word)?),
        None => octets.iter().position(|&octet| octet == b'\n'),
    }
}

#[inline]
fn line_feed_in_word(word: [u8; 8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const LINE_FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    // The first octet is the lowest. A zero octet sets its high bit; a borrow can only set wrong
    // bits above the first right one.
    let zero_where_found = u64::from_le_bytes(word) ^ LINE_FEEDS;
    let found = zero_where_found.wrapping_sub(LOW) & !zero_where_found & HIGH;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length around the boundaries of word and vector, every place, and neighbours of LF
    /// in value, which a careless bit trick takes for LF.
    #[test]
    fn finds_the_first_line_feed_wherever_it_is() {
        for filler in [0x00, 0x09, 0x0b, 0x8a, 0xff] {
            for length in 0..=80 {
                let mut octets = vec![filler; length];
                assert_eq!(line_feed(&octets), None, "{length} times {filler:#x}");
                for at in (0..length).rev() {
                    octets[at] = b'\n';
                    assert_eq!(line_feed(&octets), Some(at), "{length} times {filler:#x}");
                }
            }
        }
    }
}
