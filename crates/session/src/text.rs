//! Short texts that need no memory of their own.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Octets that stand in the value itself: most mailboxes, and a value of 32 octets.
const INLINE: usize = 30;

/// A text of which there may be millions, most of them short. Clones of long ones share their octets.
#[derive(Clone)]
pub(crate) enum Text {
    /// The first `len` octets are UTF-8; there is no way to make it otherwise.
    Inline {
        /// At most [`INLINE`].
        len: u8,
        /// Zeros behind the text.
        octets: [u8; INLINE],
    },
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Shared(text) => text,
        }
    }

    /// The octets of it, which need no check.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, octets } => octets.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(text) => text.as_bytes(),
        }
    }

    pub(crate) fn is_ascii(&self) -> bool {
        match self {
            // As many for each, which takes a few instructions.
            Self::Inline { octets, .. } => octets.iter().fold(0, |all, octet| all | octet) < 0x80,
            Self::Shared(text) => text.is_ascii(),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut octets = [0; INLINE];
        match (u8::try_from(text.len()), octets.get_mut(..text.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Inline { len, octets }
            }
            _ => Self::Shared(text.into()),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_come_back() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 300] {
            let text = "ä".repeat(len / 2) + &"x".repeat(len % 2);
            assert_eq!(Text::from(&*text).as_str(), text);
            assert_eq!(matches!(Text::from(&*text), Text::Inline { .. }), len <= INLINE);
        }
        assert!(Text::from("a") != Text::from("b") && Text::from("a") != Text::from("a\0"));
    }

    #[test]
    fn a_text_is_small() {
        assert_eq!((size_of::<Text>(), size_of::<Option<Text>>()), (32, 32));
    }
}
