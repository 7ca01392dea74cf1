//! What a probe found, for people and for programs.

use std::fmt;

use posthaste::connection::{Proof, Server, TlsInfo};
use posthaste::reply::{Extensions, Limits9422};
use posthaste::session::Protocol;
use serde::Serialize;

use super::certificate::Certificate;
use super::dialogue::{Exchange, Heard};
use super::finding::{Finding, Findings, Status};
use crate::units::{counted, elapsed, octets};

/// What a probe found.
#[derive(Debug, Serialize)]
pub(super) struct ProbeReport {
    server: String,
    protocol: &'static str,
    /// How the client introduces itself.
    #[serde(skip)]
    verb: &'static str,
    peer: Option<String>,
    connect_us: Option<u64>,
    /// Whether another probe would find the same.
    conclusive: bool,
    stages: Findings,
    /// What the server said first.
    greeting: Option<String>,
    /// What it offered in the clear.
    ehlo: Option<Offer>,
    /// What it offered within TLS.
    ehlo_tls: Option<Offer>,
    tls: Option<Tls>,
    limits: Limits,
}

/// What a server says to EHLO.
#[derive(Debug, Serialize)]
struct Offer {
    /// What stands behind the code of the first line: the server's name, most of the time.
    identity: String,
    /// The other lines.
    extensions: Vec<String>,
    /// SASL mechanisms, those that nobody here knows as well.
    auth: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tls {
    version: String,
    cipher: String,
    /// Whether the certificate proves that this is the server.
    verified: bool,
    /// What is wrong with it.
    fault: Option<&'static str>,
    /// The name that was asked for.
    server_name: Option<String>,
    alpn: Option<String>,
    handshake_us: u64,
    certificate: Option<Certificate>,
    /// How many certificates the server sent.
    chain: usize,
}

/// What the server says that it takes; `None` where it does not say.
#[derive(Debug, Default, Serialize)]
struct Limits {
    /// Octets of a mail's content.
    size: Option<u64>,
    mails_per_session: Option<u32>,
    recipients_per_mail: Option<u32>,
    domains_per_mail: Option<u32>,
    /// Seconds.
    deliver_by_min: Option<u64>,
    /// Seconds.
    future_release_max: Option<u64>,
}

impl ProbeReport {
    pub(super) fn new(server: &Server, heard: &Heard, stages: Findings) -> Self {
        let info = heard.info.as_ref();
        let hello = |in_tls| {
            let is_hello = |it: &&Exchange| {
                let is_good = it.code().is_some_and(|code| code.is_positive_completion());
                it.is_hello() && it.in_tls == in_tls && is_good
            };
            // On the last connection, or else on one that ended with its handshake.
            heard.exchanges.iter().rev().chain(heard.before.iter().rev()).find(is_hello)
        };
        let last = hello(true).or_else(|| hello(false));
        let greeting = heard.exchanges.iter().chain(&heard.before).find(|it| it.is_greeting());
        let (protocol, verb) = match server.protocol() {
            Protocol::Smtp => ("smtp", "EHLO"),
            Protocol::Lmtp => ("lmtp", "LHLO"),
        };
        Self {
            server: server.to_string(),
            protocol,
            verb,
            peer: info.map(|info| info.peer.to_string()),
            connect_us: info.map(|info| microseconds(info.connect_time)),
            conclusive: stages.are_conclusive(),
            stages,
            greeting: greeting.and_then(Exchange::text),
            ehlo: hello(false).map(Offer::of),
            ehlo_tls: hello(true).map(Offer::of),
            tls: info.and_then(|info| info.tls.as_ref()).map(Tls::of),
            limits: last.map(|last| Limits::of(&last.extensions())).unwrap_or_default(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        // Strings, numbers and options of them can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Offer {
    fn of(hello: &Exchange) -> Self {
        let mut lines = hello.texts().map(|text| text.trim().to_owned());
        let auth = hello.extensions();
        let auth = auth.auth();
        let known = auth.iter().map(|mechanism| mechanism.name().to_owned());
        Self {
            identity: lines.next().unwrap_or_default(),
            extensions: lines.filter(|line| !line.is_empty()).collect(),
            auth: known.chain(auth.others().map(str::to_owned)).collect(),
        }
    }
}

impl Tls {
    fn of(info: &TlsInfo) -> Self {
        let fault = match info.proof {
            Proof::Verified => None,
            Proof::Unverified(fault) => Some(fault.as_str()),
            Proof::Unknown => Some("unknown"),
        };
        Self {
            // From the names of an enum: TLSv1_3, TLS13_AES_256_GCM_SHA384.
            version: info.version.replace("TLSv", "").replace('_', "."),
            cipher: info.cipher.replace("TLS13_", "TLS_"),
            verified: info.is_verified(),
            fault,
            server_name: info.server_name.clone(),
            alpn: info.alpn.as_ref().map(|name| name.escape_ascii().to_string()),
            handshake_us: microseconds(info.time),
            certificate: info.certificates.first().and_then(|der| Certificate::read(der)),
            chain: info.certificates.len(),
        }
    }
}

impl Limits {
    fn of(extensions: &Extensions) -> Self {
        let Limits9422 { mail_max, rcpt_max, rcpt_domain_max } = extensions.limits();
        let deliver_by = extensions.deliver_by().and_then(|it| it.minimum);
        let future_release = extensions.future_release().and_then(|it| it.maximum);
        Self {
            size: extensions.size().and_then(|size| size.limit),
            mails_per_session: mail_max,
            recipients_per_mail: rcpt_max,
            domains_per_mail: rcpt_domain_max,
            deliver_by_min: deliver_by.map(|time| time.as_secs()),
            future_release_max: future_release.map(|time| time.as_secs()),
        }
    }

    /// In words, those there are.
    fn in_words(&self) -> Vec<String> {
        let per = |count: Option<u32>, what, per| {
            count.map(|count| format!("{} a {per}", counted(count.into(), what)))
        };
        let seconds = |seconds: Option<u64>, what| {
            seconds.map(|seconds| format!("{what} {}", counted(seconds, "second")))
        };
        let words = [
            self.size.map(|size| format!("{} a mail", octets(size))),
            per(self.mails_per_session, "mail", "session"),
            per(self.recipients_per_mail, "recipient", "mail"),
            per(self.domains_per_mail, "domain", "mail"),
            seconds(self.deliver_by_min, "delivery by"),
            seconds(self.future_release_max, "release within"),
        ];
        words.into_iter().flatten().collect()
    }
}

fn microseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Where the second column begins.
const COLUMN: usize = 12;
/// Where a list goes on on the next line.
const WIDTH: usize = 88;

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server)?;
        if let Some(peer) = self.peer.as_ref().filter(|peer| **peer != self.server) {
            write!(f, " ({peer})")?;
        }
        match self.connect_us {
            Some(time) => {
                writeln!(f, ", connected in {}", elapsed(std::time::Duration::from_micros(time)))?
            }
            None => writeln!(f)?,
        }
        let Findings { connect, greeting, ehlo, starttls, tls, ehlo_tls, auth, session } =
            &self.stages;
        if connect.status != Status::Ok {
            trouble(f, "connect", connect)?;
        }
        match (&self.greeting, greeting.status) {
            (Some(text), Status::Ok) => row(f, "greeting", text)?,
            _ => trouble(f, "greeting", greeting)?,
        }
        offer(f, self.verb, ehlo, self.ehlo.as_ref())?;
        match (starttls.status, &starttls.text) {
            (Status::Ok, Some(text)) => row(f, "STARTTLS", text)?,
            _ => trouble(f, "STARTTLS", starttls)?,
        }
        match &self.tls {
            Some(shown) => shown.show(f, tls)?,
            None => trouble(f, "TLS", tls)?,
        }
        offer(f, &format!("{} in TLS", self.verb), ehlo_tls, self.ehlo_tls.as_ref())?;
        self.mechanisms(f)?;
        if auth.status != Status::NotTried {
            row(f, "login", &in_words(auth))?;
        }
        if session.status != Status::Ok {
            trouble(f, "session", session)?;
        }
        let limits = self.limits.in_words();
        if !limits.is_empty() {
            row(f, "limits", &limits.join(", "))?;
        }
        if !self.conclusive {
            writeln!(f, "Something went wrong that may go well another time: inconclusive.")?;
        }
        Ok(())
    }
}

impl ProbeReport {
    fn mechanisms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |offer: &Offer| match &offer.auth[..] {
            [] => "none".to_owned(),
            mechanisms => mechanisms.join(" "),
        };
        let clear = self.ehlo.as_ref().map(|offer| format!("{} in the clear", list(offer)));
        let tls = self.ehlo_tls.as_ref().map(|offer| format!("{} in TLS", list(offer)));
        let both: Vec<_> = clear.into_iter().chain(tls).collect();
        if both.is_empty() { Ok(()) } else { row(f, "AUTH", &both.join(", ")) }
    }
}

impl Tls {
    fn show(&self, f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
        let time = elapsed(std::time::Duration::from_micros(self.handshake_us));
        let handshake = format!("TLS {}, {}, handshake in {time}", self.version, self.cipher);
        row(f, "TLS", &handshake)?;
        let proof = match (self.verified, self.fault, &self.server_name) {
            (true, _, Some(name)) => format!("proves to be {name}"),
            (true, _, None) => "proves who it is".to_owned(),
            (false, fault, _) => {
                format!("does not prove who it is: {}", fault.unwrap_or("unknown"))
            }
        };
        row(f, "", &proof)?;
        if finding.status != Status::Ok {
            row(f, "", &in_words(finding))?;
        }
        let Some(certificate) = &self.certificate else { return Ok(()) };
        row(f, "certificate", &certificate.subject)?;
        list(f, "  for", &certificate.names)?;
        row(f, "  issued by", &certificate.issuer)?;
        let Certificate { not_before, not_after, days_left, .. } = certificate;
        let left = match days_left {
            0.. => format!("{} left", counted(days_left.unsigned_abs(), "day")),
            _ => format!("expired {} ago", counted(days_left.unsigned_abs(), "day")),
        };
        row(f, "  valid", &format!("{not_before} to {not_after}, {left}"))
    }
}

fn offer(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    finding: &Finding,
    offer: Option<&Offer>,
) -> fmt::Result {
    match (offer, finding.status) {
        (Some(offer), Status::Ok) if offer.extensions.is_empty() => {
            row(f, name, finding.text.as_deref().unwrap_or("no extensions"))
        }
        (Some(offer), Status::Ok) => list(f, name, &offer.extensions),
        _ => trouble(f, name, finding),
    }
}

/// A stage that did not work. What nobody came to is not mentioned.
fn trouble(f: &mut fmt::Formatter<'_>, name: &str, finding: &Finding) -> fmt::Result {
    match finding.status {
        Status::NotTried | Status::NotReached => Ok(()),
        Status::Ok
        | Status::NotOffered
        | Status::Refused
        | Status::Inconclusive
        | Status::Violation => row(f, name, &in_words(finding)),
    }
}

fn in_words(finding: &Finding) -> String {
    match &finding.text {
        Some(text) => format!("{}: {text}", finding.status.as_str()),
        None => finding.status.as_str().to_owned(),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<COLUMN$}  {text}")
}

/// Entries on as many lines as it takes.
fn list(f: &mut fmt::Formatter<'_>, name: &str, entries: &[String]) -> fmt::Result {
    let mut name = name;
    let mut line = String::new();
    for entry in entries {
        if !line.is_empty() && COLUMN + line.len() + entry.len() > WIDTH {
            row(f, name, &(line + ","))?;
            name = "";
            line = String::new();
        }
        if !line.is_empty() {
            line += ", ";
        }
        line += entry;
    }
    if line.is_empty() { Ok(()) } else { row(f, name, &line) }
}
