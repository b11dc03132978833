//! `kvclient get`: prints a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use kvclient::{Record, Version};
use serde::Serialize;

use crate::failure::Failure;
use crate::session::Session;
use crate::{output, visible};

/// Print a value: exactly its bytes (on a terminal, control characters are shown escaped)
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key: 1 to 1024 bytes of text
    key: String,
}

#[derive(Serialize)]
struct Found<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { key } = self;
        let client = session.connect().await?;
        let Some(record) = client.get(key.as_str()).await? else {
            return Err(Failure::NotFound { key });
        };
        if session.is_json() {
            return output::json(&found(&key, &record));
        }
        if !output::is_terminal() {
            // A file should hold nothing but the value.
            return output::raw(&record.value);
        }
        let shown = visible::bytes(&record.value);
        // A prompt should not stand behind the value.
        output::raw(format!("{shown}\n").as_bytes())?;
        if shown.as_bytes() != record.value {
            output::note(
                "the value has characters that a terminal would act on, which are shown escaped: redirect the \
                 output to have its bytes",
            );
        }
        Ok(())
    }
}

fn found<'a>(key: &'a str, record: &'a Record) -> Found<'a> {
    let value = std::str::from_utf8(&record.value).ok();
    let value_base64 = value.is_none().then(|| STANDARD.encode(&record.value));
    Found { key, value, value_base64, version: record.version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_where_they_can_be() {
        let json = |value: &[u8]| {
            let version = Some(Version { epoch: 1, sequence: 7 });
            let record = Record { value: value.to_vec(), version };
            serde_json::to_string(&found("k", &record)).unwrap()
        };
        assert_eq!(json(b"v"), r#"{"key":"k","value":"v","version":"1-7"}"#);
        assert_eq!(json(&[0xff]), r#"{"key":"k","value_base64":"/w==","version":"1-7"}"#);
    }
}
