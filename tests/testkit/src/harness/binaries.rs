//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The node.
pub fn kvnode() -> &'static Path {
    &programs().kvnode
}

/// The client's command line.
pub fn kvclient() -> &'static Path {
    &programs().kvclient
}

/// The example of a program that uses the client's library.
pub fn greetings() -> &'static Path {
    &programs().greetings
}

struct Programs {
    kvnode: PathBuf,
    kvclient: PathBuf,
    greetings: PathBuf,
}

/// A test that depends on nothing that is built for these suites: the build never replaces the program that
/// runs.
const ANY_TEST: &str = "partition";

/// Cargo tells a test where the binaries of its own package are, and no others: so they are built
/// here, into the directory and with the profile that this test was built with.
///
/// The whole workspace and a test of it are selected, since the features of shared libraries follow from the
/// crates that are built: like this they are those of a plain `cargo test`, which has built everything then.
/// Work on these suites alone goes fastest with `cargo test --workspace --test e2e`.
fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let own = std::env::current_exe().expect("a running program has a path");
        // <target>/<profile>/deps/<this>
        let built = own.ancestors().nth(2).expect("cargo puts tests into a directory of its own");
        let target = built.parent().expect("the profile's directory is in the target directory");
        let profile = match built.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let mut command = Command::new(env!("CARGO"));
        // What cargo told this test of its package is not true of the crates that are built now; build
        // scripts that look at it would run again, here and then in the next `cargo test`, for minutes.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let status = command
            .args(["build", "--quiet", "--workspace", "--test", ANY_TEST])
            .args([
                "--bin",
                "kvnode",
                "--bin",
                "kvclient",
                "--example",
                "greetings",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the programs under test do not build");
        Programs {
            kvnode: built.join("kvnode"),
            kvclient: built.join("kvclient"),
            greetings: built.join("examples/greetings"),
        }
    })
}
