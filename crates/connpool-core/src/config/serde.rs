//! The text form of settings: durations such as `"30s"` or `"1h 5m"`, and `"off"` for none.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serialize, Serializer};

const NONE: &str = "off";

pub(crate) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => duration::serialize(duration, serializer),
        None => NONE.serialize(serializer),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    match deserializer.deserialize_any(Text)?.as_deref() {
        None | Some(NONE) => Ok(None),
        Some(text) => duration::parse(text).map(Some),
    }
}

/// Accepts text or nothing, and names what is expected if it finds anything else.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"30s\", or \"off\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Option<String>, D::Error> {
        inner.deserialize_any(self)
    }
}

/// The text form of a duration that cannot be off.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    pub(crate) fn parse<E: Error>(text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|error| {
            E::custom(format_args!(
                "invalid duration {text:?} ({error}): expected e.g. \"30s\", \"5m\", or \"off\""
            ))
        })
    }
}

/// The text form of a group of settings that can be off.
pub(crate) mod or_off {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a breaker such as {\"failures\": 5, \"probe_every\": \"1s\"}, or \"off\""
    )]
    enum OrOff<T> {
        Off(Off),
        Set(T),
    }

    #[derive(Serialize, Deserialize)]
    enum Off {
        #[serde(rename = "off")]
        Off,
    }

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        group: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let group = group.as_ref();
        group.map_or(OrOff::Off(Off::Off), OrOff::Set).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(match Option::deserialize(deserializer)? {
            None | Some(OrOff::Off(Off::Off)) => None,
            Some(OrOff::Set(group)) => Some(group),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;

    use super::*;
    use crate::config::{Breaker, PoolConfig};

    #[test]
    fn a_configuration_reads_itself_back() {
        let config = PoolConfig {
            idle_timeout: Some(Duration::from_millis(1_500)),
            max_lifetime: Some(Duration::MAX),
            evict_interval: None,
            ..PoolConfig::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""idle_timeout":"1s 500ms""#), "{text}");
        assert!(text.contains(r#""evict_interval":"off""#), "{text}");
        assert_eq!(serde_json::from_str::<PoolConfig>(&text).unwrap(), config);
    }

    #[test]
    fn null_is_none() {
        let config: PoolConfig = serde_json::from_str(r#"{"get_timeout": null}"#).unwrap();
        assert_eq!(config.get_timeout, None);
    }

    #[test]
    fn formats_that_know_options_are_understood() {
        type Outcome = Result<Option<String>, serde::de::value::Error>;
        let none: Outcome = Text.visit_none();
        assert_eq!(none, Ok(None));
        let some: Outcome = Text.visit_some("30s".into_deserializer());
        assert_eq!(some, Ok(Some("30s".to_owned())));
    }

    #[test]
    fn what_is_left_out_keeps_its_default() {
        let config: PoolConfig = serde_json::from_str(r#"{"max_size": 3}"#).unwrap();
        assert_eq!(config.max_size, 3);
        assert_eq!(config.get_timeout, PoolConfig::default().get_timeout);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| serde_json::from_str::<PoolConfig>(text).unwrap_err().to_string();
        assert!(error(r#"{"max_sise": 3}"#).contains("unknown field `max_sise`"));
        assert!(error(r#"{"get_timeout": "soon"}"#).contains(r#"invalid duration "soon""#));
        assert!(error(r#"{"get_timeout": 30}"#).contains(r#"a duration such as "30s", or "off""#));
    }

    fn read(text: &str) -> Option<Breaker> {
        serde_json::from_str::<PoolConfig>(text).unwrap().breaker
    }

    #[test]
    fn breaker_round_trips_and_can_be_off() {
        let mut config = PoolConfig::default();
        for breaker in [config.breaker, None] {
            config.breaker = breaker;
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(read(&text), breaker, "{text}");
        }
        assert_eq!(read(r#"{"breaker": "off"}"#), None);
        assert_eq!(read(r#"{"breaker": null}"#), None);
        assert_eq!(read("{}"), Some(Breaker::default()));
        let slow = Breaker { probe_every: Duration::from_secs(9), ..Breaker::default() };
        assert_eq!(read(r#"{"breaker": {"probe_every": "9s"}}"#), Some(slow));
    }

    #[test]
    fn other_breaker_values_are_errors_that_name_what_is_expected() {
        let error = serde_json::from_str::<PoolConfig>(r#"{"breaker": 5}"#).unwrap_err();
        assert!(error.to_string().contains(r#"or "off""#), "{error}");
    }
}
