//! How to read: with which consistency, and whether to wait for news.

use std::time::Duration;

/// The longest time that Consul holds a blocking query; it shortens longer ones to this.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// How a read is to be answered.
///
/// The default is Consul's own: the leader answers, and may be briefly out of date just after it
/// lost its leadership. Use [`Read::consistent`] before a decision that must rest on the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    consistency: Consistency,
    blocking: Option<Blocking>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Consistency {
    #[default]
    Default,
    Consistent,
    Stale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocking {
    index: u64,
    wait: Duration,
}

impl Read {
    /// The leader makes sure with a quorum that it still leads before it answers.
    #[must_use]
    pub const fn consistent() -> Self {
        Self { consistency: Consistency::Consistent, blocking: None }
    }

    /// Any server answers, from what it has, even while there is no leader.
    #[must_use]
    pub const fn stale() -> Self {
        Self { consistency: Consistency::Stale, blocking: None }
    }

    /// Answers only when the data's index has passed `index`, or after about `wait`.
    ///
    /// An answer is no proof of a change. An index of 0 asks for the present at once. Prefer
    /// [`Watch`](super::Watch), which knows the rules around indexes.
    #[must_use]
    pub fn after(self, index: u64, wait: Duration) -> Self {
        let blocking = (index > 0).then_some(Blocking { index, wait: wait.min(WAIT_MAX) });
        Self { blocking, ..self }
    }

    /// The parameters that say this in a URL's query.
    pub(super) fn parameters(self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        match self.consistency {
            Consistency::Default => {}
            Consistency::Consistent => parameters.push(("consistent", String::new())),
            Consistency::Stale => parameters.push(("stale", String::new())),
        }
        if let Some(Blocking { index, wait }) = self.blocking {
            parameters.push(("index", index.to_string()));
            parameters.push(("wait", format!("{}ms", wait.as_millis())));
        }
        parameters
    }

    /// How much longer than any other request this one may take.
    ///
    /// Consul adds up to a sixteenth to the wait, so that the watchers of one key do not all return
    /// together.
    pub(super) fn extra_time(self) -> Duration {
        self.blocking.map_or(Duration::ZERO, |blocking| blocking.wait + blocking.wait / 16)
    }
}

/// An answer and the index of the data in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed<T> {
    /// The index to hand to [`Read::after`] to wait for news.
    pub index: u64,
    /// The data.
    pub value: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_say_consistency_and_wait() {
        assert!(Read::default().parameters().is_empty());
        assert_eq!(Read::stale().parameters(), [("stale", String::new())]);
        let read = Read::consistent().after(7, Duration::from_secs(2));
        assert_eq!(
            read.parameters(),
            [
                ("consistent", String::new()),
                ("index", "7".to_owned()),
                ("wait", "2000ms".to_owned())
            ]
        );
    }

    #[test]
    fn the_wait_is_bounded_and_the_timeout_leaves_room_for_consuls_jitter() {
        let read = Read::default().after(1, WAIT_MAX * 2);
        assert_eq!(read.extra_time(), WAIT_MAX * 17 / 16);
        assert_eq!(Read::default().extra_time(), Duration::ZERO);
    }

    #[test]
    fn index_zero_does_not_block() {
        assert_eq!(Read::default().after(0, WAIT_MAX), Read::default());
    }
}
