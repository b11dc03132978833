//! `kvclient bench`: measures the cluster under load, by YCSB's core workloads, and plain puts and gets.
//!
//! It drives the public client library as a program would: some number of workers, each with some
//! number of operations under way, all sharing one [`kvclient::Client`].
//!
//! | file | what |
//! |---|---|
//! | `arguments` | what can be asked for on the command line |
//! | `plan` | the command's options, checked |
//! | `workload` | which operations in which shares |
//! | `chooser` | which key comes next: uniform, zipfian or the latest |
//! | `records` | the keys and values, and those that a workload adds |
//! | `tally` | counts and latencies, by kind of operation |
//! | `schedule` | when operations are due, at a fixed rate |
//! | `load` or `presence`, `measure` | the two phases |
//! | `report` | the result, as JSON and as text |

mod arguments;
mod chooser;
mod load;
mod measure;
mod plan;
mod presence;
mod records;
mod report;
mod schedule;
mod tally;
mod workload;

use kvclient::Client;

pub(crate) use self::arguments::Bench;
use self::load::{Loaded, load};
use self::measure::measure;
use self::plan::Plan;
use self::report::Report;
use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

impl Bench {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let plan = Plan::new(self).map_err(Failure::Usage)?;
        let client = tokio::select! {
            () = interrupt::asked() => return Err(Failure::Interrupted),
            client = session.connect() => client?,
        };
        let loaded = tokio::select! {
            () = interrupt::asked() => return Err(Failure::Interrupted),
            loaded = prepare(&client, &plan) => loaded?,
        };
        let (stop, give_up) = (interrupt::asked(), interrupt::pressed());
        let mut measured = measure(&client, &plan, stop, give_up).await?;
        let first_error = measured.tally.first_error.take();
        if measured.tally.operations() == 0
            && let Some(error) = first_error
        {
            return Err(error.into());
        }
        let report = Report::new(&plan, loaded, &measured);
        if session.is_json() {
            output::json(&report)?;
        } else {
            output::data(report.text().as_bytes())?;
        }
        if let Some(error) = first_error {
            let errors = measured.tally.errors;
            output::note(&format!("{errors} operations failed, the first one: {error}"));
        }
        if measured.is_interrupted { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// Sees to it that there are records.
async fn prepare(client: &Client, plan: &Plan) -> Result<Option<Loaded>, Failure> {
    if plan.loads {
        return Ok(Some(load(client, plan).await?));
    }
    presence::check(client, plan).await?;
    Ok(None)
}
