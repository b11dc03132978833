//! The doors against an embedded Consul agent, and against servers that answer what no agent does.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod history;
mod layout;
mod members;
mod parts;
mod small;
mod standing;
mod support;
