//! How nodes carry requests out. What a node may do, the real `Role::right` decides, and what becomes
//! of a record, the real `transition`.

use std::borrow::Cow;

use kv_core::attempt::SubReply;
use kv_core::operation::{Condition, Done, Operation};
use kv_core::ownership::{Denied, Right, Role};
use kv_core::record::{self, Current, RecordChange, RecordOperation, Refused, transition};
use kv_core::refusal::{ErrorCode, Refusal};
use kv_core::version::Version;

use crate::catalogue::{InstalledId, LayoutId};
use crate::cluster::Model;
use crate::rules::Rule;
use crate::scenario::Op;
use crate::state::{Ask, Copied, Node, Record, Request, State, Value};

/// What became of a request.
pub(crate) type Outcome = Result<(record::RecordReply, RecordChange), Refused>;

/// What matters of a request for the right to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    Read,
    SourceRead,
    Overwrite,
    Judged,
    Copy,
}

impl Model {
    /// Carries a request out at the node that it is for; `None` while that is down. `admitted` is the
    /// guard by which it was admitted, where that is not the node's own any more.
    pub(crate) fn serve(
        &self,
        state: &mut State,
        request: &Request,
        admitted: Option<InstalledId>,
    ) -> Option<SubReply> {
        let (op, number) = (self.op(request), usize::from(request.node));
        let key = op.key();
        let kind = match (request.ask, op) {
            (Ask::Promotion(version, value), _) => {
                let copied = Copied { key: key as u8, layout: request.layout, version, value };
                return self.copy(state, number, copied);
            }
            (Ask::SourceRead, _) => RequestKind::SourceRead,
            (Ask::Operation, Op::Get(_)) => RequestKind::Read,
            (Ask::Operation, Op::Put(_)) => RequestKind::Overwrite,
            (Ask::Operation, Op::Create(_) | Op::Replace(_) | Op::Delete(_)) => RequestKind::Judged,
        };
        let guard = self.admit(&state.nodes[number], kind, admitted)?;
        let right = match self.right(guard, key, request.layout, kind) {
            Ok(right) => right,
            Err(denied) => return Some(refusal(denied_code(denied))),
        };
        self.check_assignment(state, guard, key, request.layout);
        let step = match self.operation(request, op) {
            _ if kind == RequestKind::SourceRead => RecordOperation::Get,
            Operation::Get { .. } => RecordOperation::Get,
            Operation::Put { condition, .. } => RecordOperation::Put(condition),
            Operation::Delete { condition, .. } => RecordOperation::Delete(condition),
        };
        let current = state.nodes[number].records[key];
        let next = self.next_version(&state.nodes[number], guard, key);
        let outcome = self.decide(right, current, step, next);
        if let Ok((_, change)) = outcome
            && change != RecordChange::Keep
        {
            let node = &mut state.nodes[number];
            node.sequences[key] += u8::from(self.keeps(Rule::GivesNewVersions));
            if !self.keeps(Rule::AcknowledgesDurable) {
                node.undurable.get_or_insert((key as u8, current));
            }
            apply(node, key, change, value_of(request));
        }
        if request.ask == Ask::Operation {
            self.check_outcome(state, request, outcome, value_of(request));
        }
        Some(answer(outcome, current))
    }

    /// Carries a COPY out.
    pub(crate) fn copy(
        &self,
        state: &mut State,
        number: usize,
        copied: Copied,
    ) -> Option<SubReply> {
        let Copied { layout, version, value, .. } = copied;
        let key = usize::from(copied.key);
        let guard = self.admit(&state.nodes[number], RequestKind::Copy, None)?;
        let right = match self.right(guard, key, layout, RequestKind::Copy) {
            Ok(right) => right,
            Err(denied) => return Some(refusal(denied_code(denied))),
        };
        let installed = self.catalogue.installed(guard);
        let is_owner = self.role(guard, key) == Role::Owner;
        if !is_owner && version.epoch >= installed.since(self.partition(key)) {
            return Some(refusal(ErrorCode::BadRequest));
        }
        let node = &state.nodes[number];
        let version = match value {
            // Without that rule a copy is a write like any other, and gets a version like it.
            Some(_) if !self.keeps(Rule::KeepsVersions) => self.next_version(node, guard, key),
            _ => version,
        };
        let step = RecordOperation::Copy { version, is_tombstone: value.is_none() };
        let current = node.records[key];
        let outcome = self.decide(right, current, step, version);
        if let Ok((_, change)) = outcome {
            self.check_assignment(state, guard, key, layout);
            apply(&mut state.nodes[number], key, change, value.unwrap_or_default());
        }
        Some(answer(outcome, current))
    }

    /// What the node has of a key that it hands over, for a mover that sees `layout`; `None` if it does not
    /// answer that.
    pub(crate) fn fetch(
        &self,
        state: &State,
        number: usize,
        layout: LayoutId,
        key: usize,
    ) -> Option<Record> {
        let node = &state.nodes[number];
        let guard = self.admit(node, RequestKind::SourceRead, None)?;
        let right = self.right(guard, key, layout, RequestKind::SourceRead).ok()?;
        (right == Right::Source).then_some(node.records[key])
    }

    /// The guard by which a request is judged; `None` while its node is down or busy.
    fn admit(
        &self,
        node: &Node,
        kind: RequestKind,
        admitted: Option<InstalledId>,
    ) -> Option<InstalledId> {
        let reads = matches!(kind, RequestKind::Read | RequestKind::SourceRead);
        // While a layout is being installed the writer does nothing else.
        let is_busy = node.recorded != node.guard && self.keeps(Rule::RecordsBeforeActing);
        (node.is_up && (reads || !is_busy)).then_some(admitted.unwrap_or(node.guard))
    }

    fn next_version(&self, node: &Node, guard: InstalledId, key: usize) -> Version {
        let epoch = self.catalogue.installed(guard).layout.epoch;
        Version { epoch, sequence: u64::from(node.sequences[key]) + 1 }
    }

    /// The real rules, with what replaces those that are left out.
    fn right(
        &self,
        guard: InstalledId,
        key: usize,
        layout: LayoutId,
        kind: RequestKind,
    ) -> Result<Right, Denied> {
        let installed = self.catalogue.installed(guard);
        let role = self.role(guard, key);
        let (now, since) = (installed.layout.epoch, installed.since(self.partition(key)));
        let epoch = self.catalogue.layout(layout).layout.epoch;
        let writes = matches!(kind, RequestKind::Overwrite | RequestKind::Judged);
        let real = role.right(now, since, Some(epoch));
        match role {
            _ if real == Err(Denied::Newer) => real,
            Role::FrozenSource if writes && !self.keeps(Rule::FreezesWrites) => Ok(Right::Owner),
            Role::FrozenSource | Role::Source
                if kind == RequestKind::Read && !self.keeps(Rule::FreezesReads) =>
            {
                Ok(Right::Source)
            }
            Role::Owner if kind == RequestKind::Copy && !self.keeps(Rule::CopiesToDestination) => {
                Ok(Right::Destination { has_source: true })
            }
            Role::Owner if !self.keeps(Rule::ChecksSince) => Ok(Right::Owner),
            Role::Destination { .. } if !self.keeps(Rule::MatchesEpochExactly) => {
                role.right(now, since, Some(now))
            }
            Role::Stranger if kind != RequestKind::Copy && !self.keeps(Rule::RefusesAfterDrop) => {
                Ok(Right::Source)
            }
            Role::Destination { .. }
                if kind == RequestKind::Read && !self.keeps(Rule::AsksSourceForReads)
                    || kind == RequestKind::Judged && !self.keeps(Rule::PromotesBeforeJudging) =>
            {
                real.map(|_| Right::Destination { has_source: false })
            }
            _ => real,
        }
    }

    /// The real transition, with what replaces the rules that are left out.
    fn decide(
        &self,
        right: Right,
        current: Record,
        step: RecordOperation,
        next: Version,
    ) -> Outcome {
        let seen = match (step, current) {
            (RecordOperation::Copy { .. }, _) if !self.keeps(Rule::CopiesWhereAbsent) => {
                Current::Absent
            }
            (_, Record::Absent) => Current::Absent,
            (_, Record::Value(it)) => Current::Value(it.version),
            (_, Record::Tombstone(version)) => Current::Tombstone(version),
        };
        let (answer, change) = transition(right, seen, step, next)?;
        let is_delete = matches!(step, RecordOperation::Delete(_));
        match change {
            RecordChange::Bury(_) if is_delete && !self.keeps(Rule::BuriesAtDestination) => {
                Ok((answer, RecordChange::Remove))
            }
            _ => Ok((answer, change)),
        }
    }

    /// The operation as the real client knows it.
    pub(crate) fn operation(&self, request: &Request, op: Op) -> Operation<'_> {
        let key: Cow<'_, str> = Cow::Borrowed(self.names[op.key()].as_str());
        let put = |condition| Operation::Put {
            key: key.clone(),
            value: Cow::Owned(vec![value_of(request)]),
            condition,
        };
        match op {
            Op::Get(_) => Operation::Get { key },
            Op::Put(_) => put(Condition::None),
            Op::Create(_) => put(Condition::Absent),
            Op::Replace(_) => {
                let wanted = request.read.map(|it| it.version);
                put(wanted.map_or(Condition::Absent, Condition::Version))
            }
            Op::Delete(_) => Operation::Delete { key, condition: Condition::None },
        }
    }

    /// The operation for which a request is made.
    pub(crate) fn op(&self, request: &Request) -> Op {
        self.scenario.programs[usize::from(request.client)][usize::from(request.at)]
    }
}

/// The value that an operation stores: no other operation stores the same.
fn value_of(request: &Request) -> u8 {
    8 + request.client * 4 + request.at
}

fn refusal(code: ErrorCode) -> SubReply {
    SubReply::Outcome(Err(Refusal::new(code, "")))
}

fn denied_code(denied: Denied) -> ErrorCode {
    match denied {
        Denied::Newer | Denied::Frozen | Denied::Moving => ErrorCode::Retry,
        Denied::Stale => ErrorCode::StaleEpoch,
        Denied::NotOwner => ErrorCode::NotOwner,
    }
}

fn apply(node: &mut Node, key: usize, change: RecordChange, value: u8) {
    node.records[key] = match change {
        RecordChange::Keep => return,
        RecordChange::Store(version) => Record::Value(Value { value, version }),
        RecordChange::Bury(version) => Record::Tombstone(version),
        RecordChange::Remove => Record::Absent,
    };
}

fn answer(outcome: Outcome, current: Record) -> SubReply {
    let record = |value: Value| kv_core::operation::Record {
        value: vec![value.value],
        version: Some(value.version),
    };
    let done = match outcome {
        Ok((record::RecordReply::Read(_), _)) => Done::Read(current.value().map(record)),
        Ok((record::RecordReply::Stored(version), _)) => Done::Stored { version },
        Ok((record::RecordReply::Deleted { existed }, _)) => Done::Deleted { existed },
        Ok((record::RecordReply::Copied { .. }, _)) => return SubReply::Copied,
        Err(Refused::Conflict(_)) => return refusal(ErrorCode::Conflict),
        Err(Refused::NotCopied) => return refusal(ErrorCode::NotCopied),
        Err(Refused::ReadOnly | Refused::NotMoving) => return refusal(ErrorCode::NotOwner),
    };
    SubReply::Outcome(Ok(done))
}
