//! A strategy's life: it is loaded once, then asked, and verified before its answer is published.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kv_core::digest::Digest;

use super::cache::{Cache, CacheKey, CacheOutcome};
use super::call::{StrategyCall, StrategyNode};
use super::check::{self, StrategyInfo};
use super::complexity::{self, Complexity};
use super::cpu_time::thread_time;
use super::error::{StrategyError, StrategyFault};
use super::host::{CheckedTable, Cost, Host, Program};
use super::limits::TimeLimits;
use super::source::{self, StrategySource};

/// Loads strategies. One is enough for a process.
pub struct StrategyHost {
    host: Host,
    cache: Cache,
}

/// A strategy that is ready to be asked. It can be shared between threads, and clones share its code.
///
/// A thread that asks it needs [`CALLER_STACK_BYTES`](super::limits::CALLER_STACK_BYTES) of stack.
#[derive(Clone)]
pub struct Strategy {
    label: Arc<str>,
    bytes: Arc<[u8]>,
    digest: Digest,
    info: Arc<StrategyInfo>,
    program: Program,
    cache_outcome: CacheOutcome,
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strategy({} {})", self.label, self.digest)
    }
}

impl StrategyHost {
    /// A host that keeps compiled components in `cache`.
    ///
    /// # Errors
    /// Fails where the WebAssembly engine does not support this machine.
    pub fn new(cache: Cache) -> Result<Self, StrategyError> {
        Self::with_time_limits(cache, TimeLimits::default())
    }

    /// A host with other limits on time than the usual ones.
    ///
    /// # Errors
    /// As [`StrategyHost::new`].
    pub fn with_time_limits(cache: Cache, times: TimeLimits) -> Result<Self, StrategyError> {
        let host = Host::new(times).map_err(|fault| StrategyError::new("host", fault))?;
        Ok(Self { host, cache })
    }

    /// Loads a built-in strategy or one from a file.
    ///
    /// # Errors
    /// Fails where there is no such strategy, where it is not a component of this contract, and
    /// where it cannot say what it is.
    pub fn load(&self, source: &StrategySource) -> Result<Strategy, StrategyError> {
        let bytes = source.read().map_err(|fault| StrategyError::new(source, fault))?;
        self.load_bytes(&source.to_string(), &bytes)
    }

    /// Loads a component that the caller has. `label` names it in errors, such as where it is from.
    ///
    /// # Errors
    /// As [`StrategyHost::load`].
    pub fn load_bytes(&self, label: &str, bytes: &[u8]) -> Result<Strategy, StrategyError> {
        self.try_load(label, bytes).map_err(|fault| StrategyError::new(label, fault))
    }

    /// Reads imports, exports and compile work of a component before it is compiled, also of one that is no
    /// strategy.
    ///
    /// # Errors
    /// Fails where it is no component, and where it is too much to compile.
    pub fn complexity(&self, source: &StrategySource) -> Result<Complexity, StrategyError> {
        let complexity = || {
            let bytes = source.read()?;
            source::check_kind(&bytes)?;
            complexity::read(&bytes)
        };
        complexity().map_err(|fault| StrategyError::new(source, fault))
    }

    fn try_load(&self, label: &str, bytes: &[u8]) -> Result<Strategy, StrategyFault> {
        source::check_kind(bytes)?;
        complexity::read(bytes)?;
        let digest = Digest::of(bytes);
        let key = CacheKey { component: digest, engine: self.host.compatibility() };
        let (program, cache_outcome) = match self.load_cached(&key) {
            Some(program) => (program, CacheOutcome::Hit),
            None => {
                let (program, compiled) = self.host.compile(bytes)?;
                (program, self.cache.store(&key, &compiled))
            }
        };
        let info = Arc::new(program.describe()?);
        let (label, bytes) = (Arc::from(label), Arc::from(bytes));
        Ok(Strategy { label, bytes, digest, info, program, cache_outcome })
    }

    #[allow(unsafe_code, reason = "what was compiled before is machine code, run as it is")]
    fn load_cached(&self, key: &CacheKey) -> Option<Program> {
        let compiled = self.cache.load(key)?;
        // SAFETY: the cache gives only bytes that were stored under this key, whole and unchanged,
        // in a directory that only this user can write; and the bytes under a key are machine code that a
        // host of the same compatibility compiled.
        unsafe { self.host.load_compiled(&compiled) }
            .inspect_err(|error| {
                tracing::warn!(%error, "the strategy cache had an unusable file");
                self.cache.forget(key);
            })
            .ok()
    }
}

impl Strategy {
    /// What the strategy says of itself.
    #[must_use]
    pub fn info(&self) -> &StrategyInfo {
        &self.info
    }

    /// The version of the contract that it was built for, such as `0.2.0`.
    #[must_use]
    pub fn contract(&self) -> &'static str {
        self.program.contract().number()
    }

    /// The strategy as it was named: a built-in name, a path, or where it came from.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it is part of this program, wherever it was loaded from.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        StrategySource::is_built_in(&self.bytes)
    }

    /// The same strategy, of which the calling thread gets no more answers once it has used so much of
    /// the CPU time, counted from its start as by [`thread_time`](super::thread_time).
    pub(crate) fn until(&self, time: Duration) -> Self {
        Self { program: self.program.until(time), ..self.clone() }
    }

    /// The component's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The SHA-256 of the component's bytes, by which a layout pins it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether loading it had to compile it.
    #[must_use]
    pub fn cache_outcome(&self) -> CacheOutcome {
        self.cache_outcome
    }

    /// The owners of every partition, as indexes into `nodes`: `replicas` for each partition in turn,
    /// the best first. The order of `nodes` does not matter; their ids must be distinct.
    ///
    /// # Errors
    /// Fails where the question breaks the contract, the strategy breaks a limit or refuses, and
    /// where its answer has the wrong length, names a node that is not there, or names one twice for
    /// the same partition.
    pub fn assign(
        &self,
        nodes: &[StrategyNode],
        partitions: u32,
        replicas: u32,
        config: &str,
    ) -> Result<Vec<u32>, StrategyError> {
        self.named(|| {
            let question = StrategyCall::new(nodes, partitions, replicas, config)?;
            Ok(self.program.ask(&question, &question.sorted())?.owners)
        })
    }

    /// As [`Strategy::assign`], and proves before a table is published that every client will get
    /// the same one: asked again, asked in a fresh instance, and asked with the nodes in other
    /// orders, the strategy must answer the same. It takes five times as long.
    ///
    /// # Errors
    /// As [`Strategy::assign`], and where two answers differ, or the five take more than
    /// [`verified_fuel_for`](super::limits::verified_fuel_for) the question.
    pub fn assign_verified(
        &self,
        nodes: &[StrategyNode],
        partitions: u32,
        replicas: u32,
        config: &str,
    ) -> Result<Vec<u32>, StrategyError> {
        self.assign_verified_counted(nodes, partitions, replicas, config).map(|(owners, _)| owners)
    }

    /// As [`Strategy::assign_verified`], with the fuel that all its answers took.
    ///
    /// # Errors
    /// As [`Strategy::assign_verified`].
    pub(crate) fn assign_verified_counted(
        &self,
        nodes: &[StrategyNode],
        partitions: u32,
        replicas: u32,
        config: &str,
    ) -> Result<(Vec<u32>, u64), StrategyError> {
        self.named(|| {
            let question = StrategyCall::new(nodes, partitions, replicas, config)?;
            let sorted = question.sorted();
            let program = self.program.until(thread_time() + question.verified_time());
            let mut fuel = 0;
            let budget = question.verified_fuel();
            let mut burn = |cost: &Cost| {
                fuel += cost.fuel;
                let is_enough = fuel <= budget;
                is_enough.then_some(()).ok_or(StrategyFault::OutOfVerifiedFuel { budget })
            };
            let (answer, again) = program.ask_twice(&question, &sorted)?;
            let owners = answer.owners;
            same(&question, &owners, &again.owners, "when it was asked again")?;
            burn(&answer.cost).and_then(|()| burn(&again.cost))?;
            let fresh = program.ask(&question, &sorted)?;
            same(&question, &owners, &fresh.owners, "in a fresh instance")?;
            burn(&fresh.cost)?;
            for (order, permutation) in question.permutations() {
                let CheckedTable { owners: permuted, cost } =
                    program.ask(&question, &permutation)?;
                if let Some((partition, sorted, permuted)) =
                    check::first_difference(&question, &owners, &permuted)
                {
                    return Err(StrategyFault::OrderDependent {
                        partition,
                        sorted,
                        permuted,
                        order,
                    });
                }
                burn(&cost)?;
            }
            Ok((owners, fuel))
        })
    }

    /// As [`Strategy::assign`], with what it took.
    ///
    /// # Errors
    /// As [`Strategy::assign`].
    pub fn assign_counted(
        &self,
        nodes: &[StrategyNode],
        partitions: u32,
        replicas: u32,
        config: &str,
    ) -> Result<(Vec<u32>, Cost), StrategyError> {
        self.named(|| {
            let question = StrategyCall::new(nodes, partitions, replicas, config)?;
            let answer = self.program.ask(&question, &question.sorted())?;
            Ok((answer.owners, answer.cost))
        })
    }

    fn named<T>(
        &self,
        work: impl FnOnce() -> Result<T, StrategyFault>,
    ) -> Result<T, StrategyError> {
        work().map_err(|fault| StrategyError::new(&self.label, fault))
    }
}

fn same(
    question: &StrategyCall<'_>,
    one: &[u32],
    other: &[u32],
    occasion: &'static str,
) -> Result<(), StrategyFault> {
    match check::first_difference(question, one, other) {
        None => Ok(()),
        Some((partition, first, second)) => {
            Err(StrategyFault::Unstable { partition, first, second, occasion })
        }
    }
}
