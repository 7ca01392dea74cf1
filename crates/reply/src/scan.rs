//! Where a line ends.

/// The offset behind the first LF that is not before `start`.
///
/// Lines of replies are so short that a vectorised search costs more to set up than it saves, so
/// eight octets at once are enough.
#[inline(always)]
pub(crate) fn line_end(octets: &[u8], start: usize) -> Option<usize> {
    let mut rest = octets.get(start..)?;
    let last_word = rest.last_chunk();
    while let Some((word, behind)) = rest.split_first_chunk() {
        if let Some(at) = line_feed_in_word(*word) {
            return Some(octets.len() - rest.len() + at + 1);
        }
        rest = behind;
    }
    match last_word {
        // Overlaps the word before it, which has none.
        Some(word) => Some(octets.len() - word.len() + line_feed_in_word(*word)? + 1),
        None => {
            let at = rest.iter().position(|&octet| octet == b'\n')?;
            Some(octets.len() - rest.len() + at + 1)
        }
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
                assert_eq!(line_end(&octets, 0), None, "{length} times {filler:#x}");
                for at in (0..length).rev() {
                    octets[at] = b'\n';
                    for start in 0..=at {
                        let end = line_end(&octets, start);
                        assert_eq!(end, Some(at + 1), "{length} times {filler:#x} from {start}");
                    }
                }
            }
        }
    }
}
