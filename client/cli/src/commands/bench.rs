//! `kvclient bench`: measures the cluster.

use super::Session;
use crate::bench::{Arguments, Plan, Report, load, measure};
use crate::failure::Failure;
use crate::{interrupt, output};

pub(super) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let plan = Plan::new(arguments).map_err(Failure::Usage)?;
    let client = tokio::select! {
        () = interrupt::asked() => return Err(Failure::Interrupted),
        client = session.connect() => client?,
    };
    let loaded = if plan.loads {
        tokio::select! {
            () = interrupt::asked() => return Err(Failure::Interrupted),
            loaded = load(&client, &plan) => Some(loaded?),
        }
    } else {
        None
    };
    let (stop, give_up) = (interrupt::asked(), interrupt::pressed());
    let (mut tally, interrupted) = measure(&client, &plan, stop, give_up).await;
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
