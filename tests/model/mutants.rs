//! What becomes of the protocol where one of its rules is left out.

use crate::cluster::{CURRENT, JUDGES, KEPT, Model, ONCE, ONE_WRITER, READS, STORED};
use crate::explore::{dead_ends, is_caught, mutants};
use crate::rules::Rule;
use crate::scenario::Scenario;
use crate::scenarios::{
    abort, conditions, crashes, ending, forged, lost_consul, lost_while_read, one_key, put_back,
    put_back_in_time, recreated, there_again, two_windows,
};

/// Leaves a rule out, and expects one of the properties to break.
fn caught(rule: Rule, scenario: fn() -> Scenario, expected: &'static str) {
    is_caught(Model::new(scenario(), Some(rule)), expected, usize::MAX);
}

mutants! {
    opens_at_once: OpensAfterAcknowledgements in one_key breaks ONE_WRITER;
    source_takes_writes: FreezesWrites in one_key breaks KEPT;
    source_answers_old_reads: FreezesReads in one_key breaks READS;
    destination_forgets_deletes: BuriesAtDestination in one_key breaks KEPT;
    destination_purges: PurgesAsOwner in one_key breaks KEPT;
    copy_overwrites: CopiesWhereAbsent in one_key breaks KEPT;
    owner_takes_copies: CopiesToDestination in one_key breaks KEPT;
    copies_of_any_epoch: MatchesEpochExactly in there_again breaks KEPT;
    no_since: ChecksSince in there_again breaks CURRENT;
    copy_deletes_at_source: RetainsSource in one_key breaks READS;
    strangers_say_nothing_is_there: RefusesAfterDrop in one_key breaks READS;
    settles_unverified: SettlesAfterVerification in one_key breaks KEPT;
    drops_early: DropsAfterInstalling in one_key breaks KEPT;
    no_wipe: WipesAtInstall in one_key breaks KEPT;
    acknowledges_before_wipe: WipesBeforeAcknowledging in one_key breaks KEPT;
    acts_before_record: RecordsBeforeActing in crashes breaks KEPT;
    acknowledges_before_flush: AcknowledgesDurable in crashes breaks KEPT;
    does_not_look_again: LooksAgainAfterReading in one_key breaks READS;
    reads_nothing_at_destination: AsksSourceForReads in one_key breaks READS;
    judges_nothing_at_destination: PromotesBeforeJudging in conditions breaks JUDGES;
    copies_get_new_versions: KeepsVersions in conditions breaks JUDGES;
    takes_open_window_back: KeepsOpenWindows in abort breaks KEPT;
    sets_without_comparing: ComparesAndSets in abort breaks KEPT;
    remembers_facts: ForgetsFactsWithEpoch in two_windows breaks KEPT;
    sends_writes_twice: SendsWritesOnce in conditions breaks ONCE;
    steps_from_what_is_outdated: NodesRestoreBeforeSteps in lost_consul breaks ONE_WRITER;
    consul_loses_what_only_clients_know: NodesHaveWhatConsulLoses in lost_while_read breaks READS;
    follows_anything: FollowsInOrder in put_back breaks READS;
    removes_unasked: ConfirmsBeforeRemoving in put_back_in_time breaks STORED;
    removes_what_nobody_got: KeepsWhatIsNotHandedOver in forged breaks STORED;
    gives_versions_twice: GivesNewVersions in recreated breaks JUDGES;
}

#[test]
fn nobody_goes_on() {
    let model = Model::new(ending(), Some(Rule::AnyMoverGoesOn));
    let model = Model { movers_are_alike: false, ..model };
    let (states, dead) = dead_ends(&model, crate::is_not_by_the_first_mover);
    assert!(dead > 0, "nothing gets stuck in {states} states");
}
