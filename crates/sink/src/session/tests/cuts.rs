//! How octets are cut on their way changes nothing.

use proptest::prelude::*;

use super::{Cut, Scene};
use crate::config::Config;
use crate::store::StoreKind;

/// What sessions know, to be put in any order: most of it makes no sense.
const WORDS: [&[u8]; 14] = [
    b"EHLO c\r\n",
    b"MAIL FROM:<a@x>\r\n",
    b"RCPT TO:<b@y>\r\n",
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 3 LAST\r\n",
    b"RSET\r\n",
    b"AUTH LOGIN\r\n",
    b"bmV3cw==\r\n",
    b"\r\n.\r\n",
    b"..\r\n",
    b"\r",
    b"\n",
    b"\0\xff",
];

fn flight() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..40).prop_map(|words| words.concat())
}

proptest! {
    /// RF-14, on the server's side.
    #[test]
    fn replies_do_not_depend_on_cuts(
        flight in flight(),
        cuts in prop::collection::vec(0..200_usize, 0..8),
    ) {
        let config = Config {
            offer: "+AUTH=LOGIN".parse().unwrap(),
            store: StoreKind::Memory,
            ..Config::default()
        };
        let greeting: &[u8] = b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n";
        let flight = [greeting, &flight].concat();
        let mut whole = Scene::new(&config);
        whole.send(&flight, Cut::Whole);
        let mut cut = Scene::new(&config);
        let mut bounds: Vec<usize> = cuts.into_iter().map(|cut| cut.min(flight.len())).collect();
        bounds.extend([0, flight.len()]);
        bounds.sort_unstable();
        for piece in bounds.windows(2) {
            cut.send(&flight[piece[0]..piece[1]], Cut::Whole);
        }
        prop_assert_eq!(&whole.seen, &cut.seen);
        prop_assert_eq!(whole.server.mails(), cut.server.mails());
    }
}
