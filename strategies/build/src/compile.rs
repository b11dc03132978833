//! One build of a strategy to a core module.

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
    let folders = source_folders(&catalog.root, toolchain.sysroot(&catalog.root)?);
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&catalog.root)
        // The crate type is asked for here and not in the strategy's manifest: natively a strategy is
        // an ordinary library, and cargo keeps variants of a cdylib's library in the same file.
        .args(["rustc", "--quiet", "--locked", "--lib", "--crate-type", "cdylib"])
        .args(["--target", TARGET, "--profile", PROFILE])
        .args(["--package", &strategy.name])
        .args(toolchain.build_options())
        .arg("--target-dir")
        .arg(&catalog.target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&folders));
    for setting in PROFILE_SETTINGS {
        cargo.args(["--config", &format!("profile.{PROFILE}.{setting}")]);
    }
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo failed ({status}); its messages are above");
    let path = catalog.target.join(TARGET).join(PROFILE).join(&strategy.module);
    let module = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let private: Vec<_> = cargo_home().into_iter().chain([catalog.root.clone()]).collect();
    check_paths(&module, &private)?;
    Ok(module)
}

/// The compiler's flags: panic messages quote the paths of sources, and these must not be those of
/// this machine, so that a component tells nothing of who built it and depends on it in nothing.
fn flags(folders: &[(PathBuf, &str)]) -> OsString {
    let mut flags = OsString::new();
    for (folder, name) in folders {
        if !flags.is_empty() {
            flags.push(FLAG_SEPARATOR);
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The folders of sources and what they are called instead. Of several that match, the last counts.
fn source_folders(root: &Path, sysroot: PathBuf) -> Vec<(PathBuf, &'static str)> {
    let mut folders = vec![(sysroot, "rust")];
    if let Some(cargo_home) = cargo_home() {
        // Each registry has a folder that is named after it. There is one at the least, for this
        // program's own dependencies came from there.
        let registries = cargo_home.join("registry/src").read_dir().into_iter().flatten();
        let registries: Vec<_> = registries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.push((cargo_home, "cargo"));
        folders.extend(registries.into_iter().map(|folder| (folder, "crates")));
    }
    folders.push((root.to_owned(), "kv"));
    folders
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Refuses a module that quotes one of `folders` all the same. One directly below the root, such as
/// /app in a container, tells nothing and is so short that a module may hold it by chance.
fn check_paths(module: &[u8], folders: &[PathBuf]) -> Result<()> {
    for folder in folders.iter().filter(|folder| folder.components().count() > 2) {
        let path = folder.as_os_str().as_encoded_bytes();
        ensure!(
            !module.windows(path.len()).any(|window| window == path),
            "the module quotes {}, a path of this machine; remove what puts it there, such as \
             env!(\"CARGO_MANIFEST_DIR\")",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_sources_is_renamed() {
        let folders = source_folders(Path::new("/a b/kv"), PathBuf::from("/opt/rust"));
        let flags = flags(&folders);
        let flags: Vec<_> = flags.to_str().unwrap().split(FLAG_SEPARATOR).collect();
        assert_eq!(flags.first(), Some(&"--remap-path-prefix=/opt/rust=rust"));
        assert_eq!(flags.last(), Some(&"--remap-path-prefix=/a b/kv=kv"));
        assert!(flags.iter().any(|flag| flag.ends_with("=crates")), "{flags:?}");
    }

    #[test]
    fn a_module_that_quotes_a_path_is_refused() {
        let folders = [PathBuf::from("/home/someone/kv")];
        assert!(check_paths(b"..strategies/mine/src/lib.rs..", &folders).is_ok());
        let error = check_paths(b"../home/someone/kv/strategies..", &folders).unwrap_err();
        assert!(error.to_string().contains("/home/someone/kv"), "{error}");
        assert!(check_paths(b"a /kv b", &[PathBuf::from("/kv")]).is_ok());
    }
}
