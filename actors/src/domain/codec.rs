//! How event payloads are encoded: MessagePack maps with named fields, readable by any later version that knows
//! the same names. The event's type and schema version stand outside the payload, so that unknown ones survive.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a stored event cannot be read by this version.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// This version does not know the type, or not in this schema version.
    #[error(
        "unknown event type {kind} in schema version {schema_version}: it was written by a newer version of FlexCore"
    )]
    UnknownEvent {
        /// The type.
        kind: String,
        /// Its schema version.
        schema_version: u16,
    },
    /// The payload does not fit its type.
    #[error("payload of {kind} cannot be read")]
    Payload {
        /// The type.
        kind: String,
        /// What the decoder said.
        #[source]
        source: rmp_serde::decode::Error,
    },
}

/// An event ready to be recorded but for its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its type.
    pub kind: &'static str,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// The payload.
    pub payload: Bytes,
}

/// The closed set of events of one aggregate.
pub trait EventSet: Sized + Send + Sync + 'static {
    /// Every type with the schema version that is written today.
    const KINDS: &'static [(&'static str, u16)];

    /// Encodes the event.
    fn encode(&self) -> Encoded;

    /// Reads an event back, lifted to today's shape when it was written in an earlier one.
    ///
    /// # Errors
    /// When the type or its schema version is unknown, or the payload does not fit.
    fn decode(kind: &str, schema_version: u16, payload: &[u8]) -> Result<Self, CodecError>;
}

/// A value as a MessagePack map with named fields; ids are text, as in JSON.
///
/// # Panics
/// Never for the domain's own types: their maps have text keys and every field can be encoded.
#[must_use]
pub fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    let mut buffer = Vec::with_capacity(256);
    let mut serializer = rmp_serde::Serializer::new(&mut buffer).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).expect("domain values can always be encoded");
    Bytes::from(buffer)
}

/// Reads what [`to_bytes`] wrote.
///
/// # Errors
/// When the bytes are not MessagePack or do not fit the type.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    T::deserialize(&mut rmp_serde::Deserializer::new(bytes).with_human_readable())
}

/// A value that may be absent and, when it is there, may itself be null: both are kept apart.
pub(super) mod maybe_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(in crate::domain) fn serialize<S: Serializer>(
        value: &Option<Value>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(|value| [value]).serialize(to)
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Value>, D::Error> {
        Ok(Option::<[Value; 1]>::deserialize(from)?.map(|[value]| value))
    }
}

/// A map whose keys are no texts, as a list of pairs.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::domain) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub(in crate::domain) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Declares the set of events of an aggregate: an enum of payload structs with their schema versions. A type beyond
/// its first version names how each earlier one is lifted to the next: `StepStarted = 3 from [one_to_two, two_to_three]`
/// (see [`upcast`](super::upcast)).
macro_rules! event_set {
    ($(#[$doc:meta])* $set:ident { $($kind:ident = $schema:literal $(from [$($lift:path),+ $(,)?])?),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $set { $(#[doc = concat!("See [`", stringify!($kind), "`](struct@", stringify!($kind), ").")] $kind($kind)),+ }

        impl $crate::domain::codec::EventSet for $set {
            const KINDS: &'static [(&'static str, u16)] = &[$((stringify!($kind), $schema)),+];

            fn encode(&self) -> $crate::domain::codec::Encoded {
                match self {
                    $(Self::$kind(payload) => $crate::domain::codec::Encoded {
                        kind: stringify!($kind),
                        schema_version: $schema,
                        payload: $crate::domain::codec::to_bytes(payload),
                    }),+
                }
            }

            fn decode(kind: &str, schema_version: u16, payload: &[u8]) -> Result<Self, $crate::domain::codec::CodecError> {
                match kind {
                    $(stringify!($kind) => {
                        const LIFTS: &[$crate::domain::upcast::Lift] = &[$($($lift),+)?];
                        const { assert!(LIFTS.len() + 1 == $schema, "every earlier schema version needs its lift") };
                        $crate::domain::upcast::read(kind, schema_version, LIFTS, payload).map(Self::$kind)
                    })+
                    _ => Err($crate::domain::codec::CodecError::UnknownEvent { kind: kind.to_owned(), schema_version }),
                }
            }
        }

        $(impl From<$kind> for $set {
            fn from(payload: $kind) -> Self { Self::$kind(payload) }
        })+
    };
}
pub(crate) use event_set;
