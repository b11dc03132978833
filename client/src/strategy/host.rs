//! WebAssembly, narrowed to what a strategy needs. This is the only file that names the engine.
//!
//! A guest is taken for hostile. It gets no imports, a fresh instance for every question, and fuel,
//! memory, stack and time that are limited here. An instance is never used again after an error.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Engine, ResourceLimiter, Store, Trap, UpdateDeadline, WasmFeatures, format_err,
};

use self::bindings::exports::kv::placement::strategy as contract;
use self::bindings::{Placement, PlacementPre};
use super::check::{self, StrategyInfo};
use super::error::StrategyFault;
use super::limits::{
    ANSWER_BYTES_MAX, COMPILER_STACK_BYTES, INSTANCES_MAX, MEMORY_BYTES_MAX, STACK_BYTES_MAX,
    TABLE_ELEMENTS_MAX, THREAD_STACK_BYTES, fuel_for,
};
use super::question::{Order, Question, StrategyNode};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "placement",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

/// The interface that a strategy exports, without and with the version that this client speaks.
const INTERFACE: &str = "kv:placement/strategy@";
const CONTRACT: &str = "kv:placement/strategy@0.1.0";

/// How often a guest whose time is over is told so, until it notices.
const STOP_INTERVAL: Duration = Duration::from_millis(10);

/// How long a strategy may take, by the clock.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// One question, or one description.
    pub call: Duration,
    /// Compiling the component.
    pub compile: Duration,
}

/// The engine that compiles and runs strategies.
pub(super) struct Host {
    engine: Engine,
    times: TimeLimits,
}

/// A compiled component that imports nothing and exports the contract.
#[derive(Clone)]
pub(super) struct Program {
    guest: PlacementPre<Limiter>,
    call_time_max: Duration,
}

/// What a strategy answered, checked, by the question's own indexes.
pub(super) struct Answer {
    pub(super) owners: Vec<u32>,
    pub(super) fuel_used: u64,
}

/// What a strategy answered, as it is.
struct RawAnswer {
    said: Result<Vec<u32>, contract::Error>,
    fuel_used: u64,
}

impl Host {
    pub(super) fn new(times: TimeLimits) -> Result<Self, StrategyFault> {
        Engine::new(&config()).map(|engine| Self { engine, times }).map_err(engine_fault)
    }

    /// A hash of everything that compiled code depends on: the engine's version and settings, the
    /// operating system and the processor's features.
    pub(super) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    /// Compiles a component, and gives its machine code too, for [`Host::load_compiled`].
    ///
    /// The compiler cannot be interrupted. Where it takes too long, its thread is left behind, and
    /// ends with the process or when it is done.
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<(Program, Vec<u8>), StrategyFault> {
        let (done, finished) = mpsc::channel();
        let (engine, bytes) = (self.engine.clone(), bytes.to_vec());
        std::thread::Builder::new()
            .name("strategy-compiler".to_owned())
            .stack_size(COMPILER_STACK_BYTES)
            .spawn(move || {
                // Nobody listens any more once the time is over, and then nobody needs the result.
                let _ = done.send(Component::from_binary(&engine, &bytes));
            })
            .map_err(engine_fault)?;
        let component = match finished.recv_timeout(self.times.compile) {
            Ok(Ok(component)) => component,
            Ok(Err(error)) => return Err(StrategyFault::Compile { reason: words(&error) }),
            Err(RecvTimeoutError::Timeout) => {
                return Err(StrategyFault::CompileTime { max: self.times.compile });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(StrategyFault::Compile { reason: "the compiler gave up".to_owned() });
            }
        };
        let program = self.program(&component)?;
        Ok((program, component.serialize().map_err(engine_fault)?))
    }

    /// Loads what [`Host::compile`] gave.
    ///
    /// # Safety
    /// `compiled` must be exactly the bytes that `compile` gave, on a host of the same
    /// [`Host::compatibility`]: they hold machine code, which is run as it is.
    pub(super) unsafe fn load_compiled(&self, compiled: &[u8]) -> Result<Program, StrategyFault> {
        // SAFETY: the caller promises what the engine asks for.
        let component = unsafe { Component::deserialize(&self.engine, compiled) };
        self.program(&component.map_err(engine_fault)?)
    }

    fn program(&self, component: &Component) -> Result<Program, StrategyFault> {
        let kind = component.component_type();
        let imports: Vec<&str> = kind.imports(&self.engine).map(|(name, _)| name).collect();
        if !imports.is_empty() {
            return Err(StrategyFault::Imports { names: check::printable(&imports.join(", ")) });
        }
        let guest =
            Linker::new(&self.engine).instantiate_pre(component).and_then(PlacementPre::new);
        match guest {
            Ok(guest) => Ok(Program { guest, call_time_max: self.times.call }),
            Err(error) => {
                let exports: Vec<&str> = kind.exports(&self.engine).map(|(name, _)| name).collect();
                Err(wrong_exports(&exports, &error))
            }
        }
    }
}

impl Program {
    /// Asks the strategy what it is.
    pub(super) fn describe(&self) -> Result<StrategyInfo, StrategyFault> {
        let info = self.run(fuel_for(0, 0), |guest, store| {
            guest.kv_placement_strategy().call_describe(store)
        })?;
        check::info(&info.name, &info.version, &info.summary)
    }

    /// Asks a fresh instance, with the nodes in this order.
    pub(super) fn ask(
        &self,
        question: &Question<'_>,
        order: &Order,
    ) -> Result<Answer, StrategyFault> {
        let answer =
            self.run(question.fuel(), |guest, store| call(guest, store, question, order))?;
        checked(answer, question, order)
    }

    /// Asks a fresh instance the same thing twice.
    pub(super) fn ask_twice(
        &self,
        question: &Question<'_>,
        order: &Order,
    ) -> Result<(Answer, Answer), StrategyFault> {
        let (one, two) = self.run(question.fuel(), |guest, store| {
            Ok((call(guest, store, question, order)?, call(guest, store, question, order)?))
        })?;
        Ok((checked(one, question, order)?, checked(two, question, order)?))
    }

    /// Runs `work` with a fresh instance on a thread of its own, whose stack is large enough, and
    /// stops it when its time is over.
    fn run<T: Send>(
        &self,
        budget: u64,
        work: impl FnOnce(&Placement, &mut Store<Limiter>) -> wasmtime::Result<T> + Send,
    ) -> Result<T, StrategyFault> {
        let time_max = self.call_time_max;
        let deadline = Instant::now() + time_max;
        let run = || {
            let mut store = self.store(budget, deadline).map_err(engine_fault)?;
            let fault = |error, otherwise| call_fault(&error, budget, time_max, otherwise);
            let guest = self.guest.instantiate(&mut store);
            let guest =
                guest.map_err(|e| fault(e, |reason| StrategyFault::Instantiate { reason }))?;
            work(&guest, &mut store)
                .map_err(|e| fault(e, |reason| StrategyFault::Malformed { reason }))
        };
        std::thread::scope(|scope| {
            let (running, finished) = mpsc::channel::<()>();
            let thread = std::thread::Builder::new()
                .name("strategy".to_owned())
                .stack_size(THREAD_STACK_BYTES)
                .spawn_scoped(scope, move || {
                    let _running = running;
                    run()
                })
                .map_err(engine_fault)?;
            // Nothing is ever sent: the channel closes when the thread has ended, however it did.
            let mut patience = time_max;
            while finished.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                self.guest.engine().increment_epoch();
                patience = STOP_INTERVAL;
            }
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(engine_fault("it failed while it ran the strategy")))
        })
    }

    fn store(&self, budget: u64, deadline: Instant) -> wasmtime::Result<Store<Limiter>> {
        let mut store = Store::new(self.guest.engine(), Limiter::default());
        store.limiter(|limiter| limiter);
        store.set_fuel(budget)?;
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        // Every strategy of this engine sees every tick of its clock, so a tick only makes it look
        // at its own deadline.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= deadline {
                Err(Stop::Time.into())
            } else {
                Ok(UpdateDeadline::Continue(1))
            }
        });
        Ok(store)
    }
}

/// The WebAssembly that a strategy may use, and how it is run: deterministically, and counted.
fn config() -> Config {
    // What ordinary compilers emit without being asked. Everything else (threads, relaxed SIMD,
    // 64-bit and multiple memories, garbage collection, exceptions, asynchronous components) would
    // widen what hostile code can reach, or make answers differ between machines.
    let allowed = WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FLOATS
        | WasmFeatures::SIMD;
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(allowed, true)
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        // A trap is reported by its kind alone, so nothing is kept that would trace it.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false);
    config
}

/// Why the host itself stopped a guest.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("its time is over")]
    Time,
    #[error("it wanted {wanted} bytes of memory")]
    Memory { wanted: usize },
    #[error("it wanted a table of {wanted} elements")]
    Table { wanted: usize },
}

/// Counts the memory of all of an instance's parts together.
#[derive(Default)]
struct Limiter {
    memory_bytes: usize,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if wanted > MEMORY_BYTES_MAX {
            return Err(Stop::Memory { wanted }.into());
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // A guest that was told could answer differently on a machine that is short of memory.
        Err(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            return Err(Stop::Table { wanted: desired }.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

fn call(
    guest: &Placement,
    store: &mut Store<Limiter>,
    question: &Question<'_>,
    order: &Order,
) -> wasmtime::Result<RawAnswer> {
    let nodes: Vec<_> = order
        .iter()
        .map(|&index| &question.nodes[index])
        .map(|StrategyNode { id, weight, zone }| contract::Node { id, weight: *weight, zone })
        .collect();
    let budget = question.fuel();
    store.set_fuel(budget)?;
    let said = guest.kv_placement_strategy().call_assign(
        &mut *store,
        &nodes,
        question.partitions,
        question.replicas,
        question.config,
    )?;
    Ok(RawAnswer { said, fuel_used: budget - store.get_fuel()? })
}

fn checked(
    answer: RawAnswer,
    question: &Question<'_>,
    order: &Order,
) -> Result<Answer, StrategyFault> {
    let said = answer.said.map_err(|error| guest_fault(&error, question))?;
    let owners = check::owners(question, order, &said)?;
    Ok(Answer { owners, fuel_used: answer.fuel_used })
}

fn words(error: &wasmtime::Error) -> String {
    check::printable(&format!("{error:#}"))
}

fn engine_fault(error: impl std::fmt::Display) -> StrategyFault {
    StrategyFault::Engine { reason: format!("{error:#}") }
}

/// What an error that ended a call means. `otherwise` is for those that have no kind of their own.
fn call_fault(
    error: &wasmtime::Error,
    budget: u64,
    time_max: Duration,
    otherwise: fn(String) -> StrategyFault,
) -> StrategyFault {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match *stop {
            Stop::Time => StrategyFault::OutOfTime { max: time_max },
            Stop::Memory { wanted } => StrategyFault::OutOfMemory { wanted, max: MEMORY_BYTES_MAX },
            Stop::Table { wanted } => StrategyFault::OutOfTable { wanted, max: TABLE_ELEMENTS_MAX },
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => StrategyFault::OutOfFuel { budget },
        Some(Trap::StackOverflow) => StrategyFault::OutOfStack { max: STACK_BYTES_MAX },
        Some(trap) => StrategyFault::Trap { reason: words(&format_err!("{trap}")) },
        None => otherwise(words(error)),
    }
}

fn guest_fault(error: &contract::Error, question: &Question<'_>) -> StrategyFault {
    match error {
        contract::Error::TooFewNodes(needed) => {
            StrategyFault::TooFewNodes { needed: *needed, nodes: question.nodes.len() }
        }
        contract::Error::InvalidConfig(why) => StrategyFault::InvalidConfig(check::printable(why)),
        contract::Error::Unsupported(why) => StrategyFault::Unsupported(check::printable(why)),
    }
}

fn wrong_exports(exports: &[&str], error: &wasmtime::Error) -> StrategyFault {
    if exports.contains(&CONTRACT) {
        return StrategyFault::WrongInterface { expected: CONTRACT, detail: words(error) };
    }
    if let Some(found) = exports.iter().find(|name| name.starts_with(INTERFACE)) {
        return StrategyFault::WrongVersion { expected: CONTRACT, found: check::printable(found) };
    }
    let found = match exports {
        [] => "nothing".to_owned(),
        names => check::printable(&names.join(", ")),
    };
    StrategyFault::WrongWorld { expected: CONTRACT, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_the_one_in_the_wit_folder() {
        let wit = include_str!("../../../wit/placement.wit");
        let version = CONTRACT.strip_prefix(INTERFACE).unwrap();
        assert!(wit.contains(&format!("package kv:placement@{version};")));
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = Limiter::default();
        assert!(limiter.memory_growing(0, MEMORY_BYTES_MAX / 2, None).unwrap());
        assert!(limiter.memory_growing(0, MEMORY_BYTES_MAX / 2, None).unwrap());
        assert!(limiter.memory_growing(0, 1, None).is_err());
    }

    #[test]
    fn tables_are_limited() {
        let mut limiter = Limiter::default();
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limiter.table_growing(0, 2, Some(1)).unwrap());
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).is_err());
    }
}
