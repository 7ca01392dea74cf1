//! A session's memory is bounded, whatever a server sends.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use posthaste_session::{
    Config, Content, Envelope, Event, ForwardPath, Mail, ReversePath, Session,
};

const HELLO: &[u8] = b"250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n";

/// A driver's read: the largest piece of input there is.
const READ: usize = 16 * 1024;

/// Most octets that were allocated at once.
fn most_octets(run: impl FnMut()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

struct Client {
    now: Instant,
    session: Session,
}

impl Client {
    /// A session that takes mails.
    fn ready() -> Self {
        let now = Instant::now();
        let config = Config::new("client.example".parse().unwrap());
        let mut client = Self { now, session: Session::new(now, config) };
        client.hear(b"220 mx\r\n");
        client.hear(HELLO);
        assert!(client.events().iter().any(|event| matches!(event, Event::Ready)));
        client
    }

    fn hear(&mut self, octets: &[u8]) {
        for piece in octets.chunks(READ) {
            self.session.handle_input(self.now, piece);
            self.speak();
        }
    }

    fn speak(&mut self) {
        while self.session.has_transmit() {
            let mut slices = [IoSlice::new(&[]); 32];
            let used = self.session.poll_transmit(&mut slices);
            let octets = slices[..used].iter().map(|slice| slice.len()).sum();
            self.session.transmitted(self.now, octets);
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn submit(&mut self, recipients: usize, content: Content) {
        let from: ReversePath = "a@client.example".parse().unwrap();
        let to = (0..recipients)
            .map(|index| format!("r{index}@mx.example").parse::<ForwardPath>().unwrap());
        let mail = Mail::new(Envelope::new(from, to).unwrap(), content);
        self.session.submit(self.now, mail).unwrap();
    }
}

/// RF-01, RF-02, RF-03, RX-10: replies without end.
#[test]
fn replies_without_end_are_given_up() {
    for (beginning, rest) in [
        (&b"220 "[..], &b"A"[..]),
        (b"", b"220-x\r\n"),
        (b"", b"220-\r\n"),
        (b"220-", b"\r"),
        (b"220 mx\r\n250-mx\r\n", b"250-X-ODD some words about it\r\n"),
    ] {
        let flood: Vec<u8> = rest.iter().copied().cycle().take(4 << 20).collect();
        let octets = most_octets(|| {
            let now = Instant::now();
            let config = Config::new("client.example".parse().unwrap());
            let mut client = Client { now, session: Session::new(now, config) };
            client.hear(beginning);
            client.hear(&flood);
            assert!(client.session.is_closed());
        });
        // A reply of 64 KiB that grows into its buffer, and a read behind it.
        assert!(octets < 256 * 1024, "{}: {octets} octets", rest.escape_ascii());
    }
}

/// RX-02: 500 recipients, each refused in 60 KiB of text.
#[test]
fn what_is_kept_of_a_reply_is_bounded() {
    let refusal = [b"550-".to_vec(), vec![b'x'; 4000], b"\r\n".to_vec()].concat().repeat(15);
    let refusal = [refusal, b"550 no\r\n".to_vec()].concat();
    let octets = most_octets(|| {
        let mut client = Client::ready();
        client.submit(500, Content::new("x\r\n").unwrap());
        client.speak();
        client.hear(b"250 ok\r\n");
        (0..500).for_each(|_| client.hear(&refusal));
        client.hear(b"554 nobody\r\n");
        let finished = client.events().into_iter().any(|event| matches!(event, Event::Finished(_)));
        assert!(finished);
    });
    assert!(octets < 500 * 3 * 1024, "{octets} octets");
}

/// FL-03: content is handed out slice by slice, and never copied.
#[test]
fn content_is_not_copied() {
    let line = b"a line of text that is as long as lines of text are, some seventy octets\r\n";
    let content = Content::new([&b".dots\r\n"[..], &line.repeat(200_000)].concat()).unwrap();
    let octets = most_octets(|| {
        let mut client = Client::ready();
        client.submit(1, content.clone());
        client.hear(b"250 ok\r\n250 ok\r\n354 go\r\n");
        client.hear(b"250 ok\r\n");
    });
    assert!(octets < 64 * 1024, "{octets} octets");
}

/// An idle session keeps nothing of the mails it had.
#[test]
fn an_idle_session_is_small() {
    let mut client = Client::ready();
    let round = |client: &mut Client| {
        client.submit(200, Content::new("x\r\n").unwrap());
        client.speak();
        client.hear(&b"250 ok\r\n".repeat(201));
        client.hear(b"354 go\r\n");
        client.hear(b"250 ok\r\n");
        drop(client.events());
    };
    round(&mut client);
    let info = allocation_counter::measure(|| (0..50).for_each(|_| round(&mut client)));
    assert!(info.bytes_current < 4096, "{} octets are left", info.bytes_current);
    client.session.handle_timeout(client.now + Duration::from_secs(1));
    assert!(!client.session.is_closed());
}
