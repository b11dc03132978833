//! Which strategies there are: the libraries under `strategies/` that depend on the SDK.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The folder of the strategies, relative to the workspace.
const FOLDER: &str = "strategies";

/// The package whose macro makes a strategy of a library.
const SDK: &str = "kv-strategy";

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
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
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
            "there is no strategy {name:?}, there are: {}; a strategy is a library of that name under \
             {FOLDER}/ that depends on {SDK}",
            known.join(", ")
        )
    }
}

impl Package {
    fn strategy(&self) -> Option<Strategy> {
        self.dependencies.iter().find(|dependency| dependency.name == SDK)?;
        let is_library = |target: &&Target| target.kind.iter().any(|kind| kind.ends_with("lib"));
        let library = self.targets.iter().find(is_library)?;
        let module = format!("{}.wasm", library.name.replace('-', "_"));
        Some(Strategy { name: self.name.clone(), module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let package = |name: &str, path: &str, dependency: &str, kind: &str| {
            serde_json::json!({
                "name": name,
                "manifest_path": format!("/r/{path}/Cargo.toml"),
                "dependencies": [{ "name": dependency }],
                "targets": [{ "name": name, "kind": [kind] }],
            })
        };
        let metadata = serde_json::json!({
            "packages": [
                package("two-words", "strategies/two-words", SDK, "lib"),
                package("one", "strategies/one", SDK, "cdylib"),
                package("a-program", "strategies/a-program", SDK, "bin"),
                package("the-sdk", "strategies/sdk", "thiserror", "lib"),
                package("elsewhere", "client", SDK, "lib"),
            ],
            "workspace_root": "/r",
            "target_directory": "/r/target",
        });
        Catalog::new(serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn strategies_are_the_libraries_on_the_sdk() {
        let catalog = catalog();
        let all = catalog.select(&[]).unwrap();
        let all: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.module.as_str())).collect();
        assert_eq!(all, [("one", "one.wasm"), ("two-words", "two_words.wasm")]);
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let catalog = catalog();
        assert_eq!(catalog.select(&["one".to_owned()]).unwrap().len(), 1);
        let Err(error) = catalog.select(&["mine".to_owned()]) else {
            panic!("there is no such strategy");
        };
        let message = error.to_string();
        assert!(message.contains("one, two-words") && message.contains(SDK), "{message}");
    }
}
