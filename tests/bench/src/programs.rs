//! The programs under test, as users build them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Where the programs under test are.
#[derive(Debug)]
pub struct Programs {
    /// The node.
    pub kvnode: PathBuf,
    /// The command line.
    pub kvclient: PathBuf,
}

impl Programs {
    /// Those in `folder`.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
        Ok(Self { kvnode: folder.join("kvnode"), kvclient: folder.join("kvclient") })
    }

    /// Whether `kvnode` has this option.
    pub fn kvnode_has(&self, option: &str) -> anyhow::Result<bool> {
        let output = Command::new(&self.kvnode).arg("--help").output();
        let output = output.with_context(|| format!("{}", self.kvnode.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().any(|it| it == option))
    }

    /// Builds them for release, without what tests add to them, beside this benchmark.
    pub fn build() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("a running program has a path")?;
        // <target>/release/deps/<this>
        let target = own.ancestors().nth(3).context("cargo puts benchmarks into its target")?;
        let mut command = Command::new(env!("CARGO"));
        // What cargo says of the benchmark's package is not true of the programs.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
            .args(["build", "--release", "--bin", "kvnode", "--bin", "kvclient", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        // From the folder of one package, cargo would build that package alone.
        command.arg("--workspace");
        if !command.status().context("cargo does not run")?.success() {
            bail!("the programs under test do not build");
        }
        Self::in_folder(&target.join("release"))
    }
}

/// Lets `command` run in `home`, with no setting of the user's left.
pub fn isolate(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CONSUL_", "KV", "XDG_", "RUST_LOG"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.current_dir(home).env("HOME", home).env("KV_CACHE_DIR", home.join("cache"));
}
