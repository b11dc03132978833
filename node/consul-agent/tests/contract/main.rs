//! What the store relies on in Consul, asserted of the embedded agent and of a real Consul alike.
//!
//! The embedded agent is always tested. A real Consul is tested where the machine has one: its
//! binary is named by `CONSUL_BIN` or is on the `PATH`. Elsewhere those cases are ignored, and with
//! `KV_REQUIRE_CONSUL=1` its absence is a failure.
//!
//! The tests of one kind of server share it, so each uses keys and names of its own.

#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod agent;
mod blocking;
mod embedded_only;
mod health;
mod kv;
mod lock;
mod raw;
mod real_only;
mod server;
mod visitors;

/// Makes a test of each contract for each kind of server.
macro_rules! contracts {
    ($($module:ident: $($contract:ident),* $(,)?;)*) => {
        mod embedded {
            $(mod $module {
                $(
                    #[tokio::test]
                    async fn $contract() {
                        crate::$module::$contract(&crate::server::Server::embedded()).await;
                    }
                )*
            })*
        }
        mod real {
            $(mod $module {
                $(
                    #[kv_testkit::needs(consul)]
                    #[tokio::test]
                    async fn $contract() {
                        crate::$module::$contract(&crate::server::Server::real()).await;
                    }
                )*
            })*
        }
    };
}

contracts! {
    kv:
        values_of_any_bytes_come_back,
        a_compare_and_set_holds_only_at_the_last_index,
        a_conditional_delete_holds_only_at_the_last_index,
        of_many_writers_with_one_index_exactly_one_wins,
        a_prefix_is_listed_in_order,
        an_unchanged_write_keeps_the_index,
        values_up_to_the_limit_are_taken,
        the_documents_have_the_documented_members,
        keys_are_listed_up_to_a_separator,
        contradictions_are_refused,
        consistent_and_stale_reads_answer;
    lock:
        one_session_at_a_time_holds_a_key,
        a_destroyed_session_releases_its_keys_after_the_lock_delay,
        a_session_may_take_its_keys_along,
        a_session_that_is_not_renewed_ends,
        what_is_no_session_is_refused,
        sessions_are_listed_with_the_documented_members;
    agent:
        a_service_is_registered_reported_on_and_removed,
        a_forgotten_check_is_told_apart,
        a_check_that_is_not_passed_becomes_critical,
        registering_again_replaces_the_service,
        what_is_not_understood_is_refused,
        names_of_members_may_be_in_lower_case,
        checks_without_an_id_are_named_after_their_service;
    health:
        all_instances_are_listed_with_their_status,
        the_documents_have_the_documented_members,
        an_unknown_service_has_no_instances;
    blocking:
        a_change_ends_the_wait,
        a_wait_without_a_change_ends_in_time,
        a_prefix_is_woken_by_its_own_changes_only,
        a_watched_key_is_followed_from_its_creation_to_its_deletion,
        a_watched_service_is_followed_through_its_states,
        many_may_wait_at_once,
        what_is_no_index_or_wait_is_refused;
}
