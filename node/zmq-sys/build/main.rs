//! Builds libzmq with CURVE, mends it, and tells Cargo where it is.
//!
//! `zeromq-src` carries libzmq's source and compiles it; the few files that are mended, and those that
//! include them, are compiled again, with the same settings, and take the place of the first ones in the
//! library.

#![allow(clippy::print_stdout, reason = "Cargo reads what a build script prints")]

mod io_turns;
mod mends;
mod units;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use io_turns::IO_TURNS;
use mends::MENDS;
use units::units_of;

/// The most frames of a message that this libzmq takes in: the library has it from here.
const MESSAGE_FRAMES_MAX: usize = 16;

/// What a configuration step would find out about Linux, and `zeromq-src` does not say: threads are
/// woken through an eventfd, which costs a third of a pair of sockets; descriptors are never
/// inherited, not even by a process that is started at that very moment; and the options that have
/// the system look whether an idle peer is still there have an effect.
const LINUX: &[&str] = &[
    "ZMQ_HAVE_EVENTFD",
    "ZMQ_HAVE_EVENTFD_CLOEXEC",
    "ZMQ_HAVE_SOCK_CLOEXEC",
    "HAVE_ACCEPT4",
    "ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC",
    "ZMQ_HAVE_SO_KEEPALIVE",
    "ZMQ_HAVE_TCP_KEEPCNT",
    "ZMQ_HAVE_TCP_KEEPIDLE",
    "ZMQ_HAVE_TCP_KEEPINTVL",
];

fn main() {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rustc-env=MESSAGE_FRAMES_MAX={MESSAGE_FRAMES_MAX}");
    let out = PathBuf::from(variable("OUT_DIR"));
    // Where the crate that builds libsodium says that it is.
    let sodium =
        zeromq_src::LibLocation::new(variable("DEP_SODIUM_LIB"), variable("DEP_SODIUM_INCLUDE"));
    add_flags();
    // What an earlier run left is mended already.
    for directory in ["source", "lib", "mended"] {
        remove_if_there(&out.join(directory));
    }
    zeromq_src::Build::new().with_libsodium(Some(sodium.clone())).build();
    mend(&out, &sodium);
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| {
        panic!("{name} is {error}: expected Cargo, or the build script of libsodium-sys-stable as it builds from source, to set it")
    })
}

fn is_linux() -> bool {
    variable("CARGO_CFG_TARGET_OS") == "linux"
}

/// Has everything compiled with what [`LINUX`] says. `zeromq-src` has no other way in.
#[allow(unsafe_code, reason = "the compiler is told by the environment")]
fn add_flags() {
    if !is_linux() {
        return;
    }
    // The most particular of the variables that the compiler's wrapper reads; it reads all of them.
    let name = format!("CXXFLAGS_{}", variable("TARGET"));
    let mut flags = env::var(&name).unwrap_or_default();
    for define in LINUX {
        flags.push_str(&format!(" -D{define}=1"));
    }
    // SAFETY: this process has one thread here, so that none reads the environment meanwhile.
    unsafe { env::set_var(name, flags) };
}

/// Mends the source, compiles the files that are mended, and puts them into the library.
fn mend(out: &Path, sodium: &zeromq_src::LibLocation) {
    let source = out.join("source/src");
    let mends = || MENDS.iter().chain(IO_TURNS);
    mends().for_each(|mend| mend.apply(&source));
    let mended: Vec<&str> = mends().map(|mend| mend.file).collect();
    let mut build = settings(out, sodium);
    let library = out.join("lib/libzmq.a");
    let members = ar_output(&build, "t", &library);
    // The compiler's wrapper puts a hash before the name.
    let object_of = |unit: &str| format!("-{}", Path::new(unit).with_extension("o").display());
    let objects_of = |unit: &str| -> Vec<&str> {
        let object = object_of(unit);
        members.lines().filter(|member| member.ends_with(&object)).collect()
    };
    let mut units = units_of(&source, &mended);
    // Some are not part of this library at all, or only where it is built with other features.
    units.retain(|unit| mended.contains(&unit.as_str()) || !objects_of(unit).is_empty());

    build.files(units.iter().map(|unit| source.join(unit)));
    let objects = build.out_dir(out.join("mended")).compile_intermediates();
    assert_eq!(objects.len(), units.len(), "not every mended file was compiled");
    for unit in &units {
        let [old] = objects_of(unit)[..] else {
            panic!("expected one object of {unit} in {}, found {members}", library.display());
        };
        ar(&build, "d", &library, &[Path::new(old)]);
    }
    let objects: Vec<&Path> = objects.iter().map(PathBuf::as_path).collect();
    ar(&build, "rs", &library, &objects);
}

/// How `zeromq-src` compiles: the classes have the same layout only where this is the same.
fn settings(out: &Path, sodium: &zeromq_src::LibLocation) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++11").warnings(false);
    build.include(out.join("source/include")).include(out.join("source/src"));
    build.include(out).include(sodium.include_dir());
    let common = [
        "ZMQ_USE_CV_IMPL_STL11",
        "ZMQ_STATIC",
        "ZMQ_USE_BUILTIN_SHA1",
        "ZMQ_HAVE_WS",
        "ZMQ_USE_LIBSODIUM",
        "ZMQ_HAVE_CURVE",
        "ZMQ_POLL_BASED_ON_POLL",
        "ZMQ_HAVE_IPC",
        "ZMQ_HAVE_STRUCT_SOCKADDR_UN",
        "ZMQ_HAVE_UIO",
        "HAVE_STRNLEN",
    ];
    let of_system: &[&str] = if is_linux() {
        &["ZMQ_HAVE_LINUX", "ZMQ_IOTHREAD_POLLER_USE_EPOLL"]
    } else {
        &["ZMQ_IOTHREAD_POLLER_USE_KQUEUE"]
    };
    for define in common.iter().chain(of_system) {
        build.define(define, "1");
    }
    // What a mend asks for.
    build.define("MESSAGE_FRAMES_MAX", MESSAGE_FRAMES_MAX.to_string().as_str());
    build
}

fn remove_if_there(directory: &Path) {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .unwrap_or_else(|error| panic!("cannot remove {}: {error}", directory.display()));
    }
}

fn archiver(build: &cc::Build, operation: &str, library: &Path) -> Command {
    let mut command = build.get_archiver();
    command.arg(operation).arg(library);
    command
}

fn ar(build: &cc::Build, operation: &str, library: &Path, members: &[&Path]) {
    let mut command = archiver(build, operation, library);
    let status = command.args(members).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?} failed: {status:?}"
    );
}

fn ar_output(build: &cc::Build, operation: &str, library: &Path) -> String {
    let mut command = archiver(build, operation, library);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} failed: {error}"));
    assert!(output.status.success(), "{command:?} failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
