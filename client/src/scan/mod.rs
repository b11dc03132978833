//! Everything in the store, page by page, while partitions move or not.
//!
//! A scan goes in rounds. In each it reads what one layout says: the partitions that a node owns in
//! one go, a partition that is moving at both of its nodes. A few of these *parts* are read at the
//! same time, each one page ahead, so that memory is bounded, however large the store is. Where a newer
//! layout interrupts a round, the next one goes on where it ended, partition by partition.
//!
//! Per key the result is correct; as a whole it is no snapshot: a write during the scan may be in it
//! or not.
//!
//! | file | what |
//! |---|---|
//! | `progress` | which partitions were read how far, and what to read next |
//! | `page` | what a page may hold, and how the pages of both ends of a move become one |

mod page;
mod progress;

use std::sync::{Arc, Mutex, MutexGuard};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use kv_core::attempt::RetryAfter;
use kv_core::layout::Move;
use kv_core::operation::Record;
use kv_core::partition::Partition;
use kv_core::refusal::Refusal;
use kv_protocol::reply::{Content, Page};
use kv_protocol::request::{Command, Request, Scan};
use kv_system::lock::lock;
use kv_transport::ExchangeError;

use self::page::{PageRequest, merge};
use self::progress::{Part, Plan, Progress};
use crate::batch::STYLE;
use crate::deadline::Deadline;
use crate::error::ClientError;
use crate::executor::Executor;
use crate::limits::SCAN_PARALLEL;
use crate::routing::{Retry, Routed, Target, View, judge_read};

/// Keys and their records.
type Items = Vec<(String, Record)>;

/// All records whose keys start with `prefix`. After an error nothing more comes.
pub(crate) fn scan(
    executor: Arc<Executor>,
    prefix: String,
) -> impl Stream<Item = Result<(String, Record), ClientError>> + Send {
    let partitions = executor.cluster.view().layout.partitions;
    let progress = Mutex::new(Progress::new(partitions));
    let scanner = Arc::new(Scanner { executor, prefix, progress });
    stream::try_unfold((scanner, None), |(scanner, rounds)| async move {
        // The time begins when the caller asks for the first record.
        let mut rounds = rounds.unwrap_or_else(|| Rounds::begin(&scanner));
        let Some((view, parts)) = rounds.next(&scanner).await? else { return Ok(None) };
        Ok::<_, ClientError>(Some((round(&scanner, &view, parts), (scanner, Some(rounds)))))
    })
    .try_flatten()
    .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
    .try_flatten()
    .scan(false, |failed, item| {
        let item = (!*failed).then_some(item);
        *failed |= matches!(item, Some(Err(_)));
        std::future::ready(item)
    })
}

struct Scanner {
    executor: Arc<Executor>,
    prefix: String,
    /// Held only to look at it or to note a page.
    progress: Mutex<Progress>,
}

/// The state of a scan between two rounds.
struct Rounds {
    /// The time for the next page.
    deadline: Deadline,
    /// How many pages there were when that time began.
    pages: u64,
}

impl Rounds {
    fn begin(scanner: &Scanner) -> Self {
        Self { deadline: scanner.executor.deadline(), pages: scanner.progress().pages() }
    }

    /// The view and the parts of the next round; `None` where everything was read.
    async fn next(
        &mut self,
        scanner: &Scanner,
    ) -> Result<Option<(Arc<View>, Vec<Part>)>, ClientError> {
        let executor = &scanner.executor;
        loop {
            let view = executor.cluster.view();
            let (Plan { parts, frozen }, pages) = {
                let progress = scanner.progress();
                (progress.plan(&view.assignments), progress.pages())
            };
            if pages != self.pages {
                *self = Self::begin(scanner);
            }
            match (parts.is_empty(), frozen) {
                (true, None) => return Ok(None),
                (true, Some(partition)) => {
                    let problem = view.frozen(partition);
                    let retry =
                        Retry { problem, retry_after: RetryAfter::NextLayout, alone: false };
                    executor.before_retry(&mut self.deadline, &retry, &view).await?;
                }
                (false, _) => {
                    self.deadline.go_on("the layout changed again before anything was read")?;
                    return Ok(Some((view, parts)));
                }
            }
        }
    }
}

/// The pages of all parts of a round.
fn round(
    scanner: &Arc<Scanner>,
    view: &View,
    parts: Vec<Part>,
) -> impl Stream<Item = Result<Items, ClientError>> + Send + use<> {
    let (scanner, epoch) = (Arc::clone(scanner), view.layout.epoch);
    stream::iter(parts)
        .map(move |part| {
            let state = (Arc::clone(&scanner), part);
            Box::pin(stream::try_unfold(state, move |(scanner, part)| async move {
                let items = scanner.next_page(epoch, &part).await?;
                Ok(items.map(|items| (items, (scanner, part))))
            }))
        })
        .flatten_unordered(SCAN_PARALLEL)
}

impl Scanner {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// The next page of a part; `None` where it was read to its end, or the layout is another one.
    async fn next_page(&self, epoch: u64, part: &Part) -> Result<Option<Items>, ClientError> {
        match part {
            Part::Node { node, partitions } => self.page_of_node(epoch, *node, partitions).await,
            Part::Moving { partition, ends } => self.page_of_moving(epoch, *partition, *ends).await,
        }
    }

    async fn page_of_node(
        &self,
        epoch: u64,
        node: u16,
        partitions: &[Partition],
    ) -> Result<Option<Items>, ClientError> {
        let Some((first, after)) = self.progress().first_of(partitions) else { return Ok(None) };
        let question = PageRequest { partition: None, from: first, after, prefix: &self.prefix };
        let page = self.ask(epoch, node, &question).await?;
        Ok(page.map(|page| self.progress().note_of_node(partitions, first, page)))
    }

    async fn page_of_moving(
        &self,
        epoch: u64,
        partition: Partition,
        ends: Move,
    ) -> Result<Option<Items>, ClientError> {
        let Some((_, after)) = self.progress().first_of(&[partition]) else { return Ok(None) };
        let (from, prefix) = (partition, &*self.prefix);
        let question = PageRequest { partition: Some(partition), from, after, prefix };
        let at_source = async {
            match ends.source {
                Some(source) => self.ask(epoch, source, &question).await,
                None => Ok(Some(Page::default())),
            }
        };
        let at_destination = self.ask(epoch, ends.destination, &question);
        let (destination, source) = futures::future::try_join(at_destination, at_source).await?;
        let (Some(destination), Some(source)) = (destination, source) else { return Ok(None) };
        let (items, next) = merge(destination, source);
        self.progress().note_of_partition(partition, next);
        Ok(Some(items))
    }

    /// What `node` answers; `None` where the layout is not that of `epoch` any more.
    async fn ask(
        &self,
        epoch: u64,
        node: u16,
        question: &PageRequest<'_>,
    ) -> Result<Option<Page>, ClientError> {
        let mut deadline = self.executor.deadline();
        loop {
            let view = self.executor.cluster.view();
            if view.layout.epoch != epoch {
                return Ok(None);
            }
            let verdict = match view.node(node) {
                Ok(target) => {
                    let answer = self.exchange(&view, node, target, question, &deadline).await;
                    judge_read(target, answer)
                }
                Err(problem) => Routed::Retry(Retry::elsewhere(problem)),
            };
            match verdict {
                Routed::Done(page) => return Ok(Some(page)),
                Routed::Fail(error) => return Err(error),
                Routed::Retry(retry) => {
                    self.executor.before_retry(&mut deadline, &retry, &view).await?;
                }
            }
        }
    }

    async fn exchange(
        &self,
        view: &View,
        node: u16,
        target: &Target,
        question: &PageRequest<'_>,
        deadline: &Deadline,
    ) -> Result<Result<Page, Refusal>, ExchangeError> {
        let PageRequest { partition, from, ref after, prefix } = *question;
        let scan = Scan {
            partition,
            // A cursor says more than the partition that it is in.
            from: (partition.is_none() && after.is_none()).then_some(from),
            after: after.as_deref().map(Into::into),
            prefix: prefix.into(),
            limit: None,
        };
        let context = view.context(target);
        let mut request = Request { id: None, context, style: STYLE, command: Command::Scan(scan) };
        let connections = &self.executor.connections;
        match connections.exchange(&target.endpoint, &mut request, deadline.instant()).await? {
            Content::Page(page) => match question.check(&page, view, node) {
                Ok(()) => Ok(Ok(page)),
                Err(problem) => Err(ExchangeError::InvalidReply(problem)),
            },
            Content::Refused(refusal) => Ok(Err(refusal)),
            _ => Err(ExchangeError::InvalidReply("it is not the answer to SCAN".into())),
        }
    }
}

#[cfg(test)]
mod tests;
