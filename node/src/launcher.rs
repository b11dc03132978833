//! Starting a node as a process of its own, which outlives the one that started it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use tokio::process::{Child, Command};
use tracing::info;

use crate::config::NodeArgs;
use crate::supervisor::{Order, Start};

/// The mode of a node's log, which only its owner may read and write.
const LOG_MODE: u32 = 0o600;
/// How much of a failed node's log is told to others, in bytes.
const LAST_WORDS_BYTES_MAX: u64 = 500;

/// Starts nodes with the settings of the one that it belongs to.
#[derive(Clone, Debug)]
pub struct NodeLauncher {
    /// This program. It is looked up once, since a program that is built anew meanwhile is another.
    program: PathBuf,
    root: PathBuf,
    args: Vec<OsString>,
}

/// A node's process, with its log and where its part of that begins.
struct Started {
    child: Child,
    log: PathBuf,
    log_start: u64,
}

impl NodeLauncher {
    /// Starts nodes as the one that has `args`: in its cluster, on its host, with their data under
    /// the same `root`.
    ///
    /// # Errors
    /// Where the path of this program cannot be found out.
    pub fn new(args: &NodeArgs, root: &Path) -> io::Result<Self> {
        let fsync = args.fsync.to_possible_value();
        let fsync = fsync.as_ref().map_or("always", PossibleValue::get_name);
        let mut options: Vec<(&str, OsString)> = vec![
            ("cluster", args.cluster.as_str().into()),
            ("data-dir", root.into()),
            ("host", args.host.clone().into()),
            ("value-bytes-max", args.value_bytes_max.to_string().into()),
            ("fsync", fsync.into()),
            ("start-timeout", args.start_timeout.to_string().into()),
            ("launch-within-ms", args.launch_within_ms.to_string().into()),
            ("launch-max", args.launch_max.to_string().into()),
        ];
        let reserve = args.disk_reserve_bytes.map(|bytes| bytes.to_string().into());
        options.extend(reserve.map(|bytes| ("disk-reserve-bytes", bytes)));
        options.extend(args.memory.map(|bytes| ("memory", bytes.to_string().into())));
        options.extend(args.segment_bytes.map(|bytes| ("segment-bytes", bytes.to_string().into())));
        options.extend(args.consul.iter().map(|it| ("consul", it.into())));
        options.extend(args.advertise.iter().map(|it| ("advertise", it.into())));
        // A port of its own cannot be shared, but that the system is to choose can.
        options.extend(args.port.filter(|port| *port == 0).map(|_| ("port", "0".into())));
        let args = options.into_iter().map(|(name, value)| option(name, value)).collect();
        Ok(Self { program: std::env::current_exe()?, root: root.to_owned(), args })
    }

    /// Where the node `id` writes its log.
    fn log(&self, id: &str) -> PathBuf {
        self.root.join(format!("{id}.log"))
    }

    fn spawn(&self, order: &Order) -> Result<Started, String> {
        let log = self.log(order.id.as_str());
        let failed = |error| format!("its log {} cannot be written: {error}", log.display());
        fs::create_dir_all(&self.root).map_err(failed)?;
        // A node's log is for its operator alone to read.
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(LOG_MODE);
        let file = options.open(&log).map_err(failed)?;
        let log_start = file.metadata().map_err(failed)?.len();
        let stderr = file.try_clone().map_err(failed)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .args(order.options())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(stderr)
            // What a terminal sends to this process and its like is not meant for the new one.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", self.program.display()))?;
        Ok(Started { child, log, log_start })
    }
}

impl Start for NodeLauncher {
    /// Starts the node's process, and waits for its end, so that it leaves nothing in the system.
    fn start(&self, order: Order) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let launcher = self.clone();
        async move {
            let mut started = launcher.spawn(&order)?;
            info!("the log of {} is {}", order.id, started.log.display());
            let status = started.child.wait().await.map_err(|error| error.to_string())?;
            if status.success() {
                return Ok(());
            }
            let words = last_words(&started.log, started.log_start);
            let words = words.unwrap_or_else(|error| format!("(its log cannot be read: {error})"));
            Err(format!("it ended ({status}): {words}"))
        }
    }
}

/// An option with its value in one word, so that a value may begin with a dash.
fn option(name: &str, value: OsString) -> OsString {
    let mut word = format!("--{name}=").into_bytes();
    word.extend(value.into_vec());
    OsString::from_vec(word)
}

/// The last lines of `log` from the byte `start` on.
fn last_words(log: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let from = file.metadata()?.len().saturating_sub(LAST_WORDS_BYTES_MAX).max(start);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may have been cut, unless it is all that there is.
    let text = match text.split_once('\n') {
        Some((_, rest)) if from > start && !rest.trim().is_empty() => rest,
        _ => &text,
    };
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_of_this_run_whole_lines_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("node.log");
        fs::write(&log, "before\nit failed\n").unwrap();
        assert_eq!(last_words(&log, 7).unwrap(), "it failed");
        assert_eq!(last_words(&log, 100).unwrap(), "");
        let lines: String = (0..200).map(|number| format!("line {number}\n")).collect();
        fs::write(&log, lines).unwrap();
        let words = last_words(&log, 0).unwrap();
        assert!(words.starts_with("line 1") && words.ends_with("line 199"), "{words}");
        assert!(words.len() <= 500);
        fs::write(&log, "\u{e9}".repeat(1000)).unwrap();
        assert!(last_words(&log, 0).unwrap().chars().count() <= 502);
    }

    #[test]
    fn a_value_may_begin_with_a_dash() {
        assert_eq!(option("zone", "-a".into()), "--zone=-a");
    }
}
