//! Who is asked: a strategy with its settings.

use kv_core::digest::Digest;

use kv_placement::{Strategy, StrategyError, StrategyHost, StrategySource};

/// A strategy with its settings.
#[derive(Clone, Debug)]
pub struct Candidate {
    origin: Origin,
    config: String,
    has_path: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    Source(StrategySource),
    /// The one that a cluster is placed by.
    Cluster(Strategy),
}

impl Candidate {
    /// A built-in strategy or one from a file, with its own settings (empty for its defaults).
    #[must_use]
    pub fn new(source: StrategySource, config: impl Into<String>) -> Self {
        Self { origin: Origin::Source(source), config: config.into(), has_path: false }
    }

    /// A built-in strategy with its defaults.
    ///
    /// # Errors
    /// There is no such strategy.
    pub fn built_in(name: &str) -> Result<Self, StrategyError> {
        Ok(Self::new(name.parse()?, ""))
    }

    /// The strategy that a cluster is placed by, with the cluster's settings of it.
    #[must_use]
    pub fn of_cluster(strategy: Strategy, config: impl Into<String>) -> Self {
        Self { origin: Origin::Cluster(strategy), config: config.into(), has_path: false }
    }

    /// The same, called by the whole path of its file: for files of the same name.
    #[must_use]
    pub fn with_path(self) -> Self {
        Self { has_path: true, ..self }
    }

    /// What a person calls it: its name or its file's, and the settings.
    #[must_use]
    pub fn name(&self) -> String {
        let name = match &self.origin {
            Origin::Source(StrategySource::File(path)) if !self.has_path => {
                let file = path.file_name().unwrap_or(path.as_os_str());
                file.to_string_lossy().into_owned()
            }
            Origin::Source(source) => source.to_string(),
            Origin::Cluster(strategy) => format!("{} (cluster)", strategy.info().name),
        };
        if self.config.is_empty() { name } else { format!("{name} {}", self.config) }
    }

    /// The strategy's own settings.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The digest of its component.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn digest(&self, host: &StrategyHost) -> Result<Digest, StrategyError> {
        Ok(self.load(host)?.digest())
    }

    pub(super) fn load(&self, host: &StrategyHost) -> Result<Strategy, StrategyError> {
        match &self.origin {
            Origin::Source(source) => host.load(source),
            Origin::Cluster(strategy) => host.load_bytes(&self.name(), strategy.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_called_by_source_and_settings() {
        assert_eq!(Candidate::built_in("hrw").unwrap().name(), "hrw");
        let mine = Candidate::new("dir/mine.wasm".parse().unwrap(), "k=1");
        assert_eq!(mine.name(), "mine.wasm k=1");
        assert_eq!(mine.with_path().name(), "dir/mine.wasm k=1");
        assert!(Candidate::built_in("no-such-one").is_err());
    }
}
