//! Whether rates are kept: an account of every admission in the window that ends now.

use std::collections::VecDeque;

use posthaste_scheduler::planner::Unit;
use posthaste_scheduler::{DestinationId, LimitScope, NewJob, Rate, ServerId, Time};

/// All rates.
#[derive(Debug, Default)]
pub(super) struct Rates(Vec<Account>);

#[derive(Debug)]
struct Account {
    scope: LimitScope,
    rate: Rate,
    /// What was admitted within the last window.
    admitted: VecDeque<(Time, u64)>,
    sum: u64,
}

impl Rates {
    pub(super) fn add(&mut self, scope: LimitScope, rate: Rate) {
        self.0.push(Account { scope, rate, admitted: VecDeque::new(), sum: 0 });
    }

    /// Nothing was admitted so far.
    pub(super) fn forget(&mut self) {
        for account in &mut self.0 {
            account.admitted.clear();
            account.sum = 0;
        }
    }

    /// A mail is started for so many recipients.
    pub(super) fn mail(&mut self, now: Time, server: ServerId, job: &NewJob, recipients: u64) {
        for account in &mut self.0 {
            if !account.is_about(server, job.destination) && !account.is_about_tenant(job) {
                continue;
            }
            match account.rate.unit {
                Unit::Mails => account.admit(now, 1),
                Unit::Recipients => account.admit(now, recipients),
                Unit::Octets => account.admit(now, job.octets),
                Unit::Connections => {}
            }
        }
    }

    /// A connection is opened.
    pub(super) fn connection(&mut self, now: Time, server: ServerId, destination: DestinationId) {
        for account in &mut self.0 {
            if account.rate.unit == Unit::Connections && account.is_about(server, destination) {
                account.admit(now, 1);
            }
        }
    }
}

impl Account {
    fn is_about(&self, server: ServerId, destination: DestinationId) -> bool {
        match self.scope {
            LimitScope::All => true,
            LimitScope::Destination(id) => id == destination,
            LimitScope::Server(id) => id == server,
            LimitScope::Tenant(_) => false,
        }
    }

    fn is_about_tenant(&self, job: &NewJob) -> bool {
        self.scope == LimitScope::Tenant(job.tenant)
    }

    fn admit(&mut self, now: Time, amount: u64) {
        while let Some(&(then, past)) = self.admitted.front()
            && then + self.rate.per <= now
        {
            self.admitted.pop_front();
            self.sum -= past;
        }
        // It passes if anything would; what is more than there is left is paid for later.
        let fits = self.sum < self.rate.count;
        assert!(fits, "{amount} more than {:?} at {now:?}: {:?}", self.rate, self.admitted);
        self.admitted.push_back((now, amount));
        self.sum += amount;
    }
}
