//! What replies mean: the labelled corpus, and a table of facts from other sources.

use posthaste_reply::{Class, Reply, SaidTo, classify};
use serde_json::Value;

#[test]
fn corpus_is_classified_as_labelled() {
    let mut misses = Vec::new();
    let mut total = 0;
    for line in include_str!("data/replies.jsonl").lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| entry[name].as_str().unwrap();
        let (raw, label) = (text("raw"), text("class"));
        let found = match Reply::parse(raw.as_bytes()) {
            Ok(reply) => {
                assert_eq!(u64::from(reply.code().value()), entry["code"], "{raw}");
                classify(reply, SaidTo::Rcpt).class
            }
            Err(_) => Class::Malformed,
        };
        total += 1;
        if found.as_str() != label {
            misses.push(format!("{found} instead of {label}: {}", raw.escape_debug()));
        }
    }
    for miss in &misses {
        println!("{miss}");
    }
    let right = total - misses.len();
    assert!(right * 100 >= total * 95, "{right} of {total}");
    println!("{right} of {total}");
}
