//! Nothing moves that need not, and nothing moves twice: what the mover has copied, against what the
//! difference of the two tables says.

use kv_bench::figures::{grouped, table};
use kv_bench::fleet::{Done, Fleet, keys};
use kv_bench::programs::Programs;
use kv_bench::settings::Settings;

const NODES: usize = 4;
const KEYS: usize = 100_000;
/// The most that may be copied, in relation to what has to.
const RATIO_MAX: f64 = 1.02;

pub(crate) async fn run(_: &Settings, programs: &Programs) -> anyhow::Result<String> {
    let mut fleet = Fleet::start(programs, NODES, 1).await?;
    fleet.import(keys(KEYS)).await?;
    let mut rows = Vec::new();

    fleet.start_node(NODES, 1).await?;
    let plan = fleet.plan(&["add-node"]).await?;
    rows.push(row("add-node", &plan, &fleet.add().await?)?);
    let plan = fleet.plan(&["remove-node", "node-0"]).await?;
    rows.push(row("remove-node", &plan, &fleet.remove(0).await?)?);
    for strategy in ["consistent-hash", "hrw"] {
        let plan = fleet.plan(&["migrate", "--to", strategy]).await?;
        rows.push(row(&format!("migrate to {strategy}"), &plan, &fleet.migrate(strategy).await?)?);
    }
    let header =
        ["", "partitions moved", "at least", "keys in them", "keys copied", "copied / in them"];
    let notes = format!(
        "{} keys; nothing may be copied more than {RATIO_MAX} times. \"At least\" is the number that has to \
         move for the nodes to have as many partitions as they get",
        grouped(KEYS as f64)
    );
    Ok(format!("{}\n\n{notes}", table("Movement", &header, &rows)))
}

fn row(name: &str, plan: &Done, done: &Done) -> anyhow::Result<Vec<String>> {
    let (planned, copied) = (plan.number("keys_moved")?, done.number("keys")?);
    let ratio = copied / planned;
    anyhow::ensure!(ratio <= RATIO_MAX, "{name} copied {copied} keys instead of {planned}");
    Ok(vec![
        name.to_owned(),
        grouped(plan.number("partitions_moved")?),
        grouped(plan.number("partitions_minimum")?),
        grouped(planned),
        grouped(copied),
        format!("{ratio:.3}"),
    ])
}
