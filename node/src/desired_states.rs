//! The desired states of one cluster, as Consul pushes them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use kv_consul::ConsulError;
use kv_core::name::Name;
use kv_registry::desired::{Desired, Strange};
use kv_registry::desired_state::DesiredState;
use kv_registry::{Registry, Versioned};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How many lines of the log at most tell of entries that are no desired states, in each [`MINUTE`].
const LINES_A_MINUTE_MAX: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// How much of an entry's problem is quoted, in characters.
const PROBLEM_CHARS_MAX: usize = 200;

/// All desired states of a cluster, by the id of the node that they are about.
pub type DesiredStates = BTreeMap<Name, Versioned<DesiredState>>;

/// Reports the desired states of the cluster, now and whenever they change, until this future is dropped.
///
/// # Errors
/// Where the prefix is not one that Consul takes.
pub async fn follow(
    registry: &Registry,
    news: watch::Sender<DesiredStates>,
) -> Result<(), ConsulError> {
    let mut changes = registry.desired_changes()?;
    let mut complaints = Complaints::default();
    loop {
        match changes.next().await {
            Ok(Desired { states, strange }) => {
                if let Some(line) = complaints.about(strange, Instant::now()) {
                    warn!("{line}");
                }
                news.send_replace(states);
            }
            Err(error) => debug!("cannot follow {}: {error}; trying on", changes.prefix()),
        }
    }
}

/// What has been said of strange entries. Each is spoken of once, and not too often: a process that can
/// write one can write thousands.
#[derive(Default)]
struct Complaints {
    known: HashSet<(String, u64)>,
    /// When the present minute of lines began, and how many there were in it.
    minute: Option<(Instant, usize)>,
    unsaid: usize,
}

impl Complaints {
    /// A line about `strange`, all entries that are strange now; `None` where none of them is new.
    fn about(&mut self, strange: Vec<Strange>, now: Instant) -> Option<String> {
        let name = |it: &Strange| (it.key.clone(), it.index);
        let is_new = |it: &&Strange| !self.known.contains(&name(it));
        let mut new = strange.iter().filter(is_new);
        let line = new.next().map(|first| {
            let others = new.count() + self.unsaid;
            let excerpt: String = first.problem.chars().take(PROBLEM_CHARS_MAX).collect();
            let line = format!("{} in Consul is passed over: {excerpt}", first.key);
            let more = format!(" ({others} more that are no signals are not named)");
            (others + 1, if others > 0 { line + &more } else { line })
        });
        self.known = strange.iter().map(name).collect();
        let (count, line) = line?;
        let lines = match &mut self.minute {
            Some((began, lines)) if now < *began + MINUTE => lines,
            minute => &mut minute.insert((now, 0)).1,
        };
        *lines += 1;
        if *lines > LINES_A_MINUTE_MAX {
            self.unsaid = count;
            return None;
        }
        self.unsaid = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strange(key: &str, index: u64) -> Strange {
        let problem = "no signal".to_owned();
        Strange { key: format!("kv/default/desired/{key}"), index, problem }
    }

    #[test]
    fn what_is_no_desired_state_is_spoken_of_once_and_not_too_often() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        let mut say = |strange: &[Strange], now| complaints.about(strange.to_vec(), now);
        let first = [strange("node-2", 8)];
        let line = say(&first, now).unwrap();
        assert!(line.starts_with("kv/default/desired/node-2 in Consul is passed over"), "{line}");
        assert_eq!(say(&first, now), None);
        // Written again, it is another; and two at once make one line.
        let again = [strange("node-2", 9), strange("node-3", 10)];
        let line = say(&again, now).unwrap();
        assert!(line.contains("node-2") && line.contains("1 more"), "{line}");
        let many = |from: u64| [strange("node-2", from), strange("node-3", from)];
        for index in 0..LINES_A_MINUTE_MAX as u64 - 2 {
            assert!(say(&many(100 + index), now).is_some());
        }
        assert_eq!(say(&many(200), now), None);
        assert_eq!(say(&many(201), now), None);
        let line = say(&many(202), now + MINUTE).unwrap();
        assert!(line.contains("5 more"), "{line}");
    }
}
