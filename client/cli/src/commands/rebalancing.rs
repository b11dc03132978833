//! What the commands that rebalance have in common: showing plans, and running movers.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use kv_rebalance::{Change, End, NodePlan, Plan, Progress, Rebalancer, Task};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output, visible};

const BYTES_PER_MB: u64 = 1_000_000;
/// How often the bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// How a rebalance is carried out.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Carrying {
    /// Only show what would move
    #[arg(long, conflicts_with = "throttle")]
    pub(super) dry_run: bool,
    /// Do what this file plans (of --dry-run --output json), unless the layout has changed since
    #[arg(long, value_name = "PLAN", conflicts_with = "dry_run")]
    pub(super) apply: Option<PathBuf>,
    /// Move at most this many megabytes per second
    #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) throttle: Option<u64>,
}

/// Carries `change` out. It has come about where this succeeds.
pub(super) async fn carry_out(
    session: &Session,
    rebalancer: &Rebalancer,
    change: Change,
    carrying: &Carrying,
    applied: Option<&Plan>,
) -> Result<(), Failure> {
    let what = change.to_string();
    let task = begin(rebalancer, change, applied).await?;
    let end = run(session, rebalancer, task, carrying.throttle).await?;
    reached(&end, &what)
}

/// Plans `change` and begins it.
pub(super) async fn begin(
    rebalancer: &Rebalancer,
    change: Change,
    applied: Option<&Plan>,
) -> Result<Task, Failure> {
    let prepared = rebalancer.plan(change).await?;
    if let Some(applied) = applied.filter(|it| it.table != prepared.plan.table) {
        return Err(Failure::Usage(format!(
            "the plan of epoch {} would come to another result now: make a new one",
            applied.epoch
        )));
    }
    summary(&prepared.plan).lines().for_each(output::note);
    Ok(rebalancer.begin(prepared).await?)
}

/// Makes sure that the change has come about: others can pause a rebalance, turn it back, or end
/// it, while this command runs.
///
/// # Errors
/// What has become of it instead. `what` names the change.
pub(super) fn reached(end: &End, what: &str) -> Result<(), Failure> {
    let what = what.to_owned();
    match *end {
        End::AtRest { .. } => Ok(()),
        End::Paused { epoch } => Err(Failure::Paused { what, epoch }),
        End::Undone { epoch } => Err(Failure::Undone { what, epoch }),
        End::Ended { epoch } => Err(Failure::Ended { what, epoch }),
        _ => Err(Failure::Ended { what, epoch: 0 }),
    }
}

/// Reads a plan, which must still fit the layout.
pub(super) async fn read_plan(rebalancer: &Rebalancer, path: &Path) -> Result<Plan, Failure> {
    let json = std::fs::read(path)
        .map_err(|error| Failure::local(format_args!("{}", path.display()), error))?;
    let plan: Plan = serde_json::from_slice(&json).map_err(|error| {
        Failure::Usage(format!(
            "{} is not a plan ({error}): expected what --dry-run --output json prints",
            path.display()
        ))
    })?;
    rebalancer.plan_again(&plan).await?;
    Ok(plan)
}

/// Moves data until there is nothing left to do, and shows how far it is.
pub(super) async fn run(
    session: &Session,
    rebalancer: &Rebalancer,
    task: Task,
    throttle: Option<u64>,
) -> Result<End, Failure> {
    let (sender, receiver) = watch::channel(Progress::default());
    let bar = bar();
    let drawing = draw(&bar, receiver.clone());
    let throttle = throttle.map(|megabytes| megabytes.saturating_mul(BYTES_PER_MB));
    let end = tokio::select! {
        end = rebalancer.run(task, throttle, sender) => end,
        never = drawing => match never {},
        () = interrupt::asked() => {
            bar.finish_and_clear();
            output::note(interrupted(&receiver.borrow()));
            return Err(Failure::Interrupted);
        }
    };
    bar.finish_and_clear();
    let end = end?;
    tell(session, &end, &receiver.borrow())?;
    Ok(end)
}

/// What there is to know where a mover is interrupted.
fn interrupted(progress: &Progress) -> &'static str {
    match progress.is_over {
        true => {
            "interrupted: the layout is at rest, and nothing is being moved any more. What may be left to do, such \
             as telling nodes to stop, `kvclient rebalance resume` does"
        }
        false => {
            "interrupted: the rebalance is under way, and everything is served. Go on with `kvclient rebalance \
             resume`, or undo it with `kvclient rebalance abort`"
        }
    }
}

fn tell(session: &Session, end: &End, progress: &Progress) -> Result<(), Failure> {
    let (state, epoch) = match end {
        End::AtRest { epoch } => ("at rest", epoch),
        End::Paused { epoch } => ("paused", epoch),
        End::Undone { epoch } => ("undone", epoch),
        End::Ended { epoch } => ("ended", epoch),
        _ => return Ok(()),
    };
    if session.is_json() {
        return output::json(&json!({
            "state": state.replace(' ', "_"),
            "epoch": epoch,
            "keys": progress.keys_copied,
            "bytes": progress.bytes_copied,
            "seconds": progress.seconds,
            "keys_per_s": progress.keys_per_s(),
        }));
    }
    let state = match end {
        End::AtRest { .. } | End::Paused { .. } => format!("is {state}"),
        _ => "is not what it was to become".to_owned(),
    };
    output::note(&format!(
        "moved {} keys ({}) in {:.1} s, {} keys/s; the layout {state} in epoch {epoch}",
        HumanCount(progress.keys_copied),
        HumanBytes(progress.bytes_copied),
        progress.seconds,
        HumanCount(progress.keys_per_s() as u64),
    ));
    Ok(())
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    match ProgressStyle::with_template("{wide_bar} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Draws until it is dropped.
async fn draw(bar: &ProgressBar, mut progress: watch::Receiver<Progress>) -> Infallible {
    let mut waiting = None;
    loop {
        let now = progress.borrow_and_update().clone();
        bar.set_position((now.percent() * 10.0) as u64);
        bar.set_message(visible::line(&in_words(&now)).into_owned());
        if now.waiting != waiting {
            if let (true, Some(what)) = (bar.is_hidden(), &now.waiting) {
                output::note(&format!("waiting for {what}"));
            }
            waiting = now.waiting;
        }
        tokio::time::sleep(DRAW_INTERVAL).await;
        if progress.changed().await.is_err() {
            // The mover has ended, and its result comes at once.
            return std::future::pending().await;
        }
    }
}

/// How far a rebalance is, in one line.
pub(super) fn in_words(progress: &Progress) -> String {
    let mut words = format!(
        "{:.0}%, {} of {} partitions, {} keys/s, {}/s",
        progress.percent(),
        progress.partitions_settled,
        progress.partitions_total,
        HumanCount(progress.keys_per_s() as u64),
        HumanBytes(progress.bytes_per_s() as u64),
    );
    if let Some(left) = progress.time_left() {
        words.push_str(&format!(", {} left", HumanDuration(left)));
    }
    if let Some(what) = &progress.waiting {
        words.push_str(&format!(", waiting for {what}"));
    }
    words
}

/// Prints a plan.
pub(super) fn print(session: &Session, plan: &Plan) -> Result<(), Failure> {
    if session.is_json() {
        return output::json(plan);
    }
    let header = ["NODE", "PARTITIONS", "AFTER", "KEYS", "AFTER", "BYTES", "AFTER"];
    let numbers = [false, true, true, true, true, true, true];
    let rows: Vec<_> = plan.nodes.iter().map(row).collect();
    let table = output::table(&header, &numbers, &rows);
    output::data(format!("{}\n\n{table}", summary(plan)).as_bytes())
}

fn row(node: &NodePlan) -> Vec<String> {
    let NodePlan { id, before, after, .. } = node;
    let mut row = vec![id.clone()];
    row.extend([before.partitions, after.partitions].map(|it| it.to_string()));
    row.extend([before.keys, after.keys, before.bytes, after.bytes].map(|it| it.to_string()));
    row
}

/// A plan in a few words.
pub(super) fn summary(plan: &Plan) -> String {
    let share = |partitions: u32| 100.0 * f64::from(partitions) / f64::from(plan.partitions);
    let mut text = format!(
        "{}: {} of {} partitions move ({:.1}%, at least {:.1}% must), with {} keys ({}); {} in epoch {}",
        plan.change,
        plan.partitions_moved,
        plan.partitions,
        share(plan.partitions_moved),
        share(plan.partitions_minimum),
        HumanCount(plan.keys_moved),
        HumanBytes(plan.bytes_moved),
        visible::line(&plan.strategy.name),
        plan.epoch,
    );
    if plan.partitions_lost > 0 {
        text.push_str(&format!(
            "\nLOST: everything in {} of {} partitions ({:.1}%), which only the given-up nodes store",
            plan.partitions_lost,
            plan.partitions,
            share(plan.partitions_lost),
        ));
    }
    text
}

/// The progress as JSON.
pub(super) fn in_json(progress: &Progress) -> Value {
    let mut json = json!(progress);
    json["percent"] = json!(progress.percent());
    json["keys_per_s"] = json!(progress.keys_per_s());
    json["bytes_per_s"] = json!(progress.bytes_per_s());
    json["seconds_left"] = json!(progress.time_left().map(|left| left.as_secs_f64()));
    json
}
