//! Path parameters as serde sees them: one value, a sequence, or a map of texts that
//! are parsed as what is wanted.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, Expected, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use self::PathError as Error;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// A value that the client has sent.
    #[error("{0}")]
    Value(String),
    /// The handler wants other parameters than the pattern has.
    #[error("{0}")]
    Handler(String),
}

impl serde::de::Error for PathError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::Handler(format!("{length} parameters, expected {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Handler(format!("there is no parameter {field}"))
    }
}

/// Names and values in the pattern's order.
pub(crate) struct PathParams<'r>(pub Vec<(&'r str, &'r str)>);

/// One value.
#[derive(Clone, Copy)]
struct Value<'r>(&'r str);

impl<'de> IntoDeserializer<'de, Error> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.0.parse();
            visitor.$visit(value.map_err(|error| Error::custom(format!("{:?}: {error}", self.0)))?)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    parse! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16
        deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16
        deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i128 visit_i128 deserialize_u128 visit_u128
        deserialize_f32 visit_f32 deserialize_f64 visit_f64
        deserialize_char visit_char
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

impl<'de> PathParams<'de> {
    fn only(&self) -> Result<Value<'de>, Error> {
        match self.0[..] {
            [(_, value)] => Ok(Value(value)),
            _ => Err(Error::Handler(format!(
                "the pattern has {} parameters, the handler takes one",
                self.0.len()
            ))),
        }
    }

    fn in_order<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut values = SeqDeserializer::new(self.0.into_iter().map(|(_, value)| Value(value)));
        let value = visitor.visit_seq(&mut values)?;
        values.end()?;
        Ok(value)
    }

    fn by_name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let pairs = self.0.into_iter().map(|(name, value)| (name, Value(value)));
        visitor.visit_map(MapDeserializer::new(pairs))
    }
}

macro_rules! only {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for PathParams<'de> {
    type Error = Error;

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i128
        deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_option
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.by_name(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.in_order(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.in_order(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.in_order(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { unit unit_struct map struct identifier ignored_any }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::HashMap;

    fn read<T: for<'de> Deserialize<'de>>(params: &[(&str, &str)]) -> Result<T, PathError> {
        T::deserialize(PathParams(params.to_vec()))
    }

    fn is_value<T>(result: Result<T, PathError>, why: &str) -> bool {
        matches!(result, Err(PathError::Value(said)) if said.contains(why))
    }

    fn is_handlers<T>(result: Result<T, PathError>, why: &str) -> bool {
        matches!(result, Err(PathError::Handler(said)) if said.contains(why))
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Small,
        Large,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Thing {
        id: u64,
        kind: Kind,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Id(u32);

    #[test]
    fn parameters_are_what_the_handler_wants() {
        let two = [("id", "7"), ("kind", "large")];
        assert_eq!(read::<u64>(&two[..1]), Ok(7));
        assert_eq!(read::<String>(&two[..1]), Ok("7".to_owned()));
        assert_eq!(read::<Id>(&two[..1]), Ok(Id(7)));
        assert_eq!(read::<(u8,)>(&two[..1]), Ok((7,)));
        assert_eq!(read::<(u8, String)>(&two), Ok((7, "large".to_owned())));
        let thing = Thing {
            id: 7,
            kind: Kind::Large,
        };
        assert_eq!(read::<Thing>(&two), Ok(thing));
        assert_eq!(read::<Kind>(&two[1..]), Ok(Kind::Large));
        assert_eq!(read::<Vec<String>>(&two).unwrap().len(), 2);
        assert_eq!(
            read::<HashMap<String, String>>(&two).unwrap()["kind"],
            "large"
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let two = [("id", "x"), ("kind", "huge")];
        assert!(is_value(read::<u64>(&two[..1]), "\"x\""));
        assert!(is_value(read::<u128>(&two[..1]), "\"x\""));
        assert!(is_value(read::<(u8,)>(&two[1..]), "huge"));
        assert!(is_value(read::<Thing>(&two), "x"));
        assert!(is_value(read::<Kind>(&two[1..]), "huge"));
        assert!(is_handlers(read::<u64>(&two), "2 parameters"));
        assert!(is_handlers(read::<(String,)>(&two), "2"));
        assert!(is_handlers(read::<(String, String, String)>(&two), "2"));
        assert!(is_handlers(read::<Thing>(&[("id", "7")]), "kind"));
    }
}
