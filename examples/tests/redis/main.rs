//! A pool of connections to a real Redis: every scenario on both runtimes, each with a server of
//! its own. Without `redis-server` they fail, and say how to get it.
//!
//! Nothing here waits for time to pass: it waits for what Redis, the kernel or the pool reports,
//! and a limit on that is there only so that a failure ends.

mod killed;
mod left_behind;
mod load;
mod outage;
mod password;
mod support;

/// Makes a test of every scenario, on each runtime. The only list of them.
macro_rules! scenarios {
    ($($module:ident { $($name:ident)* })*) => {
        mod on_tokio {
            $($(#[test]
            fn $name() {
                use crate::support::{Adapter, Tokio};
                Tokio::run(crate::$module::$name::<Tokio>());
            })*)*
        }

        mod on_smol {
            $($(#[test]
            fn $name() {
                use crate::support::{Adapter, Smol};
                Smol::run(crate::$module::$name::<Smol>());
            })*)*
        }
    };
}

scenarios! {
    load {
        every_reply_belongs_to_its_request
        requests_given_up_anywhere_leave_no_reply_behind
    }
    outage {
        a_crash_under_load_costs_requests_but_no_reply_is_wrong
        a_restart_while_nobody_asks_is_not_noticed
    }
    killed {
        connections_killed_while_idle_are_all_replaced
        connections_killed_while_lent_fail_their_users_and_nobody_else
    }
    password {
        after_a_rotation_nothing_begun_with_the_old_password_is_lent
        who_waits_during_a_rotation_is_served_with_the_new_password
        a_wrong_password_is_an_error_that_says_so
    }
    left_behind {
        a_blocking_command_given_up_is_never_lent_again
        a_blocking_command_given_up_in_an_exchange_is_never_lent_again
        a_connection_left_subscribed_is_not_lent_again
        a_message_that_nobody_asked_for_is_found
        a_connection_left_in_a_transaction_is_not_lent_again
    }
}
