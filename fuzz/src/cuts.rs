//! Where octets are cut.

/// Splits an input into the places to cut at and the octets to be cut: the first octet is the
/// number of cuts, up to seven, and one octet for each follows.
pub(crate) fn split(input: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (Vec::new(), input) };
    let count = usize::from(count % 8).min(rest.len());
    let (cuts, octets) = rest.split_at(count);
    (cuts.to_vec(), octets)
}

/// The ends of the pieces, in order, the last of which is `length`.
pub(crate) fn ends(cuts: &[u8], length: usize) -> Vec<usize> {
    let mut ends: Vec<usize> =
        cuts.iter().map(|&cut| usize::from(cut) * length / 256).chain([length]).collect();
    ends.sort_unstable();
    ends
}
