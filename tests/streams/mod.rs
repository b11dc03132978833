//! Whatever files, pipes, terminals and signals do, a command ends as it is documented.
//!
//! | module | what goes wrong |
//! |---|---|
//! | `words` | messages or output cannot be written |
//! | `interrupted` | a command is asked to end while a node is silent |
//! | `exports` | where an export goes is no ordinary file |
//! | `inputs` | an input is empty, endless, or something else |
//! | `terminals` | a stored key or value would act on a terminal |
//! | `scarcity` | the system gives too few descriptors, threads or memory |

mod exports;
mod inputs;
mod interrupted;
mod scarcity;
mod terminals;
mod words;
