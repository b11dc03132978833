//! `kvclient bench`: measures the cluster.

use super::Session;
use crate::bench::{Arguments, Plan, Report, load, measure};
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let plan = Plan::new(arguments).map_err(Failure::Usage)?;
    let client = session.connect().await?;
    let mut interrupt = std::pin::pin!(async {
        // Where no signal can be waited for, none comes.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let loaded = if plan.loads {
        tokio::select! {
            () = &mut interrupt => return Err(Failure::Interrupted),
            loaded = load(&client, &plan) => Some(loaded?),
        }
    } else {
        None
    };
    let (mut tally, interrupted) = measure(&client, &plan, interrupt).await;
    let first_error = tally.first_error.take();
    if tally.operations() == 0
        && let Some(error) = first_error
    {
        return Err(error.into());
    }
    let report = Report::new(&plan, loaded, &tally);
    if session.is_json() {
        output::json(&report)?;
    } else {
        output::data(report.text().as_bytes())?;
    }
    if let Some(error) = first_error {
        output::note(&format!("{} operations failed, the first one: {error}", tally.errors));
    }
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}
