//! A whole run as a value, which prints as it is written.

use std::fmt;
use std::time::Duration;

use posthaste_scheduler::planner::{Place, Unit};
use posthaste_scheduler::{
    Class, DestinationLimits, InDoubtPolicy, LimitScope, PlannerConfig, Rate,
};

use super::{Millis, ServerModel, Simulation};

/// A run: servers, limits, mails, and what happens to them.
#[derive(Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What a mail in doubt means.
    pub in_doubt: InDoubtPolicy,
    /// Where mails go.
    pub destinations: Vec<DestinationPlan>,
    /// The weights of the tenants but for the default one, which has 1.
    pub tenants: Vec<u16>,
    /// Rates.
    pub limits: Vec<LimitPlan>,
    /// Mails.
    pub waves: Vec<Wave>,
    /// Mails that are cancelled, when, by their place in the order of submission.
    pub cancelled: Vec<(Millis, usize)>,
    /// When the planner is drained, and how long it may take.
    pub drain: Option<(Millis, Millis)>,
    /// After how many actions there is a crash.
    pub crash: Option<u64>,
}

/// A destination of a [`Scenario`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationPlan {
    /// Most connections to all of its servers.
    pub max_connections: u32,
    /// Most mails over one.
    pub max_mails_per_connection: Option<u32>,
    /// Its servers.
    pub servers: Vec<ServerPlan>,
}

/// A server of a [`Scenario`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlan {
    /// See [`Place`].
    pub preference: u16,
    /// See [`Place`].
    pub weight: u16,
    /// How it behaves.
    pub model: ServerModel,
}

/// A limit of a [`Scenario`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPlan {
    /// Of what; by its number, modulo as many as there are.
    pub of: Limited,
    /// Of which unit.
    pub unit: Unit,
    /// How many.
    pub count: u64,
    /// In which time.
    pub per: Millis,
}

/// What a [`LimitPlan`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Everything.
    All,
    /// A destination.
    Destination(usize),
    /// A server.
    Server(usize),
    /// A tenant.
    Tenant(usize),
}

/// Mails that arrive one after the other, or all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// When the first one does.
    pub at: Millis,
    /// How long after it the next one.
    pub every: Millis,
    /// How many.
    pub mails: u32,
    /// Where they go, by its number.
    pub destination: u32,
    /// To so many destinations from this one on, in turn.
    pub spread: u32,
    /// Whose they are, by the number of the tenant.
    pub tenant: u32,
    /// How urgent they are.
    pub class: Class,
    /// To how many each.
    pub recipients: u32,
    /// How long each.
    pub octets: u64,
    /// How long they may take.
    pub lifetime: Option<Millis>,
}

impl Default for Wave {
    /// One mail now, with one recipient, to the first destination.
    fn default() -> Self {
        Self {
            at: Millis(0),
            every: Millis(0),
            mails: 1,
            destination: 0,
            spread: 1,
            tenant: 0,
            class: Class::default(),
            recipients: 1,
            octets: 1000,
            lifetime: None,
        }
    }
}

impl Scenario {
    /// Runs it to its end, and checks everything on the way.
    ///
    /// # Panics
    ///
    /// When a bound or a promise is broken.
    pub fn run(&self) -> Simulation {
        let mut simulation = self.start();
        let mut stops: Vec<(Millis, Stop)> =
            self.cancelled.iter().map(|&(at, mail)| (at, Stop::Cancel(mail))).collect();
        stops.extend(self.drain.map(|(at, time)| (at, Stop::Drain(time))));
        stops.sort_by_key(|(at, _)| *at);
        for (at, stop) in stops {
            simulation.run_until(at.time());
            match stop {
                Stop::Cancel(mail) => simulation.cancel(mail),
                Stop::Drain(time) => simulation.drain(time.into()),
            }
        }
        simulation.run_to_the_end();
        simulation
    }

    /// Sets it up, and does not run it.
    pub fn start(&self) -> Simulation {
        let config = PlannerConfig::default();
        let mut simulation = Simulation::new(config, self.in_doubt, self.seed);
        for plan in &self.destinations {
            let limits = DestinationLimits {
                max_connections: plan.max_connections,
                max_mails_per_connection: plan.max_mails_per_connection,
                idle: IDLE,
                ..DestinationLimits::default()
            };
            let servers = plan.servers.iter().map(|server| {
                let ServerPlan { preference, weight, model } = server.clone();
                (Place { preference, weight }, model)
            });
            simulation.add_destination(limits, servers);
        }
        for &weight in &self.tenants {
            simulation.add_tenant(weight);
        }
        for limit in &self.limits {
            let Some(scope) = simulation.scope(limit.of) else { continue };
            let LimitPlan { unit, count, per, .. } = *limit;
            simulation.add_limit(scope, Rate { unit, count, per: per.into() });
        }
        for wave in &self.waves {
            simulation.submit(wave.clone());
        }
        if let Some(actions) = self.crash {
            simulation.crash_after(actions);
        }
        simulation
    }
}

enum Stop {
    Cancel(usize),
    Drain(Millis),
}

/// Short, so that idle connections close while other things happen.
const IDLE: Duration = Duration::from_secs(5);

impl Simulation {
    fn scope(&self, of: Limited) -> Option<LimitScope> {
        Some(match of {
            Limited::All => LimitScope::All,
            Limited::Destination(number) => {
                let at = number.checked_rem(self.destinations.len())?;
                LimitScope::Destination(self.destinations[at].id)
            }
            Limited::Server(number) => {
                let at = number.checked_rem(self.servers.len())?;
                LimitScope::Server(self.servers[at].id)
            }
            Limited::Tenant(number) => {
                let at = number.checked_rem(self.setup.tenants.len())?;
                LimitScope::Tenant(self.setup.tenants[at].0)
            }
        })
    }
}

impl fmt::Debug for Scenario {
    /// As the Rust that makes it: what a failing test prints can become a test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{:#?}", Fields(self)).replace(": [", ": vec![");
        for (field, path) in PATHS {
            text = text.replace(&format!(" {field}: "), &format!(" {field}: {path}::"));
        }
        f.write_str(&text)
    }
}

struct Fields<'a>(&'a Scenario);

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { seed, in_doubt, destinations, tenants, limits, .. } = self.0;
        let Scenario { waves, cancelled, drain, crash, .. } = self.0;
        f.debug_struct("Scenario")
            .field("seed", seed)
            .field("in_doubt", in_doubt)
            .field("destinations", destinations)
            .field("tenants", tenants)
            .field("limits", limits)
            .field("waves", waves)
            .field("cancelled", cancelled)
            .field("drain", drain)
            .field("crash", crash)
            .finish()
    }
}

/// Fields that are enums, whose names `derive(Debug)` leaves out.
const PATHS: [(&str, &str); 12] = [
    ("in_doubt", "InDoubtPolicy"),
    ("connect", "Latency"),
    ("round_trip", "Latency"),
    ("service", "Latency"),
    ("refusal", "TooMany"),
    ("said", "CapWords"),
    ("poisoning", "Poisoning"),
    ("bears", "Pipelining"),
    ("trouble", "Trouble"),
    ("of", "Limited"),
    ("unit", "Unit"),
    ("class", "Class"),
];
