//! `kvclient status`: the cluster and its nodes.

use clap::Args;
use kv_consul::CheckStatus;
use kv_core::layout::{Goal, Layout, Phase as WindowPhase, Rebalance};
use kv_core::partition::Partition;
use kv_protocol::reply::{Kept, NodeStatus};
use kv_rebalance::{Progress, Rebalancer};
use kvclient::{ClusterStatus, LeftBehind, NodeReport, inspect};
use serde_json::{Value, json};

use super::rebalancing;
use crate::failure::Failure;
use crate::session::Session;
use crate::{output, visible};

/// Show the cluster: nodes, health, partitions, keys, bytes, epoch, strategy
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let status = inspect(&session.config).await?;
        let is_moving = status.layout.as_ref().is_some_and(|layout| layout.rebalance.is_some());
        let progress = match is_moving {
            true => Rebalancer::connect(&session.config).await?.progress().await?,
            false => None,
        };
        if session.is_json() {
            return output::json(&in_json(&status, progress.as_ref()));
        }
        output::data(text(&status, progress.as_ref()).as_bytes())?;
        for node in &status.nodes {
            match &node.answer {
                Err(problem) => output::note(&format!("{}: {problem}", node.id)),
                Ok(answer) => {
                    if let Some(kept) = &answer.kept {
                        output::note(&format!("{}: {} ({})", node.id, kept.reason, ranges(kept)));
                    }
                    if let Some(reason) = &answer.not_followed {
                        output::note(&format!(
                            "{}: has not installed the layout that Consul has: {reason}",
                            node.id
                        ));
                    }
                    if let Some(installed) = ahead(&status, answer) {
                        output::note(&format!(
                            "{}: has epoch {installed} installed, and Consul an older layout: its state has gone back, and the nodes put that right",
                            node.id
                        ));
                    }
                }
            }
            if let (true, Some(address)) = (node.is_twin, &node.address) {
                output::note(&format!(
                    "{}: another copy of its data directory is served at {address}, which no client should go to: stop the process there",
                    node.id
                ));
            }
        }
        for LeftBehind { id, service, agent, address, is_foreign, .. } in &status.left_behind {
            let what = match is_foreign {
                false => "an earlier run of it is still registered",
                true => {
                    "a registration in its name that no run of it has made, forged or a mistake, is"
                }
            };
            output::note(&format!(
                "{id}: {what} with the Consul agent of {agent} (at {address}). Nobody goes by that; `consul services deregister -id={service}` removes it there"
            ));
        }
        Ok(())
    }
}

/// The epoch that a node has installed, where that is newer than Consul's layout.
fn ahead(status: &ClusterStatus, answer: &NodeStatus) -> Option<u64> {
    let (layout, installed) = (status.layout.as_ref()?, answer.layout.as_ref()?);
    let is_ahead = installed.cluster == layout.cluster && installed.epoch > layout.epoch;
    is_ahead.then_some(installed.epoch)
}

/// The partitions of which a node keeps records, for a person.
fn ranges(kept: &Kept) -> String {
    let range = |(first, last): &(Partition, Partition)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let listed: Vec<String> = kept.ranges.iter().map(range).collect();
    format!("partitions {}", listed.join(", "))
}

fn text(status: &ClusterStatus, progress: Option<&Progress>) -> String {
    let mut text = format!("cluster     {}\nconsul      {}\n", status.name, status.consul);
    match &status.layout {
        Some(layout) => {
            text.push_str(&layout_text(layout));
            if let Some(rebalance) = &layout.rebalance {
                text.push_str(&rebalance_text(layout, rebalance, progress));
            }
        }
        None => text
            .push_str("layout      none yet; the first client that stores or reads creates it\n"),
    }
    if status.nodes.is_empty() {
        text.push_str("\nno nodes\n");
        return text;
    }
    let header =
        ["NODE", "ADDRESS", "HEALTH", "PARTITIONS", "KEYS", "BYTES", "EPOCH", "WEIGHT", "ZONE"];
    let numbers = [false, false, false, true, true, true, true, true, false];
    let rows: Vec<_> = status.nodes.iter().map(row).collect();
    format!("{text}\n{}", output::table(&header, &numbers, &rows))
}

fn layout_text(layout: &Layout) -> String {
    let Layout { cluster, epoch, partitions, placement, .. } = layout;
    let strategy = &placement.strategy;
    format!(
        "uuid        {cluster}\nepoch       {epoch}\nphase       {}\npartitions  {}\nstrategy    {} ({})\n",
        phase(layout),
        partitions.get(),
        visible::line(&strategy.name),
        strategy.sha256.short()
    )
}

fn rebalance_text(layout: &Layout, rebalance: &Rebalance, progress: Option<&Progress>) -> String {
    let way = match rebalance.goal {
        Goal::Finish => "to",
        Goal::Undo => "back from",
    };
    let window = match rebalance.window.map(|window| window.phase) {
        None => "nothing is moving",
        Some(WindowPhase::Preparing) => "a part is being handed over",
        Some(WindowPhase::Migrating) => "a part is moving",
    };
    let mover = match (progress, rebalance.paused) {
        (_, true) => "paused: kvclient rebalance resume".to_owned(),
        (Some(progress), _) => {
            // Any process that can write to Consul can have written it.
            let words = format!("{}: {}", progress.mover, rebalancing::in_words(progress));
            visible::line(&words).into_owned()
        }
        (None, _) => "nobody at work: kvclient rebalance resume, or abort".to_owned(),
    };
    format!(
        "rebalance   {way} {} on {} nodes, settled up to partition {} of {}; {window}\nmover       {mover}\n",
        visible::line(&rebalance.to.strategy.name),
        rebalance.to.members.len(),
        rebalance.settled,
        layout.partitions.get(),
    )
}

fn row(node: &NodeReport) -> Vec<String> {
    let unknown = || "-".to_owned();
    let address = node.address.clone().unwrap_or_else(unknown);
    let (keys, bytes, installed) = match &node.answer {
        Ok(status) => (status.keys.to_string(), status.bytes.to_string(), status.layout.as_ref()),
        Err(_) => (unknown(), unknown(), None),
    };
    let partitions = installed.map_or_else(unknown, |layout| layout.partitions_owned.to_string());
    let epoch = installed.map_or_else(unknown, |layout| layout.epoch.to_string());
    let (weight, zone) = described(node);
    vec![
        node.id.clone(),
        address,
        health(node).into(),
        partitions,
        keys,
        bytes,
        epoch,
        weight,
        zone,
    ]
}

/// A node's weight and zone, with those that it was started with where they are others.
fn described(node: &NodeReport) -> (String, String) {
    let Some((weight, zone)) = &node.described else { return ("-".into(), "-".into()) };
    let shown = |zone: &str| if zone.is_empty() { "-".to_owned() } else { zone.to_owned() };
    match &node.registered {
        Some(registered) if registered != &(*weight, zone.clone()) => {
            let (started, elsewhere) = registered;
            let weight = match started == weight {
                true => weight.to_string(),
                false => format!("{weight} (started with {started})"),
            };
            let zone = match elsewhere == zone {
                true => shown(zone),
                false => format!("{} (started with {})", shown(zone), shown(elsewhere)),
            };
            (weight, zone)
        }
        _ => (weight.to_string(), shown(zone)),
    }
}

fn health(node: &NodeReport) -> &'static str {
    match node.health {
        Some(_) if node.is_twin => "a twin",
        Some(CheckStatus::Passing) => "passing",
        Some(CheckStatus::Warning) => "warning",
        Some(CheckStatus::Critical) => "critical",
        None => "absent",
    }
}

fn phase(layout: &Layout) -> &'static str {
    match &layout.rebalance {
        None => "stable",
        Some(rebalance) if rebalance.paused => "paused",
        Some(_) => "rebalancing",
    }
}

fn in_json(status: &ClusterStatus, progress: Option<&Progress>) -> Value {
    let layout = status.layout.as_ref().map(|layout| {
        json!({
            "cluster": layout.cluster,
            "epoch": layout.epoch,
            "phase": phase(layout),
            "partitions": layout.partitions,
            "replicas": layout.replicas,
            "rebalance": layout.rebalance,
            "strategy": layout.placement.strategy.name,
            "strategy_sha256": layout.placement.strategy.sha256,
        })
    });
    json!({
        "name": status.name,
        "consul": status.consul,
        "layout": layout,
        "mover": progress.map(rebalancing::in_json),
        "nodes": status.nodes.iter().map(node_in_json).collect::<Vec<_>>(),
        "left_behind": status.left_behind.iter().map(left_behind_in_json).collect::<Vec<_>>(),
    })
}

fn node_in_json(node: &NodeReport) -> Value {
    let mut json = json!({
        "id": node.id,
        "uuid": node.uuid,
        "address": node.address,
        "health": health(node),
        "member": node.member,
        "incarnation": node.incarnation,
        "is_twin": node.is_twin,
        "weight": node.described.as_ref().map(|(weight, _)| weight),
        "zone": node.described.as_ref().map(|(_, zone)| zone),
        "registered": node.registered.as_ref().map(|(weight, zone)| json!({"weight": weight, "zone": zone})),
    });
    match &node.answer {
        Ok(status) => {
            let installed = status.layout.as_ref();
            json["partitions"] = json!(installed.map(|layout| layout.partitions_owned));
            json["epoch"] = json!(installed.map(|layout| layout.epoch));
            json["keys"] = json!(status.keys);
            json["bytes"] = json!(status.bytes);
            json["disk_free_bytes"] = json!(status.disk_free_bytes);
            json["value_bytes_max"] = json!(status.value_bytes_max);
            json["uptime_s"] = json!(status.uptime_s);
            json["version"] = json!(status.version);
            json["partitions_to_clear"] = json!(status.partitions_to_clear);
            json["kept"] = json!(status.kept);
            json["not_followed"] = json!(status.not_followed);
        }
        Err(problem) => json["problem"] = json!(problem),
    }
    json
}

fn left_behind_in_json(left: &LeftBehind) -> Value {
    let LeftBehind { id, service, agent, address, is_foreign, .. } = left;
    json!({
        "id": id,
        "service": service,
        "agent": agent,
        "address": address,
        "is_foreign": is_foreign,
    })
}
