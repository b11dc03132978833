//! How waiting operations become batches. Pure: it looks at no clock and sends nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kv_core::guard::Context;
use kv_core::limits::BATCH_OPERATIONS_MAX;
use kv_core::operation::Operation;

use crate::limits::{BATCH_BYTES_TARGET, READ_BYTES_ASSUMED};

/// What the batcher needs to know of a waiting operation.
pub(crate) trait Batchable {
    /// The bytes that it adds to a batch or to its reply.
    fn bytes(&self) -> usize;
    /// What it was routed by, which goes for the whole batch.
    fn context(&self) -> Context;
    /// When there must be an answer.
    fn deadline(&self) -> Instant;
    /// Whether it must be sent by itself.
    fn alone(&self) -> bool;
}

/// The bytes that an operation counts for.
pub(crate) fn operation_bytes(operation: &Operation<'_>) -> usize {
    operation.key().len()
        + match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Get { .. } => READ_BYTES_ASSUMED,
            Operation::Delete { .. } => 0,
        }
}

/// Takes the next batch from the front of `queue`: as many operations as fit together.
///
/// The whole batch is given up when its earliest deadline passes, so it takes no operation whose own
/// deadline is further than `spread` from the first one's.
pub(crate) fn take_batch<P: Batchable>(queue: &mut VecDeque<P>, spread: Duration) -> Vec<P> {
    let Some(first) = queue.front() else { return Vec::new() };
    let (context, deadline, alone) = (first.context(), first.deadline(), first.alone());
    let mut bytes = first.bytes();
    let fits = |operation: &P| {
        let earlier = deadline.saturating_duration_since(operation.deadline());
        let later = operation.deadline().saturating_duration_since(deadline);
        operation.context() == context && !operation.alone() && earlier.max(later) <= spread
    };
    let rest = queue.iter().skip(1).take(BATCH_OPERATIONS_MAX - 1).take_while(|operation| {
        bytes += operation.bytes();
        !alone && bytes <= BATCH_BYTES_TARGET && fits(operation)
    });
    let count = 1 + rest.count();
    queue.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Sample {
        bytes: usize,
        epoch: u64,
        deadline: Instant,
        alone: bool,
    }

    impl Batchable for Sample {
        fn bytes(&self) -> usize {
            self.bytes
        }

        fn context(&self) -> Context {
            Context { epoch: Some(self.epoch), ..Context::default() }
        }

        fn deadline(&self) -> Instant {
            self.deadline
        }

        fn alone(&self) -> bool {
            self.alone
        }
    }

    const SPREAD: Duration = Duration::from_secs(1);

    fn first_batch(boxes: &[Sample]) -> usize {
        let mut queue: VecDeque<_> = boxes.to_vec().into();
        let batch = take_batch(&mut queue, SPREAD);
        assert_eq!(batch.iter().chain(&queue).cloned().collect::<Vec<_>>(), boxes);
        batch.len()
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes() {
        let small = Sample { bytes: 1, epoch: 1, deadline: Instant::now(), alone: false };
        assert_eq!(first_batch(&[]), 0);
        assert_eq!(first_batch(&vec![small.clone(); BATCH_OPERATIONS_MAX]), BATCH_OPERATIONS_MAX);
        assert_eq!(
            first_batch(&vec![small.clone(); BATCH_OPERATIONS_MAX + 1]),
            BATCH_OPERATIONS_MAX
        );
        let half = Sample { bytes: BATCH_BYTES_TARGET / 2, ..small.clone() };
        assert_eq!(first_batch(&[half.clone(), half.clone(), small.clone()]), 2);
        let large = Sample { bytes: 2 * BATCH_BYTES_TARGET, ..small.clone() };
        assert_eq!(first_batch(&[large.clone(), small.clone()]), 1);
        assert_eq!(first_batch(&[small, large]), 1);
    }

    #[test]
    fn what_does_not_belong_together_is_kept_apart() {
        let one = Sample { bytes: 1, epoch: 1, deadline: Instant::now(), alone: false };
        let other_epoch = Sample { epoch: 2, ..one.clone() };
        let alone = Sample { alone: true, ..one.clone() };
        let late = Sample { deadline: one.deadline + SPREAD, ..one.clone() };
        let too_late = Sample { deadline: late.deadline + SPREAD / 2, ..one.clone() };
        assert_eq!(first_batch(&[one.clone(), other_epoch, one.clone()]), 1);
        assert_eq!(first_batch(&[one.clone(), alone.clone()]), 1);
        assert_eq!(first_batch(&[alone, one.clone()]), 1);
        assert_eq!(first_batch(&[one.clone(), late.clone()]), 2);
        assert_eq!(first_batch(&[late, one.clone()]), 2);
        assert_eq!(first_batch(&[one.clone(), too_late.clone()]), 1);
        assert_eq!(first_batch(&[too_late, one]), 1);
    }

    #[test]
    fn an_operation_counts_for_what_it_moves() {
        let put = Operation::Put {
            key: "key".into(),
            value: b"value".into(),
            condition: kv_core::operation::Condition::None,
        };
        assert_eq!(operation_bytes(&put), 8);
        assert_eq!(operation_bytes(&Operation::Get { key: "key".into() }), 3 + READ_BYTES_ASSUMED);
    }

    proptest! {
        #[test]
        fn every_queue_is_emptied_in_order_by_bounded_batches(
            operations in proptest::collection::vec((0..BATCH_BYTES_TARGET, 0..2_u64, any::<bool>()), 0..60)
        ) {
            let deadline = Instant::now();
            let all: Vec<_> = operations
                .into_iter()
                .map(|(bytes, epoch, alone)| Sample { bytes, epoch, deadline, alone })
                .collect();
            let (mut queue, mut sent) = (VecDeque::from(all.clone()), Vec::new());
            while !queue.is_empty() {
                let batch = take_batch(&mut queue, SPREAD);
                prop_assert!(!batch.is_empty());
                prop_assert!(batch.len() == 1 || batch.iter().all(|it| !it.alone));
                prop_assert!(batch.iter().all(|it| it.epoch == batch[0].epoch));
                prop_assert!(batch.iter().map(|it| it.bytes).sum::<usize>() <= BATCH_BYTES_TARGET);
                sent.extend(batch);
            }
            prop_assert_eq!(sent, all);
        }
    }
}
