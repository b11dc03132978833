//! `kvclient delete`: removes a record.

use clap::Args;
use kv_core::version::Version;
use kvclient::Condition;
use serde::Serialize;

use super::put::open_write;
use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

/// Remove a record
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The key
    key: String,
    /// Only if the record has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
}

#[derive(Serialize)]
struct Deleted<'a> {
    key: &'a str,
    existed: bool,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let condition = self.if_version.map_or(Condition::None, Condition::Version);
        let client = session.connect().await?;
        let write = client.delete_if(self.key.as_str(), condition);
        let existed = interrupt::changing(open_write(&self.key), write).await?;
        if !existed {
            return Err(Failure::NotFound { key: self.key });
        }
        if session.is_json() {
            output::json(&Deleted { key: &self.key, existed })?;
        }
        Ok(())
    }
}
