//! One process that serves, and commands that end.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use rustix::process::Signal;

use crate::process;
use crate::programs::isolate;

/// How long a process may take until it is ready, and to end.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Runs the arguments and ends them once its standard input is closed, also where the benchmark was
/// killed. Ctrl-C reaches every process of the terminal; this one must live to end its own.
const WATCHER: &str = r#"trap "" INT; "$@" & read -r _; kill $!; wait"#;

/// A process that serves until this is dropped.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command`, which does not heed its standard input, as [`start`](Self::start) does.
    pub fn start_watched(name: &str, command: &Command, home: &Path) -> anyhow::Result<Self> {
        let mut watcher = Command::new("sh");
        watcher.args(["-c", WATCHER, "sh"]).arg(command.get_program()).args(command.get_args());
        Self::start(name, watcher, home)
    }

    /// Starts `command`, which ends once its standard input is closed, in `home`. What it prints goes
    /// to a log there.
    pub fn start(name: &str, mut command: Command, home: &Path) -> anyhow::Result<Self> {
        isolate(&mut command, home);
        let log = home.join(format!("{name}.log"));
        let file = File::create(&log).context("the log cannot be made")?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits for a line that starts with `start`, and returns it.
    pub async fn wait_for_line(&mut self, start: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait()?;
            let log = std::fs::read_to_string(&self.log)?;
            // The last line may not be whole yet.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.starts_with(start)) {
                return Ok(line.to_owned());
            }
            if ended.is_some() || Instant::now() > deadline {
                bail!("{} is not ready ({ended:?}):\n{log}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would: it can do nothing about it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("{} cannot be killed", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it SIGTERM and gives the time until it has ended.
    pub async fn terminate(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        process::signal(self.pid(), Signal::TERM)?;
        self.ended().await?;
        Ok(began.elapsed())
    }

    /// Ends it in good order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        self.ended().await
    }

    /// Waits until it has ended by itself.
    pub async fn wait_for_end(mut self) -> anyhow::Result<()> {
        self.ended().await
    }

    async fn ended(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} does not end", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        // Either fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` in `home` to its end, with the file `input` as its standard input. Gives what it
/// printed and how long it took.
pub async fn run(
    mut command: Command,
    home: &Path,
    input: Option<&Path>,
) -> anyhow::Result<(String, Duration)> {
    isolate(&mut command, home);
    let words = format!("{command:?}");
    let input = match input {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    };
    let mut command = tokio::process::Command::from(command);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let began = Instant::now();
    let output = command.output().await.with_context(|| format!("{words} cannot be started"))?;
    let took = began.elapsed();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        bail!("{words} ended with {}:\n{out}\n{err}", output.status);
    }
    Ok((text(&output.stdout), took))
}

/// Looks until `look` gives something.
pub async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {PATIENCE:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A port of the loopback interface that is free now and that `fits`.
pub fn free_port(fits: impl Fn(u16) -> bool) -> anyhow::Result<u16> {
    let mut held = Vec::new();
    for _ in 0..1000 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if fits(port) {
            return Ok(port);
        }
        // Held, so that the system offers another one.
        held.push(listener);
    }
    bail!("the system offers no port that fits")
}
