//! The EHLO keywords that are known here.

/// A registered EHLO keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Flag(Flag),
    Auth,
    DeliverBy,
    FutureRelease,
    Limits,
    Size,
}

/// A keyword without parameters, or without any that matter to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    BinaryMime,
    Chunking,
    Dsn,
    EightBitMime,
    EnhancedStatusCodes,
    Etrn,
    Expn,
    Help,
    MtPriority,
    Pipelining,
    RequireTls,
    SmtpUtf8,
    StartTls,
    Vrfy,
}

impl Keyword {
    /// The keyword of this name, in any case (RFC 5321, 2.4).
    #[inline]
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        find_in_any_case(name, Self::spelled)
    }
}

/// Finds what has an upper-case name, given the name in any case.
///
/// Servers write upper case, so the name as it came is tried first.
#[inline]
pub(crate) fn find_in_any_case<T>(name: &[u8], find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    /// No name that is looked for is longer than ENHANCEDSTATUSCODES, which has 19 octets.
    const LONGEST: usize = 20;
    find(name).or_else(|| {
        let mut upper_case = [0; LONGEST];
        let upper_case = upper_case.get_mut(..name.len())?;
        upper_case.copy_from_slice(name);
        upper_case.make_ascii_uppercase();
        find(upper_case)
    })
}

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const fn contains(self, flag: Flag) -> bool {
        self.0 & Self::bit(flag) != 0
    }

    pub(crate) const fn insert(&mut self, flag: Flag) {
        self.0 |= Self::bit(flag);
    }

    pub(crate) const fn remove(&mut self, flag: Flag) {
        self.0 &= !Self::bit(flag);
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static [u8]> {
        let offered =
            move |&keyword: &Keyword| matches!(keyword, Keyword::Flag(flag) if self.contains(flag));
        KEYWORDS.iter().filter(move |(_, keyword)| offered(keyword)).map(|(name, _)| *name)
    }

    const fn bit(flag: Flag) -> u16 {
        1 << flag as u16
    }
}

/// Makes the list of all keywords and the search for one of them.
macro_rules! keywords {
    ($($name:literal => $keyword:expr),+ $(,)?) => {
        const KEYWORDS: &[(&[u8], Keyword)] = &[$(($name, $keyword)),+];

        impl Keyword {
            /// The keyword with exactly this name.
            // Measured: as patterns, names cost a fraction of what comparing with a list does.
            #[inline(always)]
            pub(crate) fn spelled(name: &[u8]) -> Option<Self> {
                match name {
                    $($name => Some($keyword),)+
                    _ => None,
                }
            }
        }
    };
}

keywords! {
    b"PIPELINING" => Keyword::Flag(Flag::Pipelining),
    b"SIZE" => Keyword::Size,
    b"8BITMIME" => Keyword::Flag(Flag::EightBitMime),
    b"STARTTLS" => Keyword::Flag(Flag::StartTls),
    b"ENHANCEDSTATUSCODES" => Keyword::Flag(Flag::EnhancedStatusCodes),
    b"AUTH" => Keyword::Auth,
    b"CHUNKING" => Keyword::Flag(Flag::Chunking),
    b"DSN" => Keyword::Flag(Flag::Dsn),
    b"SMTPUTF8" => Keyword::Flag(Flag::SmtpUtf8),
    b"HELP" => Keyword::Flag(Flag::Help),
    b"VRFY" => Keyword::Flag(Flag::Vrfy),
    b"ETRN" => Keyword::Flag(Flag::Etrn),
    b"LIMITS" => Keyword::Limits,
    b"EXPN" => Keyword::Flag(Flag::Expn),
    b"BINARYMIME" => Keyword::Flag(Flag::BinaryMime),
    b"REQUIRETLS" => Keyword::Flag(Flag::RequireTls),
    b"DELIVERBY" => Keyword::DeliverBy,
    b"FUTURERELEASE" => Keyword::FutureRelease,
    b"MT-PRIORITY" => Keyword::Flag(Flag::MtPriority),
}
