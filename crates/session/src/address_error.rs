//! What can be wrong with an address.

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `@`, or nothing before it.
    #[error("expected local-part@domain")]
    Shape,
    /// A control character, which could end the command line or hide in it.
    #[error("control character {0:?} is not allowed in an address")]
    Control(char),
    /// A character that must stand in quotes, or may not stand here at all.
    #[error("character {0:?} is not allowed in an unquoted local-part")]
    LocalCharacter(char),
    /// A quoted local-part that does not end where the `@` begins.
    #[error("quoted local-part is not closed before the @")]
    Quote,
    /// The local-part is longer than 64 octets.
    #[error("local-part is longer than 64 octets")]
    LocalTooLong,
    /// The whole path is longer than 256 octets.
    #[error("address is longer than 254 octets")]
    TooLong,
    /// The domain is longer than 255 octets.
    #[error("domain is longer than 255 octets")]
    DomainTooLong,
    /// An empty or overlong label, or one that begins or ends with a hyphen.
    #[error("domain has an empty, overlong or hyphen-edged label")]
    Label,
    /// A character that no domain name has.
    #[error("character {0:?} is not allowed in a domain")]
    DomainCharacter(char),
    /// An internationalised domain that IDNA does not allow.
    #[error("domain is not a valid internationalised name")]
    Idna,
    /// An address literal other than `[1.2.3.4]` or `[IPv6:…]`.
    #[error("address literal is neither [IPv4] nor [IPv6:…]")]
    Literal,
}
