//! An etcd of one member, and a client for it.
//!
//! The published client libraries need the compiler of protocol buffers, so the four messages that are
//! used stand here by hand. Members that are left out are passed over, as protocol buffers provide.

use std::process::Command;

use anyhow::Context as _;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::mix::Peer;
use kv_bench::server::{Server, eventually, free_port};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// A question for one key. It is answered after a quorum has agreed: etcd's default, and what our
/// reads promise too.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pairs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// An etcd with its defaults: every write is synced to the disk. It ends when this is dropped.
pub(crate) struct Etcd {
    url: String,
    _server: Server,
    // Dropped last, after the server that writes to it.
    _directory: TempDir,
}

impl Etcd {
    /// Whether this machine has it.
    pub(crate) fn is_installed() -> bool {
        Command::new("etcd").arg("--version").output().is_ok_and(|it| it.status.success())
    }

    /// Starts one without data.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory can be made")?;
        let client_port = free_port(|_| true)?;
        let url = format!("http://127.0.0.1:{client_port}");
        let peer_port = free_port(|port| port != client_port)?;
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut command = Command::new("etcd");
        command
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}"), "--data-dir"])
            .arg(directory.path().join("data"));
        let server = Server::start_watched("etcd", &command, directory.path())?;
        let etcd = Self { url, _server: server, _directory: directory };
        eventually("an etcd that answers", async || {
            let Ok(mut clients) = etcd.clients(1).await else { return Ok(None) };
            Ok(clients[0].update("ready", b"").await.ok())
        })
        .await?;
        Ok(etcd)
    }

    /// Clients that share one connection, as those of a program do. With a connection each, or with 8
    /// between 50, etcd does less.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<EtcdClient>> {
        let channel = Endpoint::from_shared(self.url.clone())?.connect().await?;
        Ok(vec![EtcdClient { grpc: Grpc::new(channel) }; count])
    }
}

#[derive(Clone)]
pub(crate) struct EtcdClient {
    grpc: Grpc<Channel>,
}

impl EtcdClient {
    async fn ask<Q, A>(&mut self, path: &'static str, question: Q) -> anyhow::Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await?;
        let request = tonic::Request::new(question);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }
}

impl Peer for EtcdClient {
    async fn read(&mut self, key: &str) -> anyhow::Result<()> {
        let question = RangeRequest { key: key.as_bytes().to_vec() };
        let answer: RangeResponse = self.ask(RANGE, question).await?;
        anyhow::ensure!(answer.pairs.iter().any(|it| !it.value.is_empty()), "etcd has no {key:?}");
        Ok(())
    }

    async fn update(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let question = PutRequest { key: key.as_bytes().to_vec(), value: value.to_vec() };
        let PutResponse {} = self.ask(PUT, question).await?;
        Ok(())
    }
}
