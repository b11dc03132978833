//! Strategies, asked from asynchronous code: their calls block, so they run where that is allowed.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use kv_core::layout::{self, Layout, Member, Table};
use kv_core::partition::PartitionCount;
use kv_placement::admission::{Property, admit};
use kv_placement::{Cache, Strategy, StrategyError, StrategyHost, StrategyNode, StrategySource};
use kv_system::failpoints;

use crate::error::ClientError;

/// The question that a table answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRequest {
    /// The nodes that partitions are placed on.
    pub members: Vec<Member>,
    /// How many partitions there are.
    pub partitions: PartitionCount,
    /// How many owners each partition gets.
    pub replicas: u32,
    /// The configuration text that the strategy is called with.
    pub config: String,
}

impl TableRequest {
    /// The one that the table of one of `layout`'s placements answers.
    pub(crate) fn of(layout: &Layout, placement: &layout::Placement) -> Self {
        Self {
            members: placement.members.clone(),
            partitions: layout.partitions,
            replicas: layout.replicas,
            config: placement.strategy.config.clone(),
        }
    }

    fn nodes(&self) -> Vec<StrategyNode> {
        let node = |member: &Member| StrategyNode {
            id: member.id.to_string(),
            weight: member.weight,
            zone: member.zone.clone(),
        };
        self.members.iter().map(node).collect()
    }
}

/// Loads strategies and computes their tables.
#[derive(Clone, Default)]
pub struct StrategyRunner {
    /// Made when it is first needed, since to start the engine takes a moment.
    host: Arc<OnceLock<StrategyHost>>,
}

impl StrategyRunner {
    /// Loads the strategy that `source` names.
    ///
    /// # Errors
    /// It cannot be read, or is no strategy.
    pub async fn load(&self, source: &StrategySource) -> Result<Strategy, ClientError> {
        let source = source.clone();
        self.run(move |host| host.load(&source)).await
    }

    /// Loads a strategy from its bytes. `label` says where they are from.
    pub(crate) async fn load_bytes(
        &self,
        label: String,
        bytes: Vec<u8>,
    ) -> Result<Strategy, ClientError> {
        self.run(move |host| host.load_bytes(&label, &bytes)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StrategyHost) -> Result<T, StrategyError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let host = Arc::clone(&self.host);
        blocking(move || match host.get() {
            Some(host) => Ok(work(host)?),
            None => {
                let made = StrategyHost::new(Cache::from_env())?;
                Ok(work(host.get_or_init(|| made))?)
            }
        })
        .await
    }
}

pub(crate) async fn table(
    strategy: &Strategy,
    question: TableRequest,
) -> Result<Table, ClientError> {
    ask(strategy, question, Strategy::assign).await
}

/// Computes a table that is to be published: it is proved first that all nodes and clients will get the same.
///
/// # Errors
/// The strategy fails, or answers differently when it is asked again.
pub async fn table_verified(
    strategy: &Strategy,
    question: TableRequest,
) -> Result<Table, ClientError> {
    ask(strategy, question, Strategy::assign_verified).await
}

/// Makes sure that a cluster can adopt a strategy, which is to be called with `config` and may lack the
/// `accepted` properties.
///
/// # Errors
/// It lacks others, fails, or refuses the `config`.
pub async fn admitted(
    strategy: &Strategy,
    config: &str,
    accepted: &BTreeSet<Property>,
) -> Result<(), ClientError> {
    let (strategy, config, accepted) = (strategy.clone(), config.to_owned(), accepted.clone());
    blocking(move || {
        failpoints::pass("client::before-examination");
        Ok(admit(&strategy, &config, &accepted)?)
    })
    .await
}

async fn ask(
    strategy: &Strategy,
    question: TableRequest,
    assign: impl FnOnce(&Strategy, &[StrategyNode], u32, u32, &str) -> Result<Vec<u32>, StrategyError>
    + Send
    + 'static,
) -> Result<Table, ClientError> {
    let strategy = strategy.clone();
    blocking(move || {
        let TableRequest { partitions, replicas, ref config, .. } = question;
        let owners = assign(&strategy, &question.nodes(), partitions.get(), replicas, config)?;
        Ok(Table::new(&owners, partitions, replicas, question.members.len())?)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ClientError::Local(format!("the strategy host: {error}"))))
}
