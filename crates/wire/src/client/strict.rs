//! Reading what clients send, strictly: a JSON object with exactly the known fields, each once, each of its type.
//!
//! serde's derive alone is not enough. An internally tagged enum buffers the object first, which swallows doubled fields
//! and lets `deny_unknown_fields` slip; and a derived struct also reads itself from an array. So the tag is read on its own
//! ([`crate::client::inbound`]), a `Tagged` struct then reads the object directly and skips `t` once, and `Object` reads
//! only objects. Depth is bounded by `serde_json` (128 levels).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::{Deserialize, de::DeserializeOwned};

/// Characters of a decoding error that go back to the client: enough for a field and a type, not for the input again.
const DETAIL_CHARS_MAX: usize = 160;

/// A text that is not the JSON object that was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Unreadable {
    /// What is wrong, in words that can go back to the client; repeats no value of the input.
    pub detail: String,
}

/// Reads a request body: a JSON object with exactly the known fields of `T`.
///
/// # Errors
/// [`Unreadable`] when the text is not JSON, not an object, or has unknown, doubled, missing or ill-typed fields.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice::<Object<T>>(json)
        .map(|object| object.0)
        .map_err(|error| describe(&error))
}

/// `#[serde(deserialize_with = "object")]` for a field that is an object, never an array.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

/// [`object`] for an optional field.
pub(crate) fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// Turns serde's words into ours: where, and what was expected; without the value that was found.
pub(crate) fn describe(error: &serde_json::Error) -> Unreadable {
    use serde_json::error::Category;
    let detail = match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => {
            format!(
                "not readable as JSON at line {} column {}",
                error.line(),
                error.column()
            )
        }
        Category::Data => {
            let said = error.to_string();
            let found_and_expected = ["invalid type: ", "invalid value: "]
                .iter()
                .find_map(|prefix| said.strip_prefix(prefix))
                .and_then(|rest| rest.rsplit_once(", expected "));
            match found_and_expected {
                Some((_found, expected)) => format!("wrong type: expected {expected}"),
                None => said,
            }
        }
    };
    Unreadable {
        detail: detail.chars().take(DETAIL_CHARS_MAX).collect(),
    }
}

/// A `T` that is read from an object only.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A `T` that is read from an object with one more field, the tag `t`, whose value was read before.
pub(crate) struct Tagged<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tagged<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(TaggedVisitor(PhantomData))
            .map(Self)
    }
}

struct TaggedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TaggedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(WithoutTag {
            map,
            tag_seen: false,
        }))
    }
}

/// Passes every field on but `t`, which may come once.
struct WithoutTag<A> {
    map: A,
    tag_seen: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutTag<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if key != "t" {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            if self.tag_seen {
                return Err(de::Error::duplicate_field("t"));
            }
            self.tag_seen = true;
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
