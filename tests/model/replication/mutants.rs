//! What becomes of copies where one of the rules is left out.

use super::scenarios::{a_crash, an_eviction_and_a_crash, evictions, put_back, two_crashes};
use super::{HELD, Model, READS, Rule};
use crate::explore::{is_caught, mutants};

/// Leaves a rule out, and expects one of the properties to break.
fn caught(rule: Rule, scenario: fn() -> Model, expected: &'static str) {
    is_caught(Model { without: Some(rule), ..scenario() }, expected, 6_000_000);
}

mutants! {
    acknowledges_alone: WaitsForAcknowledgements in a_crash breaks HELD;
    waits_for_those_in_sync_only: WaitsForWhomItPromised in evictions breaks HELD;
    forgets_promises: KeepsPromises in an_eviction_and_a_crash breaks HELD;
    promises_early: PromisesWhoOwesNothing in evictions breaks HELD;
    admits_unasked: AsksForPromises in evictions breaks HELD;
    sets_no_fence: SetsAFence in an_eviction_and_a_crash breaks HELD;
    confirms_by_its_proposal: ConfirmsByWhatIsInstalled in evictions breaks HELD;
    serves_unequal: Reconciles in two_crashes breaks READS;
    drops_ahead: ReplacesInPlace in a_crash breaks HELD;
    hears_old_primaries: RefusesOldPrimaries in evictions breaks HELD;
    does_not_yield: Yields in put_back breaks READS;
    shows_what_is_not_confirmed: HidesWhatIsNotConfirmed in a_crash breaks READS;
    reads_without_leases: ReadsWithLeases in evictions breaks READS;
    counts_leases_of_another_row: CountsLeasesOfThisRow in evictions breaks READS;
    does_not_wait_for_leases: WaitsForLeases in evictions breaks READS;
    forgets_grants: WaitsAfterAStart in an_eviction_and_a_crash breaks READS;
    acts_before_it_records: RecordsBeforeActing in an_eviction_and_a_crash breaks HELD;
    sets_without_comparing: ComparesAndSets in an_eviction_and_a_crash breaks HELD;
}
