//! `kvclient explain`: why a key is where it is.

use clap::Args;
use kvclient::{Cause, Choice, Explanation, explain};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::session::Session;
use crate::{output, visible};

/// Say why a key is where it is: the strategy's candidates, and what moved it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient explain greeting               why it is where it is
  kvclient explain greeting --epoch 7     compared with where it was then")]
pub(crate) struct Explain {
    /// The key: 1 to 1024 bytes of text
    key: String,
    /// Compare with where it was in this epoch [default: before it moved last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epoch: Option<u64>,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let explanation = explain(&session.config, &self.key, self.epoch).await?;
        if session.is_json() {
            return output::json(&in_json(&self.key, &explanation));
        }
        output::data(text(&explanation).as_bytes())
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation { partition, partitions, now, next, before, known_since, .. } = explanation;
    let mut text = format!("partition   {partition} of {partitions}\n");
    let mut tell = |what: &str, choice: &Choice| {
        let Choice { epoch, strategy, strategy_digest, candidates, .. } = choice;
        let (owner, others) =
            candidates.split_first().map_or(("?", &[][..]), |(it, rest)| (it, rest));
        let others = match others {
            [] => String::new(),
            others => format!(", then {}", others.join(", ")),
        };
        text.push_str(&format!(
            "{what:<11} {owner}{others} (epoch {epoch}, {} {})\n",
            visible::line(strategy),
            strategy_digest.short()
        ));
    };
    tell("now", now);
    if let Some((choice, _)) = next {
        tell("next", choice);
    }
    if let Some((choice, _)) = before {
        tell("before", choice);
    }
    let owner = |choice: &Choice| choice.candidates.first().cloned().unwrap_or_default();
    if let Some((choice, cause)) = next {
        let moves = format!("moves from {} to {}", owner(now), owner(choice));
        text.push_str(&format!("\nit {}\n", because(&moves, cause, now, choice)));
    }
    match before {
        Some((choice, cause)) => {
            let moved = format!("moved from {} to {}", owner(choice), owner(now));
            text.push_str(&format!("\nit {}\n", because(&moved, cause, choice, now)));
        }
        None => text.push_str(&format!(
            "\nit has not moved since epoch {known_since}, the first that is kept\n"
        )),
    }
    text
}

/// What happened, in words, and why.
fn because(moved: &str, cause: &Cause, before: &Choice, after: &Choice) -> String {
    let owner = |choice: &Choice| choice.candidates.first().cloned().unwrap_or_default();
    match cause {
        Cause::Same => {
            format!("stays on {} from epoch {} to {}", owner(after), before.epoch, after.epoch)
        }
        Cause::Strategy => format!(
            "{moved} because the strategy {} took the place of {}",
            visible::line(&after.strategy),
            visible::line(&before.strategy)
        ),
        Cause::Config => format!("{moved} because the strategy was given other settings"),
        Cause::Left => format!("{moved} because {} left", owner(before)),
        Cause::Joined => format!("{moved} because {} joined", owner(after)),
        Cause::Reweighted => {
            format!("{moved} because the weight or the zone of one of them changed")
        }
        Cause::Rearranged => format!(
            "{moved} because other nodes came, left or changed: the strategy moves data between nodes that stay"
        ),
        _ => moved.to_owned(),
    }
}

fn in_json(key: &str, explanation: &Explanation) -> Value {
    let choice = |choice: &Choice| {
        json!({
            "epoch": choice.epoch,
            "node": choice.candidates.first(),
            "candidates": choice.candidates,
            "strategy": choice.strategy,
            "strategy_sha256": choice.strategy_digest,
        })
    };
    let with_cause = |(chosen, cause): &(Choice, Cause)| {
        let mut json = choice(chosen);
        json["cause"] = json!(word(cause));
        json
    };
    json!({
        "key": key,
        "partition": explanation.partition,
        "partitions": explanation.partitions,
        "now": choice(&explanation.now),
        "next": explanation.next.as_ref().map(with_cause),
        "before": explanation.before.as_ref().map(with_cause),
        "known_since": explanation.known_since,
    })
}

fn word(cause: &Cause) -> &'static str {
    match cause {
        Cause::Same => "same",
        Cause::Strategy => "strategy",
        Cause::Config => "config",
        Cause::Left => "left",
        Cause::Joined => "joined",
        Cause::Reweighted => "reweighted",
        Cause::Rearranged => "rearranged",
        _ => "unknown",
    }
}
