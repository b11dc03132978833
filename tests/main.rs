//! End-to-end suites: they start the real binaries and talk to them as their users do.
//!
//! One module per promise:
//!
//! | module | promise |
//! |---|---|
//! | `wire` | a plain ZeroMQ client in any language gets exactly the documented replies |
//! | `membership` | nodes register, leave, come back as themselves, and survive a Consul that does not |
//! | `bad_input` | whatever comes in, the answer is a clear error, and everything else goes on |
//!
//! `harness` starts and ends the processes. A case that depends on Consul is one function, which
//! `on_both_backends!` makes two tests of: with the embedded agent, and with a real Consul where the
//! machine has one (`CONSUL_BIN`, or `consul` on the `PATH`; `KV_REQUIRE_CONSUL=1` insists on it).

mod guests;
mod harness;

mod bad_input;
mod consul_outages;
mod membership;
mod wire;
