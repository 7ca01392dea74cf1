//! How many mails `stream` may have ahead of the replies.

use crate::config::Window;

/// Mails at the beginning of a session: what the server does not bear costs one mail a round trip, and leaves few in doubt.
const FIRST: u32 = 1;
/// One mail in so many may be refused. A refused envelope costs two errors, one for RCPT and one for BDAT, and Postfix hangs up
/// at 20 with no mail taken in between (`smtpd_hard_error_limit`): ten refusals in a row are unlikely with this share.
const REFUSED_SHARE: u32 = 4;
/// Refused mails that a session may have: Exim takes ten RSETs behind them, and hangs up at the next
/// (`smtp_accept_max_nonmail`) with all that is ahead in doubt.
const MAX_REFUSED: u32 = 10;
/// Refused mails behind which the session ends, before the server ends it: two more may be under way.
const ENOUGH_REFUSED: u32 = 8;

/// The present width of the window: doubled with each window of mails of which none was refused, halved where more than a
/// quarter was.
#[derive(Debug)]
pub(super) struct Opening {
    window: Window,
    mails: u32,
    answered: u32,
    refused: u32,
    /// In the whole session.
    refused_in_all: u32,
}

impl Opening {
    pub(super) fn new(window: Window) -> Self {
        Self { window, mails: FIRST, answered: 0, refused: 0, refused_in_all: 0 }
    }

    pub(super) fn mails(&self) -> usize {
        self.mails as usize
    }

    pub(super) fn octets(&self) -> usize {
        self.window.octets()
    }

    /// A mail was taken.
    pub(super) fn taken(&mut self) {
        self.answered += 1;
        if self.answered < self.mails {
            return;
        }
        let is_clean = self.refused == 0;
        self.resize(if is_clean { self.mails.saturating_mul(2) } else { self.mails });
    }

    /// A mail was refused.
    pub(super) fn refused(&mut self) {
        self.answered += 1;
        self.refused += 1;
        self.refused_in_all = self.refused_in_all.saturating_add(1);
        if self.refused.saturating_mul(REFUSED_SHARE) > self.mails {
            self.resize(self.mails / 2);
        } else if self.answered >= self.mails {
            self.resize(self.mails);
        }
        self.mails = self.mails.min(self.most());
    }

    /// Whether so many mails were refused that the server is likely to hang up.
    pub(super) fn is_spent(&self) -> bool {
        self.refused_in_all >= ENOUGH_REFUSED
    }

    /// The widest that the window may be. Once mails are refused, of one that is full a quarter may be.
    fn most(&self) -> u32 {
        let left = MAX_REFUSED.saturating_sub(self.refused_in_all).max(1);
        let bearable = if self.refused_in_all == 0 { u32::MAX } else { left * REFUSED_SHARE };
        self.window.mails().min(bearable)
    }

    fn resize(&mut self, mails: u32) {
        self.mails = mails.clamp(1, self.most());
        (self.answered, self.refused) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The widths after each answer: `+` taken, `-` refused.
    #[track_caller]
    fn check(most: u32, answers: &str, expected: &[u32]) {
        let mut opening = Opening::new(Window::new(most, 1).unwrap());
        let mut widths = Vec::new();
        for answer in answers.chars() {
            match answer {
                '+' => opening.taken(),
                _ => opening.refused(),
            }
            widths.push(opening.mails);
        }
        assert_eq!(widths, expected, "{answers}");
    }

    #[test]
    fn it_opens_with_what_is_taken_and_closes_with_what_is_refused() {
        check(64, "--", &[1, 1]);
        check(64, "+++++++", &[2, 2, 4, 4, 4, 4, 8]);
        check(3, "+++++++", &[2, 2, 3, 3, 3, 3, 3]);
        check(1, "+++", &[1, 1, 1]);
        // A quarter keeps it, more narrows it at once.
        check(64, "+++-++++++", &[2, 2, 4, 4, 4, 4, 4, 4, 4, 4]);
        check(64, "+++--", &[2, 2, 4, 4, 2]);
        check(64, "+++--+-+", &[2, 2, 4, 4, 2, 2, 1, 2]);
    }

    #[test]
    fn it_leaves_room_for_few_refusals() {
        let mut opening = Opening::new(Window::new(64, 1).unwrap());
        (0..100).for_each(|_| opening.taken());
        let mut widths = Vec::new();
        while !opening.is_spent() {
            opening.refused();
            widths.push(opening.mails());
            (0..100).for_each(|_| opening.taken());
        }
        assert_eq!(widths, [36, 32, 28, 24, 20, 16, 12, 8]);
    }
}
