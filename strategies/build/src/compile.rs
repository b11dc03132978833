//! One cargo build of a strategy to a core module.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::catalog::{Catalog, Strategy};
use crate::toolchain::{TARGET, Toolchain};

/// The profile of strategies, given to cargo on its command line so that the workspace's own profiles
/// stay free of it. Speed comes first: a table of a large cluster is millions of scores.
const PROFILE: &str = "strategy";
const PROFILE_SETTINGS: [&str; 6] = [
    "inherits='release'",
    "opt-level=3",
    "lto='fat'",
    "codegen-units=1",
    "panic='abort'",
    "strip='symbols'",
];

/// The separator of flags in `CARGO_ENCODED_RUSTFLAGS`, which lets paths have spaces.
const FLAG_SEPARATOR: &str = "\x1f";

/// Compiles `strategy` and reads the module.
pub(crate) fn compile(
    strategy: &Strategy,
    catalog: &Catalog,
    toolchain: &Toolchain,
) -> Result<Vec<u8>> {
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&catalog.root)
        .args(["build", "--quiet", "--locked", "--lib", "--target", TARGET, "--profile", PROFILE])
        .args(["--package", &strategy.name])
        .args(toolchain.build_options())
        .arg("--target-dir")
        .arg(&catalog.target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&catalog.root, &toolchain.sysroot(&catalog.root)?));
    for setting in PROFILE_SETTINGS {
        cargo.args(["--config", &format!("profile.{PROFILE}.{setting}")]);
    }
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build failed ({status}); its messages are above");
    let path = catalog.target.join(TARGET).join(PROFILE).join(&strategy.module);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The compiler's flags: panic messages quote paths of sources, which must not be this machine's, so
/// that a component tells nothing of who built it, and two machines can build the same bytes.
fn flags(root: &Path, sysroot: &Path) -> OsString {
    let mut flags = OsString::new();
    for (from, to) in [(cargo_home(), "/cargo"), (Some(sysroot.into()), "/rust"), (Some(root.into()), "/kv")] {
        let Some(from) = from else { continue };
        if !flags.is_empty() {
            flags.push(FLAG_SEPARATOR);
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_sources_is_renamed() {
        let flags = flags(Path::new("/a b/kv"), Path::new("/opt/rust"));
        let flags = flags.to_str().unwrap();
        let flags: Vec<_> = flags.split(FLAG_SEPARATOR).collect();
        assert!(flags.contains(&"--remap-path-prefix=/a b/kv=/kv"), "{flags:?}");
        assert!(flags.contains(&"--remap-path-prefix=/opt/rust=/rust"), "{flags:?}");
        assert!(flags.iter().any(|flag| flag.ends_with("=/cargo")), "{flags:?}");
    }
}
