//! WebAssembly, narrowed to what a strategy needs. This is the only file that names the engine.
//!
//! A guest is taken for hostile. It gets no imports, a fresh instance for every question, and fuel,
//! memory, stack and time that are limited here. An instance is never used again after an error.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, ResourceLimiter, Store, Trap, UpdateDeadline, WasmFeatures};

use self::bindings::exports::kv::placement::strategy as contract;
use self::bindings::{Placement, PlacementPre};
use super::check::{self, StrategyInfo};
use super::component::{Cost, Interfaces};
use super::error::StrategyFault;
use super::limits::{
    ANSWER_BYTES_MAX, COMPILER_STACK_BYTES, FUEL_DESCRIBE, INSTANCES_MAX, MEMORY_BYTES_MAX,
    STACK_BYTES_MAX, TABLE_ELEMENTS_MAX, TimeLimits,
};
use super::question::{Order, Question, StrategyNode};
use super::watchdog::{self, Failure};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "placement",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
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
    pub(super) cost: Cost,
}

/// What a strategy answered, as it is, and what that took.
type RawAnswer = (Result<Vec<u32>, contract::Error>, Cost);

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
    pub(super) fn compile(&self, bytes: &[u8]) -> Result<(Program, Vec<u8>), StrategyFault> {
        let component = self.component(bytes)?;
        let program = self.program(&component)?;
        Ok((program, component.serialize().map_err(engine_fault)?))
    }

    /// What any component imports and exports, whether it can be used or not.
    pub(super) fn interfaces(&self, bytes: &[u8]) -> Result<Interfaces, StrategyFault> {
        let component = self.component(bytes)?;
        let kind = component.component_type();
        let name = |(name, _): (&str, _)| check::printable(name);
        Ok(Interfaces {
            imports: kind.imports(&self.engine).map(name).collect(),
            exports: kind.exports(&self.engine).map(|(name, _)| check::printable(name)).collect(),
        })
    }

    /// Compiles a component. The compiler cannot be stopped: where it takes too long, it is abandoned.
    fn component(&self, bytes: &[u8]) -> Result<Component, StrategyFault> {
        let (engine, bytes) = (self.engine.clone(), bytes.to_vec());
        let compiled =
            watchdog::run_or_abandon(self.times.compile, COMPILER_STACK_BYTES, move || {
                Component::from_binary(&engine, &bytes)
            });
        match compiled {
            Ok(Ok(component)) => Ok(component),
            Ok(Err(error)) => Err(StrategyFault::Compile { reason: words(&error) }),
            Err(Failure::Abandoned) => Err(StrategyFault::CompileTime { max: self.times.compile }),
            Err(failure) => Err(engine_fault(failure)),
        }
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
                Err(check::wrong_exports(&exports, words(&error)))
            }
        }
    }
}

impl Program {
    /// Asks the strategy what it is.
    pub(super) fn describe(&self) -> Result<StrategyInfo, StrategyFault> {
        let info = self.run(FUEL_DESCRIBE, |guest, store| {
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
            self.run_in_time(question.fuel(), |guest, store| call(guest, store, question, order))?;
        checked(answer, question, order)
    }

    /// Asks a fresh instance the same thing twice.
    pub(super) fn ask_twice(
        &self,
        question: &Question<'_>,
        order: &Order,
    ) -> Result<(Answer, Answer), StrategyFault> {
        let (one, two) = self.run_in_time(question.fuel(), |guest, store| {
            Ok((call(guest, store, question, order)?, call(guest, store, question, order)?))
        })?;
        Ok((checked(one, question, order)?, checked(two, question, order)?))
    }

    /// Runs `work` with a fresh instance, and stops it when its time is over.
    fn run_in_time<T>(
        &self,
        budget: u64,
        work: impl FnOnce(&Placement, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, StrategyFault> {
        let engine = self.guest.engine().clone();
        let stop = move || engine.increment_epoch();
        watchdog::run_until_stopped(self.call_time_max, stop, || self.run(budget, work))
            .unwrap_or_else(|failure| Err(engine_fault(failure)))
    }

    /// Runs `work` with a fresh instance.
    fn run<T>(
        &self,
        budget: u64,
        work: impl FnOnce(&Placement, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, StrategyFault> {
        let time_max = self.call_time_max;
        let deadline = Instant::now() + time_max;
        let fault = |error, otherwise| call_fault(&error, budget, time_max, otherwise);
        let mut store = self.store(budget, deadline).map_err(engine_fault)?;
        let guest = self
            .guest
            .instantiate(&mut store)
            .map_err(|error| fault(error, |reason| StrategyFault::Instantiate { reason }))?;
        work(&guest, &mut store)
            .map_err(|error| fault(error, |reason| StrategyFault::Malformed { reason }))
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
        // Sharing the first state of memory between instances costs more than a few of them save.
        .memory_init_cow(false)
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
    let began = Instant::now();
    let said = guest.kv_placement_strategy().call_assign(
        &mut *store,
        &nodes,
        question.partitions,
        question.replicas,
        question.config,
    )?;
    let cost = Cost {
        fuel: budget - store.get_fuel()?,
        fuel_max: budget,
        memory_bytes: store.data().memory_bytes,
        took: began.elapsed(),
    };
    Ok((said, cost))
}

fn checked(
    (said, cost): RawAnswer,
    question: &Question<'_>,
    order: &Order,
) -> Result<Answer, StrategyFault> {
    let said = said.map_err(|error| guest_fault(&error, question))?;
    Ok(Answer { owners: check::owners(question, order, &said)?, cost })
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
        Some(trap) => {
            let reason = trap.to_string();
            let reason = reason.strip_prefix("wasm trap: ").unwrap_or(&reason).to_owned();
            StrategyFault::Trap { reason }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
