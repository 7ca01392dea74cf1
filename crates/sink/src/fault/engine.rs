//! Which rule applies, and how often it did.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{FaultRule, Scope};
use crate::mail::Envelope;
use crate::server::{address_hash, lock};
use crate::stage::Stage;

/// The rules of a sink, and what all its sessions count for them.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Vec<Counted>,
    /// The rules of each stage, so that a stage without any costs one look.
    by_stage: [Vec<usize>; Stage::ALL.len()],
}

#[derive(Debug)]
struct Counted {
    rule: FaultRule,
    seen: AtomicU64,
    seen_by_address: Mutex<HashMap<u64, u64>>,
    applied: AtomicU64,
}

/// What one session counts for the rules, and its source of chance.
#[derive(Debug)]
pub(crate) struct SessionFaults {
    seen: Vec<u64>,
    rng: fastrand::Rng,
}

/// Something that a rule may apply to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) stage: Stage,
    /// For how long the sink has run.
    pub(crate) age: Duration,
    /// The envelope of the transaction; at MAIL and RCPT, with what the command would add apart.
    pub(crate) envelope: &'a Envelope,
    /// The reverse-path where it is not in the envelope yet.
    pub(crate) reverse_path: Option<&'a [u8]>,
    /// The recipient it is about; without one, any of the envelope fits.
    pub(crate) recipient: Option<&'a [u8]>,
}

impl Faults {
    pub(crate) fn new(rules: &[FaultRule]) -> Self {
        let mut by_stage: [Vec<usize>; Stage::ALL.len()] = Default::default();
        for (index, rule) in rules.iter().enumerate() {
            by_stage[rule.stage as usize].push(index);
        }
        let counted = |rule: &FaultRule| Counted {
            rule: rule.clone(),
            seen: AtomicU64::new(0),
            seen_by_address: Mutex::default(),
            applied: AtomicU64::new(0),
        };
        Self { rules: rules.iter().map(counted).collect(), by_stage }
    }

    /// What a new session needs; `seed` decides its chances.
    pub(crate) fn session(&self, seed: u64) -> SessionFaults {
        SessionFaults { seen: vec![0; self.rules.len()], rng: fastrand::Rng::with_seed(seed) }
    }

    pub(crate) fn any_at(&self, stage: Stage) -> bool {
        !self.by_stage[stage as usize].is_empty()
    }

    /// The first rule that applies, counted as applied.
    pub(crate) fn choose(
        &self,
        occasion: &Occasion<'_>,
        session: &mut SessionFaults,
    ) -> Option<&FaultRule> {
        let mut indices = self.by_stage[occasion.stage as usize].iter();
        let index = indices.find(|&&index| self.rules[index].applies(index, occasion, session))?;
        let counted = &self.rules[*index];
        counted.applied.fetch_add(1, Relaxed);
        Some(&counted.rule)
    }

    /// The text of each rule that applied, and how often it did.
    pub(crate) fn applied(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.rules.iter().map(|c| (c.rule.text(), c.applied.load(Relaxed)));
        counts.filter(|(_, applied)| *applied > 0)
    }
}

impl Counted {
    fn applies(&self, index: usize, occasion: &Occasion<'_>, session: &mut SessionFaults) -> bool {
        let when = &self.rule.when;
        if when.until.is_some_and(|until| occasion.age >= until) {
            return false;
        }
        let reverse_path = occasion.reverse_path.unwrap_or(occasion.envelope.reverse_path());
        if when.from.as_ref().is_some_and(|glob| !glob.matches(reverse_path)) {
            return false;
        }
        let mut recipients = occasion.envelope.recipients();
        let recipient = match (&when.rcpt, occasion.recipient) {
            (None, recipient) => recipient.or_else(|| recipients.next()),
            (Some(glob), Some(recipient)) => Some(recipient).filter(|r| glob.matches(r)),
            (Some(glob), None) => recipients.find(|r| glob.matches(r)),
        };
        if when.rcpt.is_some() && recipient.is_none() {
            return false;
        }
        let time = match when.per {
            Scope::Sink => Some(self.seen.fetch_add(1, Relaxed)),
            Scope::Connection => {
                session.seen[index] += 1;
                Some(session.seen[index] - 1)
            }
            Scope::Recipient => self.count_address(recipient.unwrap_or_default()),
            Scope::ReversePath => self.count_address(reverse_path),
        };
        let Some(time) = time.and_then(|time| time.checked_sub(when.after)) else { return false };
        if when.first.is_some_and(|first| time >= first) {
            return false;
        }
        if when.every.is_some_and(|every| (time + 1) % every != 0) {
            return false;
        }
        when.probability.is_none_or(|probability| session.rng.f64() < probability)
    }

    /// How often this address was counted before; `None` if there are too many to count.
    fn count_address(&self, address: &[u8]) -> Option<u64> {
        let mut seen = lock(&self.seen_by_address);
        let key = address_hash(address);
        if seen.len() >= MAX_ADDRESSES && !seen.contains_key(&key) {
            return None;
        }
        let times = seen.entry(key).or_default();
        *times += 1;
        Some(*times - 1)
    }
}

/// Addresses one rule counts for; a rule takes no notice of further ones. Enough for a run with a
/// million recipients, at 16 octets each.
const MAX_ADDRESSES: usize = 1 << 20;
