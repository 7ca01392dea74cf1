//! A client's session against a server's, under virtual time: what it says, and what it reports,
//! whatever the server and the link do.
//!
//! Each test runs many seeds. One that fails names its seed and shows what was said; give it as
//! `POSTHASTE_SEED` to run that one alone. `POSTHASTE_SEEDS` is how many to run instead of the few
//! that a quick test has time for.

use std::sync::Arc;

use posthaste_session::{
    Chunking, Config, Content, Envelope, ForwardPath, Mail, Pipelining, ReversePath,
};
use posthaste_sink::{EarlyTalk, FaultRule, PipeliningAfterContent, Server, StoreKind};
use posthaste_testkit::link::{Break, Breakage, PipeModel};
use posthaste_testkit::pair::{Faults, Ledger, LinkModel, MODES, Report, Said, Scenario};
use posthaste_testkit::{Clock, Dice};

/// Runs `run` for so many seeds.
fn for_seeds(count: u64, run: impl Fn(Dice)) {
    struct Seed(u64);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("POSTHASTE_SEED={}", self.0);
            }
        }
    }
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match (number("POSTHASTE_SEED"), number("POSTHASTE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count_wanted) => 0..count_wanted.unwrap_or(count),
    };
    for seed in seeds {
        let _named = Seed(seed);
        run(Dice::from_seed(seed));
    }
}

/// One session; what it reports must be true of what the sink stored.
fn run_honest(scenario: &Scenario, dice: Dice) -> (Report, Arc<Server>) {
    let clock = Clock::default();
    let sink = scenario.sink(&clock);
    let report = scenario.run(clock, &sink, dice);
    let mut ledger = Ledger::default();
    ledger.enter(&report.fates);
    ledger.check(&sink.mails());
    check_manners(&sink);
    (report, sink)
}

/// The sink has its own opinion of what a client may say.
fn check_manners(sink: &Server) {
    let mut violations = sink.stats().violations;
    // A group goes on behind a command that is refused: RCPT behind MAIL, MAIL behind RSET.
    violations.remove("sequence");
    if violations.remove("nested_mail").is_some() {
        // The sink holds the recipients against the mail before.
        violations.remove("utf8_address");
    }
    assert!(violations.is_empty(), "{violations:?}");
}

/// A server without faults gets every mail, on any link, in any mode, and hears QUIT. CMD-18: the
/// checker knows no VRFY, EXPN, HELP, NOOP, TURN and ETRN, and would object.
#[test]
fn every_mail_is_delivered() {
    for_seeds(1200, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::None);
        let clock = Clock::default();
        let sink = scenario.sink(&clock);
        let (ledger, reports) = scenario.run_to_the_end(clock, &sink, &mut dice);
        ledger.check(&sink.mails());
        check_manners(&sink);
        let has_limits = scenario.server.offer.adds("LIMITS");
        let sessions = 1.min(scenario.application.mails.len());
        assert!(reports.len() == sessions || has_limits, "{} sessions", reports.len());
        assert!(reports.iter().all(|report| report.has_quit), "QUIT-01");
        for (_, _, said) in ledger.last_words() {
            assert!(matches!(said, Some(Said::Delivered | Said::Unsendable)), "{said:?}");
        }
    });
}

/// Off, envelope and cross give the same outcomes, also where the server objects to what comes
/// behind content (Haraka) or to early talk (Postfix), and no mail fails because of the mode.
#[test]
fn every_mode_gives_the_same_outcomes() {
    for_seeds(300, |mut dice| {
        let mut scenario = Scenario::new(&mut dice, Faults::Steady);
        let mut expected: Option<Vec<_>> = None;
        for mode in MODES {
            // Rules about DATA are none about BDAT.
            if mode == Pipelining::Stream && scenario.client.chunking == Chunking::Auto {
                continue;
            }
            for after_content in [PipeliningAfterContent::Answer, PipeliningAfterContent::Reject503]
            {
                // It is for servers that bear it.
                if mode == Pipelining::Stream && after_content != PipeliningAfterContent::Answer {
                    continue;
                }
                scenario.client.pipelining = mode;
                scenario.server.pipelining_after_content = after_content;
                scenario.server.early_talk = EarlyTalk::Reject554;
                let clock = Clock::default();
                let sink = scenario.sink(&clock);
                let (ledger, _reports) = scenario.run_to_the_end(clock, &sink, &mut dice.clone());
                ledger.check(&sink.mails());
                check_manners(&sink);
                let words = ledger.last_words();
                assert!(
                    words.iter().all(|(.., said)| !matches!(said, None | Some(Said::InDoubt))),
                    "{mode}, {after_content:?}: {words:?}"
                );
                let words: Vec<_> = words
                    .into_iter()
                    .map(|(from, to, said)| (from.to_owned(), to.to_owned(), said.cloned()))
                    .collect();
                match &expected {
                    Some(expected) => {
                        let mut pairs = words.iter().zip(expected);
                        let difference = pairs.find(|(word, expected)| word != expected);
                        assert_eq!(difference, None, "{mode}, {after_content:?}");
                    }
                    None => expected = Some(words),
                }
            }
        }
    });
}

/// Refusals, closes, stalls, resets, broken links, aborts: what is reported is what happened
/// (TX-15 to TX-17, PIPE-06 to PIPE-13, CL-01 to CL-08).
#[test]
fn outcomes_are_true_whatever_goes_wrong() {
    for_seeds(6000, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::Honest);
        run_honest(&scenario, dice);
    });
}

/// The same, with what was not sent sent again until it is done with: nothing is stored twice.
#[test]
fn nothing_is_stored_twice() {
    for_seeds(1000, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::Honest);
        let clock = Clock::default();
        let sink = scenario.sink(&clock);
        let (ledger, _reports) = scenario.run_to_the_end(clock, &sink, &mut dice);
        ledger.check(&sink.mails());
        check_manners(&sink);
    });
}

/// Replies that are missing, surplus, garbled or wrong. What is stored proves nothing then; the
/// checker holds every outcome against the replies (DS-01 to DS-16).
#[test]
fn a_lying_server_gets_the_words_it_said() {
    for_seeds(2000, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::Lying);
        let clock = Clock::default();
        let sink = scenario.sink(&clock);
        scenario.run(clock, &sink, dice);
    });
}

/// CHUNK-06, CHUNK-12, CHUNK-16: contents of several chunks, sent ahead of their replies, and a server
/// that refuses one of them, hangs up, or says what it should not.
#[test]
fn large_mails_go_in_chunks() {
    for_seeds(24, |mut dice| {
        let faults = [Faults::None, Faults::Honest, Faults::Lying][dice.below(3)];
        let mut scenario = Scenario::new(&mut dice, Faults::None);
        scenario.client.chunking = Chunking::Always;
        scenario.client.ignored_keywords.clear();
        scenario.server.offer = "".parse().unwrap();
        scenario.server.faults = chunk_faults(&mut dice, faults);
        let pipe = PipeModel { latency: 20..=20, segment: 1460..=16384, ..PipeModel::default() };
        scenario.link = LinkModel { up: pipe.clone(), down: pipe, read: None };
        let line = "0123456789".repeat(dice.within(1..=90));
        let octets = format!("{line}\r\n").repeat(dice.within(1 << 20..=3 << 20) / line.len());
        let mut mails: Vec<_> = (0..2).map(small_mail).collect();
        mails[0].content = Content::new(octets).unwrap();
        scenario.application.mails = mails.into();
        if faults == Faults::Lying {
            let clock = Clock::default();
            let sink = scenario.sink(&clock);
            scenario.run(clock, &sink, dice);
        } else {
            let (report, _) = run_honest(&scenario, dice);
            let streams = scenario.client.pipelining == Pipelining::Stream;
            assert!(streams || report.most_awaited <= 4, "{} awaited", report.most_awaited);
        }
    });
}

/// One rule about chunks.
fn chunk_faults(dice: &mut Dice, faults: Faults) -> Vec<FaultRule> {
    let rules = match faults {
        Faults::None | Faults::Steady => return Vec::new(),
        Faults::Honest => [
            r#"at=chunk reply="451 4.3.0 later""#,
            r#"at=chunk reply="502 5.5.1 what""#,
            r#"at=chunk reply="552 5.3.4 too big" close=fin"#,
            r#"at=chunk reply="421 4.3.2 bye" close=fin"#,
            r#"at=chunk close=rst"#,
            r#"at=chunk delay=1s"#,
            r#"at=content bytes=1500k reply="552 5.3.4 too big" close=fin"#,
            r#"at=final reply="552 5.3.4 too big""#,
        ],
        Faults::Lying => [
            r#"at=chunk reply=none"#,
            r#"at=chunk surplus="250 ok\r\n""#,
            r#"at=chunk reply="354 go""#,
            r#"at=chunk raw="250-ok\r\n550 no\r\n""#,
            r#"at=content bytes=1500k reply="250 ok""#,
            r#"at=content bytes=1500k reply="552 5.3.4 too big""#,
            r#"at=final surplus="250 ok\r\n""#,
            r#"at=final reply="354 go""#,
        ],
    };
    let after = if dice.percent(50) { " after=1" } else { "" };
    vec![format!("{}{after}", dice.pick(&rules)).parse().unwrap()]
}

/// A server that does not even listen.
#[test]
fn a_hostile_server_gets_nowhere() {
    for_seeds(2000, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::Honest);
        scenario.run_hostile(Clock::default(), dice);
    });
}

/// CL-01 to CL-03, TX-16, TX-17: the line breaks at every octet, either way, in every manner; the
/// narrow link also lets writes get stuck at every octet.
#[test]
fn the_line_may_break_at_every_octet() {
    let mut scenario = Scenario::new(&mut Dice::from_seed(0), Faults::None);
    let narrow = PipeModel { capacity: 8, ..PipeModel::default() };
    scenario.client = Config::new("c.example".parse().unwrap());
    scenario.server = posthaste_sink::Config {
        offer: "-8BITMIME,-SMTPUTF8,-CHUNKING,-BINARYMIME,-DSN".parse().unwrap(),
        store: StoreKind::Memory,
        ..posthaste_sink::Config::default()
    };
    let modes = [(Pipelining::Envelope, 2), (Pipelining::Cross, 2), (Pipelining::Stream, 4)];
    for (mode, mails) in modes {
        if mode == Pipelining::Stream {
            // One mail, then two behind each other, then one more.
            scenario.server.offer = "-8BITMIME,-SMTPUTF8,-BINARYMIME,-DSN".parse().unwrap();
        }
        scenario.application.mails = (0..mails).map(small_mail).collect();
        scenario.client.pipelining = mode;
        scenario.link = LinkModel { up: narrow.clone(), down: narrow.clone(), read: None };
        let (report, sink) = run_honest(&scenario, Dice::from_seed(0));
        assert_eq!(sink.mails().len(), mails);
        for how in [Break::Fin, Break::Rst, Break::Silence] {
            for after in 0..=report.octets_said() {
                scenario.link.up.breakage = Some(Breakage { after, how });
                run_honest(&scenario, Dice::from_seed(0));
            }
            scenario.link.up.breakage = None;
            for after in 0..=report.octets_heard() {
                scenario.link.down.breakage = Some(Breakage { after, how });
                run_honest(&scenario, Dice::from_seed(0));
            }
            scenario.link.down.breakage = None;
        }
    }
}

fn small_mail(number: usize) -> Mail {
    let from: ReversePath = format!("m{number}@x").parse().unwrap();
    let to = ["a@y", "b@y"].map(|address| address.parse::<ForwardPath>().unwrap());
    // Longer than the link holds.
    Mail::new(Envelope::new(from, to).unwrap(), Content::new(".\r\nsome text\r\n").unwrap())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for_seeds(100, |mut dice| {
        let scenario = Scenario::new(&mut dice, Faults::Honest);
        let (first, _) = run_honest(&scenario, dice.clone());
        let (second, _) = run_honest(&scenario, dice);
        assert_eq!(first.trace, second.trace);
    });
}

/// PIPE-08, FL-04: thousands of recipients, a link of 1 KiB a second, buffers that hold a few dozen
/// commands or replies, and a server that does not read while it has something to say.
#[test]
fn neither_side_waits_for_the_other() {
    let pipe = PipeModel { capacity: 4096, rate: Some(1024), ..PipeModel::default() };
    let report = run_for_thousands(&pipe);
    assert!(report.most_awaited > 100, "{} awaited", report.most_awaited);
}

/// PIPE-15: a group stays bounded also where the link would take more.
#[test]
fn a_group_is_bounded() {
    let report = run_for_thousands(&PipeModel { latency: 100..=100, ..PipeModel::default() });
    assert_eq!(report.most_awaited, 512);
}

/// One mail for 5000 recipients.
fn run_for_thousands(pipe: &PipeModel) -> Report {
    let mut dice = Dice::from_seed(0);
    let mut scenario = Scenario::new(&mut dice, Faults::None);
    scenario.link = LinkModel { up: pipe.clone(), down: pipe.clone(), read: None };
    scenario.client = Config::new("client.example".parse().unwrap());
    scenario.server.offer = "".parse().unwrap();
    let to = (0..5000).map(|index| format!("r{index}@sink.example").parse().unwrap());
    let envelope = Envelope::new(ReversePath::Null, to.collect::<Vec<ForwardPath>>()).unwrap();
    let mail = Mail::new(envelope, Content::new("Subject: all\r\n").unwrap());
    scenario.application.mails = [mail].into();
    let (report, sink) = run_honest(&scenario, dice);
    assert_eq!(sink.mails()[0].recipients.len(), 5000);
    report
}
