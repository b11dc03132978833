//! Reading a map that a stranger wrote in memory that is bounded.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Reads a map of which at most `MAX` members are built; more are an error.
pub(crate) fn map<'de, M, K, V, D, const MAX: usize>(deserializer: D) -> Result<M, D::Error>
where
    M: Default + Extend<(K, V)>,
    K: Deserialize<'de>,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Members<M, K, V, const MAX: usize>(PhantomData<(M, K, V)>);

    impl<'de, M, K, V, const MAX: usize> Visitor<'de> for Members<M, K, V, MAX>
    where
        M: Default + Extend<(K, V)>,
        K: Deserialize<'de>,
        V: Deserialize<'de>,
    {
        type Value = M;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of at most {MAX} members")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<M, A::Error> {
            let mut map = M::default();
            for _ in 0..MAX {
                let Some(member) = members.next_entry()? else { return Ok(map) };
                map.extend([member]);
            }
            match members.next_key::<IgnoredAny>()? {
                None => Ok(map),
                Some(_) => Err(serde::de::Error::invalid_length(MAX + 1, &self)),
            }
        }
    }

    deserializer.deserialize_map(Members::<M, K, V, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_map_of_more_members_than_it_may_have_is_refused() {
        fn read(json: &str) -> Result<BTreeMap<String, u8>, serde_json::Error> {
            map::<_, _, _, _, 2>(&mut serde_json::Deserializer::from_str(json))
        }
        assert_eq!(read("{}").unwrap().len(), 0);
        assert_eq!(read(r#"{"a":1,"b":2}"#).unwrap(), [("a".into(), 1), ("b".into(), 2)].into());
        let error = read(r#"{"a":1,"b":2,"c":3}"#).unwrap_err().to_string();
        assert!(error.contains("at most 2 members"), "{error}");
    }
}
