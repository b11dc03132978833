//! Why a strategy was not used.

use std::fmt;
use std::time::Duration;

use kv_core::limits::COMPONENT_BYTES_MAX;

/// A strategy that could not be loaded, or whose answer was refused. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[error("strategy {strategy}: {fault}")]
pub struct StrategyError {
    strategy: String,
    fault: Box<StrategyFault>,
}

impl StrategyError {
    pub(super) fn new(strategy: impl fmt::Display, fault: StrategyFault) -> Self {
        Self { strategy: strategy.to_string(), fault: Box::new(fault) }
    }

    /// The strategy as the user named it: a built-in name, a path, or where it came from.
    #[must_use]
    pub fn strategy(&self) -> &str {
        &self.strategy
    }

    /// The fault itself, with its figures.
    #[must_use]
    pub fn fault(&self) -> &StrategyFault {
        &self.fault
    }

    /// The fault as a stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

/// A fault of a strategy, or of the question that it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StrategyFault {
    /// A name that is neither a built-in strategy nor a path.
    #[error(
        "there is no built-in strategy of this name; the built-in ones are {known}. \
         For a file, give a path that contains a '/' or ends in .wasm"
    )]
    UnknownName {
        /// The built-in names, for people.
        known: String,
    },
    /// A path where there is nothing.
    #[error("there is no such file; give the path of a .wasm component or one of {known}")]
    NotFound {
        /// The built-in names, for people.
        known: String,
    },
    /// A path to something that is not a regular file.
    #[error("it is {what}; give the path of a regular file that holds a WebAssembly component")]
    NotAFile {
        /// The kind of the entry, such as `a directory`.
        what: &'static str,
    },
    /// A file that cannot be read.
    #[error("the file cannot be read: {0}; check its permissions")]
    Unreadable(#[source] std::io::Error),
    /// Nothing at all.
    #[error("it is empty; expected a WebAssembly component")]
    Empty,
    /// More bytes than a component may have.
    #[error(
        "it has {bytes} bytes or more, and at most {max} fit a cluster's configuration store; \
         build it in release mode and strip debug information",
        max = COMPONENT_BYTES_MAX
    )]
    TooLarge {
        /// How many bytes were seen before reading stopped.
        bytes: u64,
    },
    /// Bytes that are not WebAssembly.
    #[error("it is not WebAssembly: expected a component, which starts with 00 61 73 6d")]
    NotWasm,
    /// WebAssembly in its text format.
    #[error("it is WebAssembly text; expected the binary form, such as `wasm-tools parse` writes")]
    Text,
    /// A WebAssembly module instead of a component.
    #[error(
        "it is a core WebAssembly module; expected a component. Make one of it with \
         `wasm-tools component new MODULE -o COMPONENT`, or build it with `cargo strategies`"
    )]
    CoreModule,
    /// A component that does not export the contract.
    #[error(
        "it does not export {expected}, it exports {found}; build it against wit/placement.wit"
    )]
    WrongWorld {
        /// The interface, in the versions that this client speaks.
        expected: String,
        /// What the component exports, for people.
        found: String,
    },
    /// A component that exports the contract's interface, but with other functions or types.
    #[error(
        "its {expected} is not the one that was released: {detail}; build it against the contract in \
         this client's wit/"
    )]
    WrongInterface {
        /// The interface.
        expected: &'static str,
        /// What differs.
        detail: String,
    },
    /// A component built for another version of the contract.
    #[error(
        "it was built for {found}, and this client speaks {expected}; rebuild it against this \
         version's wit/placement.wit"
    )]
    WrongVersion {
        /// The interface, in the versions that this client speaks.
        expected: String,
        /// The interface that the component exports.
        found: String,
    },
    /// A component that would take too long to compile.
    #[error("{what} more than {max} {of}; leave out what it does not need")]
    TooComplex {
        /// It, or a part of it.
        what: &'static str,
        /// How many there may be.
        max: u64,
        /// Of what.
        of: &'static str,
    },
    /// A component that asks its host for something.
    #[error(
        "it imports {names}, and a strategy may import nothing (it has no clock, randomness, files \
         or network); for Rust, build for wasm32-unknown-unknown instead of a WASI target"
    )]
    Imports {
        /// The names of all imports, for people.
        names: String,
    },
    /// WebAssembly that is damaged or uses a feature that is not allowed here.
    #[error("it does not compile: {reason}; if the file is damaged, copy or build it again")]
    Compile {
        /// The compiler's words.
        reason: String,
    },
    /// A component whose compilation was given up.
    #[error(
        "it was not compiled within {max:?}: try again where less else is going on, or on a faster machine; or make it smaller or simpler"
    )]
    CompileTime {
        /// The limit.
        max: Duration,
    },
    /// The WebAssembly engine failed for a reason that is not the strategy's.
    #[error("the WebAssembly engine cannot be used on this machine: {reason}")]
    Engine {
        /// The engine's words.
        reason: String,
    },
    /// A component that cannot be brought to life within the limits.
    #[error("it cannot be instantiated: {reason}")]
    Instantiate {
        /// The engine's words.
        reason: String,
    },
    /// The strategy crashed.
    #[error("it crashed: {reason}; this is an error in the strategy")]
    Trap {
        /// Which rule of WebAssembly was broken.
        reason: String,
    },
    /// The strategy used more instructions than the question is worth.
    #[error("it did not finish within {budget} instructions; does it loop for ever?")]
    OutOfFuel {
        /// The fuel that it was given.
        budget: u64,
    },
    /// The strategy used more instructions for all answers to one question than these are worth together.
    #[error(
        "its answers to one question, asked five times, did not finish within {budget} instructions"
    )]
    OutOfVerifiedFuel {
        /// The fuel that the answers could take together.
        budget: u64,
    },
    /// The strategy was stopped by the clock, which says nothing about it: on a faster machine it may
    /// answer.
    #[error(
        "it was stopped after {max:?} of CPU time, with fuel left: it may answer on a faster machine, or have unusually slow instructions"
    )]
    OutOfTime {
        /// The limit.
        max: Duration,
    },
    /// The strategy wanted more memory than it may have.
    #[error("it wanted {wanted} bytes of memory, and may have {max}")]
    OutOfMemory {
        /// What it would have had in all, in bytes.
        wanted: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The strategy wanted larger tables of functions than it may have.
    #[error("it wanted a table of {wanted} elements, and may have {max}")]
    OutOfTable {
        /// What it wanted.
        wanted: usize,
        /// The limit.
        max: usize,
    },
    /// The strategy's calls are nested too deeply.
    #[error("its calls are nested too deeply for {max} bytes of stack; does it recurse for ever?")]
    OutOfStack {
        /// The limit, in bytes.
        max: usize,
    },
    /// The strategy handed over something that is not a value of the contract's types.
    #[error("its answer is not a valid value: {reason}; this is an error in the strategy")]
    Malformed {
        /// Why it is no such value, for people.
        reason: String,
    },
    /// The strategy says that there are too few nodes.
    #[error("it needs at least {needed} nodes, and there are {nodes}")]
    TooFewNodes {
        /// How many the strategy says it needs.
        needed: u32,
        /// How many there are.
        nodes: usize,
    },
    /// The strategy does not understand its configuration.
    #[error("it does not understand its configuration: {0}")]
    InvalidConfig(String),
    /// The strategy does not answer this question.
    #[error("it does not support this question: {0}")]
    Unsupported(String),
    /// A question that breaks the contract's own rules, so that no strategy is asked.
    #[error("it was not asked: {0}")]
    InvalidQuestion(String),
    /// An answer of the wrong length.
    #[error("it named {got} owners, and {wanted} were asked for (partitions times replicas)")]
    WrongLength {
        /// Partitions times replicas.
        wanted: usize,
        /// How many owners it named.
        got: usize,
    },
    /// An owner that is not a node.
    #[error("it gave partition {partition} to node number {index}, and there are {nodes} nodes")]
    OutOfRange {
        /// The number of the first such partition.
        partition: usize,
        /// The index that was answered.
        index: u32,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A partition with the same owner twice.
    #[error("it named node {node} twice for partition {partition}; replicas must be distinct")]
    DuplicateReplica {
        /// The number of the first such partition.
        partition: usize,
        /// The node's id.
        node: String,
    },
    /// Two different answers to the same question.
    #[error(
        "it is not a pure function: it gave partition {partition} to {first}, and then to {second} \
         {occasion}"
    )]
    Unstable {
        /// The first partition that differs.
        partition: usize,
        /// The id of the owner in the first answer.
        first: String,
        /// The id of the owner in the other answer.
        second: String,
        /// When the other answer was given.
        occasion: &'static str,
    },
    /// Different answers for the same nodes in another order.
    #[error(
        "it depends on the order of the nodes: it gave partition {partition} to {sorted}, and to \
         {permuted} when the nodes were {order}"
    )]
    OrderDependent {
        /// The first partition that differs.
        partition: usize,
        /// The id of the owner when the nodes are sorted by id.
        sorted: String,
        /// The id of the owner in the other order.
        permuted: String,
        /// The other order.
        order: &'static str,
    },
}

impl StrategyFault {
    /// The fault as a stable word for programs, in kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownName { .. } => "strategy-unknown",
            Self::NotFound { .. } => "strategy-not-found",
            Self::NotAFile { .. } => "strategy-not-a-file",
            Self::Unreadable(_) => "strategy-unreadable",
            Self::Empty => "strategy-empty",
            Self::TooLarge { .. } => "strategy-too-large",
            Self::NotWasm => "strategy-not-wasm",
            Self::Text => "strategy-text",
            Self::CoreModule => "strategy-core-module",
            Self::TooComplex { .. } => "strategy-too-complex",
            Self::WrongWorld { .. } => "strategy-wrong-world",
            Self::WrongInterface { .. } => "strategy-wrong-interface",
            Self::WrongVersion { .. } => "strategy-wrong-version",
            Self::Imports { .. } => "strategy-imports",
            Self::Compile { .. } => "strategy-compile",
            Self::CompileTime { .. } => "strategy-compile-time",
            Self::Engine { .. } => "strategy-engine",
            Self::Instantiate { .. } => "strategy-instantiate",
            Self::Trap { .. } => "strategy-trap",
            Self::OutOfFuel { .. } | Self::OutOfVerifiedFuel { .. } => "strategy-out-of-fuel",
            Self::OutOfTime { .. } => "strategy-out-of-time",
            Self::OutOfMemory { .. } => "strategy-out-of-memory",
            Self::OutOfTable { .. } => "strategy-out-of-table",
            Self::OutOfStack { .. } => "strategy-out-of-stack",
            Self::Malformed { .. } => "strategy-malformed-answer",
            Self::TooFewNodes { .. } => "strategy-too-few-nodes",
            Self::InvalidConfig(_) => "strategy-invalid-config",
            Self::Unsupported(_) => "strategy-unsupported",
            Self::InvalidQuestion(_) => "strategy-invalid-question",
            Self::WrongLength { .. } => "strategy-wrong-length",
            Self::OutOfRange { .. } => "strategy-out-of-range",
            Self::DuplicateReplica { .. } => "strategy-duplicate-replica",
            Self::Unstable { .. } => "strategy-unstable",
            Self::OrderDependent { .. } => "strategy-order-dependent",
        }
    }
}
