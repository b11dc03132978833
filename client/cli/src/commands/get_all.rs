//! `kvclient get-all`: prints everything, which is an export without a word about it.

use clap::Args;

use super::export::{Destination, write_all};
use crate::failure::Failure;
use crate::session::Session;

/// Print everything, one JSON object a line, in no particular order
#[derive(Debug, Args)]
pub(crate) struct GetAll {
    /// Only keys that start with this
    #[arg(long, default_value = "")]
    prefix: String,
}

impl GetAll {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        write_all(session, &self.prefix, Destination::Stdout).await.map(drop)
    }
}
