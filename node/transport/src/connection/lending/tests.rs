//! Who has the driver, of which only the waker and the inbox are used.

use kv_protocol::reply::Content;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::*;
use crate::connection::driver::Message;
use crate::connection::socket::Waker;
use crate::connection::{ExchangeError, Outgoing, Source};
use crate::endpoint::Endpoint;

/// A source and an outbox with nothing in them.
#[derive(Default)]
struct Nothing;

struct NoSource(Endpoint);

impl Source for NoSource {
    fn endpoint(&self) -> &Endpoint {
        &self.0
    }
    fn close(&self) {}
    fn refuse(&self, _: &str) {}
}

impl Outbox for Nothing {
    type Source = NoSource;
    type Sent = ();
    fn take_in(&mut self, _: &Arc<NoSource>, _: Instant) {}
    fn is_empty(&self) -> bool {
        true
    }
    fn in_flight(&self) -> usize {
        0
    }
    fn is_due(&self) -> bool {
        false
    }
    fn block(&mut self, _: Instant) {}
    fn is_blocked(&self) -> bool {
        false
    }
    fn next(&mut self, _: u64, _: Instant) -> Option<Outgoing<()>> {
        None
    }
    fn answered(&mut self, (): (), _: Result<Content, &ExchangeError>) {}
    fn expire(&mut self, _: Instant) {}
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
    fn refuse(&mut self, _: &str) {}
    fn close(&self) {}
}

/// A driver without its thread, what wakes it, and what is handed over to it.
fn lending() -> (Arc<Lending<Nothing>>, Waker, flume::Sender<Message<Nothing>>) {
    let (messages, inbox) = flume::unbounded();
    let (waker, driver) = Driver::new(inbox, Arc::default()).unwrap();
    (Arc::new(Lending::new(driver)), waker, messages)
}

/// Lends the driver to the task that asks, as the connections' thread does.
fn lend(lending: &Lending<Nothing>, ask: Ask) {
    lock(&lending.desk).worked_at = Instant::now();
    lending.borrower.store(ask.thread, Ordering::Release);
    ask.granted.send(()).unwrap();
}

fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits until there is no task any more that asks.
async fn task_ends(lending: &Lending<Nothing>) {
    let ended = async {
        while lending.is_asked_for.load(Ordering::Acquire) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
}

#[test]
fn only_a_runtime_of_one_thread_asks_and_asks_once() {
    let (lending, ..) = lending();
    assert!(lending.note_hand_over().is_none(), "there is no runtime");
    let many = Runtime::new().unwrap();
    assert!(many.block_on(async { lending.note_hand_over() }).is_none());
    one_thread().block_on(async {
        let ask = lending.note_hand_over();
        assert!(ask.is_some() && lending.note_hand_over().is_none());
        drop(ask);
        task_ends(&lending).await;
        assert!(lending.note_hand_over().is_some(), "it asks once and never again");
    });
}

#[test]
fn a_task_takes_in_what_is_handed_over_and_gives_back_when_nothing_comes() {
    let (lending, _waker, messages) = lending();
    one_thread().block_on(async {
        let ask = lending.note_hand_over().unwrap();
        lend(&lending, ask);
        let (granted, _) = oneshot::channel();
        messages.send(Message::Ask(Ask { thread: here(), granted })).unwrap();
        task_ends(&lending).await;
        assert!(messages.is_empty() && !lending.is_lent());
    });
}

#[test]
fn another_thread_takes_it_back_and_nothing_is_lent_for_a_while() {
    let (lending, ..) = lending();
    let runtime = one_thread();
    runtime.block_on(async {
        let ask = lending.note_hand_over().unwrap();
        lend(&lending, ask);
        assert!(lending.note_hand_over().is_none() && lending.is_lent());
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(lending.note_hand_over().is_none()));
        });
        assert!(!lending.is_lent());
        assert!(lock(&lending.desk).lends_from > Instant::now());
        task_ends(&lending).await;
    });
}

#[test]
fn a_runtime_that_does_not_run_any_more_or_ends_loses_it() {
    let (lending, waker, _messages) = lending();
    let runtime = one_thread();
    // The task never has its turn.
    let ask = runtime.block_on(async { lending.note_hand_over() }).unwrap();
    lend(&lending, ask);
    let thread = Arc::clone(&lending);
    let thread = std::thread::spawn(move || thread.run());
    while lending.is_lent() {
        std::thread::sleep(Duration::from_millis(1));
    }
    waker.close();
    thread.join().unwrap();
    assert!(lock(&lending.desk).driver.is_none(), "the thread has ended, and the driver is there");
    drop(runtime);
    assert!(!lending.is_asked_for.load(Ordering::Acquire));
}
