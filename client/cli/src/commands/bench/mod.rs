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
//! | `load`, `measure` | the two phases |
//! | `report` | the result, as JSON and as text |

mod arguments;
mod chooser;
mod load;
mod measure;
mod plan;
mod records;
mod report;
mod tally;
mod workload;

pub(crate) use self::arguments::Bench;
use self::load::load;
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
}
