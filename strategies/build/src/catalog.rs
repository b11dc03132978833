//! Which strategies there are: the workspace's packages under `strategies/` with a cdylib target.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The folder of the strategies, relative to the workspace.
const FOLDER: &str = "strategies";

/// The workspace and its strategies.
pub(crate) struct Catalog {
    /// The workspace's folder.
    pub(crate) root: PathBuf,
    /// Where builds go. It is not the workspace's own target folder but one below it: the compiler
    /// may be another, and a running build of the workspace does not have to be waited for.
    pub(crate) target: PathBuf,
    strategies: Vec<Strategy>,
}

/// A strategy's package.
pub(crate) struct Strategy {
    /// The package's name, which its component's file has too.
    pub(crate) name: String,
    /// The file name of the compiled core module.
    pub(crate) module: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Catalog {
    /// Asks the cargo that runs this program.
    pub(crate) fn read() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed; run cargo strategies inside the repository: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata = serde_json::from_slice(&output.stdout)
            .context("cannot read what cargo metadata printed")?;
        Ok(Self::new(metadata))
    }

    fn new(metadata: Metadata) -> Self {
        let folder = metadata.workspace_root.join(FOLDER);
        let mut strategies: Vec<Strategy> = metadata
            .packages
            .iter()
            .filter(|package| package.manifest_path.starts_with(&folder))
            .filter_map(Package::strategy)
            .collect();
        strategies.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            target: metadata.target_directory.join(FOLDER),
            root: metadata.workspace_root,
            strategies,
        }
    }

    /// The folder of the strategies and, by default, of their components.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(FOLDER)
    }

    /// The strategies of the given names, or all where none is given.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<&Strategy>> {
        if names.is_empty() {
            return Ok(self.strategies.iter().collect());
        }
        names.iter().map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Result<&Strategy> {
        let found = self.strategies.iter().find(|strategy| strategy.name == name);
        if let Some(strategy) = found {
            return Ok(strategy);
        }
        let known: Vec<&str> = self.strategies.iter().map(|s| s.name.as_str()).collect();
        bail!(
            "there is no strategy {name:?} (there are: {}). A strategy is a package of that name \
             under {}, whose Cargo.toml says under [lib]: crate-type = [\"cdylib\", \"rlib\"]",
            known.join(", "),
            Path::new(FOLDER).display()
        )
    }
}

impl Package {
    fn strategy(&self) -> Option<Strategy> {
        let is_cdylib = |target: &&Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        let target = self.targets.iter().find(is_cdylib)?;
        let module = format!("{}.wasm", target.name.replace('-', "_"));
        Some(Strategy { name: self.name.clone(), module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let package = |name: &str, path: &str, kind: &str| {
            format!(
                r#"{{"name":"{name}","manifest_path":"/r/{path}/Cargo.toml",
                    "targets":[{{"name":"{name}","crate_types":["{kind}","rlib"]}}]}}"#
            )
        };
        let metadata = format!(
            r#"{{"packages":[{},{},{},{}],"workspace_root":"/r","target_directory":"/r/target"}}"#,
            package("two-words", "strategies/two-words", "cdylib"),
            package("kv-strategy", "strategies/sdk", "lib"),
            package("one", "strategies/one", "cdylib"),
            package("elsewhere", "client", "cdylib"),
        );
        Catalog::new(serde_json::from_str(&metadata).unwrap())
    }

    #[test]
    fn strategies_are_the_cdylibs_under_their_folder() {
        let catalog = catalog();
        let all = catalog.select(&[]).unwrap();
        let all: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.module.as_str())).collect();
        assert_eq!(all, [("one", "one.wasm"), ("two-words", "two_words.wasm")]);
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let catalog = catalog();
        assert_eq!(catalog.select(&["one".to_owned()]).unwrap().len(), 1);
        let Err(error) = catalog.select(&["kv-strategy".to_owned()]) else {
            panic!("the sdk is no strategy");
        };
        let message = error.to_string();
        assert!(message.contains("one, two-words") && message.contains("cdylib"), "{message}");
    }
}
