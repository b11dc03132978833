//! The admission of strategies: the examination of one before a cluster adopts it.
//!
//! A strategy that has once been adopted decides where all data lies. So before its digest is pinned it
//! is asked for the tables of clusters of many kinds, and its answers are judged; what it lacks it is
//! refused for, unless the operator accepts that by name.
//!
//! - [`Property`]: what a strategy is examined for.
//! - [`ExamCase`]: the questions, from small to large.
//! - [`examine`]: asking and judging; [`Report`]: what came out.

mod case;
mod examiner;
mod property;
mod report;

use std::collections::BTreeSet;

pub use self::case::{ExamCase, Thoroughness};
pub use self::examiner::examine;
pub use self::property::{Property, UnknownProperty};
pub use self::report::{Figure, Finding, Judgement, Report};
use crate::Strategy;

/// Why a cluster does not adopt a strategy.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It lacks something that a cluster wants. Every machine finds the same.
    #[error("strategy {strategy} was not admitted, for it lacks {property}: {why}; {advice}")]
    Lacks {
        /// The strategy as it was named.
        strategy: String,
        /// The first property that it lacks.
        property: Property,
        /// The smallest counterexample.
        why: String,
        /// What to do about it.
        advice: String,
    },
    /// This machine did not examine it to the end.
    #[error(
        "strategy {strategy} was not examined to the end, and nothing is known against it: {why}; examine it on a faster machine, or have it take less time"
    )]
    NotExamined {
        /// The strategy as it was named.
        strategy: String,
        /// What stopped the examination.
        why: String,
    },
}

/// Makes sure that a cluster can adopt `strategy`, to be called with `config`. It may lack the
/// `accepted` properties.
///
/// # Errors
/// [`NotAdmitted`] for the first property that it lacks, or where that was not found out.
pub fn admit(
    strategy: &Strategy,
    config: &str,
    accepted: &BTreeSet<Property>,
) -> Result<(), NotAdmitted> {
    // This program's own tests have examined these.
    if strategy.is_built_in() && config.is_empty() {
        return Ok(());
    }
    let report = examine(strategy, config, Thoroughness::Gate);
    let lacking: Vec<&Finding> = report.lacking(accepted).collect();
    // Properties that were not examined any more follow from the fault that ended the questions.
    let failed = lacking.iter().find(|it| matches!(it.verdict, Judgement::Fail(_)));
    let Some(first) = failed.or(lacking.first()) else { return Ok(()) };
    let label = strategy.label().to_owned();
    let why = match (&first.verdict, &report.stopped) {
        (Judgement::Unknown(_), Some(stopped)) => {
            return Err(NotAdmitted::NotExamined { strategy: label, why: stopped.clone() });
        }
        (Judgement::Fail(why) | Judgement::Unknown(why), _) => why.clone(),
        (Judgement::Pass, _) => String::new(),
    };
    let advice = if lacking.iter().all(|it| it.property.is_optional()) {
        let names: Vec<_> = lacking.iter().map(|it| it.property.name()).collect();
        format!("to adopt it all the same, give init or migrate --accept {}", names.join(","))
    } else {
        "that cannot be accepted; see `kvclient strategy check`".to_owned()
    };
    Err(NotAdmitted::Lacks { strategy: label, property: first.property, why, advice })
}
