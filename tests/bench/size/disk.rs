//! The disk's own random reads, by `fio`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use kv_bench::server::run;
use serde_json::Value;

/// The shortest read of a disk, in bytes.
pub(crate) const BLOCK_BYTES: u64 = 4 << 10;

/// Whether this machine has `fio`.
pub(crate) fn is_installed() -> bool {
    Command::new("fio").arg("--version").output().is_ok_and(|it| it.status.success())
}

/// Random reads of `block_bytes` per second past the page cache, of a file of `bytes` in `directory`, with `depth` of
/// them under way.
pub(crate) async fn random_reads(
    directory: &Path,
    (bytes, block_bytes): (u64, u64),
    depth: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let path = directory.join("fio");
    let mut command = Command::new("fio");
    command
        .args(["--name=reads", "--rw=randread", "--direct=1", "--ioengine=libaio", "--time_based"])
        .args(["--output-format=json", &format!("--bs={block_bytes}"), &format!("--size={bytes}")])
        .args([format!("--iodepth={depth}"), format!("--runtime={}", time.as_secs().max(1))])
        .arg(format!("--filename={}", path.display()));
    let (out, _) = run(command, directory, None).await?;
    std::fs::remove_file(path)?;
    // Notes may precede the figures.
    let json = out.find('{').map_or("", |start| &out[start..]);
    let json: Value = serde_json::from_str(json).with_context(|| format!("fio prints {out}"))?;
    json["jobs"][0]["read"]["iops"].as_f64().context("fio tells how many reads there were")
}

/// How long the pages are that the engine of a node has in `directory`, in bytes, in the mean, in whole blocks. A file
/// of theirs is named after the length of a place in it.
pub(crate) fn page_bytes(directory: &Path) -> anyhow::Result<u64> {
    let (mut bytes, mut places) = (0, 0);
    for entry in std::fs::read_dir(directory.join("store/slabs"))? {
        let entry = entry?;
        let place_bytes: u64 = entry.file_name().to_string_lossy().parse()?;
        let length = entry.metadata()?.len();
        bytes += length;
        places += length / place_bytes;
    }
    let mean = bytes.checked_div(places).context("the engine has no pages")?;
    Ok(mean.next_multiple_of(BLOCK_BYTES))
}
