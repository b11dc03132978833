//! `kvclient delete`: removes a record.

use kvclient::Condition;
use serde::Serialize;

use super::{Session, open_write};
use crate::cli::Delete;
use crate::failure::Failure;
use crate::{interrupt, output};

#[derive(Serialize)]
struct Deleted<'a> {
    key: &'a str,
    existed: bool,
}

pub(super) async fn run(session: &Session, delete: Delete) -> Result<(), Failure> {
    let condition = delete.if_version.map_or(Condition::None, Condition::Version);
    let client = session.connect().await?;
    let write = client.delete_if(delete.key.as_str(), condition);
    let existed = interrupt::changing(open_write(&delete.key), write).await?;
    if !existed {
        return Err(Failure::NotFound { key: delete.key });
    }
    if session.is_json() {
        output::json(&Deleted { key: &delete.key, existed })?;
    }
    Ok(())
}
