//! Content that is large: in chunks, and in time.

use std::io::IoSlice;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use posthaste_session::{
    Chunking, CloseReason, Config, Content, Envelope, Event, Finished, ForwardPath, Mail, Outcome,
    Protocol, ReversePath, Session, Stage,
};

const MIB: usize = 1024 * 1024;

/// A session that is ready, with one mail in it whose envelope has been answered.
struct Client {
    session: Session,
    now: Instant,
}

impl Client {
    fn new(config: Config, keywords: &str, octets: usize) -> Self {
        let now = Instant::now();
        let protocol = config.protocol;
        let mut client = Self { session: Session::new(now, config), now };
        client.hear("220 hi\r\n");
        client.said();
        client.hear(&format!("250-mx\r\n{keywords}250 CHUNKING\r\n"));
        let content = Content::new(".0123456789012\r\n".repeat(octets / 16)).unwrap();
        let to: ForwardPath = "b@y".parse().unwrap();
        let envelope = Envelope::new(ReversePath::Null, [to]).unwrap();
        client.session.submit(now, Mail::new(envelope, content)).unwrap();
        for _ in 0..if keywords.is_empty() { 2 } else { 1 } {
            // DATA is for the test to answer.
            let commands = client.said().matches("\r\n").count().min(2);
            client.hear(&"250 ok\r\n".repeat(commands));
        }
        assert_eq!(client.session.in_flight(), 1, "{protocol:?}");
        client
    }

    fn chunked(keywords: &str, octets: usize) -> Self {
        let mut config = Config::new("client.example".parse().unwrap());
        config.chunking = Chunking::Always;
        Self::new(config, keywords, octets)
    }

    fn hear(&mut self, text: &str) {
        self.session.handle_input(self.now, text.as_bytes());
    }

    /// Writes all there is to say.
    fn said(&mut self) -> String {
        let mut said = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = self.session.poll_transmit(&mut slices);
            if used == 0 {
                return String::from_utf8(said).unwrap();
            }
            let octets: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
            self.session.transmitted(self.now, octets.len());
            said.extend(octets);
        }
    }

    /// Writes so many octets of what there is to say.
    fn write(&mut self, octets: usize) {
        let mut left = octets;
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); 1];
            assert_eq!(self.session.poll_transmit(&mut slices), 1);
            let octets = slices[0].len().min(left);
            self.session.transmitted(self.now, octets);
            left -= octets;
        }
    }

    /// Writes all there is to say, and returns the sizes of the chunks in it.
    fn chunks(&mut self) -> Vec<(usize, bool)> {
        let said = self.said();
        let mut rest = said.as_str();
        let mut chunks = Vec::new();
        while let Some((line, behind)) = rest.split_once("\r\n") {
            let Some(size) = line.strip_prefix("BDAT ") else { panic!("{line}") };
            let (size, is_last) = match size.strip_suffix(" LAST") {
                Some(size) => (size, true),
                None => (size, false),
            };
            let size = size.parse().unwrap();
            chunks.push((size, is_last));
            rest = &behind[size..];
        }
        chunks
    }

    fn finished(&mut self) -> Option<Finished> {
        std::iter::from_fn(|| self.session.poll_event()).find_map(|event| match event {
            Event::Finished(finished) => Some(finished),
            _ => None,
        })
    }
}

#[test]
fn a_large_content_goes_in_few_large_chunks() {
    // CHUNK-08, CHUNK-12, CHUNK-15, CHUNK-16, CHUNK-19, Q24: bounded ahead of the replies, as long as announced, and
    // the last one is not empty.
    let mut client = Client::chunked("250-PIPELINING\r\n", 10 * MIB);
    let mut chunks = client.chunks();
    assert_eq!(chunks.len(), 4);
    while client.session.in_flight() > 0 {
        client.hear("250 ok\r\n");
        chunks.extend(client.chunks());
        assert!(chunks.len() <= 10);
    }
    let mut expected = vec![(MIB, false); 9];
    expected.push((MIB, true));
    assert_eq!(chunks, expected);
    assert!(client.finished().unwrap().outcomes[0].is_delivered());
}

#[test]
fn without_pipelining_one_chunk_waits_for_the_other() {
    // CHUNK-12
    let mut client = Client::chunked("", 2 * MIB + 16);
    assert_eq!(client.chunks(), [(MIB, false)]);
    client.hear("250 ok\r\n");
    assert_eq!(client.chunks(), [(MIB, false)]);
    client.hear("250 ok\r\n");
    assert_eq!(client.chunks(), [(16, true)]);
    client.hear("250 ok\r\n");
    assert!(client.finished().unwrap().outcomes[0].is_delivered());
}

/// CHUNK-06: the second chunk is refused, and none is begun after that; then `ahead` replies come for what was.
#[track_caller]
fn check_refused(keywords: &str, ahead: usize) {
    let mut client = Client::chunked(keywords, 10 * MIB);
    client.chunks();
    client.hear("250 ok\r\n");
    client.chunks();
    client.hear("552 too much\r\n");
    assert_eq!(client.said(), "");
    for _ in 0..ahead {
        assert!(client.finished().is_none());
        client.hear("503 no transaction\r\n");
    }
    let finished = client.finished().unwrap();
    let Outcome::Refused(refusal) = &finished.outcomes[0] else { panic!("{finished:?}") };
    assert_eq!((refusal.stage, refusal.reply.code().value()), (Stage::Content, 552));
    client.session.submit(client.now, finished.mail).unwrap();
    assert!(client.said().starts_with("RSET\r\n")); // CHUNK-07
}

/// CHUNK-06: what has not been written of it is not begun at all.
#[test]
fn a_chunk_that_is_not_out_yet_is_taken_back() {
    let mut client = Client::chunked("250-PIPELINING\r\n", 2 * MIB);
    // The first chunk, and nothing else, is queued until it is out.
    client.write(MIB + "BDAT 1048576\r\n".len());
    client.hear("552 too much\r\n");
    assert_eq!(client.said(), "");
    let finished = client.finished().unwrap();
    let Outcome::Refused(refusal) = &finished.outcomes[0] else { panic!("{finished:?}") };
    assert_eq!((refusal.stage, refusal.reply.code().value()), (Stage::Content, 552));
    client.session.submit(client.now, finished.mail).unwrap();
    assert!(client.said().starts_with("RSET\r\nMAIL FROM:<>"));
}

#[test]
fn no_chunk_is_begun_after_a_refused_one() {
    check_refused("", 0);
    check_refused("250-PIPELINING\r\n", 3);
}

#[test]
fn in_lmtp_chunks_wait_for_each_other() {
    // LMTP-05: one reply to a chunk, one for each recipient to the last.
    let mut config = Config::new("client.example".parse().unwrap());
    config.chunking = Chunking::Always;
    config.protocol = Protocol::Lmtp;
    let mut client = Client::new(config, "250-PIPELINING\r\n", MIB + 16);
    assert_eq!(client.chunks(), [(MIB, false)]);
    client.hear("250 ok\r\n");
    assert_eq!(client.chunks(), [(16, true)]);
    client.hear("250 ok\r\n");
    assert!(client.finished().unwrap().outcomes[0].is_delivered());
}

/// TIME-09, FL-05, TIME-05: progress puts the deadline off, but not for ever.
#[test]
fn content_must_go_at_some_rate() {
    let mut config = Config::new("client.example".parse().unwrap());
    config.timeouts.content = Duration::from_secs(10);
    config.timeouts.min_rate = NonZeroU32::new(1600);
    let mut client = Client::new(config, "250-PIPELINING\r\n", 160_000);
    client.hear("354 go\r\n");
    let begin = client.now;
    // 160 000 octets at 1600 a second take 100 s.
    for _ in 0..109 {
        client.now += Duration::from_secs(1);
        client.session.transmitted(client.now, 1);
        client.session.handle_timeout(client.now);
        assert!(!client.session.is_closed(), "after {:?}", client.now - begin);
    }
    client.now += Duration::from_secs(1);
    client.session.handle_timeout(client.now);
    let closed = std::iter::from_fn(|| client.session.poll_event()).last();
    let Some(Event::Closed(reason)) = closed else { panic!("{closed:?}") };
    assert_eq!(reason, CloseReason::Timeout { stage: Stage::Content });
}
