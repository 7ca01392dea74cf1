//! What a client reported, held against what a server stored.

use std::collections::BTreeMap;

use posthaste_session::{Mail, NotSent, Outcome, PartialRefusal};
use posthaste_sink as sink;

use super::Fate;
use crate::checker::sent_form;

/// All that was reported about each recipient of each mail, in one session or several.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By reverse-path.
    mails: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// As it was first handed in.
    mail: Mail,
    /// By forward-path.
    outcomes: BTreeMap<String, Vec<Said>>,
}

/// An outcome, as far as it does not depend on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The server took it.
    Delivered,
    /// It said no, where and with which code.
    Refused(&'static str, u16),
    /// Nobody has it.
    NotSent(NotSent),
    /// Nobody knows.
    InDoubt,
    /// This server cannot be given it.
    Unsendable,
}

impl Ledger {
    /// Takes down the fates of some mails. A mail may come again with fewer recipients.
    pub fn enter(&mut self, fates: &[Fate]) {
        for fate in fates {
            let (Fate::Kept(mail) | Fate::Unsendable(mail, _)) = fate else { continue };
            let entry = self.entry(mail);
            if matches!(fate, Fate::Unsendable(..)) {
                entry.outcomes.values_mut().for_each(|said| said.push(Said::Unsendable));
            }
        }
        for fate in fates {
            let Fate::Finished(finished) = fate else { continue };
            let entry = self.entry(&finished.mail);
            let paths = finished.mail.envelope.forward_paths();
            for (path, outcome) in paths.iter().zip(&finished.outcomes) {
                let said = entry.outcomes.get_mut(path.as_str()).expect("a recipient it had");
                said.push(Said::of(outcome));
            }
        }
    }

    fn entry(&mut self, mail: &Mail) -> &mut Entry {
        let path = mail.envelope.reverse_path().as_str();
        self.mails.entry(path.to_owned()).or_insert_with(|| {
            let paths = mail.envelope.forward_paths().iter();
            let outcomes = paths.map(|path| (path.as_str().to_owned(), Vec::new())).collect();
            Entry { mail: mail.clone(), outcomes }
        })
    }

    /// The last word about each recipient: reverse-path, forward-path, what was said.
    pub fn last_words(&self) -> Vec<(&str, &str, Option<&Said>)> {
        let entries = self.mails.iter();
        let words = entries.flat_map(|(reverse, entry)| {
            let said = entry.outcomes.iter();
            said.map(|(forward, said)| (reverse.as_str(), forward.as_str(), said.last()))
        });
        words.collect()
    }

    /// Panics unless what was reported is true of a server that stored these mails, and nothing was
    /// delivered twice.
    pub fn check(&self, stored: &[sink::Mail]) {
        let mut copies: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for stored in stored {
            let entry = self.mails.get(&stored.reverse_path);
            let entry = entry.unwrap_or_else(|| panic!("stored out of nowhere: {stored:?}"));
            assert_eq!(
                stored.content.escape_ascii().to_string(),
                sent_form(&entry.mail).escape_ascii().to_string(),
                "content of <{}>",
                stored.reverse_path
            );
            if entry.mail.partial_refusal == PartialRefusal::AllOrNothing {
                entry.check_all_or_nothing(stored);
            }
            for recipient in &stored.recipients {
                *copies.entry((&stored.reverse_path, recipient)).or_default() += 1;
            }
        }
        for (reverse, entry) in &self.mails {
            for (forward, said) in &entry.outcomes {
                let stored = copies.remove(&(reverse.as_str(), forward.as_str())).unwrap_or(0);
                let delivered = said.iter().filter(|said| **said == Said::Delivered).count();
                let in_doubt = said.iter().filter(|said| **said == Said::InDoubt).count();
                assert!(
                    (delivered..=delivered + in_doubt).contains(&stored),
                    "<{reverse}> to <{forward}> is stored {stored} times, reported: {said:?}"
                );
                assert!(stored <= 1, "<{reverse}> to <{forward}> is stored {stored} times");
            }
        }
        assert!(copies.is_empty(), "stored for others: {copies:?}");
    }
}

impl Entry {
    /// Whoever lacks a mail that is for all was refused at its very end, as only LMTP can do.
    fn check_all_or_nothing(&self, stored: &sink::Mail) {
        let lack = self.outcomes.iter().filter(|(path, _)| !stored.recipients.contains(path));
        for (path, said) in lack {
            let is_refused_last = |said: &Said| match said {
                Said::Refused(stage, _) => *stage == "final",
                Said::InDoubt => true,
                Said::Delivered | Said::NotSent(_) | Said::Unsendable => false,
            };
            assert!(said.iter().any(is_refused_last), "stored for some, and {said:?} for {path}");
        }
    }
}

impl Said {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered(_) => Self::Delivered,
            Outcome::Refused(refusal) => {
                Self::Refused(refusal.stage.as_str(), refusal.reply.code().value())
            }
            Outcome::NotSent(reason) => Self::NotSent(*reason),
            Outcome::InDoubt => Self::InDoubt,
        }
    }
}
