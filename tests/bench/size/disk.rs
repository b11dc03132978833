//! The disk's own random reads, by `fio`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use kv_bench::server::run;
use serde_json::Value;

/// What one read reads.
const BLOCK: &str = "4k";

/// Whether this machine has `fio`.
pub(crate) fn is_installed() -> bool {
    Command::new("fio").arg("--version").output().is_ok_and(|it| it.status.success())
}

/// Random reads per second past the page cache, of a file of `bytes` in `directory`, with `depth` of them under way.
pub(crate) async fn random_reads(
    directory: &Path,
    bytes: u64,
    depth: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let path = directory.join("fio");
    let mut command = Command::new("fio");
    command
        .args(["--name=reads", "--rw=randread", "--direct=1", "--ioengine=libaio", "--time_based"])
        .args(["--output-format=json", &format!("--bs={BLOCK}"), &format!("--size={bytes}")])
        .args([format!("--iodepth={depth}"), format!("--runtime={}", time.as_secs().max(1))])
        .arg(format!("--filename={}", path.display()));
    let (out, _) = run(command, directory, None).await?;
    std::fs::remove_file(path)?;
    // Notes may precede the figures.
    let json = out.find('{').map_or("", |start| &out[start..]);
    let json: Value = serde_json::from_str(json).with_context(|| format!("fio prints {out}"))?;
    json["jobs"][0]["read"]["iops"].as_f64().context("fio tells how many reads there were")
}
