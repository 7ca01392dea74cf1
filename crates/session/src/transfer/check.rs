//! Whether a server can be given a mail, by what it offers.

use posthaste_reply::Extensions;

use crate::command::{self, Body, MailParameters};
use crate::config::Chunking;
use crate::mail::{Envelope, Mail};
use crate::options::{LateDelivery, MailOptions};
use crate::outcome::Unsendable;
use crate::session::Session;

/// Longest command line in octets without parameters of extensions (RFC 5321 section 4.5.3.1.4).
const MAX_COMMAND: usize = 512;

impl Session {
    /// Whether this server can be given this mail.
    pub(crate) fn check_sendable(&self, mail: &Mail) -> Result<(), Unsendable> {
        let extensions = &self.extensions;
        let octets = mail.content.len() as u64;
        // A limit of 0 means that none is known (RFC 1870 section 4).
        let limit = extensions.size().and_then(|size| size.limit).filter(|&limit| limit > 0);
        if let Some(limit) = limit.filter(|&limit| octets > limit) {
            return Err(Unsendable::TooLarge { octets, limit });
        }
        let lacks_smtputf8 = !extensions.smtputf8();
        if lacks_smtputf8 && needs_smtputf8(mail) {
            return Err(Unsendable::SmtpUtf8);
        }
        if mail.content.is_binary() {
            let may_chunk = self.config.chunking != Chunking::Off;
            if !(extensions.binarymime() && extensions.chunking() && may_chunk) {
                return Err(Unsendable::Binary);
            }
        // SMTPUTF8 implies that 8-bit content is understood (RFC 6531 section 3.1).
        } else if mail.content.has_8bit() && !extensions.eight_bit_mime() && !extensions.smtputf8()
        {
            return Err(Unsendable::EightBit);
        }
        if mail.envelope.has_options() {
            self.check_options(mail.envelope.options())?;
            check_lengths(&mail.envelope, extensions)?;
        }
        Ok(())
    }

    /// Whether the conditions among the options can be met; wishes need no check.
    #[cold]
    fn check_options(&self, options: &MailOptions) -> Result<(), Unsendable> {
        let extensions = &self.extensions;
        let is_verified = self.tls().is_some_and(|tls| tls.is_verified);
        if options.require_tls && !(is_verified && extensions.requiretls()) {
            return Err(Unsendable::RequireTls);
        }
        if let Some(hold) = &options.hold {
            let offered = extensions.future_release();
            if !offered.is_some_and(|offered| hold.is_within(offered)) {
                return Err(Unsendable::Hold);
            }
        }
        if let Some(by) = options.deliver_by.filter(|by| by.late() == LateDelivery::Return) {
            let Some(offered) = extensions.deliver_by() else {
                return Err(Unsendable::DeliverBy);
            };
            if offered.minimum.is_some_and(|least| by.time().is_none_or(|time| time < least)) {
                return Err(Unsendable::DeliverBy);
            }
        }
        Ok(())
    }
}

/// Whether an address or the header section is internationalised.
pub(super) fn needs_smtputf8(mail: &Mail) -> bool {
    mail.content.header_needs_smtputf8() || mail.envelope.needs_smtputf8()
}

/// Whether every command stays as short as the server may demand. Only parameters can make one longer.
fn check_lengths(envelope: &Envelope, extensions: &Extensions) -> Result<(), Unsendable> {
    let mut line = Vec::new();
    let mut largest = itoa::Buffer::new();
    let parameters = MailParameters {
        size: extensions.size().map(|_| largest.format(usize::MAX)),
        body: if extensions.eight_bit_mime() { Body::EightBit } else { Body::Plain },
        smtputf8: extensions.smtputf8(),
    };
    command::mail(
        &mut line,
        envelope.reverse_path(),
        parameters,
        envelope.some_options(),
        extensions,
    );
    let mut fits = line.len() <= MAX_COMMAND + growth_of_mail(extensions);
    for (place, path) in envelope.forward_paths().iter().enumerate() {
        line.clear();
        command::rcpt(&mut line, path, envelope.recipient_options(place), extensions);
        fits &= line.len() <= MAX_COMMAND + growth_of_rcpt(extensions);
    }
    if fits { Ok(()) } else { Err(Unsendable::LongCommand) }
}

/// By how many octets the extensions that are offered let MAIL grow, each as its RFC says.
fn growth_of_mail(extensions: &Extensions) -> usize {
    [
        (extensions.size().is_some(), 26),
        (extensions.eight_bit_mime() || extensions.binarymime(), 17),
        (extensions.smtputf8(), 10),
        (extensions.dsn(), 100),
        (extensions.deliver_by().is_some(), 17),
        (extensions.mt_priority(), 15),
        (extensions.future_release().is_some(), 34),
        (extensions.requiretls(), 11),
        (!extensions.auth().is_empty(), 500),
    ]
    .into_iter()
    .filter_map(|(is_offered, octets)| is_offered.then_some(octets))
    .sum()
}

/// The same for RCPT.
fn growth_of_rcpt(extensions: &Extensions) -> usize {
    if extensions.dsn() { 500 } else { 0 }
}
