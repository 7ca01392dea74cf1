//! What a session is told, and the mails it is given, as a few octets decide.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use posthaste_session::reply::Mechanism;
use posthaste_session::{
    Authority, ChannelBinding, Chunking, Config, Content, Credentials, DeliverBy, Entropy,
    Envelope, EnvelopeId, ForwardPath, Hold, InitialResponse, LateDelivery, Mail, MailOptions,
    Notify, OriginalRecipient, Parameter, PartialRefusal, PlaintextAuth, Priority, Protocol,
    Recipient, RecipientOptions, ReturnContent, ReversePath, TlsPolicy, TlsState, Xclient,
    XclientProtocol, XclientText,
};
use posthaste_testkit::checker::Rules;
use posthaste_testkit::pair::MODES;

/// Octets that decide.
pub(super) const OCTETS: usize = 3;

/// Three octets of flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    basics: u8,
    extras: u8,
    mails: u8,
}

impl Setup {
    pub(super) fn new([basics, extras, mails]: [u8; OCTETS]) -> Self {
        Self { basics, extras, mails }
    }

    pub(super) fn config(self) -> Config {
        let Self { basics, extras, .. } = self;
        let mut config = Config::new("client.example".parse().expect("a name"));
        config.pipelining = MODES[usize::from(basics & 3)];
        config.tls = [TlsPolicy::May, TlsPolicy::Off, TlsPolicy::Require, TlsPolicy::May]
            [usize::from(basics >> 2 & 3)];
        config.credentials = (basics & 16 != 0).then(|| self.credentials());
        config.entropy = Some(Entropy::new([0; Entropy::LENGTH]));
        config.transcript = basics & 64 != 0;
        if basics & 128 != 0 {
            config.ignored_keywords = vec!["pipelining".to_owned(), "CHUNKING".to_owned()];
        }
        config.protocol = if extras & 1 != 0 { Protocol::Lmtp } else { Protocol::Smtp };
        config.chunking = [Chunking::Auto, Chunking::Always, Chunking::Off, Chunking::Always]
            [usize::from(extras >> 1 & 3)];
        config.xclient = (extras & 128 != 0).then(xclient);
        config
    }

    fn credentials(self) -> Credentials {
        let kinds = &*CREDENTIALS;
        let credentials = kinds[usize::from(self.extras >> 3 & 3)].clone();
        let plaintext = match self.allows_plaintext() {
            true => PlaintextAuth::Allowed,
            false => PlaintextAuth::Forbidden,
        };
        let initial_response = match self.extras >> 5 & 3 {
            0 | 1 => InitialResponse::WhereItFits,
            2 => InitialResponse::Always,
            _ => InitialResponse::Never,
        };
        credentials.with_plaintext(plaintext).with_initial_response(initial_response)
    }

    fn allows_plaintext(self) -> bool {
        self.basics & 32 != 0
    }

    pub(super) fn rules(self, config: &Config) -> Rules {
        Rules { allows_plaintext: self.allows_plaintext(), ..Rules::of(config) }
    }

    /// What comes of a handshake.
    pub(super) fn tls(self) -> TlsState {
        let binding = ChannelBinding::from_exporter([7; ChannelBinding::LENGTH]);
        TlsState {
            is_verified: self.mails & 1 != 0,
            channel_binding: (self.mails & 2 != 0).then_some(binding),
        }
    }

    /// A mail from a reverse-path of its own, as `number` decides.
    pub(super) fn mail(self, index: usize, number: usize) -> Mail {
        let from: ReversePath = format!("m{index}@x").parse().expect("an address");
        let to = (0..1 + number % 4).map(|index| self.recipient(index));
        let content = ["Subject: hi\r\n", ".", "\r\n.\r\n", "\u{fc}"][number / 4 % 4];
        let content = match self.mails & 64 != 0 && number / 4 % 4 == 3 {
            true => Content::binary(&b"\0\n.\r\n.\r"[..]),
            false => Content::new(content).expect("nothing is wrong"),
        };
        let envelope = Envelope::new(from, to).expect("a few recipients");
        let mut mail = Mail::new(envelope.with_options(self.options()), content);
        if number >= 16 {
            mail.partial_refusal = PartialRefusal::AllOrNothing;
        }
        mail
    }

    fn options(self) -> MailOptions {
        let chosen = |flag: u8| self.mails & flag != 0;
        let late = if chosen(8) { LateDelivery::Return } else { LateDelivery::Notify };
        let parameter = Parameter::new("X-OWN", "X-OWN", Some("1"));
        MailOptions {
            return_content: chosen(4).then_some(ReturnContent::Headers),
            envelope_id: chosen(4).then(|| EnvelopeId::new("a+b = c").expect("an id")),
            deliver_by: chosen(8).then(|| DeliverBy::new(100, late).expect("a time")),
            priority: chosen(4).then(|| Priority::new(-3).expect("a priority")),
            hold: chosen(16).then(|| Hold::for_time(Duration::from_secs(60)).expect("a time")),
            require_tls: chosen(32),
            authority: chosen(4).then_some(Authority::from(ReversePath::Null)),
            others: if chosen(4) { vec![parameter.expect("a parameter")] } else { Vec::new() },
        }
    }

    fn recipient(self, index: usize) -> Recipient {
        let domain = ["y", "y", "z"][index % 3];
        let path: ForwardPath = format!("r{index}@{domain}").parse().expect("an address");
        if self.mails & 128 == 0 {
            return Recipient::new(path);
        }
        let original = OriginalRecipient::new(&path).expect("short enough");
        Recipient::new(path).with_options(Arc::new(RecipientOptions {
            notify: Some(Notify::SUCCESS | Notify::DELAY),
            original: Some(original),
            others: Vec::new(),
        }))
    }
}

/// One of each kind. Clones of one share the keys that were derived, so that is done once a process.
static CREDENTIALS: LazyLock<[Credentials; 4]> = LazyLock::new(|| {
    let password = Credentials::new("tim", "secret").expect("both are plain");
    let oldest = password.clone().with_mechanisms(&[Mechanism::CramMd5]).expect("it suits");
    let token = Credentials::bearer("tim", "secret").expect("both are plain");
    let external = Credentials::external(None).expect("nothing is given");
    [password, oldest, token, external]
});

fn xclient() -> Xclient {
    Xclient {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(25),
        protocol: Some(XclientProtocol::Esmtp),
        helo: Some(XclientText::new("a b+c").expect("a text")),
        ..Xclient::default()
    }
}
