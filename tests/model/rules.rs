//! The rules of the protocol, each of which can be left out.

/// A rule, named by what keeps it. A model without it is a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// A window is opened only after all participants show its epoch.
    OpensAfterAcknowledgements,
    /// A source takes no writes from when it has installed the frozen layout.
    FreezesWrites,
    /// A source answers no reads of older layouts from then on.
    FreezesReads,
    /// A DELETE at a destination leaves a tombstone.
    BuriesAtDestination,
    /// Tombstones are purged by owners only.
    PurgesAsOwner,
    /// A COPY never replaces a record.
    CopiesWhereAbsent,
    /// A COPY is taken by a destination only.
    CopiesToDestination,
    /// While a partition moves, a request's epoch must be the installed one.
    MatchesEpochExactly,
    /// Owners refuse requests from before the partition was assigned as it is.
    ChecksSince,
    /// A COPY leaves the source as it is.
    RetainsSource,
    /// A node that does not own a partition refuses, and does not say that there is nothing.
    RefusesAfterDrop,
    /// A window is settled only after it was verified.
    SettlesAfterVerification,
    /// A node removes what it handed over only after it has installed that it did.
    DropsAfterInstalling,
    /// A node removes records of a partition only once the node that holds it has said, asked under the
    /// layout that says so, that it does.
    ConfirmsBeforeRemoving,
    /// A node keeps the records of a partition that it never handed over, whatever others say.
    KeepsWhatIsNotHandedOver,
    /// A destination clears the place that records will be copied to.
    WipesAtInstall,
    /// A node shows an epoch only after the place is clear.
    WipesBeforeAcknowledging,
    /// A layout is durable before requests are judged by it.
    RecordsBeforeActing,
    /// A write is durable before it is acknowledged.
    AcknowledgesDurable,
    /// A read that was admitted looks whether the guard has changed before it answers.
    LooksAgainAfterReading,
    /// A destination without a record says `not_copied` to a read.
    AsksSourceForReads,
    /// A destination without a record says `not_copied` to what depends on what there was.
    PromotesBeforeJudging,
    /// A copy keeps the record's version.
    KeepsVersions,
    /// A window that was opened is never taken back.
    KeepsOpenWindows,
    /// The layout is changed by compare-and-set only.
    ComparesAndSets,
    /// What a mover found out holds for one epoch.
    ForgetsFactsWithEpoch,
    /// A write of which it is not known whether it was carried out is not sent again.
    SendsWritesOnce,
    /// Versions are never given twice.
    GivesNewVersions,
    /// A node takes no layout that could only follow others that it does not know.
    FollowsInOrder,
    /// Any mover goes on with a rebalance, whichever began it.
    AnyMoverGoesOn,
    /// Where Consul has lost a layout, the nodes give it back before a mover or a client takes a step. The
    /// programs do not enforce this: they rely on the nodes to be quicker.
    NodesRestoreBeforeSteps,
    /// A layout that Consul loses was installed by some node. Nothing enforces this.
    NodesHaveWhatConsulLoses,
}
