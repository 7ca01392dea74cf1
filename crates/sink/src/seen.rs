//! Whether each mail came once, and in order: cheap enough to be looked at in every run.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use twox_hash::XxHash3_64;

use crate::message_id::MessageId;
use crate::server::{address_hash, lock};
use crate::stats::Tally;

/// Which mails each recipient has, by Message-ID.
///
/// The mails of one client are numbered, as a rule: what is kept is a flag for each number, 64 of
/// them under one key. So a run of ten million mails for one recipient takes 5 MB, and neighbours in
/// a flight are entered at once. A Message-ID without a number takes a key of its own.
///
/// Keys are 64 bits of a hash. As many of them as there is room for have a false duplicate once in
/// 40 000 runs; those of ten million numbered mails, once in a thousand million.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Split by key, so that sessions on several cores seldom wait for one another.
    shards: [Mutex<Flags>; SHARDS],
}

type Flags = HashMap<u64, u64, BuildHasherDefault<KeyHasher>>;

/// Mails under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    key: u64,
    flags: u64,
}

/// What mails under one key have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kinship {
    stem: u64,
    recipient: u64,
    /// The number without the bits that choose a flag.
    number: u64,
}

impl Kinship {
    fn key(self) -> u64 {
        let mut octets = [0; 24];
        octets[..8].copy_from_slice(&self.stem.to_le_bytes());
        octets[8..16].copy_from_slice(&self.recipient.to_le_bytes());
        octets[16..].copy_from_slice(&self.number.to_le_bytes());
        XxHash3_64::oneshot(&octets)
    }
}

/// The mails of one session that are not in [`Seen`] yet, and the latest one.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Mails that share their key, and their flags: a flight is entered at once.
    pending: Option<(Kinship, u64)>,
    latest: Option<MessageId>,
    recipient: Recipient,
}

/// The latest recipient: runs of mails have the same one, as a rule.
#[derive(Debug, Default)]
struct Recipient {
    address: Vec<u8>,
    hash: u64,
}

impl Recipient {
    fn hash(&mut self, address: &[u8]) -> u64 {
        if self.address != address {
            self.address.clear();
            self.address.extend_from_slice(address);
            self.hash = address_hash(address);
        }
        self.hash
    }
}

impl Arrivals {
    /// A mail came for these recipients. One without a Message-ID is not told from others.
    pub(crate) fn note<'a>(
        &mut self,
        id: Option<MessageId>,
        recipients: impl Iterator<Item = &'a [u8]>,
        seen: &Seen,
        tally: &mut Tally,
    ) {
        let Some(id) = id else { return };
        let before = self.latest.replace(id).filter(|before| before.stem == id.stem);
        let is_late = before.is_some_and(|before| id.number < before.number);
        tally.message_id(id.digest, is_late);
        let number = id.number.unwrap_or_default();
        for recipient in recipients {
            let recipient = self.recipient.hash(recipient);
            let kinship = Kinship { stem: id.stem, recipient, number: number / 64 };
            let flag = 1 << (number % 64);
            match &mut self.pending {
                Some((pending, flags)) if *pending == kinship => {
                    tally.duplicates(u32::from(*flags & flag != 0));
                    *flags |= flag;
                }
                _ => {
                    self.enter(seen, tally);
                    self.pending = Some((kinship, flag));
                }
            }
        }
    }

    /// Enters what came since, and counts what was there before.
    pub(crate) fn enter(&mut self, seen: &Seen, tally: &mut Tally) {
        let Some((kinship, flags)) = self.pending.take() else { return };
        match seen.enter(Block { key: kinship.key(), flags }) {
            Some(before) => tally.duplicates((before & flags).count_ones()),
            None => tally.unchecked(flags.count_ones()),
        }
    }
}

impl Seen {
    /// The flags that were there before; `None` if there is no room for further keys.
    fn enter(&self, block: Block) -> Option<u64> {
        // The table itself looks at the lowest and the highest bits.
        let mut flags = lock(&self.shards[(block.key >> 32) as usize % SHARDS]);
        if flags.len() >= MAX_KEYS && !flags.contains_key(&block.key) {
            return None;
        }
        let flags = flags.entry(block.key).or_default();
        let before = *flags;
        *flags |= block.flags;
        Some(before)
    }
}

/// Takes a key, which is a hash already, as it is.
#[derive(Debug, Clone, Copy, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, octets: &[u8]) {
        self.0 = XxHash3_64::oneshot_with_seed(self.0, octets);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Several times the cores a sink runs on.
const SHARDS: usize = 16;

/// Keys in a shard: what fits into 2^21 places, so that all shards together take no more than 570 MB.
/// That is 29 million mails without numbers, or up to 64 times as many with.
const MAX_KEYS: usize = 7 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;

    /// What is counted if each session has these mails; one is a Message-ID and its recipients.
    #[track_caller]
    fn check(sessions: &[&[(&str, &[&str])]], duplicates: u64, out_of_order: u64) {
        let (seen, counters) = (Seen::default(), Counters::default());
        for mails in sessions {
            let (mut arrivals, mut tally) = (Arrivals::default(), Tally::default());
            for (id, recipients) in *mails {
                let id = Some(MessageId::new(id.as_bytes()));
                arrivals.note(id, recipients.iter().map(|it| it.as_bytes()), &seen, &mut tally);
            }
            arrivals.enter(&seen, &mut tally);
            counters.add(&mut tally);
        }
        let stats = counters.snapshot();
        let counted = (stats.duplicates, stats.message_ids.out_of_order);
        assert_eq!(counted, (duplicates, out_of_order), "{sessions:?}");
    }

    #[test]
    fn duplicates_are_by_message_id_and_recipient() {
        let b: &[&str] = &["b@y"];
        check(&[&[("<1@x>", b), ("<2@x>", b), ("<63@x>", b), ("<64@x>", b)]], 0, 0);
        check(&[&[("<1@x>", &["b@y", "c@y"]), ("<1@x>", &["c@y", "d@y"])]], 1, 0);
        check(&[&[("<1@x>", b), ("<1@x>", &["B@y", "b@y"])]], 2, 0);
        check(&[&[("<1@x>", b), ("<2@x>", b)], &[("<2@x>", b), ("<3@x>", b)]], 1, 0);
        check(&[&[("<a>", b), ("<b>", b)], &[("<a>", b), ("<c>", b)]], 1, 0);
        check(&[&[("<01@x>", b), ("<1@x>", b), ("<a.1@x>", b), ("<1@y>", b)]], 0, 0);
    }

    #[test]
    fn order_is_that_of_the_numbers_on_a_connection() {
        let b: &[&str] = &["b@y"];
        check(&[&[("<9@x>", b), ("<10@x>", b), ("<11@x>", b)]], 0, 0);
        check(&[&[("<9@x>", b), ("<11@x>", b), ("<10@x>", b), ("<12@x>", b)]], 0, 1);
        // Another client's numbers, and other connections, say nothing.
        check(&[&[("<9@x>", b), ("<1@y>", b)], &[("<8@x>", b)], &[("<z>", b), ("<a>", b)]], 0, 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_apart() {
        let seen = Seen::default();
        for key in 0..MAX_KEYS as u64 {
            assert_eq!(seen.enter(Block { key, flags: 1 }), Some(0));
        }
        let key = MAX_KEYS as u64;
        assert_eq!(seen.enter(Block { key, flags: 1 }), None);
        assert_eq!(seen.enter(Block { key: 0, flags: 3 }), Some(1));
        assert_eq!(seen.enter(Block { key: key | 1 << 32, flags: 1 }), Some(0));
    }
}
