//! Builds `my-strategy.wasm`: compiles the strategy for wasm32 and makes a component of the result. Run it
//! as `cargo strategy`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use wit_component::ComponentEncoder;

/// The target without a system interface, so nothing is imported.
const TARGET: &str = "wasm32-unknown-unknown";

/// What Debian's packages install, for machines without rustup.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld-22";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let builder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = builder.parent().context("the builder has no project around it")?;
    let module = compile(project)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(ComponentEncoder::encode)
        .context("cannot make a component of what was compiled")?;
    let path = project.join("my-strategy.wasm");
    fs::write(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} ({} bytes)", path.display(), component.len());
    Ok(())
}

/// Compiles the strategy and reads the module.
fn compile(project: &Path) -> Result<Vec<u8>> {
    let target_dir = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target_dir = target_dir.unwrap_or_else(|| project.join("target"));
    let status = cargo(project)?
        .current_dir(project)
        // The crate type is asked for here: for tests the strategy is an ordinary library.
        .args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "--release"])
        .args(["--target", TARGET])
        .arg("--target-dir")
        // Not this build's own folder, which the cargo that runs this program may hold locked.
        .arg(target_dir.join("component"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags(project))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo failed ({status}); its messages are above");
    let path = target_dir.join("component").join(TARGET).join("release").join("my_strategy_lib.wasm");
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The compiler's flags: panic messages quote the paths of sources, and these should not be those of this
/// machine, for the component goes to others.
fn flags(project: &Path) -> OsString {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let folders = [Some((project.to_owned(), "strategy")), cargo_home.map(|home| (home, "cargo"))];
    let mut flags = OsString::new();
    for (folder, name) in folders.into_iter().flatten() {
        if !flags.is_empty() {
            // What separates flags, which lets paths have spaces.
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The cargo of a toolchain that compiles for the target: the active one, or else Debian's.
fn cargo(project: &Path) -> Result<Command> {
    let mut command = if has_target(project)? {
        Command::new("cargo")
    } else if [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCES, DEBIAN_LINKER].iter().all(|p| exists(p))
    {
        let mut command = Command::new(DEBIAN_CARGO);
        command
            .env("RUSTC", DEBIAN_RUSTC)
            // It has std as source code only, and to compile that is an unstable option.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
            .arg("-Zbuild-std=std,panic_abort");
        command
    } else {
        bail!(
            "nothing on this machine compiles for {TARGET}; install it with one of\n  \
             rustup target add {TARGET}\n  \
             apt-get install rustc-web cargo-web rust-web-src lld-22"
        );
    };
    // What the cargo that runs this program would have another toolchain inherit.
    for variable in ["LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// Whether the active toolchain has the target's standard library.
fn has_target(project: &Path) -> Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(project)
        .output()
        .context("cannot run rustc")?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success()
        && fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
