use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;

/// What a scripted Consul answers, one entry a query. After the last entry it never answers again.
type Script = Vec<Result<(u64, &'static str), ConsulError>>;

/// The queries that were made: when, and how.
type Queries = Arc<Mutex<Vec<(Instant, Read)>>>;

fn watch(script: Script) -> (Watch<&'static str>, Queries) {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let queries = Queries::default();
    let seen = queries.clone();
    let fetch: Fetch<&'static str> = Box::new(move |read| {
        seen.lock().unwrap().push((Instant::now(), read));
        let answer = script.lock().unwrap().pop_front();
        Box::pin(async move {
            match answer {
                Some(answer) => answer.map(|(index, value)| Indexed { index, value }),
                None => std::future::pending().await,
            }
        })
    });
    (Watch::new(fetch), queries)
}

fn unreachable() -> ConsulError {
    ConsulError::Unreachable { address: "a".to_owned(), cause: "c".to_owned() }
}

fn denied() -> ConsulError {
    ConsulError::PermissionDenied { request: "r".to_owned(), excerpt: "e".to_owned() }
}

async fn is_pending<T: Clone + PartialEq>(watch: &mut Watch<T>) -> bool {
    tokio::time::timeout(Duration::from_secs(3_600), watch.next()).await.is_err()
}

#[test]
fn the_next_index_follows_consuls_rules() {
    assert_eq!(next_index(0, 7), 7);
    assert_eq!(next_index(7, 9), 9);
    assert_eq!(next_index(7, 7), 7, "no change");
    assert_eq!(next_index(7, 3), 0, "went backwards");
    assert_eq!(next_index(0, 0), 1, "never a query that does not block");
}

#[tokio::test(start_paused = true)]
async fn only_real_changes_are_yielded_and_each_query_waits_on_the_last_index() {
    let script = vec![Ok((5, "a")), Ok((5, "a")), Ok((6, "a")), Ok((7, "b"))];
    let (mut watch, queries) = watch(script);
    assert_eq!(watch.next().await.unwrap(), Indexed { index: 5, value: "a" });
    assert_eq!(watch.next().await.unwrap(), Indexed { index: 7, value: "b" });
    assert!(is_pending(&mut watch).await);
    let reads: Vec<Read> = queries.lock().unwrap().iter().map(|(_, read)| *read).collect();
    let on = |index| Read::default().after(index, WATCH_WAIT);
    // An answer that comes early and says nothing new is one of a Consul that may have been restored.
    assert_eq!(reads, [on(0), on(5), on(0), on(6), on(7)]);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_goes_backwards_starts_over() {
    let (mut watch, queries) = watch(vec![Ok((50, "a")), Ok((2, "b"))]);
    watch.next().await.unwrap();
    assert_eq!(watch.next().await.unwrap().value, "b");
    assert!(is_pending(&mut watch).await);
    assert_eq!(queries.lock().unwrap()[2].1, Read::default());
}

#[tokio::test(start_paused = true)]
async fn a_consul_that_always_answers_at_once_is_not_asked_in_a_busy_loop() {
    let (mut watch, queries) = watch((0..1_000).map(|_| Ok((1, "same"))).collect());
    watch.next().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    let count = queries.lock().unwrap().len();
    let most = (Duration::from_secs(10).as_millis() / WATCH_SPACING_MIN.as_millis()) as usize + 2;
    assert!(count <= most, "{count} queries in 10 s");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_neither_loses_a_change_nor_allows_spinning() {
    let (mut watch, queries) = watch(vec![Ok((5, "a"))]);
    watch.next().await.unwrap();
    for _ in 0..1_000 {
        let _ = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
    }
    let count = queries.lock().unwrap().len();
    assert!(count <= 2 + 2_000 / WATCH_SPACING_MIN.as_millis() as usize, "{count} queries");
    assert_eq!(watch.index, 5);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once_per_kind_and_afterwards_only_news_are_yielded() {
    let (mut watch, _) = watch(vec![
        Ok((5, "a")),
        Err(unreachable()),
        Err(unreachable()),
        Err(denied()),
        Err(denied()),
        Ok((5, "a")),
        Err(denied()),
        Ok((1, "b")),
    ]);
    assert_eq!(watch.next().await.unwrap().value, "a");
    assert!(matches!(watch.next().await, Err(ConsulError::Unreachable { .. })));
    assert!(matches!(watch.next().await, Err(ConsulError::PermissionDenied { .. })));
    // It recovers unchanged, which is no news, and then a second outage begins.
    assert!(matches!(watch.next().await, Err(ConsulError::PermissionDenied { .. })));
    assert_eq!(watch.next().await.unwrap(), Indexed { index: 1, value: "b" });
}

#[tokio::test(start_paused = true)]
async fn failures_are_spaced_by_the_back_off_and_ask_for_the_present_again() {
    let script = (0..20).map(|_| Err(unreachable())).collect();
    let (mut watch, queries) = watch(script);
    assert!(watch.next().await.is_err());
    assert!(is_pending(&mut watch).await);
    let queries = queries.lock().unwrap();
    assert_eq!(queries.len(), 21);
    for (n, pair) in queries.windows(2).enumerate() {
        let waited = pair[1].0 - pair[0].0;
        let full = BACKOFF.after(u32::try_from(n).unwrap());
        // The timer ticks in milliseconds.
        let tick = Duration::from_millis(1);
        assert!(waited >= full / 2 && waited <= full + tick, "wait {n} was {waited:?}");
        assert_eq!(pair[1].1, Read::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_consul_that_was_restored_meanwhile_is_asked_afresh() {
    // The query that was held ends with what it would have had before; then the index is lower.
    let script = vec![Ok((50, "new")), Ok((50, "new")), Ok((20, "old"))];
    let (watch, queries) = watch(script);
    let put_back = Arc::new(Notify::new());
    let mut watch = watch.telling(Arc::clone(&put_back));
    watch.next().await.unwrap();
    let is_told = || tokio::time::timeout(Duration::ZERO, put_back.notified());
    assert!(is_told().await.is_err());
    assert_eq!(watch.next().await.unwrap(), Indexed { index: 20, value: "old" });
    assert!(is_told().await.is_ok());
    let reads: Vec<Read> = queries.lock().unwrap().iter().map(|(_, read)| *read).collect();
    let held = Read::default().after(50, WATCH_WAIT);
    assert_eq!(reads, [Read::default(), held, Read::default()]);
}
