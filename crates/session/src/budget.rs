//! What a server's LIMITS leave of a session (RFC 9422 section 4).

use std::collections::BTreeSet;

use posthaste_reply::Limits9422;

use crate::address::ForwardPath;
use crate::mail::Envelope;

/// Most domains that are kept track of. A limit above that is none for any real list of recipients of one
/// connection, and memory must not grow with what a server claims.
const MAX_DOMAINS: usize = 1000;

/// What has been used of a session so far.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// MAIL commands sent; refused ones count.
    mails: u32,
    /// The recipients' domains, in lower case, where they are limited.
    domains: BTreeSet<Box<str>>,
}

/// What a session has for a mail, where a limit speaks to it.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// The recipients who must be left to another transaction, by their places, in order.
    pub(crate) withheld: Vec<usize>,
    /// The domains that the others add.
    pub(crate) domains: BTreeSet<Box<str>>,
}

impl Budget {
    pub(crate) fn mail_sent(&mut self) {
        self.mails = self.mails.saturating_add(1);
    }

    /// How many more mails can begin.
    pub(crate) fn mails_left(&self, limits: Limits9422) -> usize {
        let left = limits.mail_max.map(|most| most.saturating_sub(self.mails));
        left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX)
    }

    /// What is left for this mail; `None` where no limit holds anybody up. The limit of domains may be one of the
    /// session or of the transaction; keeping to it in the session keeps to it in both.
    pub(crate) fn share(&self, limits: Limits9422, envelope: &Envelope) -> Option<Share> {
        let most = to_usize(limits.rcpt_max);
        let most_domains = limits.rcpt_domain_max.map(|most| to_usize(Some(most)));
        let most_domains = most_domains.filter(|&most| most <= MAX_DOMAINS);
        if envelope.forward_paths().len() <= most && most_domains.is_none() {
            return None;
        }
        Some(self.share_out(most, most_domains, envelope))
    }

    #[cold]
    fn share_out(&self, most: usize, most_domains: Option<usize>, envelope: &Envelope) -> Share {
        let mut share = Share::default();
        let mut admitted = 0;
        for (place, path) in envelope.forward_paths().iter().enumerate() {
            let fits = admitted < most
                && most_domains.is_none_or(|most| self.has_room_for(path, most, &mut share));
            if fits {
                admitted += 1;
            } else {
                share.withheld.push(place);
            }
        }
        share
    }

    /// Takes note that a mail with these domains is sent.
    pub(crate) fn enter(&mut self, mut domains: BTreeSet<Box<str>>) {
        self.domains.append(&mut domains);
    }

    /// Whether the path's domain is one of those used already, or can become one.
    fn has_room_for(&self, path: &ForwardPath, most: usize, share: &mut Share) -> bool {
        let domain = match path {
            ForwardPath::Postmaster => "",
            ForwardPath::Mailbox(mailbox) => mailbox.domain(),
        };
        let domain = domain.to_ascii_lowercase();
        if self.domains.contains(domain.as_str()) || share.domains.contains(domain.as_str()) {
            return true;
        }
        let has_room = self.domains.len() + share.domains.len() < most;
        if has_room {
            share.domains.insert(domain.into());
        }
        has_room
    }
}

fn to_usize(limit: Option<u32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ReversePath;

    fn envelope(recipients: &str) -> Envelope {
        let paths = recipients.split(' ').map(|path| path.parse::<ForwardPath>().unwrap());
        Envelope::new(ReversePath::Null, paths).unwrap()
    }

    /// The places withheld of a mail to these recipients, which is then sent.
    fn send(budget: &mut Budget, limits: Limits9422, recipients: &str) -> Vec<usize> {
        let share = budget.share(limits, &envelope(recipients)).unwrap_or_default();
        budget.enter(share.domains);
        share.withheld
    }

    #[test]
    fn recipients_beyond_the_limit_are_withheld() {
        // LIM-02
        let limits = Limits9422 { rcpt_max: Some(2), ..Limits9422::default() };
        let mut budget = Budget::default();
        assert_eq!(send(&mut budget, limits, "a@x b@y c@x d@x"), [2, 3]);
        assert!(send(&mut budget, limits, "a@x b@y").is_empty());
    }

    #[test]
    fn domains_are_counted_over_the_session() {
        // LIM-03
        let limits = Limits9422 { rcpt_domain_max: Some(2), ..Limits9422::default() };
        let mut budget = Budget::default();
        assert!(send(&mut budget, limits, "a@X b@x").is_empty());
        // What is only looked at uses nothing up.
        assert!(budget.share(limits, &envelope("a@q")).unwrap().withheld.is_empty());
        assert_eq!(send(&mut budget, limits, "a@y a@z b@x"), [1]);
        assert_eq!(send(&mut budget, limits, "a@z"), [0]);
    }

    #[test]
    fn mails_are_counted() {
        // LIM-01
        let limits = Limits9422 { mail_max: Some(1), ..Limits9422::default() };
        let mut budget = Budget::default();
        assert_eq!(budget.mails_left(limits), 1);
        budget.mail_sent();
        budget.mail_sent();
        assert_eq!(budget.mails_left(limits), 0);
        assert_eq!(budget.mails_left(Limits9422::default()), usize::MAX);
    }
}
