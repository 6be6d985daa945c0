//! Pools connections to a real Redis. Every scenario runs on both runtimes, each with its own
//! server. Without `redis-server` they are left out.
//!
//! No test waits for time to pass: tests wait for reports of Redis, the kernel or the pool. Time
//! limits only end failing tests.

mod killed;
mod left_behind;
mod load;
mod outage;
mod password;
mod support;

/// Generates a test per scenario and runtime.
macro_rules! scenarios {
    ($($module:ident { $($name:ident)* })*) => {
        mod on_tokio {
            use suites::requirement::Requirement;

            $($(#[test]
            fn $name() {
                use crate::support::{Adapter, Tokio};
                if Requirement::Redis.is_met() {
                    Tokio::run(crate::$module::$name::<Tokio>());
                }
            })*)*
        }

        mod on_smol {
            use suites::requirement::Requirement;

            $($(#[test]
            fn $name() {
                use crate::support::{Adapter, Smol};
                if Requirement::Redis.is_met() {
                    Smol::run(crate::$module::$name::<Smol>());
                }
            })*)*
        }
    };
}

scenarios! {
    load {
        every_reply_belongs_to_its_request
        abandoned_requests_leave_no_reply_behind
    }
    outage {
        a_crash_under_load_costs_requests_but_no_reply_is_wrong
        a_restart_while_the_pool_is_idle_fails_no_get
    }
    killed {
        connections_killed_while_idle_are_all_replaced
        killed_borrowed_connections_fail_only_their_users
    }
    password {
        after_a_password_change_no_connection_with_the_old_one_is_reused
        waiters_during_a_password_change_get_connections_with_the_new_one
        a_wrong_password_is_an_error_that_says_so
    }
    left_behind {
        a_connection_with_an_abandoned_blocking_command_is_not_reused
        an_exchange_abandoned_in_a_blocking_command_destroys_its_connection
        a_subscribed_connection_is_not_reused
        an_unsolicited_message_is_detected
        a_connection_in_a_transaction_is_not_reused
    }
}
