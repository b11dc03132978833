//! WebAssembly, narrowed to what a strategy needs. Only this file, `limiter` and `contract` name
//! the engine.
//!
//! A guest is taken for hostile. It gets no imports, a fresh instance for every question, and fuel,
//! memory, stack and time that are limited here. An instance is never used again after an error.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store, Trap, UpdateDeadline, WasmFeatures};

use super::call::{Order, StrategyCall};
use super::check::{self, StrategyInfo};
use super::contract::{Guest, Instance, Refusal, Said, Version};
use super::cpu_time::thread_time;
use super::error::StrategyFault;
use super::limiter::{Limiter, Stop};
use super::limits::{
    ANSWER_BYTES_MAX, COMPILER_STACK_BYTES, FUEL_DESCRIBE, MEMORY_BYTES_MAX, STACK_BYTES_MAX,
    TABLE_ELEMENTS_MAX, TimeLimits,
};
use super::watchdog::{self, Failure};

/// The engine that compiles and runs strategies.
pub(super) struct Host {
    engine: Engine,
    times: TimeLimits,
}

/// A compiled component that imports nothing and exports the contract.
#[derive(Clone)]
pub(super) struct Program {
    guest: Guest,
    call_time_max: Duration,
    /// The time of the calling thread by which it has to be done, whatever it is asked.
    until: Option<Duration>,
}

/// What it took a strategy to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The fuel, of which a unit is about one WebAssembly instruction. It is the same on every machine.
    pub fuel: u64,
    /// The most that it could have been, [`fuel_for`](super::limits::fuel_for) the question.
    pub fuel_max: u64,
    /// The linear memory at the end, in bytes; it never shrinks.
    pub memory_bytes: usize,
    /// The time of the call alone.
    pub took: Duration,
}

/// What a strategy answered, checked, by the question's own indexes.
pub(super) struct CheckedTable {
    pub(super) owners: Vec<u32>,
    pub(super) cost: Cost,
}

/// What a strategy answered, as it is, and what that took.
type RawTable = (Said, Cost);

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
    #[allow(unsafe_code, reason = "what was compiled before is machine code, run as it is")]
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
        let exports: Vec<&str> = kind.exports(&self.engine).map(|(name, _)| name).collect();
        let version = Version::of(&exports).ok_or_else(|| check::wrong_exports(&exports))?;
        let guest = Linker::new(&self.engine)
            .instantiate_pre(component)
            .and_then(|component| Guest::new(version, component))
            .map_err(|error| check::wrong_interface(version, words(&error)))?;
        Ok(Program { guest, call_time_max: self.times.call, until: None })
    }
}

impl Program {
    /// The version of the contract that it was built for.
    pub(super) fn contract(&self) -> Version {
        self.guest.version()
    }

    /// The same, where all that the calling thread asks has to be answered by this time of its own.
    pub(super) fn until(&self, time: Duration) -> Self {
        let until = self.until.map_or(time, |before| before.min(time));
        Self { until: Some(until), ..self.clone() }
    }

    /// Asks the strategy what it is.
    pub(super) fn describe(&self) -> Result<StrategyInfo, StrategyFault> {
        check::info(&self.run(FUEL_DESCRIBE, |guest, store| guest.describe(store))?)
    }

    /// Asks a fresh instance, with the nodes in this order.
    pub(super) fn ask(
        &self,
        question: &StrategyCall<'_>,
        order: &Order,
    ) -> Result<CheckedTable, StrategyFault> {
        let answer =
            self.run_in_time(question.fuel(), |guest, store| call(guest, store, question, order))?;
        checked(answer, question, order)
    }

    /// Asks a fresh instance the same thing twice.
    pub(super) fn ask_twice(
        &self,
        question: &StrategyCall<'_>,
        order: &Order,
    ) -> Result<(CheckedTable, CheckedTable), StrategyFault> {
        let (one, two) = self.run_in_time(question.fuel(), |guest, store| {
            Ok((call(guest, store, question, order)?, call(guest, store, question, order)?))
        })?;
        Ok((checked(one, question, order)?, checked(two, question, order)?))
    }

    /// How much of the calling thread's time the next call may take.
    fn time_left(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_sub(thread_time()));
        left.map_or(self.call_time_max, |left| left.min(self.call_time_max))
    }

    /// Runs `work` with a fresh instance, and stops it when its time is over.
    fn run_in_time<T>(
        &self,
        budget: u64,
        work: impl FnOnce(&Instance, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, StrategyFault> {
        let engine = self.guest.engine().clone();
        let stop = move || engine.increment_epoch();
        // It cannot have spent so much of the CPU time before so much has passed.
        watchdog::run_until_stopped(self.time_left(), stop, || self.run(budget, work))
            .unwrap_or_else(|failure| Err(engine_fault(failure)))
    }

    /// Runs `work` with a fresh instance.
    fn run<T>(
        &self,
        budget: u64,
        work: impl FnOnce(&Instance, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, StrategyFault> {
        let time_max = self.time_left();
        let deadline = thread_time() + time_max;
        let fault = |error, otherwise| call_fault(&error, budget, time_max, otherwise);
        let mut store = self.store(budget, deadline).map_err(engine_fault)?;
        let guest = self
            .guest
            .instantiate(&mut store)
            .map_err(|error| fault(error, |reason| StrategyFault::Instantiate { reason }))?;
        work(&guest, &mut store)
            .map_err(|error| fault(error, |reason| StrategyFault::Malformed { reason }))
    }

    fn store(&self, budget: u64, deadline: Duration) -> wasmtime::Result<Store<Limiter>> {
        let mut store = Store::new(self.guest.engine(), Limiter::default());
        store.limiter(|limiter| limiter);
        store.set_fuel(budget)?;
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        // Every strategy of this engine sees every tick of its clock, so a tick only makes it look
        // at its own deadline.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if thread_time() >= deadline {
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

fn call(
    guest: &Instance,
    store: &mut Store<Limiter>,
    question: &StrategyCall<'_>,
    order: &Order,
) -> wasmtime::Result<RawTable> {
    let budget = question.fuel();
    store.set_fuel(budget)?;
    let began = Instant::now();
    let said = guest.assign(&mut *store, question, order)?;
    let cost = Cost {
        fuel: budget - store.get_fuel()?,
        fuel_max: budget,
        memory_bytes: store.data().memory_bytes,
        took: began.elapsed(),
    };
    Ok((said, cost))
}

fn checked(
    (said, cost): RawTable,
    question: &StrategyCall<'_>,
    order: &Order,
) -> Result<CheckedTable, StrategyFault> {
    let said = said.map_err(|refusal| guest_fault(&refusal, question))?;
    Ok(CheckedTable { owners: check::owners(question, order, &said)?, cost })
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
            Stop::Time => {
                let max = Duration::from_millis(time_max.as_millis() as u64);
                StrategyFault::OutOfTime { max }
            }
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

fn guest_fault(refusal: &Refusal, question: &StrategyCall<'_>) -> StrategyFault {
    match refusal {
        Refusal::TooFewNodes(needed) => {
            StrategyFault::TooFewNodes { needed: *needed, nodes: question.nodes.len() }
        }
        Refusal::InvalidConfig(why) => StrategyFault::InvalidConfig(check::printable(why)),
        Refusal::Unsupported(why) => StrategyFault::Unsupported(check::printable(why)),
    }
}
