//! Runs that dice decide: mails, a client, a server, a link, and what goes wrong.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_session::{
    Chunking, Config, Credentials, Entropy, Pipelining, PlaintextAuth, Protocol, Session, Timeouts,
    TlsPolicy, Window, Xclient, XclientName, XclientText,
};
use posthaste_sink as sink;

use super::application::{Application, Quits};
use super::{Hostile, LinkModel, Pair, Report, faults, mails};
use crate::checker::{Checker, Rules};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::link::{Break, Breakage, PipeModel};

/// Everything that one run, or several against the same server, begin with.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The client's settings.
    pub client: Config,
    /// The server's settings.
    pub server: sink::Config,
    /// What is between them.
    pub link: LinkModel,
    /// What the client's application does.
    pub application: Application,
}

/// What a server may do besides serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// The same in every mode: it refuses some mails and recipients, always the same.
    Steady,
    /// Whatever a server in trouble does. It stores what it says it does, and nothing else.
    Honest,
    /// Replies that are missing, surplus, garbled or wrong: what it says is not what it does.
    Lying,
}

impl Scenario {
    /// A scenario with a server of this kind, on a link that works.
    pub fn new(dice: &mut Dice, faults: Faults) -> Self {
        let mut scenario = Self {
            client: client(dice),
            server: server(dice),
            link: link(dice),
            application: Application { mails: mails::random(dice), ..Application::default() },
        };
        scenario.set_protocol(dice);
        scenario.set_extensions(dice);
        scenario.set_tls(dice);
        scenario.set_auth(dice);
        scenario.set_xclient(dice);
        scenario.state_limits(dice);
        scenario.server.faults = faults::random(dice, faults);
        if faults == Faults::Honest || faults == Faults::Lying {
            scenario.break_link(dice);
            scenario.interfere(dice);
            scenario.set_limits(dice);
        }
        let (mails, octets) = (dice.pick(&[1, 3, 64]), dice.pick(&[1, 1000, 1024 * 1024]));
        scenario.client.window = Window::new(mails, octets).expect("within the bounds");
        scenario.bear_stream();
        scenario
    }

    /// `stream` is for servers that are known to bear it: they take no octets of a chunk for commands, and let go of a
    /// refused transaction, by themselves or on RSET.
    fn bear_stream(&mut self) {
        let changes_to = self.application.changes_mode.map(|(_, mode)| mode);
        if ![Some(self.client.pipelining), changes_to].contains(&Some(Pipelining::Stream)) {
            return;
        }
        self.server.pipelining_after_content = sink::PipeliningAfterContent::Answer;
        let refuses_reset = |rule: &sink::FaultRule| format!("{rule:?}").contains("at=rset");
        if self.server.faults.iter().any(refuses_reset) {
            self.server.refused_chunk = sink::RefusedChunk::Reset;
        }
    }

    fn set_protocol(&mut self, dice: &mut Dice) {
        if dice.percent(20) {
            self.client.protocol = Protocol::Lmtp;
            self.server.protocol = sink::Protocol::Lmtp;
        }
        self.client.chunking = dice.pick(&[
            Chunking::Auto,
            Chunking::Auto,
            Chunking::Off,
            Chunking::Always,
            Chunking::Always,
        ]);
        self.server.refused_chunk =
            dice.pick(&[sink::RefusedChunk::Reset, sink::RefusedChunk::Keep]);
    }

    /// LIM-01 to LIM-03. What is over a limit goes in further sessions, of which a campaign has no
    /// end of.
    fn state_limits(&mut self, dice: &mut Dice) {
        let mails = &self.application.mails;
        let most = mails.iter().map(|mail| mail.envelope.forward_paths().len()).max();
        if !dice.percent(15) || most > Some(MAX_RECIPIENTS_LIMITED) {
            return;
        }
        let mut limits = Vec::new();
        for (name, most) in [("MAILMAX", 4), ("RCPTMAX", 5), ("RCPTDOMAINMAX", 2)] {
            if dice.percent(50) {
                limits.push(format!("{name}={}", dice.within(1..=most)));
            }
        }
        self.offer(&format!("LIMITS={}", limits.join(" ")));
    }

    /// Changes what the server offers.
    fn offer(&mut self, changes: &str) {
        let offer = std::mem::take(&mut self.server.offer);
        self.server.offer = offer.and(changes.parse().expect("an offer"));
    }

    fn set_extensions(&mut self, dice: &mut Dice) {
        let lines = [
            "-DSN",
            "-BINARYMIME",
            "DELIVERBY",
            "DELIVERBY=500",
            "MT-PRIORITY=MIXER",
            "FUTURERELEASE=500 2030-01-01T00:00:00Z",
            "REQUIRETLS",
            "X-OWN",
        ];
        for changes in lines {
            if dice.percent(20) {
                self.offer(changes);
            }
        }
    }

    fn set_tls(&mut self, dice: &mut Dice) {
        (self.server.tls, self.client.tls) = match dice.below(12) {
            0 => (sink::TlsUse::Offered, TlsPolicy::Require),
            1 => (sink::TlsUse::Offered, TlsPolicy::May),
            2 => (sink::TlsUse::Required, TlsPolicy::May),
            3 => (sink::TlsUse::Offered, TlsPolicy::Off),
            _ => (sink::TlsUse::Absent, TlsPolicy::May),
        };
    }

    fn set_auth(&mut self, dice: &mut Dice) {
        if !dice.percent(15) {
            return;
        }
        let (name, password) = ("news".to_owned(), "tanstaaf".to_owned());
        let credentials = Credentials::new(name.as_str(), password.as_str());
        let credentials = credentials.expect("both are plain");
        self.client.credentials = Some(credentials.with_plaintext(PlaintextAuth::Allowed));
        self.server.users = vec![sink::User { name, password }];
        self.client.entropy = Some(Entropy::new([7; Entropy::LENGTH]));
        match dice.below(10) {
            0..=2 => self.offer("AUTH=LOGIN"),
            // Rarely, for keys take their time.
            3 => self.offer(dice.pick(&MECHANISMS)),
            _ => {}
        }
    }

    /// XCLIENT-01, XCLIENT-02
    fn set_xclient(&mut self, dice: &mut Dice) {
        if !dice.percent(8) {
            return;
        }
        self.client.xclient = Some(Xclient {
            name: Some(XclientName::Known("spike.example".parse().expect("a name"))),
            address: Some(Ipv4Addr::new(192, 0, 2, 7).into()),
            helo: Some(XclientText::new(&"h+ =".repeat(15)).expect("short enough")),
            login: Some(XclientText::new(&"l\u{fc}".repeat(20)).expect("short enough")),
            ..Xclient::default()
        });
        self.offer(dice.pick(&["XCLIENT=NAME ADDR HELO LOGIN", "XCLIENT=ADDR LOGIN"]));
    }

    fn set_limits(&mut self, dice: &mut Dice) {
        let limits = &mut self.server.limits;
        if dice.percent(10) {
            limits.max_per_conn = Some(dice.within(1..=4) as u64);
        }
        if dice.percent(10) {
            limits.max_rcpts = Some(dice.within(1..=3));
        }
        if dice.percent(10) {
            limits.max_size = dice.within(50..=2000) as u64;
        }
    }

    fn break_link(&mut self, dice: &mut Dice) {
        if !dice.percent(30) {
            return;
        }
        let after = dice.within(0..=6000) as u64;
        let how = dice.pick(&[Break::Fin, Break::Rst, Break::Rst, Break::Silence]);
        let pipe = if dice.percent(50) { &mut self.link.up } else { &mut self.link.down };
        pipe.breakage = Some(Breakage { after, how });
    }

    fn interfere(&mut self, dice: &mut Dice) {
        let application = &mut self.application;
        match dice.below(20) {
            0 => application.aborts_at = Some(dice.millis(0..=2000)),
            1 => application.quits = Quits::At(dice.millis(0..=2000)),
            2 | 3 => application.quits = Quits::WhenSubmitted,
            4 | 5 => {
                let mode = dice.pick(&MODES);
                application.changes_mode = Some((dice.millis(0..=2000), mode));
            }
            _ => {}
        }
        if dice.percent(30) {
            let timeout = Duration::from_secs(dice.within(1..=30) as u64);
            self.client.timeouts = Timeouts::uniform(timeout);
        }
    }

    /// The sink that this scenario has.
    pub fn sink(&self, clock: &Clock) -> Arc<sink::Server> {
        sink::Server::new(self.server.clone(), clock.now()).expect("memory needs no opening")
    }

    /// One session with a sink. Dice decide how the link cuts, and when.
    pub fn run(&self, clock: Clock, sink: &Arc<sink::Server>, dice: Dice) -> Report {
        let peer = sink::Session::new(Arc::clone(sink), clock.now());
        self.run_with(clock, peer, dice)
    }

    /// One session with a server that is no sink.
    pub fn run_hostile(&self, clock: Clock, mut dice: Dice) -> Report {
        let peer = Hostile::random(clock.now(), &mut dice);
        self.run_with(clock, peer, dice)
    }

    fn run_with(&self, clock: Clock, peer: impl super::Peer, dice: Dice) -> Report {
        let session = Session::new(clock.now(), self.client.clone());
        let rules = Rules { allows_plaintext: true, ..Rules::of(&self.client) };
        let checker = Checker::new(rules);
        let application = self.application.clone();
        Pair::new(clock, session, application, checker, peer, self.link.clone(), dice).run()
    }
}

/// What a server offers that has users. Those with channel binding take nobody without TLS.
const MECHANISMS: [&str; 5] = [
    "AUTH=CRAM-MD5 PLAIN",
    "AUTH=PLAIN SCRAM-SHA-1",
    "AUTH=PLAIN SCRAM-SHA-256 SCRAM-SHA-1",
    "AUTH=SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS",
    "AUTH=SCRAM-SHA-1-PLUS PLAIN",
];

/// Recipients of a mail that a server with limits is given.
const MAX_RECIPIENTS_LIMITED: usize = 12;

/// The modes of pipelining.
pub const MODES: [Pipelining; 4] =
    [Pipelining::Off, Pipelining::Envelope, Pipelining::Cross, Pipelining::Stream];

fn client(dice: &mut Dice) -> Config {
    let mut config = Config::new("client.example".parse().expect("a name"));
    config.pipelining = dice.pick(&MODES);
    config.transcript = dice.percent(5);
    if dice.percent(10) {
        let keywords = ["PIPELINING", "CHUNKING", "DSN", "SIZE", "SMTPUTF8"];
        config.ignored_keywords = vec![dice.pick(&keywords).to_owned()];
    }
    config
}

fn server(dice: &mut Dice) -> sink::Config {
    let offers = [
        "",
        "",
        "",
        "",
        "-PIPELINING",
        "-SIZE",
        "-8BITMIME,-SMTPUTF8",
        "-SMTPUTF8",
        "-ENHANCEDSTATUSCODES",
        "-CHUNKING",
    ];
    let after_content = [
        sink::PipeliningAfterContent::Answer,
        sink::PipeliningAfterContent::Answer,
        sink::PipeliningAfterContent::Reject503,
    ];
    sink::Config {
        offer: dice.pick(&offers).parse().expect("an offer"),
        store: sink::StoreKind::Memory,
        seed: dice.below(1 << 16) as u64,
        pipelining_after_content: dice.pick(&after_content),
        early_talk: dice.pick(&[sink::EarlyTalk::Ignore, sink::EarlyTalk::Reject554]),
        ..sink::Config::default()
    }
}

fn link(dice: &mut Dice) -> LinkModel {
    let read = dice.percent(30).then(|| dice.within(1..=200));
    LinkModel { up: pipe(dice), down: pipe(dice), read }
}

fn pipe(dice: &mut Dice) -> PipeModel {
    let usual = PipeModel::default();
    let latency = dice.within(0..=100);
    PipeModel {
        // Down to less than one reply: nothing may wait for room on one side only (PIPE-08).
        capacity: dice.pick(&[usual.capacity, usual.capacity, 4096, 512, 64, 16]),
        segment: dice.pick(&[usual.segment, 1..=1460, 1460..=1460, 1..=64, 1..=16]),
        latency: latency..=latency + dice.pick(&[0, 0, 50]),
        rate: dice.percent(10).then(|| dice.within(1_000..=100_000)),
        breakage: None,
    }
}
