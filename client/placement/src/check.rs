//! Pure checks of what a strategy said. Its answers are a stranger's: nothing is taken on trust.

use super::call::{Order, StrategyCall};
use super::contract::{Description, Version};
use super::error::StrategyFault;
use super::limits::{
    GUEST_TEXT_CHARS_MAX, INFO_NAME_BYTES_MAX, INFO_SETTINGS_BYTES_MAX, INFO_SUMMARY_BYTES_MAX,
    INFO_VERSION_BYTES_MAX,
};

/// What a strategy says of itself, safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StrategyInfo {
    /// A short name, such as `hrw`.
    pub name: String,
    /// The version of the strategy's source.
    pub version: String,
    /// One sentence on how it places.
    pub summary: String,
    /// What its configuration text may say, empty where it has no settings. `None` where the version
    /// of the contract that it was built for has no words for that.
    pub settings: Option<String>,
}

/// Checks an answer that was given for the nodes in `order`, and turns its indexes into indexes of
/// the question's own list of nodes.
///
/// # Errors
/// Refuses an answer of the wrong length, one that names a node that is not there, and one that
/// names a node twice for the same partition.
pub(super) fn owners(
    question: &StrategyCall<'_>,
    order: &Order,
    answer: &[u32],
) -> Result<Vec<u32>, StrategyFault> {
    if answer.len() != question.owners() {
        return Err(StrategyFault::WrongLength { wanted: question.owners(), got: answer.len() });
    }
    let replicas = question.replicas as usize;
    let mut owners = Vec::with_capacity(answer.len());
    for (partition, replica_set) in answer.chunks_exact(replicas).enumerate() {
        for (replica, &index) in replica_set.iter().enumerate() {
            let Some(&node) = order.get(index as usize) else {
                let nodes = question.nodes.len();
                return Err(StrategyFault::OutOfRange { partition, index, nodes });
            };
            if replica_set[..replica].contains(&index) {
                let node = question.nodes[node].id.clone();
                return Err(StrategyFault::DuplicateReplica { partition, node });
            }
            // The number of nodes is limited far below 2^32, so nothing is lost.
            owners.push(node as u32);
        }
    }
    Ok(owners)
}

/// The first partition on which two checked answers differ, with both owners' ids.
pub(super) fn first_difference(
    question: &StrategyCall<'_>,
    one: &[u32],
    other: &[u32],
) -> Option<(usize, String, String)> {
    let at = one.iter().zip(other).position(|(a, b)| a != b)?;
    let id = |owners: &[u32]| question.nodes[owners[at] as usize].id.clone();
    Some((at / question.replicas as usize, id(one), id(other)))
}

/// Checks what a strategy says of itself.
///
/// # Errors
/// Refuses an empty name, and texts longer than their limits.
pub(super) fn info(said: &Description) -> Result<StrategyInfo, StrategyFault> {
    let text = |field: &str, text: &str, max: usize| {
        if text.len() > max {
            let got = text.len();
            let reason = format!("its {field} has {got} bytes, and may have {max}");
            return Err(StrategyFault::Malformed { reason });
        }
        Ok(printable(text))
    };
    if said.name.trim().is_empty() {
        return Err(StrategyFault::Malformed { reason: "its name is empty".to_owned() });
    }
    Ok(StrategyInfo {
        name: text("name", &said.name, INFO_NAME_BYTES_MAX)?,
        version: text("version", &said.version, INFO_VERSION_BYTES_MAX)?,
        summary: text("summary", &said.summary, INFO_SUMMARY_BYTES_MAX)?,
        settings: said
            .settings
            .as_deref()
            .map(|settings| text("text on its settings", settings, INFO_SETTINGS_BYTES_MAX))
            .transpose()?,
    })
}

/// The fault of a component that exports no version of the contract that this client speaks.
pub(super) fn wrong_exports(exports: &[&str]) -> StrategyFault {
    let expected = Version::ALL.map(Version::interface).join(" or ");
    if let Some(found) = exports.iter().find(|name| Version::is_of_some(name)) {
        return StrategyFault::WrongVersion { expected, found: printable(found) };
    }
    let found = match exports {
        [] => "nothing".to_owned(),
        names => printable(&names.join(", ")),
    };
    StrategyFault::WrongWorld { expected, found }
}

/// The fault of a component whose export has the contract's name, and other functions or types.
pub(super) fn wrong_interface(version: Version, detail: String) -> StrategyFault {
    StrategyFault::WrongInterface { expected: version.interface(), detail }
}

/// A strategy's own words, safe to show on a terminal: one line, no control or direction characters,
/// cut at [`GUEST_TEXT_CHARS_MAX`].
pub(super) fn printable(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '?',
        c if c.is_control() || c == '\u{feff}' => '?',
        c => c,
    };
    let mut shown: String = text.chars().take(GUEST_TEXT_CHARS_MAX).map(visible).collect();
    if text.chars().nth(GUEST_TEXT_CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::call::StrategyNode;
    use super::*;

    fn nodes() -> Vec<StrategyNode> {
        ["c", "a", "b"]
            .map(|id| StrategyNode { id: id.to_owned(), weight: 1, zone: String::new() })
            .to_vec()
    }

    fn check(replicas: u32, answer: &[u32]) -> Result<Vec<u32>, StrategyFault> {
        let nodes = nodes();
        let question = StrategyCall::new(&nodes, 2, replicas, "").unwrap();
        owners(&question, &question.sorted(), answer)
    }

    #[test]
    fn indexes_are_mapped_back_to_the_callers_order() {
        // Sorted, the nodes are a, b, c, which are the caller's 1, 2, 0.
        assert_eq!(check(1, &[0, 2]).unwrap(), [1, 0]);
        assert_eq!(check(2, &[0, 1, 2, 0]).unwrap(), [1, 2, 0, 1]);
    }

    #[test]
    fn bad_answers_are_refused() {
        assert!(matches!(check(1, &[0]), Err(StrategyFault::WrongLength { wanted: 2, got: 1 })));
        assert!(matches!(
            check(1, &[0, 0, 0]),
            Err(StrategyFault::WrongLength { wanted: 2, got: 3 })
        ));
        assert!(matches!(
            check(1, &[0, 3]),
            Err(StrategyFault::OutOfRange { partition: 1, index: 3, nodes: 3 })
        ));
        assert!(matches!(
            check(2, &[0, 1, 2, 2]),
            Err(StrategyFault::DuplicateReplica { partition: 1, node }) if node == "c"
        ));
    }

    proptest! {
        /// Any answer is refused, or is distinct owners that exist.
        #[test]
        fn arbitrary_answers_are_refused_or_are_tables(
            replicas in 1..4_u32,
            answer in vec(prop_oneof![9 => 0..3_u32, 1 => any::<u32>()], 0..9),
        ) {
            let Ok(owners) = check(replicas, &answer) else { return Ok(()) };
            let replicas = replicas as usize;
            prop_assert_eq!(owners.len(), 2 * replicas);
            for set in owners.chunks(replicas) {
                let distinct: BTreeSet<_> = set.iter().collect();
                prop_assert!(distinct.len() == replicas && set.iter().all(|&owner| owner < 3));
            }
        }
    }

    #[test]
    fn a_difference_names_the_partition_and_both_owners() {
        let nodes = nodes();
        let question = StrategyCall::new(&nodes, 2, 2, "").unwrap();
        assert_eq!(first_difference(&question, &[0, 1, 1, 2], &[0, 1, 1, 2]), None);
        assert_eq!(
            first_difference(&question, &[0, 1, 1, 2], &[0, 1, 1, 0]),
            Some((1, "b".to_owned(), "c".to_owned()))
        );
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(printable("a\x1b[31m\n\u{202e}b"), "a?[31m ?b");
        let long = printable(&"x".repeat(GUEST_TEXT_CHARS_MAX + 1));
        assert_eq!(long.len(), GUEST_TEXT_CHARS_MAX + 3);
        assert_eq!(printable(&"x".repeat(GUEST_TEXT_CHARS_MAX)).len(), GUEST_TEXT_CHARS_MAX);
    }

    #[test]
    fn what_a_strategy_says_of_itself_is_bounded() {
        let said = |name: usize, version: usize, summary: usize, settings: Option<usize>| {
            let text = |bytes: usize| "x".repeat(bytes);
            info(&Description {
                name: text(name),
                version: text(version),
                summary: text(summary),
                settings: settings.map(text),
            })
        };
        let (name, version) = (INFO_NAME_BYTES_MAX, INFO_VERSION_BYTES_MAX);
        let (summary, settings) = (INFO_SUMMARY_BYTES_MAX, INFO_SETTINGS_BYTES_MAX);
        assert_eq!(said(name, version, summary, Some(settings)).unwrap().name.len(), name);
        assert_eq!(said(1, 0, 0, None).unwrap().settings, None);
        assert!(said(name + 1, 0, 0, None).is_err());
        assert!(said(1, version + 1, 0, None).is_err());
        assert!(said(1, 0, summary + 1, None).is_err());
        assert!(said(1, 0, 0, Some(settings + 1)).is_err());
        assert!(said(0, 0, 0, None).is_err());
    }

    #[test]
    fn wrong_exports_are_told_apart() {
        let code = |exports: &[&str]| wrong_exports(exports).code();
        assert_eq!(code(&[]), "strategy-wrong-world");
        assert_eq!(code(&["run", "kv:placement"]), "strategy-wrong-world");
        assert_eq!(code(&["run", "kv:placement/strategy@0.0.9"]), "strategy-wrong-version");
    }
}
