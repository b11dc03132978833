//! HashiCorp's Consul, as a process. Cases that start one are marked `#[needs(consul)]`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the binary of a real Consul; otherwise `consul` is looked for on the `PATH`.
const BINARY_VARIABLE: &str = "CONSUL_BIN";

/// How long a fresh Consul may take until it serves everything.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How often to ask meanwhile.
const START_POLL: Duration = Duration::from_millis(50);

/// How often to try other ports when another process took one between its choice and its use.
const START_ATTEMPTS: usize = 3;

/// The binary of a real Consul.
///
/// # Panics
///
/// Neither the variable nor the PATH leads to a file.
#[must_use]
pub fn real_consul_binary() -> PathBuf {
    let named = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        || std::env::split_paths(&path).map(|it| it.join("consul")).find(|it| it.is_file());
    let binary = named.or_else(on_path).filter(|binary| binary.is_file());
    binary.unwrap_or_else(|| {
        panic!(
            "there is no real Consul: set {BINARY_VARIABLE} to its binary, for example to what \
             .ci/install-consul prints"
        )
    })
}

/// Where a server that is to keep its state keeps it, in its directory.
const STATE_DIRECTORY: &str = "state";

/// A Consul server on free ports of the loopback interface. It ends when it is dropped.
#[derive(Debug)]
pub struct RealConsul {
    binary: PathBuf,
    mode: Mode,
    arguments: Vec<String>,
    token: Option<String>,
    ports: Ports,
    directory: tempfile::TempDir,
    process: Child,
}

/// What a server remembers when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing: all is in its memory, and it is ready soonest.
    InMemory,
    /// Everything: it is on disk.
    Durable,
    /// It is no server, but the agent of another machine, which asks the server that has this port.
    Agent(u16),
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    server: u16,
    serf_lan: u16,
    serf_wan: u16,
}

impl RealConsul {
    /// Starts a server, which keeps nothing on disk, and waits until it serves. `arguments` are added
    /// to its command line.
    ///
    /// # Panics
    ///
    /// Fails the test, with the server's log, when it does not start.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_for(&real_consul_binary(), Mode::InMemory, arguments, None)
    }

    /// Starts a server that keeps its state on disk, and waits until it serves.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_durable() -> Self {
        Self::start_for(&real_consul_binary(), Mode::Durable, &[], None)
    }

    /// Starts a server that denies everything to clients that do not show `token`, which is a UUID.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_closed(token: &str) -> Self {
        let acl = "acl { enabled = true, default_policy = \"deny\", tokens { master = \"";
        let arguments = [&*format!("-hcl={acl}{token}\" }} }}")];
        Self::start_for(&real_consul_binary(), Mode::InMemory, &arguments, Some(token))
    }

    /// Starts an agent of another machine, whose server this one is, and waits until it serves.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn join(server: &Self) -> Self {
        let mode = Mode::Agent(server.ports.serf_lan);
        Self::start_for(&server.binary, mode, &[], server.token.as_deref())
    }

    fn start_for(binary: &Path, mode: Mode, arguments: &[&str], token: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let token = token.map(ToOwned::to_owned);
        for attempt in 1.. {
            let ports = Ports::free();
            let mut process = spawn(binary, mode, &arguments, ports, directory.path());
            let Err(problem) = wait_until_ready(&mut process, ports.http, token.as_deref()) else {
                let binary = binary.to_owned();
                return Self { binary, mode, arguments, token, ports, directory, process };
            };
            end(&mut process);
            if attempt == START_ATTEMPTS {
                let log = log(directory.path());
                panic!("{} does not start: {problem}\n{log}", binary.display());
            }
        }
        unreachable!("the loop ends by returning or panicking")
    }

    /// Where it answers HTTP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.http).into()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as a loss of power would. [`restart_empty`](Self::restart_empty) brings it back.
    pub fn kill(&mut self) {
        end(&mut self.process);
    }

    /// Kills it and starts it again at the same address, where it has forgotten everything.
    ///
    /// # Panics
    ///
    /// Fails the test, with the server's log, when it does not start again.
    pub fn restart_empty(&mut self) {
        self.kill();
        if self.mode != Mode::InMemory {
            let state = self.directory.path().join(STATE_DIRECTORY);
            std::fs::remove_dir_all(state).expect("the server's state can be removed");
        }
        self.restart();
    }

    /// Kills it and starts it again at the same address. Only a durable one has its state then.
    ///
    /// # Panics
    ///
    /// Fails the test, with the server's log, when it does not start again.
    pub fn restart(&mut self) {
        self.kill();
        let directory = self.directory.path();
        self.process = spawn(&self.binary, self.mode, &self.arguments, self.ports, directory);
        let token = self.token.as_deref();
        if let Err(problem) = wait_until_ready(&mut self.process, self.ports.http, token) {
            panic!("Consul does not start again: {problem}\n{}", log(self.directory.path()));
        }
    }
}

impl Drop for RealConsul {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // Either fails only if the process has ended already.
    let _ = process.kill();
    let _ = process.wait();
}

impl Ports {
    /// Ports that no process uses now. All are held until all are chosen, so they differ.
    fn free() -> Self {
        let mut held = Vec::new();
        let mut next = || loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            let address = tcp.local_addr().expect("a bound socket has an address");
            // Serf talks over both.
            if let Ok(udp) = UdpSocket::bind(address) {
                held.push((tcp, udp));
                return address.port();
            }
        };
        Self { http: next(), server: next(), serf_lan: next(), serf_wan: next() }
    }
}

fn spawn(binary: &Path, mode: Mode, arguments: &[String], ports: Ports, directory: &Path) -> Child {
    let state = format!("-data-dir={}", directory.join(STATE_DIRECTORY).display());
    // The fastest elections that it offers: it is alone.
    let durable =
        ["-server", "-bootstrap-expect=1", &state, "-hcl=performance { raft_multiplier = 1 }"];
    let port = if let Mode::Agent(port) = mode { port } else { 0 };
    let joined = format!("-retry-join=127.0.0.1:{port}");
    let agent = ["-retry-interval=1s", &*joined, &*state];
    let (mode, name): (&[&str], _) = match mode {
        Mode::InMemory => (&["-dev"], "real".to_owned()),
        Mode::Durable => (&durable, "real".to_owned()),
        Mode::Agent(_) => (&agent, format!("agent-{}", ports.http)),
    };
    let log = File::create(directory.join("log")).expect("the log can be made");
    let Ports { http, server, serf_lan, serf_wan } = ports;
    Command::new(binary)
        .arg("agent")
        .args(mode)
        .args(["-bind=127.0.0.1", "-client=127.0.0.1"])
        .arg(format!("-node={name}"))
        .args(["-dns-port=-1", "-grpc-port=-1"])
        .arg(format!("-http-port={http}"))
        .arg(format!("-server-port={server}"))
        .arg(format!("-serf-lan-port={serf_lan}"))
        .arg(format!("-serf-wan-port={serf_wan}"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("the log can be shared"))
        .stdout(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", binary.display()))
}

fn wait_until_ready(process: &mut Child, port: u16, token: Option<&str>) -> Result<(), String> {
    let deadline = Instant::now() + START_PATIENCE;
    while !is_ready(port, token).unwrap_or(false) {
        if let Ok(Some(status)) = process.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        if Instant::now() >= deadline {
            return Err(format!("it is not ready after {START_PATIENCE:?}"));
        }
        std::thread::sleep(START_POLL);
    }
    Ok(())
}

/// Whether the Consul at this port leads and knows itself: before that, it creates no session.
fn is_ready(port: u16, token: Option<&str>) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(START_PATIENCE))?;
    let token = token.map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
    stream.write_all(format!("GET /v1/health/state/passing HTTP/1.0\r\n{token}\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.0 200 ") && answer.contains("serfHealth"))
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap_or_else(|error| error.to_string())
}
