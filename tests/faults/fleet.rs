//! The nodes of a run, each behind a proxy, and how their processes are killed, frozen and restarted.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use kv_testkit::harness::Cluster;
use kv_testkit::harness::node::Node;
use kv_testkit::harness::process::read_log;
use kv_testkit::harness::proxy::{Proxy, Traffic};
use tokio::runtime::Handle;

use super::launched::{self, Launched};

/// Where the proxies listen, each at its node's port: another address of the same machine, which is
/// the one that the nodes register.
const PROXIES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How much of a node's log is shown, in lines.
const LOG_LINES: usize = 60;

/// The nodes of one cluster. Their processes end when this is dropped.
pub(super) struct Fleet {
    /// Their cluster, with its Consul.
    pub(super) cluster: Cluster,
    runtime: Handle,
    members: Vec<Member>,
    /// Ends of processes that the run did not ask for.
    crashes: Vec<String>,
}

pub(super) struct Member {
    id: OsString,
    process: Process,
    proxy: Option<Proxy>,
    pub(super) state: State,
    /// What becomes of its traffic.
    pub(super) traffic: Traffic,
}

enum Process {
    /// Started by this run.
    Own(Box<Node>),
    /// Started by a node because Consul said so.
    Launched(Launched),
}

/// How a node's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Runs,
    /// It was stopped in its tracks.
    IsFrozen,
    /// It was killed.
    IsDown,
    /// It ended by itself, since the cluster has no more use for it.
    HasLeft,
}

impl Fleet {
    /// Starts `nodes` nodes in `cluster`, which is empty, and creates its layout.
    pub(super) fn start(mut cluster: Cluster, runtime: &Handle, nodes: usize) -> Self {
        let mut members = Vec::new();
        for number in 0..nodes {
            let mut args = common_args(&cluster);
            let id = format!("node-{number}");
            args.extend(["--id", &id, "--port", "0"].map(OsString::from));
            args.extend(["--advertise".into(), PROXIES.to_string().into()]);
            let mut node = Node::spawn(&id, args, cluster.directory());
            node.wait_until_ready();
            let proxy = Some(proxy(runtime, node.port()));
            let (state, traffic) = (State::Runs, Traffic::Flows);
            let (id, process) = (id.into(), Process::Own(Box::new(node)));
            members.push(Member { id, process, proxy, state, traffic });
        }
        cluster.create_layout(&[]);
        Self { cluster, runtime: runtime.clone(), members, crashes: Vec::new() }
    }

    /// All nodes that there were.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The numbers of the nodes in this state.
    pub(super) fn in_state(&self, state: State) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number].state == state).collect()
    }

    /// Takes in the nodes that were launched in the meantime, and notes those that have left.
    pub(super) fn look_around(&mut self) {
        let known: Vec<u32> = self.members.iter_mut().filter_map(Member::pid).collect();
        for launched in launched::find(&self.cluster.data_directory()) {
            if !known.contains(&launched.pid) {
                let (state, traffic) = (State::Runs, Traffic::Flows);
                let id = launched.id().unwrap_or_default().to_owned();
                let process = Process::Launched(launched);
                self.members.push(Member { id, process, proxy: None, state, traffic });
            }
        }
        for member in &mut self.members {
            if member.state == State::Runs && member.pid().is_none() {
                self.crashes.extend(member.crash());
                member.state = State::HasLeft;
                member.proxy = None;
            }
            // It has the arguments of its launcher, and with them the address of the proxies.
            if let Process::Launched(launched) = &member.process
                && member.state == State::Runs
                && member.proxy.is_none()
            {
                member.proxy = launched.port().map(|port| proxy(&self.runtime, port));
            }
        }
    }

    /// The ends of processes that the run did not ask for, since the last call.
    pub(super) fn take_crashes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.crashes)
    }

    /// Kills a node without warning.
    pub(super) fn kill(&mut self, number: usize) {
        let member = &mut self.members[number];
        match &mut member.process {
            Process::Own(node) => node.kill(),
            Process::Launched(launched) => launched.kill(),
        }
        member.proxy = None;
        member.state = State::IsDown;
        member.traffic = Traffic::Flows;
    }

    /// Starts a killed node again, unless one that launches nodes has done so. It may find that the
    /// cluster has no more use for it.
    ///
    /// # Errors
    /// The node's log, where it does not become ready for another reason.
    pub(super) fn restart(&mut self, number: usize) -> Result<(), String> {
        let member = &mut self.members[number];
        if let Process::Launched(launched) = &member.process {
            // It is the harness's from now on, which can wait for it then; its first start here is
            // cut short by the next one.
            let name = format!("launched-{number}");
            let node = Node::spawn(&name, launched.args.clone(), self.cluster.directory());
            member.process = Process::Own(Box::new(node));
        }
        let Process::Own(node) = &mut member.process else { unreachable!("it is by now") };
        let ended = node.try_restart();
        let others = launched::find(&self.cluster.data_directory());
        let is_taken_over = others.iter().any(|it| it.id() == Some(&member.id));
        match ended {
            Ok(()) => {
                member.proxy = Some(proxy(&self.runtime, node.port()));
                member.state = State::Runs;
                Ok(())
            }
            Err(status) if status.success() || is_taken_over => {
                member.state = State::HasLeft;
                Ok(())
            }
            Err(status) => Err(format!("a node ended with {status}\n{}", tail(&node.log()))),
        }
    }

    /// Stops a node in its tracks.
    pub(super) fn freeze(&mut self, number: usize) {
        let member = &mut self.members[number];
        match &member.process {
            Process::Own(node) => node.freeze(),
            Process::Launched(launched) => launched.freeze(),
        }
        member.state = State::IsFrozen;
    }

    /// Lets a frozen node go on.
    pub(super) fn thaw(&mut self, number: usize) {
        let member = &mut self.members[number];
        match &member.process {
            Process::Own(node) => node.thaw(),
            Process::Launched(launched) => launched.thaw(),
        }
        member.state = State::Runs;
    }

    /// The numbers of the running nodes that are behind a proxy.
    pub(super) fn behind_proxies(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number].proxy.is_some()).collect()
    }

    /// Changes what becomes of a node's traffic.
    pub(super) fn set_traffic(&mut self, number: usize, traffic: Traffic) {
        let member = &mut self.members[number];
        member.traffic = traffic;
        member.proxy.iter().for_each(|proxy| proxy.set(traffic));
    }

    /// Closes all of a node's connections.
    pub(super) fn cut(&self, number: usize) {
        self.members[number].proxy.iter().for_each(Proxy::cut);
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        let of = |(number, member): (usize, &Member)| match &member.process {
            Process::Own(node) => format!("-- log of node {number}\n{}", tail(&node.log())),
            Process::Launched(it) => format!("-- node {number} was launched: {:?}\n", it.args),
        };
        let nodes: String = self.members.iter().enumerate().map(of).collect();
        nodes + &self.logs_of_launched()
    }
}

impl Fleet {
    /// Launched nodes write their logs beside their data.
    fn logs_of_launched(&self) -> String {
        let files = fs::read_dir(self.cluster.data_directory()).into_iter().flatten();
        let logs = files.flatten().map(|it| it.path());
        let logs = logs.filter(|it| it.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| format!("-- {}\n{}", log.display(), tail(&read_log(&log)))).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // No other process would end them.
        for mut launched in launched::find(&self.cluster.data_directory()) {
            launched.kill();
        }
    }
}

impl Member {
    /// How its process, which has ended by itself, did so otherwise than well. Of a launched one only
    /// its launcher knows.
    fn crash(&mut self) -> Option<String> {
        let Process::Own(node) = &mut self.process else { return None };
        let status = node.process().wait();
        let id = self.id.display();
        (!status.success()).then(|| format!("{id} ended with {status}:\n{}", tail(&node.log())))
    }

    /// The id of its process; `None` if it has ended.
    fn pid(&mut self) -> Option<u32> {
        match &mut self.process {
            Process::Own(node) => {
                let process = node.process();
                process.is_running().then(|| process.pid())
            }
            Process::Launched(launched) => launched.is_running().then_some(launched.pid),
        }
    }
}

fn common_args(cluster: &Cluster) -> Vec<OsString> {
    let consul = cluster.consul();
    let mut args: Vec<OsString> =
        ["--consul", &consul, "--cluster", cluster.name()].map(OsString::from).into();
    args.extend(["--data-dir".into(), cluster.data_directory().into_os_string()]);
    args
}

/// The proxy of the node that listens on `port`.
fn proxy(runtime: &Handle, port: u16) -> Proxy {
    let at = |host| SocketAddr::from((host, port));
    Proxy::start(runtime, at(PROXIES), at(Ipv4Addr::LOCALHOST))
}

/// The last lines of a log.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let skipped = lines.len().saturating_sub(LOG_LINES);
    let mut text = lines[skipped..].join("\n");
    text.push('\n');
    text
}
