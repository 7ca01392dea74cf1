//! The mechanisms, by the examples of their documents.

use super::*;

#[track_caller]
fn credentials(user: &str, password: &str) -> Credentials {
    Credentials::new(user, password).unwrap()
}

#[track_caller]
fn exchange(mechanism: Mechanism, credentials: &Credentials) -> Exchange {
    Exchange::new(mechanism, credentials, Surroundings::default())
}

#[track_caller]
fn initial(exchange: &mut Exchange) -> Option<String> {
    exchange.initial_response(|_| true).map(|octets| text(&octets))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// The answer to a challenge that is given as it was before base64.
#[track_caller]
fn answer(exchange: &mut Exchange, credentials: &Credentials, challenge: &str) -> String {
    match challenged(exchange, credentials, challenge) {
        Step::Respond(response) | Step::Refused(response, _) => text(&response),
        Step::Derive(derivation) => text(&exchange.handle_key(&derivation.derive()).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn challenged(exchange: &mut Exchange, credentials: &Credentials, challenge: &str) -> Step {
    exchange.handle_challenge(credentials, STANDARD.encode(challenge).as_bytes())
}

#[test]
fn plain_says_all_at_once() {
    // PLAIN-01: RFC 4616 section 4
    let credentials = credentials("tim", "tanstaaftanstaaf");
    let mut exchange = exchange(Mechanism::Plain, &credentials);
    assert!(!exchange.is_complete());
    assert_eq!(initial(&mut exchange).unwrap(), "\0tim\0tanstaaftanstaaf");
    assert!(exchange.is_complete());
    assert!(matches!(challenged(&mut exchange, &credentials, ""), Step::Endless));
}

#[test]
fn a_first_response_that_does_not_fit_waits_to_be_asked_for() {
    // AUTH-04
    let credentials = credentials("tim", "tanstaaftanstaaf");
    let mut exchange = exchange(Mechanism::Plain, &credentials);
    assert!(exchange.initial_response(|response| response.len() < 21).is_none());
    assert!(!exchange.is_complete());
    assert_eq!(answer(&mut exchange, &credentials, ""), "\0tim\0tanstaaftanstaaf");
    assert!(exchange.is_complete());
}

#[test]
fn login_answers_two_prompts_in_order() {
    // LOGIN-01, AUTH-17: whatever they say
    let credentials = credentials("tim", "secret");
    for prompts in
        [["VXNlcm5hbWU6", "UGFzc3dvcmQ6"], ["", ""], ["Username:", "%%%"], ["dXNlcg==", "cA=="]]
    {
        let mut exchange = exchange(Mechanism::Login, &credentials);
        assert!(initial(&mut exchange).is_none());
        for (prompt, expected) in prompts.into_iter().zip(["tim", "secret"]) {
            assert!(!exchange.is_complete());
            let Step::Respond(response) =
                exchange.handle_challenge(&credentials, prompt.as_bytes())
            else {
                panic!("no response");
            };
            assert_eq!(text(&response), expected);
        }
        assert!(exchange.is_complete());
        assert!(matches!(challenged(&mut exchange, &credentials, ""), Step::Endless)); // AUTH-18
    }
}

#[test]
fn login_can_begin_with_the_user() {
    // LOGIN-02
    let credentials = credentials("tim", "secret").with_login_initial_response();
    let mut exchange = exchange(Mechanism::Login, &credentials);
    assert_eq!(initial(&mut exchange).unwrap(), "tim");
    assert_eq!(answer(&mut exchange, &credentials, "Password:"), "secret");
    assert!(exchange.is_complete());
}

#[test]
fn cram_md5_answers_with_a_digest() {
    // CRAM-01: RFC 2195 section 2
    let credentials = credentials("tim", "tanstaaftanstaaf");
    let mut exchange = exchange(Mechanism::CramMd5, &credentials);
    assert!(initial(&mut exchange).is_none());
    assert_eq!(
        answer(&mut exchange, &credentials, "<1896.697170952@postoffice.reston.mci.net>"),
        "tim b913a602c7eda7a495b4e6e7334d3890"
    );
    assert!(exchange.is_complete());
}

#[test]
fn external_says_who_it_is_or_nothing() {
    // EXT-SASL
    for (user, expected) in [(None, ""), (Some("fred@example.com".to_owned()), "fred@example.com")]
    {
        let credentials = Credentials::external(user).unwrap();
        let mut exchange = exchange(Mechanism::External, &credentials);
        assert_eq!(initial(&mut exchange).unwrap(), expected);
        assert!(exchange.is_complete());
    }
}

#[test]
fn oauthbearer_says_whom_it_talks_to() {
    // OAUTH-01: RFC 7628 section 4.1
    let credentials =
        Credentials::bearer("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
            .unwrap();
    let server = Some(("server.example.com", 143));
    let surroundings = Surroundings { server, ..Surroundings::default() };
    let mut exchange = Exchange::new(Mechanism::OAuthBearer, &credentials, surroundings);
    let response = exchange.initial_response(|_| true).unwrap();
    assert_eq!(
        STANDARD.encode(&*response),
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI\
         HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    );
    assert!(exchange.is_complete());
}

#[test]
fn a_refused_token_is_acknowledged() {
    // OAUTH-02, OAUTH-03, Q58
    let json = r#"{"status":"invalid_token","scope":"mail"}"#;
    let credentials = Credentials::bearer("a=b,c", "token").unwrap();
    let oauthbearer = ("n,a=a=3Db=2Cc,\u{1}auth=Bearer token\u{1}\u{1}", "\u{1}");
    let xoauth2 = ("user=a=b,c\u{1}auth=Bearer token\u{1}\u{1}", "");
    for (mechanism, (first, expected)) in
        [(Mechanism::OAuthBearer, oauthbearer), (Mechanism::XOAuth2, xoauth2)]
    {
        let mut exchange = exchange(mechanism, &credentials);
        assert_eq!(initial(&mut exchange).unwrap(), first);
        let Step::Refused(response, diagnostic) = challenged(&mut exchange, &credentials, json)
        else {
            panic!("{mechanism} is not refused");
        };
        assert_eq!((text(&response).as_str(), diagnostic.as_slice()), (expected, json.as_bytes()));
        assert!(!exchange.is_complete(), "success is not to be believed any more");
        assert!(matches!(challenged(&mut exchange, &credentials, json), Step::Endless));
    }
}

#[test]
fn what_is_said_about_a_token_is_bounded() {
    // AU-13: nothing is parsed
    let bomb = "[".repeat(9000);
    assert_eq!(oauth::diagnostic(bomb.as_bytes()).len(), 1024);
    assert_eq!(
        &*oauth::diagnostic(b"a\r\nb\0\xff\x1b"),
        "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}"
    );
}

#[test]
fn challenges_that_are_no_base64_end_the_exchange() {
    // AUTH-06, AU-04
    let credentials = credentials("tim", "secret");
    for text in ["%%%", "=AAA", "AAA=BBB", "!!", "AAA", "AA AA", "YQ==\0"] {
        let mut exchange = exchange(Mechanism::CramMd5, &credentials);
        let step = exchange.handle_challenge(&credentials, text.as_bytes());
        assert!(matches!(step, Step::Cancel(Cancelled::Undecodable)), "{text}: {step:?}");
    }
}

#[test]
fn rounds_are_bounded() {
    // AUTH-18, AU-06
    let credentials = credentials("tim", "secret");
    let mut exchange = exchange(Mechanism::CramMd5, &credentials);
    exchange.challenges = MAX_CHALLENGES - 1;
    assert!(matches!(challenged(&mut exchange, &credentials, "a"), Step::Respond(_)));
    assert!(matches!(challenged(&mut exchange, &credentials, "a"), Step::Endless));
}

/// A SCRAM exchange whose first message is `first`.
#[track_caller]
fn scram(mechanism: Mechanism, nonce: &str, first: &str) -> (Exchange, Credentials) {
    let credentials = credentials("user", "pencil");
    let nonce = nonce.to_owned();
    let surroundings = Surroundings { nonce, ..Surroundings::default() };
    let mut exchange = Exchange::new(mechanism, &credentials, surroundings);
    assert_eq!(initial(&mut exchange).unwrap(), first);
    (exchange, credentials)
}

#[test]
fn scram_sha_1_by_its_example() {
    // SCRAM-01, SCRAM-04: RFC 5802 section 5
    let nonce = "fyko+d2lbbFgONRv9qkxdawL";
    let (mut exchange, credentials) =
        scram(Mechanism::ScramSha1, nonce, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
    let server_first = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    assert_eq!(
        answer(&mut exchange, &credentials, server_first),
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    );
    assert!(!exchange.is_complete());
    assert_eq!(answer(&mut exchange, &credentials, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), "");
    assert!(exchange.is_complete());
}

const NONCE_256: &str = "rOprNGfwEbeRWgbNEkqO";
const FIRST_256: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST_256: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

#[test]
fn scram_sha_256_by_its_example() {
    // SCRAM-01, SCRAM-04, SCRAM-06: RFC 7677 section 3, and optional extensions are ignored
    for extension in ["", ",x=ignored"] {
        let (mut exchange, credentials) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
        let Step::Derive(derivation) =
            challenged(&mut exchange, &credentials, &format!("{SERVER_FIRST_256}{extension}"))
        else {
            panic!("no key is asked for");
        };
        assert!(exchange.awaits_key());
        let response = exchange.handle_key(&derivation.derive()).unwrap();
        assert!(!exchange.awaits_key());
        if extension.is_empty() {
            assert_eq!(
                text(&response),
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            let verifier = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
            assert_eq!(answer(&mut exchange, &credentials, &format!("{verifier},x=y")), "");
            assert!(exchange.is_complete());
        }
    }
}

#[test]
fn a_key_is_derived_once() {
    let (mut first, credentials) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    let proof = answer(&mut first, &credentials, SERVER_FIRST_256);
    // Another connection has a clone of the credentials.
    let (mut second, _) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    let Step::Respond(response) = challenged(&mut second, &credentials.clone(), SERVER_FIRST_256)
    else {
        panic!("the key was not kept");
    };
    assert_eq!(text(&response), proof);
    // Another salt, another key; and the oldest gives way.
    for salt in ["c2FsdA==", "c2FsdDI=", "c2FsdDM=", "c2FsdDQ="] {
        let (mut exchange, _) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
        let message = format!("r={NONCE_256}x,s={salt},i=4096");
        let Step::Derive(derivation) = challenged(&mut exchange, &credentials, &message) else {
            panic!("a key was known for {salt}");
        };
        derivation.derive();
    }
    let (mut exchange, _) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    let step = challenged(&mut exchange, &credentials, SERVER_FIRST_256);
    assert!(matches!(step, Step::Derive(_)), "{step:?}");
}

#[track_caller]
fn refuses(server_first: &str, expected: AuthFailure) {
    let (mut exchange, credentials) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    match challenged(&mut exchange, &credentials, server_first) {
        Step::Cancel(Cancelled::Failed(failure)) => assert_eq!(failure, expected, "{server_first}"),
        other => panic!("{server_first}: {other:?}"),
    }
    assert!(!exchange.is_complete());
    assert!(matches!(challenged(&mut exchange, &credentials, ""), Step::Endless));
}

#[test]
fn scram_does_not_trust_every_server() {
    use AuthFailure::{Extension, Iterations, Nonce, Syntax};
    // SCRAM-02, AU-09: the nonce
    refuses("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Nonce);
    refuses("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", Nonce);
    // SCRAM-05, AU-10, AU-11: the count
    for (count, expected) in [
        ("1", 1),
        ("4095", 4095),
        ("1000001", 1_000_001),
        ("2147483647", 2_147_483_647),
        ("4294967295", u32::MAX),
        ("99999999999999999999", u32::MAX),
    ] {
        refuses(&format!("r={NONCE_256}x,s=c2FsdA==,i={count}"), Iterations(expected));
    }
    // SCRAM-06
    refuses(&format!("m=new,r={NONCE_256}x,s=c2FsdA==,i=4096"), Extension);
    // AU-09: the salt, and whatever else is none of it
    for message in [
        "",
        "e=other-error",
        "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,i=4096,s=c2FsdA==",
        "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==",
        "r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=+4096",
        "r=rOprNGfwEbeRWgbNEkqO\r\nMAIL,s=c2FsdA==,i=4096",
    ] {
        refuses(message, Syntax);
    }
}

#[test]
fn scram_wants_proof_of_the_server() {
    // SCRAM-03, AU-09, AU-19: compared in constant time by `subtle`
    for verifier in ["v=cm1GOXBxVjhTN3N1QW9aV2phNGRKUmtGc0tRPQ==", "v=", "v=?", "x=y", ""] {
        let (mut exchange, credentials) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
        answer(&mut exchange, &credentials, SERVER_FIRST_256);
        let step = challenged(&mut exchange, &credentials, verifier);
        let failed = Cancelled::Failed(AuthFailure::ServerSignature);
        assert!(matches!(step, Step::Cancel(why) if why == failed), "{verifier}: {step:?}");
        assert!(!exchange.is_complete());
    }
    let (mut exchange, credentials) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    answer(&mut exchange, &credentials, SERVER_FIRST_256);
    let step = challenged(&mut exchange, &credentials, "e=invalid-proof");
    assert!(matches!(step, Step::Cancel(Cancelled::Refused)), "{step:?}");
}

#[test]
fn the_flag_tells_of_channel_binding() {
    // SCRAM-07, AU-12, CB-01
    let binding = Some(ChannelBinding::from_exporter([7; 32]));
    let credentials = credentials("us=er,x", "pencil");
    #[track_caller]
    fn check(first: Option<String>, header: &str) {
        assert_eq!(first.unwrap(), format!("{header}n=us=3Der=2Cx,r=abc"));
    }
    let cases = [
        (Mechanism::ScramSha256Plus, binding, true, "p=tls-exporter,,"),
        (Mechanism::ScramSha1Plus, binding, true, "p=tls-exporter,,"),
        (Mechanism::ScramSha256, binding, false, "y,,"),
        // Asked for by name, or as the next one behind -PLUS: `y` would be a lie.
        (Mechanism::ScramSha256, binding, true, "n,,"),
        (Mechanism::ScramSha256, None, false, "n,,"),
        (Mechanism::ScramSha256, None, true, "n,,"),
    ];
    for (mechanism, channel_binding, offers_binding, header) in cases {
        let nonce = "abc".to_owned();
        let surroundings = Surroundings { channel_binding, offers_binding, nonce, server: None };
        let mut exchange = Exchange::new(mechanism, &credentials, surroundings);
        check(initial(&mut exchange), header);
        let last = answer(&mut exchange, &credentials, "r=abcd,s=c2FsdA==,i=4096");
        let data = if header.starts_with('p') { &[7; 32][..] } else { &[] };
        let expected = STANDARD.encode([header.as_bytes(), data].concat());
        assert!(last.starts_with(&format!("c={expected},r=abcd,p=")), "{last}");
    }
}

#[test]
fn secrets_are_not_shown() {
    // LK-01, LK-07
    let credentials = credentials("user", "pencil");
    let shown = format!("{:?}", exchange(Mechanism::Plain, &credentials));
    assert!(!shown.contains("pencil"), "{shown}");
    let (mut scram, _) = scram(Mechanism::ScramSha256, NONCE_256, FIRST_256);
    let step = challenged(&mut scram, &credentials, SERVER_FIRST_256);
    let shown = format!("{step:?} {scram:?}");
    assert!(!shown.contains("pencil"), "{shown}");
}

#[test]
fn what_is_secret_is_wiped() {
    // LK-07, AU-18
    fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
    let credentials = credentials("user", "pencil");
    let response = exchange(Mechanism::Plain, &credentials).initial_response(|_| true).unwrap();
    wiped(&response);
    // It never grew, so there is no copy of a shorter one.
    assert_eq!(response.capacity(), response.len());
}

mod any_server {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_an_exchange_some_day(
            challenges in vec((any::<bool>(), "\\PC{0,40}"), MAX_CHALLENGES + 1),
            mechanism in proptest::sample::select(Credentials::MECHANISMS),
        ) {
            // AUTH-18, AU-06: whatever the challenges are, and never with success before the proof
            let credentials = match mechanism {
                Mechanism::XOAuth2 | Mechanism::OAuthBearer => Credentials::bearer("u", "token"),
                Mechanism::External => Credentials::external(None),
                _ => Credentials::new("u", "secret"),
            };
            let credentials = credentials.unwrap();
            let nonce = "nonce".to_owned();
            let surroundings = Surroundings { nonce, ..Surroundings::default() };
            let mut exchange = Exchange::new(mechanism, &credentials, surroundings);
            let mut ended = false;
            for (is_encoded, text) in challenges {
                let text = if is_encoded { STANDARD.encode(&text) } else { text };
                match exchange.handle_challenge(&credentials, text.as_bytes()) {
                    Step::Respond(_) | Step::Refused(..) | Step::Derive(_) => {}
                    Step::Cancel(_) | Step::Endless => {
                        ended = true;
                        break;
                    }
                }
                let is_scram = matches!(exchange.client, Client::Scram(_));
                prop_assert!(!is_scram || !exchange.is_complete());
            }
            prop_assert!(ended);
        }
    }
}
