//! A group of settings in configuration files that can be switched off: `"off"` in its place.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Breaker;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
#[serde(
    expecting = "a breaker such as {\"failures\": 5, \"probe_every\": \"1s\"}, or \"off\", is wanted"
)]
enum OrOff {
    Off(Off),
    Set(Breaker),
}

#[derive(Serialize, Deserialize)]
enum Off {
    #[serde(rename = "off")]
    Off,
}

pub(crate) fn serialize<S: Serializer>(
    breaker: &Option<Breaker>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    breaker
        .map_or(OrOff::Off(Off::Off), OrOff::Set)
        .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Breaker>, D::Error> {
    Ok(match Option::deserialize(deserializer)? {
        None | Some(OrOff::Off(Off::Off)) => None,
        Some(OrOff::Set(breaker)) => Some(breaker),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Breaker, PoolConfig};

    fn read(text: &str) -> Option<Breaker> {
        serde_json::from_str::<PoolConfig>(text).unwrap().breaker
    }

    #[test]
    fn a_breaker_reads_itself_back_and_can_be_off() {
        let mut config = PoolConfig::default();
        for breaker in [config.breaker, None] {
            config.breaker = breaker;
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(read(&text), breaker, "{text}");
        }
        assert_eq!(read(r#"{"breaker": "off"}"#), None);
        assert_eq!(read(r#"{"breaker": null}"#), None);
        assert_eq!(read("{}"), Some(Breaker::default()));
        let slow = Breaker {
            probe_every: Duration::from_secs(9),
            ..Breaker::default()
        };
        assert_eq!(read(r#"{"breaker": {"probe_every": "9s"}}"#), Some(slow));
    }

    #[test]
    fn anything_else_is_told_what_is_wanted() {
        let error = serde_json::from_str::<PoolConfig>(r#"{"breaker": 5}"#).unwrap_err();
        assert!(error.to_string().contains(r#"or "off""#), "{error}");
    }
}
