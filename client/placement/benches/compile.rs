//! What the most that a component may be takes to compile: the figures behind the weights in
//! `src/complexity.rs`.
//!
//! For each of the compiler's weak spots, it finds the largest component that is let through, and prints
//! how long that takes and how much memory:
//!
//! ```sh
//! cargo bench -p kv-placement --bench compile
//! ```

#![allow(clippy::print_stdout, reason = "what it prints is for people, and ends nothing")]

use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use kv_placement::{Cache, StrategyFault, StrategyHost};
use kv_testkit::bombs;

/// The program's own, which keeps more of the memory that is freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, load, kind, file] = &arguments[..]
        && load == "--load"
    {
        return measure(kind, file);
    }
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let host = StrategyHost::new(Cache::disabled()).expect("this machine can run strategies");
    println!("{:24} {:>8} {:>8} {:>8}", "KIND", "KIB", "SECONDS", "MIB");
    for (kind, bomb) in bombs::BOMBS {
        let (mut largest, mut refused) = (0, 1);
        while is_let_through(&host, bomb, refused) {
            (largest, refused) = (refused, refused * 2);
        }
        while refused - largest > 1 + largest / 50 {
            let middle = largest.midpoint(refused);
            let passes = is_let_through(&host, bomb, middle);
            *(if passes { &mut largest } else { &mut refused }) = middle;
        }
        // In a process of its own, since memory that is free again is not given back.
        let bytes = component(bomb, largest).expect("it was let through");
        fs::write(&file, bytes).expect("a file can be written");
        let program = env::current_exe().expect("this program is a file");
        let status = Command::new(program).args(["--load", kind]).arg(file.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{kind}");
    }
}

fn is_let_through(host: &StrategyHost, bomb: bombs::Bomb, size: usize) -> bool {
    let Some(bytes) = component(bomb, size) else { return false };
    // A component that exports nothing is no strategy, which is found out when it is compiled.
    let fault = host.load_bytes("bomb", &bytes).expect_err("it exports nothing");
    matches!(fault.fault(), StrategyFault::WrongWorld { .. })
}

fn measure(kind: &str, file: &str) {
    // As the program does.
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).expect("the system can");
    let host = StrategyHost::new(Cache::disabled()).expect("this machine can run strategies");
    let bytes = fs::read(file).expect("the file is there");
    let before = memory_mib("VmHWM");
    let began = Instant::now();
    let _ = host.load_bytes(kind, &bytes);
    let (took, more) = (began.elapsed().as_secs_f64(), memory_mib("VmHWM") - before);
    println!("{kind:24} {:>8} {took:>8.2} {more:>8.1}", bytes.len() >> 10);
}

/// `None` if it would be larger than a component may be.
fn component(bomb: bombs::Bomb, size: usize) -> Option<Vec<u8>> {
    let bytes = wat::parse_str(bomb(size)).expect("it is valid");
    (bytes.len() <= kv_core::limits::COMPONENT_BYTES_MAX).then_some(bytes)
}

fn memory_mib(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
    let kib = value.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0.0) / 1024.0
}
