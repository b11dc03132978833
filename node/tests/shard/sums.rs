//! Sums while anything is done to two nodes between which a half of the keys moves. Each harness that stops compares
//! those of its store with what is in it.

use proptest::prelude::*;

use crate::support::harness::{Harness, delete, put};
use crate::support::scene::{Scene, key, moves};
use kv_core::operation::{Condition, Operation};
use kv_core::version::Version;
use kv_protocol::request::Command;

const KEYS: usize = 60;

/// What a client does to a key.
#[derive(Clone, Copy, Debug)]
struct Change {
    key: usize,
    is_put: bool,
    condition: Condition,
}

impl Change {
    fn operation(self) -> Operation<'static> {
        let Self { key: number, is_put, condition } = self;
        let values = ["", "a value", "another, and a longer one"];
        match is_put {
            true => put(&key(number), values[number % values.len()], condition),
            false => delete(&key(number), condition),
        }
    }
}

/// A thing that a test does.
#[derive(Clone, Debug)]
enum Step {
    Change(Vec<Change>),
    /// Copies a page of what moves, of so many.
    Copy(prop::sample::Index),
    RestartSource,
    RestartDestination,
}

fn step() -> impl Strategy<Value = Step> {
    let condition = prop_oneof![
        4 => Just(Condition::None),
        1 => Just(Condition::Absent),
        1 => (1_u64..2000).prop_map(|sequence| Condition::Version(Version { epoch: 1, sequence })),
    ];
    let change = (0..KEYS, prop::bool::weighted(0.6), condition)
        .prop_map(|(key, is_put, condition)| Change { key, is_put, condition });
    prop_oneof![
        8 => proptest::collection::vec(change, 1..12).prop_map(Step::Change),
        2 => any::<prop::sample::Index>().prop_map(Step::Copy),
        1 => Just(Step::RestartSource),
        1 => Just(Step::RestartDestination),
    ]
}

/// Sends changes to the nodes that serve their keys.
fn send(scene: &Scene, changes: &[Change]) {
    let (moving, staying): (Vec<Change>, Vec<Change>) =
        changes.iter().partition(|it| moves(&key(it.key)));
    let send = |node: &Harness, changes: Vec<Change>| {
        node.call(Command::Batch(changes.into_iter().map(Change::operation).collect()))
    };
    send(&scene.destination, moving);
    send(&scene.source, staying);
}

fn carry_out(mut scene: Scene, steps: &[Step], is_open: bool) -> Scene {
    for step in steps {
        match step {
            Step::Change(changes) => send(&scene, changes),
            Step::Copy(at) if is_open => {
                let pages = scene.fetch();
                scene.copy(&pages[at.index(pages.len())]);
            }
            Step::Copy(_) => {}
            Step::RestartSource => scene.source = scene.source.restart(),
            Step::RestartDestination => scene.destination = scene.destination.restart(),
        }
    }
    scene
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn they_are_right_whatever_is_done(
        while_it_moves in proptest::collection::vec(step(), 0..12),
        afterwards in proptest::collection::vec(step(), 0..12),
    ) {
        let scene = carry_out(Scene::opened(), &while_it_moves, true);
        scene.copy_all();
        scene.digests();
        let scene = scene.step(|it| it.settle(None));
        scene.source.confirm();
        let mut scene = carry_out(scene, &afterwards, false);
        scene.source.wait_until_clear();
        scene.source.stop();
        scene.destination.stop();
    }
}
