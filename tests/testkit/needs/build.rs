//! Looks for what some test cases need, and says so to `#[needs(...)]`.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a case may need.
struct Need {
    /// What `#[needs(...)]` calls it.
    name: &'static str,
    /// What a case that is ignored without it says.
    missing: &'static str,
    /// Whether this machine has it.
    is_there: fn() -> bool,
}

const NEEDS: [Need; 10] = [
    Need {
        name: "consul",
        missing: "needs a real Consul: set CONSUL_BIN, for example to what .ci/install-consul prints",
        is_there: consul,
    },
    Need {
        name: "pyzmq",
        missing: "needs Python's binding of ZeroMQ: install pyzmq, then set KV_REQUIRE_PYZMQ=1",
        is_there: || succeeds("python3", &["-c", "import zmq"]),
    },
    Need {
        name: "templates",
        missing: "needs compilers from package registries: set KV_BUILD_TEMPLATES=1",
        is_there: || env::var_os("KV_BUILD_TEMPLATES").is_some(),
    },
    Need {
        name: "rebuilt_strategies",
        missing: "needs what `cargo strategies --out DIR` builds: set KV_STRATEGIES_REBUILT=DIR",
        is_there: || env::var_os("KV_STRATEGIES_REBUILT").is_some(),
    },
    Need {
        name: "slim_example",
        missing: "needs the library's example built without strategies: set KV_SLIM_EXAMPLE=FILE, as .ci/run does",
        is_there: || env::var_os("KV_SLIM_EXAMPLE").is_some(),
    },
    Need {
        name: "small_disk",
        missing: "needs a user who may mount a file system in memory",
        is_there: small_disk,
    },
    Need {
        name: "failing_disk",
        missing: "needs a user who may mount an ext4 on a loop device, and have it fail",
        is_there: failing_disk,
    },
    Need {
        name: "read_only_directory",
        missing: "needs a user who cannot write everywhere, or chattr +i",
        is_there: read_only_directory,
    },
    Need {
        name: "limited_user",
        missing: "needs a user whom limits bind, or /usr/bin/setpriv, by which root becomes one",
        is_there: || !is_root() || Path::new("/usr/bin/setpriv").exists(),
    },
    Need {
        name: "terminal",
        missing: "needs /usr/bin/script, which makes a terminal",
        is_there: || Path::new("/usr/bin/script").exists(),
    },
];

fn main() {
    // The PATH, and the right to mount, change with every shell: to look again then would have
    // the tests compiled anew again and again. One of these variables has it looked for.
    for variable in ["CONSUL_BIN", "KV_BUILD_TEMPLATES", "KV_SLIM_EXAMPLE", "KV_STRATEGIES_REBUILT"]
    {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let mut needs = String::from("const NEEDS: &[(&str, Option<&str>)] = &[\n");
    for Need { name, missing, is_there } in NEEDS {
        let required_by = format!("KV_REQUIRE_{}", name.to_uppercase());
        println!("cargo::rerun-if-env-changed={required_by}");
        let missing = (!is_there()).then_some(missing);
        let is_required = env::var_os(&required_by).is_some_and(|value| value == "1");
        if let (Some(missing), true) = (missing, is_required) {
            fails(&format!("{required_by}=1, and this machine does not have it: a case {missing}"));
        }
        writeln!(needs, "    ({name:?}, {missing:?}),").expect("text can be longer");
    }
    needs.push_str("];\n");
    fs::write(out().join("needs.rs"), needs).expect("Cargo's directory can be written to");
}

/// A Consul that answers: the one that is named, or the one on the `PATH`.
fn consul() -> bool {
    let named = env::var_os("CONSUL_BIN");
    let answers = succeeds(named.as_deref().unwrap_or(OsStr::new("consul")), &["version"]);
    if let (Some(named), false) = (&named, answers) {
        fails(&format!("CONSUL_BIN names {}, which is no Consul that answers", named.display()));
    }
    answers
}

/// Both mount in a namespace of their own, so that nothing is left when the shell ends.
fn small_disk() -> bool {
    let place = scratch("small-disk");
    mounts("mount -t tmpfs -o size=1m tmpfs \"$0\"", &[&place])
}

fn failing_disk() -> bool {
    let (image, place) = (scratch("failing-disk").with_extension("image"), scratch("failing-disk"));
    let script = "truncate -s 8M \"$0\" && mkfs.ext4 -q -F \"$0\" && mount -o loop \"$0\" \"$1\" && \
                  device=$(findmnt -n -o SOURCE \"$1\") && \
                  test -w /sys/fs/ext4/${device##*/}/trigger_fs_error";
    mounts(script, &[&image, &place])
}

fn mounts(script: &str, paths: &[&Path]) -> bool {
    let shell = ["--mount", "sh", "-c", script].map(OsStr::new);
    let arguments: Vec<&OsStr> =
        shell.into_iter().chain(paths.iter().map(|it| it.as_os_str())).collect();
    succeeds("unshare", &arguments)
}

/// A directory where the tests make theirs, that is made such that no user can write to it.
fn read_only_directory() -> bool {
    let place = env::temp_dir().join(format!("kv-testkit-needs-{}", std::process::id()));
    fs::create_dir_all(&place).expect("there is room for a directory");
    let set = |mode| fs::set_permissions(&place, Permissions::from_mode(mode));
    let chattr = |attribute| succeeds("chattr", &[OsStr::new(attribute), place.as_os_str()]);
    set(0o555).expect("it is this user's");
    chattr("+i");
    let is_protected = fs::write(place.join("probe"), "").is_err();
    chattr("-i");
    set(0o755).and_then(|()| fs::remove_dir_all(&place)).expect("it can be removed again");
    is_protected
}

/// Has Cargo end the build with these words.
fn fails(words: &str) {
    println!("cargo::error={words}");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// An empty directory in Cargo's for this build script.
fn scratch(name: &str) -> PathBuf {
    let place = out().join(name);
    fs::create_dir_all(&place).expect("Cargo's directory can be written to");
    place
}

fn out() -> PathBuf {
    env::var_os("OUT_DIR").expect("Cargo sets it").into()
}

fn succeeds<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
