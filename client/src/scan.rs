//! Everything in the store, page by page.
//!
//! A few nodes are read at the same time, each one page ahead, so that memory is bounded whatever
//! the store holds. Per key the result is correct; as a whole it is no snapshot: a write during the
//! scan may be in it or not.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use kv_protocol::partition::key_hash;
use kv_protocol::refusal::Refusal;
use kv_protocol::reply::{Content, Page, Record};
use kv_protocol::request::{Command, Request, Scan};

use crate::connection::ExchangeError;
use crate::dispatch::STYLE;
use crate::error::ClientError;
use crate::executor::Executor;
use crate::limits::SCAN_NODES_PARALLEL;
use crate::retry::Attempts;
use crate::routing::{Retry, Target, Verdict, View, judge_read};

/// All records whose keys start with `prefix`. After an error nothing more comes.
pub(crate) fn scan(
    executor: Arc<Executor>,
    prefix: String,
) -> impl Stream<Item = Result<(String, Record), ClientError>> + Send {
    let view = executor.cluster.view();
    let prefix: Arc<str> = prefix.into();
    let members = (0..).take(view.layout.placement.members.len());
    let owners = members.filter(|index| view.table.owned_by(*index).next().is_some());
    let nodes: Vec<_> = owners
        .map(|index| NodeScan {
            executor: Arc::clone(&executor),
            view: Arc::clone(&view),
            index,
            prefix: Arc::clone(&prefix),
        })
        .map(|node| Box::pin(node.pages()))
        .collect();
    stream::iter(nodes)
        .flatten_unordered(SCAN_NODES_PARALLEL)
        .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
        .try_flatten()
        .scan(false, |failed, item| {
            let item = (!*failed).then_some(item);
            *failed |= matches!(item, Some(Err(_)));
            std::future::ready(item)
        })
}

/// The scan of one node.
struct NodeScan {
    executor: Arc<Executor>,
    /// What the scan began with.
    view: Arc<View>,
    /// The node's index among the members.
    index: u16,
    prefix: Arc<str>,
}

/// Where a node's scan stands.
enum Cursor {
    Start,
    After(String),
    End,
}

impl NodeScan {
    fn pages(self) -> impl Stream<Item = Result<Vec<(String, Record)>, ClientError>> + Send {
        stream::try_unfold((self, Cursor::Start), |(node, cursor)| async move {
            let after = match cursor {
                Cursor::Start => None,
                Cursor::After(key) => Some(key),
                Cursor::End => return Ok(None),
            };
            let page = node.page(after.as_deref()).await?;
            let cursor = page.next.map_or(Cursor::End, Cursor::After);
            Ok(Some((page.items, (node, cursor))))
        })
    }

    /// The page that follows the key `after`.
    async fn page(&self, after: Option<&str>) -> Result<Page, ClientError> {
        let cluster = &self.executor.cluster;
        let mut attempts = self.executor.attempts();
        loop {
            let view = cluster.view();
            let (from, to) = (self.view.layout.epoch, view.layout.epoch);
            if from != to {
                return Err(ClientError::LayoutChanged { from, to });
            }
            let verdict = match view.member(self.index) {
                Ok(target) => {
                    let answer = self.ask(&view, target, after, &attempts).await;
                    judge_read(target, answer)
                }
                Err(problem) => Verdict::Retry(Retry::elsewhere(problem)),
            };
            match verdict {
                Verdict::Done(page) => return Ok(page),
                Verdict::Fail(error) => return Err(error),
                Verdict::Retry(retry) => {
                    cluster.before_retry(&mut attempts, &retry, &view).await?;
                }
            }
        }
    }

    async fn ask(
        &self,
        view: &View,
        target: &Target,
        after: Option<&str>,
        attempts: &Attempts,
    ) -> Result<Result<Page, Refusal>, ExchangeError> {
        let scan = Scan {
            partition: None,
            from: None,
            after: after.map(Into::into),
            prefix: (&*self.prefix).into(),
            limit: None,
        };
        let context = view.context(target);
        let mut request = Request { id: None, context, style: STYLE, command: Command::Scan(scan) };
        match self
            .executor
            .connections
            .exchange(&target.endpoint, &mut request, attempts.deadline())
            .await?
        {
            Content::Page(page) => match check(&page, after, &self.prefix) {
                Ok(()) => Ok(Ok(page)),
                Err(problem) => Err(ExchangeError::InvalidReply(problem)),
            },
            Content::Refused(refusal) => Ok(Err(refusal)),
            _ => Err(ExchangeError::InvalidReply("it is not the answer to SCAN".into())),
        }
    }
}

/// Checks that a page gets the scan on, and holds only what was asked for.
fn check(page: &Page, after: Option<&str>, prefix: &str) -> Result<(), String> {
    if let Some((key, _)) = page.items.iter().find(|(key, _)| !key.starts_with(prefix)) {
        return Err(format!("its key {key:?} does not start with {prefix:?}"));
    }
    let place = |key: &str| (key_hash(key), key.to_owned());
    let mut last = after.map(place);
    let keys = page.items.iter().map(|(key, _)| key);
    for key in keys {
        let next = place(key);
        if last.as_ref().is_some_and(|last| *last >= next) {
            return Err(format!("its key {key:?} comes after one that it should precede"));
        }
        last = Some(next);
    }
    match &page.next {
        Some(next) if last.as_ref().is_some_and(|last| *last > place(next)) => {
            Err(format!("it goes on at {next:?}, which lies behind"))
        }
        Some(next) if after.is_some_and(|after| after == next) => {
            Err(format!("it goes on at {next:?}, where it began"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], next: Option<&str>) -> Page {
        let record = Record { value: Vec::new(), version: None };
        let mut items: Vec<_> =
            keys.iter().map(|key| (String::from(*key), record.clone())).collect();
        items.sort_by_key(|(key, _)| key_hash(key));
        Page { items, deleted: Vec::new(), next: next.map(Into::into) }
    }

    /// Some keys in the order of a scan.
    fn ordered() -> Vec<String> {
        let mut keys: Vec<String> = (0..4).map(|n| format!("key-{n}")).collect();
        keys.sort_by_key(|key| key_hash(key));
        keys
    }

    #[test]
    fn pages_that_get_on_are_accepted() {
        let keys = ordered();
        let [a, b, c, d] = [&keys[0], &keys[1], &keys[2], &keys[3]];
        assert_eq!(check(&page(&[], None), None, ""), Ok(()));
        assert_eq!(check(&page(&[a, b], Some(b)), None, "key-"), Ok(()));
        assert_eq!(check(&page(&[c, d], None), Some(b), "key-"), Ok(()));
        // A page may be empty where few keys have the prefix, as long as the cursor moves.
        assert_eq!(check(&page(&[], Some(c)), Some(b), "other"), Ok(()));
    }

    #[test]
    fn pages_that_would_go_round_in_circles_are_refused() {
        let keys = ordered();
        let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
        assert!(check(&page(&[], Some(b)), Some(b), "").is_err());
        assert!(check(&page(&[b], Some(b)), Some(b), "").is_err());
        assert!(check(&page(&[a], None), Some(b), "").is_err());
        assert!(check(&page(&[b, c], Some(a)), None, "").is_err());
        let mut twice = page(&[b], None);
        twice.items.push(twice.items[0].clone());
        assert!(check(&twice, None, "").is_err());
        assert!(check(&page(&[a], None), None, "prefix").is_err());
    }
}
