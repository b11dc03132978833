//! What a strategy may lack that a command is to adopt.

use std::collections::BTreeSet;

use clap::Args;
use kv_placement::admission::Property;

/// What a strategy that is to be adopted may lack.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Accepting {
    /// Adopt the strategy though it lacks these properties (see `kvclient strategy check`)
    #[arg(long, value_name = "PROPERTY,...", value_delimiter = ',')]
    accept: Vec<Property>,
}

impl Accepting {
    /// What it may lack.
    pub(crate) fn accepted(self) -> BTreeSet<Property> {
        self.accept.into_iter().collect()
    }
}
