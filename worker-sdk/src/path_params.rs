//! Path parameters as serde sees them: one value, a sequence, or a map of texts that
//! are parsed as what is wanted.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

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
            _ => Err(Error::custom(format!(
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
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
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

    fn read<T: for<'de> Deserialize<'de>>(params: &[(&str, &str)]) -> Result<T, String> {
        T::deserialize(PathParams(params.to_vec())).map_err(|error| error.to_string())
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
        assert!(read::<u64>(&two[..1]).unwrap_err().contains("\"x\""));
        assert!(read::<u64>(&two).unwrap_err().contains("2 parameters"));
        assert!(read::<(u8,)>(&two[1..]).is_err());
        assert!(read::<(String,)>(&two).is_err());
        assert!(read::<(String, String, String)>(&two).is_err());
        assert!(read::<Thing>(&two).is_err());
        assert!(read::<Kind>(&two[1..]).unwrap_err().contains("huge"));
        assert!(read::<Thing>(&two[..1]).is_err());
    }
}
