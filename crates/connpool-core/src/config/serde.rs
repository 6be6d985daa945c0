//! Durations in configuration files: `"30s"`, `"1h 5m"`, and `"off"` for none.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NONE: &str = "off";

pub(crate) fn serialize<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => plain::serialize(span, serializer),
        None => NONE.serialize(serializer),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    match deserializer.deserialize_any(Text)?.as_deref() {
        None | Some(NONE) => Ok(None),
        Some(text) => plain::parse(text).map(Some),
    }
}

/// Takes text or nothing, and says what is wanted where it finds anything else.
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

/// For a duration that is always there.
pub(crate) mod plain {
    use super::{Deserialize, Deserializer, Duration, Error, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    pub(crate) fn parse<E: Error>(text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|error| {
            E::custom(format_args!(
                "{text:?} is no duration ({error}): write \"30s\", \"5m\", or \"off\" for none"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;

    use super::*;
    use crate::config::PoolConfig;

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
        let error = |text| {
            serde_json::from_str::<PoolConfig>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#"{"max_sise": 3}"#).contains("unknown field `max_sise`"));
        assert!(error(r#"{"get_timeout": "soon"}"#).contains(r#""soon" is no duration"#));
        assert!(error(r#"{"get_timeout": 30}"#).contains(r#"a duration such as "30s", or "off""#));
    }
}
