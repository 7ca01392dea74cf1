//! What a session knows of the TLS around it.

use std::fmt;

/// What came of a TLS handshake, as far as a session decides by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsState {
    /// Whether the server has proven to be the one it was taken for.
    pub is_verified: bool,
    /// What ties a SCRAM exchange to this very connection, where TLS can say it.
    pub channel_binding: Option<ChannelBinding>,
}

/// The data of the channel binding `tls-exporter` (RFC 9266): 32 octets that both ends of a TLS
/// connection can derive and nobody in between.
///
/// They come from the exporter with [`LABEL`](Self::LABEL) and an empty context, and only from TLS
/// 1.3, or 1.2 with the extended master secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChannelBinding([u8; Self::LENGTH]);

impl ChannelBinding {
    /// The exporter's label (RFC 9266 section 4.2).
    pub const LABEL: &[u8] = b"EXPORTER-Channel-Binding";
    /// Octets of the data (RFC 9266 section 2).
    pub const LENGTH: usize = 32;

    /// Takes what the exporter gave.
    pub fn from_exporter(octets: [u8; Self::LENGTH]) -> Self {
        Self(octets)
    }

    /// The octets themselves.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    /// Whoever knows the octets can pass for this connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelBinding(..)")
    }
}

/// Whether a connection has TLS from its first octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImplicitTls {
    /// No: plaintext, perhaps with STARTTLS.
    #[default]
    No,
    /// Yes, and the handshake is done.
    Established(TlsState),
}

impl ImplicitTls {
    pub(crate) fn state(self) -> Option<TlsState> {
        match self {
            Self::No => None,
            Self::Established(state) => Some(state),
        }
    }
}
