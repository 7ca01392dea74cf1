//! Reading a reply allocates nothing.

use allocation_counter::measure;
use posthaste_reply::{Extensions, Framer, Limits, Reply, SaidTo, classify};

#[track_caller]
fn check(octets: &[u8], allocations: u64) {
    let measured = measure(|| {
        let reply = Framer::new(Limits::default()).read(octets).unwrap().unwrap();
        assert_eq!(Reply::parse(octets), Ok(reply));
        assert!(reply.lines().count() > 0);
        drop(Extensions::parse(reply));
    });
    assert_eq!(measured.count_total, allocations, "{}", octets.escape_ascii());
}

#[test]
fn replies_and_known_extensions_need_no_memory() {
    check(b"250 2.1.0 Ok\r\n", 0);
    check(
        b"250-mx.example.org\r\n250-AUTH PLAIN LOGIN\r\n250-LIMITS RCPTMAX=5\r\n250 SIZE 9\r\n",
        0,
    );
    check(&[b"250-HELP\r\n".repeat(500), b"250\r\n".to_vec()].concat(), 0);
}

#[test]
fn unknown_extensions_are_kept() {
    check(b"250-mx.example.org\r\n250-DSN\r\n250 XFOO\r\n", 1);
}

#[test]
fn classes_need_no_memory() {
    for octets in [
        &b"550-5.7.1 a\r\n550 5.7.1 blocked using dnsbl.test\r\n"[..],
        b"450 4.7.1 Greylisted, please try again in 1 hour and 5 minutes\r\n",
    ] {
        let reply = Reply::parse(octets).unwrap();
        // The first one reads the rules.
        classify(reply, SaidTo::Rcpt);
        let measured = measure(|| {
            classify(reply, SaidTo::Rcpt);
        });
        assert_eq!(measured.count_total, 0, "{}", octets.escape_ascii());
    }
}
