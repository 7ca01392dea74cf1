//! Fault rules for the sink.

use posthaste_sink::FaultRule;

use super::scenario::Faults;
use crate::dice::Dice;

/// A few rules of this kind.
pub(super) fn random(dice: &mut Dice, faults: Faults) -> Vec<FaultRule> {
    let rules = match faults {
        Faults::None => return Vec::new(),
        Faults::Steady => STEADY,
        Faults::Honest => HONEST,
        Faults::Lying => LYING,
    };
    let count = dice.within(0..=4);
    (0..count).map(|_| rule(dice, rules)).collect()
}

fn rule(dice: &mut Dice, rules: &[&str]) -> FaultRule {
    let text = dice.pick(rules).to_owned();
    let when = match dice.below(4) {
        0 if !text.contains("=refused*") => format!(" after={}", dice.within(0..=3)),
        1 if !text.contains("=refused*") => format!(" prob=0.{}", dice.within(1..=9)),
        _ => String::new(),
    };
    let when = if STEADY.contains(&text.as_str()) { String::new() } else { when };
    let text = format!("{text}{when}");
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The same answer to the same mail, whenever it comes and however.
const STEADY: &[&str] = &[
    r#"at=mail from=refused* reply="550 5.7.1 not from you""#,
    r#"at=rcpt rcpt=refused* reply="550 5.1.1 no such user""#,
    r#"at=rcpt rcpt=later* reply="450-4.7.1 try\n450 4.7.1 later""#,
    r#"at=rcpt rcpt=slow* delay=20ms"#,
    r#"at=data from=m1@* reply="451 4.3.0 not now""#,
    r#"at=final from=m2@* reply="550 5.7.1 spam""#,
    r#"at=final rcpt=slow* reply="451 4.7.1 no""#,
    r#"at=final rcpt=full* reply="452 4.2.2 full""#,
    r#"at=final delay=50ms"#,
    // Content is invited even where no recipient was accepted: the client sends a dot alone.
    r#"at=data reply="354 go""#,
];

const HONEST: &[&str] = &[
    r#"at=greeting reply="554 5.3.2 no""#,
    r#"at=greeting reply="421 4.3.2 busy" close=fin"#,
    r#"at=greeting delay=20s"#,
    r#"at=ehlo reply="502 no""#,
    r#"at=ehlo trickle=1s"#,
    r#"at=starttls reply="454 4.7.0 not now""#,
    r#"at=auth reply="535 5.7.8 no""#,
    r#"at=auth reply="504 5.5.4 no""#,
    r#"at=xclient reply="550 5.7.0 not you""#,
    r#"at=xclient reply="421 4.3.2 bye" close=fin"#,
    r#"at=mail reply="451 4.3.0 later""#,
    r#"at=mail reply="550 5.7.1 no""#,
    r#"at=mail reply="503 5.5.1 no""#,
    r#"at=mail reply="421 4.3.2 bye" close=fin"#,
    r#"at=mail close=rst"#,
    r#"at=rcpt rcpt=refused* reply="550 5.1.1 no such user""#,
    r#"at=rcpt reply="452 4.5.3 too many""#,
    r#"at=rcpt reply="503 5.5.1 no""#,
    r#"at=rcpt reply="554 5.5.0 synchronization""#,
    r#"at=rcpt reply="421 4.3.2 bye""#,
    r#"at=rcpt delay=30s"#,
    r#"at=rcpt close=fin"#,
    r#"at=data reply="451 4.3.0 later""#,
    r#"at=data reply="554 5.5.1 no""#,
    r#"at=data reply="503 5.5.1 no""#,
    r#"at=data reply="354 go""#,
    r#"at=data reply="354 go" close=rst"#,
    r#"at=data stall=true"#,
    r#"at=content bytes=10 reply="552 5.3.4 too big" close=fin"#,
    r#"at=content bytes=100 reply="552 5.3.4 too big" close=rst"#,
    r#"at=content bytes=50 close=rst"#,
    r#"at=content bytes=70 stall=true"#,
    r#"at=content bytes=30 delay=5s"#,
    r#"at=final reply="550 5.7.1 spam""#,
    r#"at=final reply="451-4.7.1 try\n451 4.7.1 later""#,
    r#"at=final reply="421 4.3.2 bye""#,
    r#"at=final reply="554 5.5.0 Error: SMTP protocol synchronization""#,
    r#"at=final reply="502 5.5.1 what""#,
    r#"at=final reply="503 5.5.1 no""#,
    r#"at=final rcpt=r1@* reply="421 4.3.2 bye" close=fin"#,
    r#"at=final rcpt=r1@* close=rst"#,
    r#"at=final rcpt=r2@* stall=true store=true"#,
    r#"at=chunk reply="451 4.3.0 later""#,
    r#"at=chunk reply="502 5.5.1 what""#,
    r#"at=chunk reply="421 4.3.2 bye" close=fin"#,
    r#"at=chunk close=rst"#,
    r#"at=chunk stall=true"#,
    r#"at=chunk delay=5s"#,
    r#"at=final reply=usual close=fin"#,
    r#"at=final reply=usual close=rst"#,
    r#"at=final close=rst"#,
    r#"at=final close=rst store=true"#,
    r#"at=final stall=true store=true"#,
    r#"at=final delay=100s"#,
    r#"at=final delay=11m"#,
    r#"at=final trickle=500ms"#,
    r#"at=rset reply="500 5.5.1 what""#,
    r#"at=quit close=fin"#,
    r#"at=quit stall=true"#,
];

const LYING: &[&str] = &[
    r#"at=greeting surplus="250 ok\r\n""#,
    r#"at=greeting raw="HTTP/1.1 400 Bad Request\r\n""#,
    r#"at=ehlo surplus="250 ok\r\n""#,
    r#"at=ehlo reply="250-sink\n250 PIPELINING""#,
    r#"at=starttls surplus="250 AUTH""#,
    r#"at=starttls reply="250 go""#,
    r#"at=auth reply="334 ""#,
    r#"at=xclient reply="250 ok""#,
    r#"at=xclient surplus="220 again\r\n""#,
    r#"at=mail reply=none"#,
    r#"at=mail reply="354 go""#,
    r#"at=mail surplus="250 ok\r\n""#,
    r#"at=rcpt reply=none"#,
    r#"at=rcpt garbage="hello\r\n""#,
    r#"at=rcpt raw="250-ok\r\n550 no\r\n""#,
    r#"at=rcpt surplus="550 no\r\n""#,
    r#"at=data reply="250 ok""#,
    r#"at=data reply="334 ""#,
    r#"at=data surplus="354 go\r\n""#,
    r#"at=data surplus="250 ok\r\n""#,
    r#"at=data reply=none"#,
    r#"at=content bytes=20 reply="250 ok""#,
    r#"at=content bytes=20 reply="552 5.3.4 too big""#,
    r#"at=content bytes=20 reply="421 4.3.2 bye""#,
    r#"at=chunk reply=none"#,
    r#"at=chunk surplus="250 ok\r\n""#,
    r#"at=chunk reply="354 go""#,
    r#"at=final rcpt=r1@* reply=none"#,
    r#"at=final rcpt=r1@* surplus="250 ok\r\n""#,
    r#"at=final reply=none"#,
    r#"at=final surplus="250 ok\r\n""#,
    r#"at=final garbage="250 ok\r\n""#,
    r#"at=final reply="354 go""#,
    r#"at=final reply="550 no" store=true"#,
    r#"at=final reply="250 ok" store=false"#,
    r#"at=final raw="250""#,
    r#"at=final raw="250 ok\n""#,
    r#"at=rset reply="354 go""#,
    r#"at=rset reply=none"#,
    r#"at=quit garbage="junk""#,
];
