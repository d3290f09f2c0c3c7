//! JSON of the registry's columns, read as a later version may have written it: after an upgrade that was taken back, what this
//! version does not know is left out. Only fields: what it knows must still make sense. What people write goes the strict way.

use serde::{
    Deserializer,
    de::{DeserializeOwned, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// A struct from JSON, without the fields that it does not have.
pub(super) fn read_json<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    T::deserialize(Fields(serde_json::from_str(text)?))
}

/// An object that is asked what its fields are to be called: the names come from the struct itself.
struct Fields(Map<String, Value>);

impl<'de> Deserializer<'de> for Fields {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.retain(|field, _| fields.contains(&field.as_str()));
        Value::Object(self.0).into_deserializer().deserialize_struct(name, fields, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        Value::Object(self.0).into_deserializer().deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
