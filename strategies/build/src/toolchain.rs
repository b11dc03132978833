//! What compiles strategies: a toolchain that has the wasm32 target, or Debian's with std's sources.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;

/// The target that strategies are compiled for. It has no system interface, so nothing is imported.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// What Debian's packages `rustc-web`, `cargo-web` and `rust-web-src` install.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std";

/// Where Debian's `lld` packages put `wasm-ld-VERSION`.
const DEBIAN_PROGRAMS: &str = "/usr/bin";

const INSTALL_RUSTUP: &str = "rustup target add wasm32-unknown-unknown";
const INSTALL_DEBIAN: &str = "apt-get install rustc-web cargo-web rust-web-src lld-22";

/// The toolchain that the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The active toolchain where it has the wasm32 target, otherwise Debian's
    Auto,
    /// The active toolchain, to which rustup adds the wasm32 target
    Rustup,
    /// Debian's rustc-web, cargo-web, rust-web-src and lld, which compile std from its sources
    Debian,
}

/// A toolchain that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The active one, which has the target's standard library.
    Rustup,
    /// Debian's, with the linker that was found.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// Finds the toolchain of `choice`. In `root`, the workspace, the active one is the project's.
    pub(crate) fn find(choice: Choice, root: &Path) -> Result<Self> {
        choose(choice, || find_rustup(root), find_debian)
    }

    /// The command `cargo` of this toolchain, without what the cargo that runs this program, or the
    /// user's shell, would have it inherit: libraries of the other toolchain, flags, wrappers.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    // Building the standard library is an unstable option of cargo.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command
            }
        };
        let inherited = [
            "LD_LIBRARY_PATH",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
        ];
        for variable in inherited {
            command.env_remove(variable);
        }
        if matches!(self, Self::Rustup) {
            command.env_remove("RUSTC");
        }
        command
    }

    /// The options of a cargo build that this toolchain needs.
    pub(crate) fn build_options(&self) -> &'static [&'static str] {
        match self {
            Self::Rustup => &[],
            Self::Debian { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }

    /// The folder below which the compiler finds std's sources, whose paths panic messages quote.
    pub(crate) fn sysroot(&self, root: &Path) -> Result<PathBuf> {
        let rustc = match self {
            Self::Rustup => "rustc",
            Self::Debian { .. } => DEBIAN_RUSTC,
        };
        print(rustc, &["sysroot"], root).map(PathBuf::from)
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup => write!(f, "the active Rust toolchain"),
            Self::Debian { linker } => write!(f, "{DEBIAN_RUSTC} and {}", linker.display()),
        }
    }
}

fn choose(
    choice: Choice,
    rustup: impl FnOnce() -> Result<Toolchain>,
    debian: impl FnOnce() -> Result<Toolchain>,
) -> Result<Toolchain> {
    match choice {
        Choice::Rustup => rustup().map_err(|no| anyhow!("{no:#}; install it: {INSTALL_RUSTUP}")),
        Choice::Debian => debian().map_err(|no| anyhow!("{no:#}; install it: {INSTALL_DEBIAN}")),
        Choice::Auto => rustup().or_else(|no_rustup| {
            debian().map_err(|no_debian| {
                anyhow!(
                    "nothing on this machine compiles for {TARGET}; install one of the two and try \
                     again\n  with rustup: {INSTALL_RUSTUP}\n               ({no_rustup:#})\n  on \
                     Debian:   {INSTALL_DEBIAN}\n               ({no_debian:#})"
                )
            })
        }),
    }
}

fn find_rustup(root: &Path) -> Result<Toolchain> {
    let libraries = print("rustc", &["target-libdir", "--target", TARGET], root)?;
    let has_std = Path::new(&libraries).read_dir().is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    });
    ensure!(has_std, "the active toolchain has no standard library for {TARGET}");
    Ok(Toolchain::Rustup)
}

fn find_debian() -> Result<Toolchain> {
    for path in [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCES] {
        ensure!(Path::new(path).exists(), "{path} is missing");
    }
    let programs = Path::new(DEBIAN_PROGRAMS)
        .read_dir()
        .with_context(|| format!("cannot read {DEBIAN_PROGRAMS}"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let linker = newest_linker(programs)
        .with_context(|| format!("there is no wasm-ld in {DEBIAN_PROGRAMS}"))?;
    Ok(Toolchain::Debian { linker: Path::new(DEBIAN_PROGRAMS).join(linker) })
}

/// Of the programs `wasm-ld-VERSION`, the one with the highest version.
fn newest_linker(programs: impl Iterator<Item = String>) -> Option<String> {
    let version = |name: &String| name.strip_prefix("wasm-ld-")?.parse::<u32>().ok();
    programs.filter(|name| version(name).is_some()).max_by_key(version)
}

/// What `rustc --print` answers, on one line.
fn print(rustc: &str, what: &[&str], root: &Path) -> Result<String> {
    let output = Command::new(rustc)
        .arg("--print")
        .args(what)
        .current_dir(root)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .with_context(|| format!("cannot run {rustc}"))?;
    ensure!(
        output.status.success(),
        "{rustc} --print {what:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn debian() -> Toolchain {
        Toolchain::Debian { linker: PathBuf::from("/usr/bin/wasm-ld-22") }
    }

    #[test]
    fn auto_prefers_the_active_toolchain() {
        let found = choose(Choice::Auto, || Ok(Toolchain::Rustup), || Ok(debian()));
        assert_eq!(found.unwrap(), Toolchain::Rustup);
        let found = choose(Choice::Auto, || bail!("no target"), || Ok(debian()));
        assert_eq!(found.unwrap(), debian());
    }

    #[test]
    fn where_there_is_none_both_ways_to_install_one_are_named() {
        let error = choose(Choice::Auto, || bail!("no target"), || bail!("no linker"));
        let message = format!("{:#}", error.unwrap_err());
        for part in [INSTALL_RUSTUP, INSTALL_DEBIAN, "no target", "no linker"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_choice_is_not_replaced_by_the_other() {
        let error = choose(Choice::Rustup, || bail!("no target"), || Ok(debian()));
        assert!(format!("{:#}", error.unwrap_err()).contains(INSTALL_RUSTUP));
        let error = choose(Choice::Debian, || Ok(Toolchain::Rustup), || bail!("no linker"));
        assert!(format!("{:#}", error.unwrap_err()).contains(INSTALL_DEBIAN));
    }

    #[test]
    fn the_newest_linker_is_taken_by_number() {
        let programs = ["ld", "wasm-ld-9", "wasm-ld-22", "wasm-ld-14", "wasm-ld-x"];
        let newest = newest_linker(programs.iter().map(|name| (*name).to_owned()));
        assert_eq!(newest.as_deref(), Some("wasm-ld-22"));
        assert_eq!(newest_linker(std::iter::once("ld".to_owned())), None);
    }
}
