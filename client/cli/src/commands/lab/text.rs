//! The result for a person: who balances, who moves little, and what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use kv_lab::{Cost, Experiment, Figures, Scenario, Trial};
use kv_placement::StrategyNode;
use kv_placement::measure::{Balance, Movement};
use kv_rebalance::LiveCluster;

use crate::output;

/// The ids that are listed before it is said how many more there are.
const IDS_SHOWN: usize = 3;

/// All trials as tables, and then the problems of those that failed.
pub(super) fn write(
    experiment: &Experiment,
    live: Option<&LiveCluster>,
    trials: &[Trial],
) -> String {
    let mut text = asked(experiment, live);
    let answered: Vec<(&str, &Figures)> = trials
        .iter()
        .filter_map(|trial| Some((trial.name.as_str(), trial.outcome.as_ref().ok()?)))
        .collect();
    if !answered.is_empty() {
        text.push_str(&load(experiment, &answered));
        text.push_str(&movement(experiment.scenario(), live.is_some(), &answered));
        text.push_str(&cost(&answered));
    }
    let failed: Vec<String> = trials
        .iter()
        .filter_map(|trial| Some(format!("{}: {}\n", trial.name, trial.outcome.as_ref().err()?)))
        .collect();
    if !failed.is_empty() {
        text.push_str("\nFAILED\n");
        text.push_str(&failed.concat());
    }
    text
}

fn asked(experiment: &Experiment, live: Option<&LiveCluster>) -> String {
    let scenario = experiment.scenario();
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(live) = live {
        let _ = writeln!(text, "cluster     {} ({}), epoch {}", live.name, live.uuid, live.epoch);
    }
    let _ = writeln!(text, "nodes       {}", described(scenario.nodes()));
    let _ = writeln!(
        text,
        "partitions  {}, each with {}",
        scenario.partitions().get(),
        counted(scenario.replicas() as usize, "replica")
    );
    if !scenario.joining().is_empty() {
        let ids = scenario.joining().iter().map(|node| node.id.as_str());
        let _ = writeln!(text, "join        of {}", listed(ids));
    }
    if !scenario.leaving().is_empty() {
        let ids = scenario.leaving().iter().map(String::as_str);
        let _ = writeln!(text, "leave       of {}", listed(ids));
    }
    if let Some(keys) = experiment.keys() {
        let _ = writeln!(text, "keys        {}", keys.count());
    }
    text
}

/// Nodes by number, weights and zones.
fn described(nodes: &[StrategyNode]) -> String {
    let mut by_weight: BTreeMap<u32, usize> = BTreeMap::new();
    for node in nodes {
        *by_weight.entry(node.weight).or_default() += 1;
    }
    let weights = match by_weight.keys().next() {
        Some(weight) if by_weight.len() == 1 => format!("all of weight {weight}"),
        _ => {
            let weights: Vec<String> =
                by_weight.iter().map(|(weight, nodes)| format!("{nodes} x {weight}")).collect();
            format!("weights {}", weights.join(", "))
        }
    };
    let zones: BTreeSet<&str> = nodes.iter().map(|node| node.zone.as_str()).collect();
    let zones = match zones.len() - usize::from(zones.contains("")) {
        0 => "no zones".to_owned(),
        count => counted(count, "zone"),
    };
    format!("{}, {weights}, {zones}", nodes.len())
}

fn load(experiment: &Experiment, answered: &[(&str, &Figures)]) -> String {
    let has_keys = experiment.keys().is_some();
    let has_zones = answered.iter().any(|(_, figures)| figures.spread.possible > 1);
    let mut header = vec!["LOAD OVER DUE", "MAX", "MIN", "DEVIATION"];
    if has_keys {
        header.extend(["KEYS MAX", "MIN", "DEVIATION"]);
    }
    if has_zones {
        header.extend(["ZONES AT LEAST", "PARTITIONS SHORT"]);
    }
    let balance = |it: &Balance| [it.max, it.min, it.deviation].map(|ratio| format!("{ratio:.3}"));
    let row = |(name, figures): &(&str, &Figures)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(balance(&figures.partitions));
        row.extend(figures.keys.iter().flat_map(balance));
        if has_zones {
            let spread = &figures.spread;
            row.push(format!("{} of {}", spread.fewest, spread.possible));
            row.push(spread.short.to_string());
        }
        row
    };
    section(&header, answered.iter().map(row).collect())
}

fn movement(scenario: &Scenario, is_live: bool, answered: &[(&str, &Figures)]) -> String {
    let (joins, leaves) = (!scenario.joining().is_empty(), !scenario.leaving().is_empty());
    let mut header = vec!["MOVED"];
    for (there, name) in [(joins, "JOIN"), (leaves, "LEAVE")] {
        if there {
            header.extend([name, "MINIMUM", "TIMES", "NEEDLESS"]);
        }
    }
    if is_live {
        header.push("MIGRATE");
    }
    if header.len() == 1 {
        return String::new();
    }
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let change = |it: &Movement| {
        let times = it.ratio().map_or_else(|| "-".into(), |times| format!("{times:.2}"));
        let needless = percent(it.needless as f64 / it.total.max(1) as f64);
        [percent(it.share()), percent(it.minimum), times, needless]
    };
    let row = |(name, figures): &(&str, &Figures)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(figures.join.iter().flat_map(change));
        row.extend(figures.leave.iter().flat_map(change));
        row.extend(figures.migrate.iter().map(|it| percent(it.share())));
        row
    };
    section(&header, answered.iter().map(row).collect())
}

fn cost(answered: &[(&str, &Figures)]) -> String {
    let header =
        ["COST (ms)", "WASM", "NATIVE", "TIMES", "COMPILE", "LOAD", "MFUEL", "OF THE LIMIT"];
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let row = |(name, figures): &(&str, &Figures)| {
        let cost: &Cost = &figures.cost;
        vec![
            (*name).to_owned(),
            ms(cost.wasm),
            or(cost.native.map(ms)),
            or(cost.ratio().map(|times| format!("{times:.2}"))),
            ms(cost.compile),
            or(cost.load.map(ms)),
            format!("{:.1}", cost.fuel as f64 / 1e6),
            format!("{:.1}%", cost.fuel_share() * 100.0),
        ]
    };
    section(&header, answered.iter().map(row).collect())
}

fn section(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let numbers: Vec<bool> = (0..header.len()).map(|column| column > 0).collect();
    format!("\n{}", output::table(header, &numbers, &rows))
}

fn listed<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = ids.len().saturating_sub(IDS_SHOWN);
    let mut shown = ids.take(IDS_SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(shown, " and {more} more");
    }
    shown
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use kv_lab::nodes;

    use super::*;

    #[test]
    fn nodes_are_summed_up() {
        let mut some = nodes(0..3);
        assert_eq!(described(&some), "3, all of weight 1, no zones");
        some[1].weight = 4;
        some[2].zone = "b".into();
        assert_eq!(described(&some), "3, weights 2 x 1, 1 x 4, 1 zone");
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"].into_iter()), "a, b");
        assert_eq!(listed(["a", "b", "c", "d", "e"].into_iter()), "a, b, c and 2 more");
    }
}
