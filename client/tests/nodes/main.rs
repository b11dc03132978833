//! The client against nodes that answer as a test tells them to.

#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]
#![allow(clippy::print_stderr, reason = "what a test prints is for people, and ends nothing")]

mod endless_answers;
mod hostile_node;
mod moving_partition;
mod raw_node;
mod scripted_node;
