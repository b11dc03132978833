//! The first phase where nothing is to be stored: seeing whether the records are there.

use futures::future::try_join_all;
use kvclient::Client;

use super::plan::Plan;
use crate::failure::Failure;

/// How many records are looked for, evenly spread, the first and the last one among them. Those that are missing in
/// between are counted as reads that found nothing.
const PROBES: u64 = 16;

/// Looks for some of the records that the plan speaks of.
///
/// # Errors
/// One of them is not there, or could not be asked for.
pub(super) async fn check(client: &Client, plan: &Plan) -> Result<(), Failure> {
    let numbers = probes(plan.records);
    let found = numbers.iter().map(|number| client.get(plan.keys.key(*number)));
    let found = try_join_all(found).await?;
    let Some(place) = found.iter().position(Option::is_none) else { return Ok(()) };
    let missing = plan.keys.key(numbers[place]);
    let of = plan.records;
    Err(Failure::Usage(if place == 0 {
        format!(
            "--no-load measures on records that are there, and there is no {missing:?}: leave --no-load out, so that \
             the {of} records are stored first, or give the --prefix that they were stored with"
        )
    } else {
        format!(
            "--no-load measures on records that are there, and of {of} not all are: there is no {missing:?}. Leave \
             --no-load out, so that all are stored first, or give with --keys how many there are"
        )
    }))
}

/// The numbers of the records that are looked for, in ascending order.
fn probes(records: u64) -> Vec<u64> {
    let last = records - 1;
    let mut numbers: Vec<u64> = (0..PROBES).map(|probe| last * probe / (PROBES - 1)).collect();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_record_are_looked_for_and_none_twice() {
        assert_eq!(probes(1), [0]);
        assert_eq!(probes(2), [0, 1]);
        assert_eq!(probes(16), (0..16).collect::<Vec<_>>());
        let many = probes(5_000_000_000);
        assert_eq!((many.len(), many[0], many[15]), (16, 0, 4_999_999_999));
        assert!(many.is_sorted());
    }
}
