//! Reading JSON that a stranger wrote in memory that its length bounds.
//!
//! A list of things that take a byte each on the wire takes a hundred times that once it is built. So
//! what a message holds more of than it may is counted and not built, and an error about a text does
//! not repeat all of the text.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::REPLY_TEXT_BYTES_MAX;

/// How much of an error's text is kept, in bytes.
const ERROR_BYTES_MAX: usize = 400;

/// A list of which at most `MAX` elements are built; the others are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize> {
    built: Vec<T>,
    #[serde(skip)]
    more: usize,
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The elements.
    ///
    /// # Errors
    /// How many there are, where these are more than `MAX`.
    pub fn all(self) -> Result<Vec<T>, usize> {
        if self.more == 0 { Ok(self.built) } else { Err(self.built.len() + self.more) }
    }
}

impl<T, const MAX: usize> From<Vec<T>> for List<T, MAX> {
    /// A list to be written, of any length.
    fn from(built: Vec<T>) -> Self {
        Self { built, more: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<Self::Value, A::Error> {
                let mut list = List { built: Vec::new(), more: 0 };
                while list.built.len() < MAX {
                    let Some(element) = elements.next_element()? else { return Ok(list) };
                    list.built.push(element);
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    list.more += 1;
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// Reads the elements of a list up to `MAX`, and passes over the others.
///
/// # Errors
/// It is no list, or an element is not what was expected.
pub fn first<'de, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(List::<T, MAX>::deserialize(deserializer)?.built)
}

/// Reads a text for a person, cut off where it is longer than [`REPLY_TEXT_BYTES_MAX`].
///
/// # Errors
/// It is no text.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(cut_off(&text, REPLY_TEXT_BYTES_MAX))
        }
    }

    deserializer.deserialize_str(Text)
}

/// What `error` says, cut off where it gets long: it may quote what it is about.
pub fn brief(error: &impl fmt::Display) -> String {
    cut_off(error, ERROR_BYTES_MAX)
}

/// What `shown` displays, up to so many bytes, with a mark where it is cut off.
fn cut_off(shown: &impl fmt::Display, bytes_max: usize) -> String {
    struct Brief {
        text: String,
        bytes_max: usize,
    }

    impl fmt::Write for Brief {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.bytes_max - self.text.len();
            let fitting = text.floor_char_boundary(room.min(text.len()));
            self.text.push_str(&text[..fitting]);
            if fitting < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut brief = Brief { text: String::new(), bytes_max };
    // It fails just where it is cut off.
    if write!(brief, "{shown}").is_err() {
        brief.text.push('…');
    }
    brief.text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Result<List<u8, 3>, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_list_is_built_up_to_its_limit_and_counted_beyond() {
        assert_eq!(list("[]").unwrap().all(), Ok(vec![]));
        assert_eq!(list("[1,2,3]").unwrap().all(), Ok(vec![1, 2, 3]));
        assert_eq!(list(r#"[1,2,3,4,{"a":[5]}]"#).unwrap().all(), Err(5));
        for wrong in ["[1,2,\"3\"]", "[1,2,3,", "[1,2,3,4", "{}", "1"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&List::<u8, 1>::from(vec![7, 8])).unwrap(), "[7,8]");
    }

    #[test]
    fn errors_are_cut_off_between_characters() {
        assert_eq!(brief(&"short"), "short");
        let exact = "x".repeat(ERROR_BYTES_MAX);
        assert_eq!(brief(&exact), exact);
        let long = brief(&format!("x{}", "ä".repeat(ERROR_BYTES_MAX)));
        assert_eq!(long.len(), ERROR_BYTES_MAX - 1 + "…".len());
        assert!(long.ends_with("ä…"), "{long}");
    }

    #[test]
    fn a_list_may_be_read_up_to_its_limit_only() {
        let read = |json: &str| first::<u8, _, 2>(&mut serde_json::Deserializer::from_str(json));
        assert_eq!(read("[1,2]").unwrap(), [1, 2]);
        assert_eq!(read("[1,2,3,4]").unwrap(), [1, 2]);
    }

    #[test]
    fn texts_for_people_are_cut_off_between_characters() {
        let read = |said: &str| {
            let json = serde_json::to_string(said).unwrap();
            text(&mut serde_json::Deserializer::from_str(&json)).unwrap()
        };
        // One that is escaped, so that it cannot be borrowed.
        let exact = format!("\n{}", "x".repeat(REPLY_TEXT_BYTES_MAX - 1));
        for whole in ["", "ä", &exact] {
            assert_eq!(read(whole), whole);
        }
        let long = read(&"ä".repeat(REPLY_TEXT_BYTES_MAX));
        assert_eq!(long, format!("{}…", "ä".repeat(REPLY_TEXT_BYTES_MAX / 2)));
        assert!(text(&mut serde_json::Deserializer::from_str("7")).is_err());
    }
}
