//! What can be asked for on the command line, and the scenario and candidates that it makes.

use std::path::PathBuf;

use clap::Args;
use kv_core::limits::{
    MEMBERS_MAX, PARTITIONS_DEFAULT, REPLICAS_MAX, STRATEGY_CONFIG_BYTES_MAX, WEIGHT_MAX,
};
use kv_core::name::parse_zone;
use kv_core::partition::PartitionCount;
use kv_lab::{CANDIDATES_MAX, Candidate, Scenario, nodes};
use kv_placement::{StrategyNode, StrategySource};
use kv_rebalance::LiveCluster;

use super::pattern::{Pattern, parse_pattern};
use crate::option_value::partitions;

/// How many nodes join or leave unless an option says it, if the limits allow it.
const CHANGE_DEFAULT: usize = 1;

/// Compare placement strategies side by side, without a cluster
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Every strategy is asked for its table of the nodes, of the nodes when --add join, and of the nodes when
--remove have left. What fails has its error in place of its figures, the others go on, and the exit code
is 4.

Examples:
  kvclient lab                                        all built-in strategies on 10 nodes
  kvclient lab hrw ./mine.wasm --nodes 100 --weights 1,2,4 --zones a,b,c --replicas 3
  kvclient lab --config consistent-hash=points=64 --config consistent-hash=points=1024
  kvclient lab --keys users.txt --pictures review     load by real keys, and pictures
  kvclient lab --from-cluster --output json           what a migration would bring and move")]
pub(crate) struct Lab {
    /// The strategies: .wasm files or built-in names [default: all built-in ones]
    #[arg(value_name = "FILE|NAME")]
    pub(super) strategies: Vec<StrategySource>,
    /// How many nodes there are: node-0, node-1 and so on
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "from_cluster",
          value_parser = clap::value_parser!(u64).range(1..=MEMBERS_MAX as u64))]
    nodes: u64,
    /// How many nodes join [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MEMBERS_MAX as u64))]
    add: Option<u64>,
    /// Which nodes leave: how many of the last ones, or their ids, such as 2 or node-0,node-3
    /// [default: 1]
    #[arg(long, value_name = "N|ID,...", value_parser = parse_removal)]
    remove: Option<Removal>,
    /// The nodes' weights, over and over, and those of single nodes: 1,2,4 or node-3=4 [default: 1].
    /// With --from-cluster, those of the nodes that join
    #[arg(long, value_name = "W,...", value_parser = parse_weights)]
    weights: Option<Pattern<u32>>,
    /// The nodes' zones, over and over, and those of single nodes: a,b,c or node-3=c [default: none].
    /// With --from-cluster, those of the nodes that join. As many weights as zones would give every
    /// zone nodes of one weight only: then say a,a,a,b,b,b
    #[arg(long, value_name = "ZONE,...", value_parser = parse_zones)]
    zones: Option<Pattern<String>>,
    /// How many owners each partition gets
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "from_cluster",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(REPLICAS_MAX)))]
    replicas: u32,
    /// How many partitions there are, a power of two
    #[arg(long, value_name = "N", value_parser = partitions, default_value_t = PARTITIONS_DEFAULT,
          conflicts_with = "from_cluster")]
    partitions: u32,
    /// A strategy's own settings, such as consistent-hash=points=64. Given more than once for a
    /// strategy, it is tried with each; an empty TEXT is its defaults
    #[arg(long, value_name = "STRATEGY=TEXT")]
    config: Vec<String>,
    /// Measure the load of the keys of this file too: a key a line, or lines as of `kvclient export`;
    /// - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) keys: Option<PathBuf>,
    /// Start with the cluster's own members, partitions and strategy, and say what a migration moves
    #[arg(long)]
    pub(super) from_cluster: bool,
    /// Draw everything too: SVG and PNG files, into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) pictures: Option<PathBuf>,
}

/// Which nodes leave.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Removal {
    /// This many of the last ones.
    Last(usize),
    /// Those with these ids.
    Named(Vec<String>),
}

impl Lab {
    /// The scenario, which starts with the nodes of `live` where there is such a cluster.
    ///
    /// # Errors
    /// What contradicts itself or a limit, for a person.
    pub(super) fn scenario(&self, live: Option<&LiveCluster>) -> Result<Scenario, String> {
        let (mut before, partitions, replicas) = match live {
            Some(live) => (live.nodes.clone(), live.partitions, live.replicas),
            None => {
                let partitions =
                    PartitionCount::new(self.partitions).map_err(|error| error.to_string())?;
                (nodes(0..self.nodes as usize), partitions, self.replicas)
            }
        };
        let add = match self.add {
            Some(add) => add as usize,
            None => CHANGE_DEFAULT.min(MEMBERS_MAX.saturating_sub(before.len())),
        };
        let free = |node: &StrategyNode| !before.iter().any(|it| it.id == node.id);
        let mut joining = nodes(0..before.len() + add);
        joining.retain(free);
        joining.truncate(add);
        // A cluster's members have weights and zones of their own.
        let mut described: Vec<&mut StrategyNode> = match live {
            Some(_) => joining.iter_mut().collect(),
            None => before.iter_mut().chain(&mut joining).collect(),
        };
        if let Some(weights) = &self.weights {
            weights.apply("--weights", &mut described, |node, weight| node.weight = *weight)?;
        }
        if let Some(zones) = &self.zones {
            zones.apply("--zones", &mut described, |node, zone| node.zone.clone_from(zone))?;
        }
        let leaving = match &self.remove {
            Some(Removal::Named(ids)) => ids.clone(),
            Some(Removal::Last(count)) => last(&before, *count)?,
            None => {
                let spare = before.len().saturating_sub(replicas as usize);
                last(&before, CHANGE_DEFAULT.min(spare))?
            }
        };
        Scenario::new(before, joining, leaving, partitions, replicas)
            .map_err(|error| error.to_string())
    }

    /// The strategies with their settings: those that were named, or else all built-in ones.
    ///
    /// # Errors
    /// Settings of a strategy that is not there, a strategy that stands twice, or too many.
    pub(super) fn candidates(&self) -> Result<Vec<Candidate>, String> {
        let sources = match &self.strategies[..] {
            [] => StrategySource::built_in_names().map(StrategySource::BuiltIn).collect(),
            named => named.to_vec(),
        };
        let mut configs: Vec<Vec<&str>> = vec![Vec::new(); sources.len()];
        for config in &self.config {
            let of = sources.iter().zip(&mut configs);
            // A path may contain an equals sign, so a strategy's name may go on after one.
            let mut fits = of.filter_map(|(source, texts)| {
                let text = names(source).find_map(|it| config.strip_prefix(&it)?.strip_prefix('='));
                Some((text?, texts))
            });
            let (text, texts) = fits.next().ok_or_else(|| {
                let known: Vec<String> = sources.iter().map(ToString::to_string).collect();
                format!(
                    "--config {config}: expected STRATEGY=TEXT, where STRATEGY is one of {}",
                    known.join(", ")
                )
            })?;
            if text.len() > STRATEGY_CONFIG_BYTES_MAX {
                return Err(format!(
                    "--config has a text of {} bytes: expected at most {STRATEGY_CONFIG_BYTES_MAX}",
                    text.len()
                ));
            }
            texts.push(text);
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for (source, texts) in sources.iter().zip(configs) {
            let texts = if texts.is_empty() { vec![""] } else { texts };
            for text in texts {
                candidates.push(Candidate::new(source.clone(), text));
            }
        }
        let named = |candidate: &Candidate, all: &[Candidate]| {
            let name = candidate.name();
            all.iter().filter(|it| it.name() == name).count()
        };
        let short = candidates.clone();
        for candidate in candidates.iter_mut().filter(|it| named(it, &short) > 1) {
            *candidate = candidate.clone().with_path();
        }
        if let Some(twice) = candidates.iter().find(|it| named(it, &candidates) > 1) {
            return Err(format!("{} is named twice", twice.name()));
        }
        match candidates.len() {
            ..=CANDIDATES_MAX => Ok(candidates),
            many => Err(format!("{many} strategies: expected at most {CANDIDATES_MAX}")),
        }
    }
}

/// What a strategy may be called in `--config`: as it was given, or a file without folder and ending.
fn names(source: &StrategySource) -> impl Iterator<Item = String> {
    let stem = match source {
        StrategySource::File(path) => path.file_stem().map(|it| it.to_string_lossy().into_owned()),
        _ => None,
    };
    [Some(source.to_string()), stem].into_iter().flatten()
}

/// The ids of the last nodes.
fn last(nodes: &[StrategyNode], count: usize) -> Result<Vec<String>, String> {
    let stay = nodes
        .len()
        .checked_sub(count)
        .ok_or_else(|| format!("--remove {count}: there are only {} nodes", nodes.len()))?;
    Ok(nodes[stay..].iter().map(|node| node.id.clone()).collect())
}

fn parse_removal(text: &str) -> Result<Removal, String> {
    match text.parse() {
        Ok(count) => Ok(Removal::Last(count)),
        Err(_) if text.split(',').all(|id| !id.is_empty()) => {
            Ok(Removal::Named(text.split(',').map(str::to_owned).collect()))
        }
        Err(_) => Err("expected a number, or ids with commas between them".into()),
    }
}

fn parse_weights(text: &str) -> Result<Pattern<u32>, String> {
    parse_pattern(text, |text| match text.parse() {
        Ok(weight @ 1..=WEIGHT_MAX) => Ok(weight),
        _ => Err(format!("expected weights from 1 to {WEIGHT_MAX}, got {text:?}")),
    })
}

fn parse_zones(text: &str) -> Result<Pattern<String>, String> {
    parse_pattern(text, parse_zone)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Lab,
    }

    fn parse(line: &str) -> Result<Lab, String> {
        let words = ["lab"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments).map_err(|error| error.to_string())
    }

    fn scenario(line: &str) -> Result<Scenario, String> {
        parse(line)?.scenario(None)
    }

    fn candidates(line: &str) -> Result<Vec<String>, String> {
        Ok(parse(line)?.candidates()?.iter().map(Candidate::name).collect())
    }

    #[test]
    fn the_usual_scenario_has_ten_nodes_of_which_one_leaves_and_one_more_joins() {
        let usual = scenario("").unwrap();
        assert_eq!((usual.nodes(), usual.joining()), (&nodes(0..10)[..], &nodes([10])[..]));
        assert_eq!(usual.leaving(), ["node-9"]);
        assert_eq!((usual.partitions().get(), usual.replicas()), (PARTITIONS_DEFAULT, 1));
    }

    #[test]
    fn changes_are_left_out_where_limits_forbid_them_and_nobody_asked() {
        let most = scenario("--nodes 1000").unwrap();
        assert!(most.joining().is_empty() && most.leaving().len() == 1);
        assert!(scenario("--nodes 1000 --add 1").unwrap_err().contains("1 to 1000 nodes"));
        let least = scenario("--nodes 2 --replicas 2").unwrap();
        assert!(least.leaving().is_empty() && least.joining().len() == 1);
        assert!(scenario("--nodes 2 --replicas 2 --remove 1").unwrap_err().contains("1 of 2"));
        assert!(scenario("--remove 11").unwrap_err().contains("only 10"));
    }

    #[test]
    fn nodes_leave_by_number_or_by_id() {
        assert_eq!(scenario("--remove 2").unwrap().leaving(), ["node-8", "node-9"]);
        assert_eq!(scenario("--remove node-3,node-0").unwrap().leaving(), ["node-3", "node-0"]);
        assert!(scenario("--remove 0 --add 0").unwrap().leaving().is_empty());
        assert!(scenario("--remove node-10").unwrap_err().contains("no such node"));
        assert!(scenario("--remove node-1,").is_err());
    }

    #[test]
    fn weights_and_zones_go_round_and_are_set_one_by_one() {
        let mixed = scenario("--nodes 4 --weights 1,2,node-3=9 --zones a,b,c").unwrap();
        let weights: Vec<u32> = mixed.nodes().iter().map(|node| node.weight).collect();
        assert_eq!(weights, [1, 2, 1, 9]);
        let joining = &mixed.joining()[0];
        assert_eq!((joining.weight, joining.zone.as_str()), (1, "b"));
        for wrong in ["--weights 0", "--weights 257", "--weights x", "--weights 1,"] {
            assert!(scenario(wrong).is_err(), "{wrong}");
        }
        assert!(scenario("--weights node-77=2").unwrap_err().contains("node-77"));
    }

    #[test]
    fn settings_make_a_row_each() {
        let all: Vec<_> = StrategySource::built_in_names().map(str::to_owned).collect();
        assert_eq!(candidates("").unwrap(), all);
        let two = "hrw consistent-hash --config consistent-hash= --config consistent-hash=points=8";
        let expected = ["hrw", "consistent-hash", "consistent-hash points=8"];
        assert_eq!(candidates(two).unwrap(), expected);
        let file = "./a=b/mine.wasm --config mine=x --config ./a=b/mine.wasm=y=z";
        assert_eq!(candidates(file).unwrap(), ["mine.wasm x", "mine.wasm y=z"]);
        assert_eq!(candidates("a/x.wasm b/x.wasm").unwrap(), ["a/x.wasm", "b/x.wasm"]);
        assert!(candidates("a/x.wasm a/x.wasm").unwrap_err().contains("named twice"));
        assert!(candidates("hrw hrw").unwrap_err().contains("hrw is named twice"));
        let stranger = candidates("hrw --config maglev=1").unwrap_err();
        assert!(stranger.contains("one of hrw"), "{stranger}");
        assert!(candidates("hrw --config hrw").is_err());
        let long = format!("hrw --config hrw={}", "x".repeat(STRATEGY_CONFIG_BYTES_MAX + 1));
        assert!(candidates(&long).unwrap_err().contains("4097 bytes"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "--nodes 0",
            "--nodes 1001",
            "--partitions 100",
            "--partitions 131072",
            "--replicas 0",
            "--replicas 9",
            "--add 1001",
            "--from-cluster --nodes 3",
            "--from-cluster --partitions 16",
            "--from-cluster --replicas 1",
            "no-such-strategy",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--from-cluster").is_ok());
    }
}
