//! The fault matrix: faults of peers, networks, processes and runtimes, caused over real TCP, on
//! every runtime. Each row names a fault and the tests that show how the pool handles it.
//!
//! | fault | tests |
//! |---|---|
//! | F1 reset while idle | scenario `idle::connection_reset_while_idle_is_replaced` |
//! | F2 closed while idle | scenarios `idle::connection_closed_while_idle_is_replaced`, `idle::idle_connection_half_closed_by_its_peer_is_replaced`, `mass_disconnect` |
//! | F3 bytes, then closed, while idle | scenario `idle::idle_connection_with_unsolicited_bytes_before_its_end_is_replaced` |
//! | F4 bytes while idle | scenario `idle::idle_connection_with_unsolicited_bytes_is_replaced` |
//! | F5 an urgent byte while idle | scenario `idle::idle_connection_with_an_urgent_byte_is_replaced` |
//! | F6 closed or reset while borrowed | `disconnect_in_use`; scenarios `in_use`, `faults::connection_whose_peer_closes_on_ping_is_replaced` |
//! | F7 peer silent or unreachable while idle | `silence`, `get_opens_..` and `silent_connections_..`; `lost_packets`, `get_..` and `unreachable_..` |
//! | F8 peer silent or unreachable while borrowed | `silence`, `guard_..`; `lost_packets`, `guard_..` and `lost_request_..` |
//! | F9 lost connects | `lost_packets`, `lost_connects_..`; scenarios `connect::hanging_connect_is_a_timeout_and_the_pool_recovers`, `connect::connect_over_connect_timeout_frees_its_slot` |
//! | F10 refused connects | scenarios `faults::peer_that_refuses_is_dialled_with_backoff`, `connect::refused_connect_names_the_address`, `connect::recovered_server_is_found`; core `failures`, `backoff` |
//! | F11 accepted, then closed | `outage`; scenarios `faults::peer_that_accepts_and_closes_is_dialled_with_backoff`, `faults::peer_that_accepts_and_resets_is_dialled_with_backoff`; core `failures::backend_that_accepts_and_closes_..` |
//! | F12 slow handshakes | `silence`, `max_connecting_..` and `waiter_..` |
//! | F13 a reply byte by byte | scenario `faults::ping_answered_byte_by_byte_times_out`; core `checks::hanging_checks_do_not_extend_the_get_deadline` |
//! | F14 restart with 1000 idle | `restart`, `first_get_..`, `one_sweep_..` and `min_size_..`; scenario `mass_disconnect::restarted_server_gets_only_new_connections` |
//! | F15 restart with 1000 waiting | `restart`, `thousand_waiters_..` |
//! | F16 no file descriptors left | `open_files` |
//! | F17 no ports left | `ports`, `open_connections_..` and `waiter_..` |
//! | F18 self-connection | `ports`, `self_connection_..`; `addresses` of `connpool-tcp` |
//! | F19 an unknown name, or a slow lookup | `names`, `name_..`, `unknown_name_..`, `unresponsive_name_server_..` and `close_..` |
//! | F20 several addresses, the first one dead | `names`, `address_..` and `unresponsive_address_..`; `addresses` of `connpool-tcp` |
//! | F21 a panicking connect | `panics`, `panicking_connect_..`; core `panics` |
//! | F22 a panicking check | `panics`, `panicking_check_..`; core `panics` |
//! | F23 a panicking drop | `panics`, `panicking_drop_..`; core `panics` |
//! | F24 a task that panics with a guard | `panics`, `panicking_task_..`; core `panics` |
//! | F25 a runtime that ends before the guards | `runtimes`, `guards_..`, `pool_can_be_closed_..` and `tasks_..`; `tokio_runtime`; core `runtime_ends` |
//! | F26 a pool that continues in another runtime | `runtimes`, `pool_works_..` and `maintenance_task_..`; `tokio_runtime` |
//! | F27 dropped at any await | core `cancel`; scenario `tasks::cancelled_get_keeps_its_connection_in_the_pool`; `cancelled_requests` |
//! | F28 stopped and continued | `stopped_process`, `sweeps_..` and `connections_..`; core `sweep::sweep_longer_than_evict_interval_yields_to_other_tasks` |
//! | F29 a starved executor | `stopped_process`, `get_..`; conformance `wait_queue::connection_assigned_in_time_beats_a_late_timer` |
//! | F30 extreme durations | `extremes`; core `extremes` |
//! | F31 a slow graceful close | `control`, `unread_graceful_close_..` and `unread_graceful_closes_..`; core `sweep`, `close` |
//! | F32 resized under load | `control`, `growing_..`, `shrunk_..` and `pool_can_be_resized_..`; core `control` |
//! | F33 closed under load | `control`, `close_..`; core `close`, `races` |
//! | F34 a handshake that never ends | `silence`, `hanging_handshake_..` |
//!
//! "Scenarios" are the tests in `../scenarios`, "core" is `tests/pool` of `connpool-core`,
//! "conformance" is `connpool-conformance`.
//!
//! The root of the test program provides `Tasks`, an executor that can be ended. Some faults concern
//! a whole process or network, see `isolation`; they need `iproute2`, `nftables`, `redis-server` and
//! root, and are left out without.

pub(crate) use crate::client;

pub(crate) mod counting;
pub(crate) mod handshake;
pub(crate) mod isolation;
pub(crate) mod kernel;
pub(crate) mod network;
pub(crate) mod redis;

pub(crate) mod cancelled_requests;
pub(crate) mod control;
pub(crate) mod disconnect_in_use;
pub(crate) mod extremes;
pub(crate) mod lost_packets;
pub(crate) mod names;
pub(crate) mod open_files;
pub(crate) mod outage;
pub(crate) mod panics;
pub(crate) mod ports;
pub(crate) mod restart;
pub(crate) mod runtimes;
pub(crate) mod silence;
pub(crate) mod stopped_process;

/// Defines a test for each entry, run by `$run`. This is the only list. Each group names its
/// isolation, see [`isolation`], and its module.
macro_rules! faults_on {
    ($run:path) => {
        $crate::faults::tests! { $run;
            here disconnect_in_use {
                waiter_for_a_connection_closed_in_use_gets_a_new_one
                waiter_for_a_connection_reset_in_use_gets_a_new_one
                waiter_for_a_connection_that_failed_in_use_gets_a_new_one
                waiter_for_a_marked_connection_gets_a_new_one
            }
            here silence {
                get_opens_a_new_connection_after_a_silent_one
                silent_connections_do_not_extend_the_get_deadline
                guard_with_a_silent_peer_frees_its_slot_on_drop
                hanging_handshake_ends_at_connect_timeout_and_closes_its_socket
                hanging_handshake_of_a_dropped_get_ends_at_connect_timeout
                max_connecting_limits_concurrent_handshakes
                waiter_for_a_slow_handshake_takes_an_earlier_return
            }
            own_network lost_packets {
                get_opens_a_new_connection_after_three_unreachable_ones
                get_ends_at_its_deadline_during_packet_loss_and_works_after_it
                unreachable_connection_is_found_by_tcp_keepalive
                lost_request_fails_after_user_timeout
                guard_of_an_unreachable_connection_frees_slot_and_socket_on_drop
                lost_connects_time_out_and_the_pool_recovers
            }
            own_process_with_redis restart {
                first_get_after_a_restart_is_served
                one_sweep_finds_a_thousand_dead_connections
                min_size_is_restored_after_a_restart_within_max_connecting
                thousand_waiters_are_served_after_a_restart
                thousand_waiters_with_fail_fast_are_served_or_refused_during_a_restart
            }
            own_process open_files {
                open_connections_are_lent_without_free_file_descriptors
                waiter_without_file_descriptors_is_served_by_a_return_or_a_later_connect
                failed_lookup_without_file_descriptors_names_the_host
            }
            own_network cancelled_requests {
                replies_of_cancelled_requests_never_reach_other_requests
            }
            here outage {
                backend_that_is_down_gets_at_most_twenty_connects_per_second_from_a_thousand_waiters
            }
            own_network ports {
                open_connections_are_lent_without_free_ports
                waiter_without_free_ports_is_served_when_ports_are_available
                self_connection_is_never_lent
            }
            own_network names {
                name_is_resolved_for_every_connection
                unknown_name_is_an_error_that_names_the_host
                unresponsive_name_server_delays_connects_by_connect_timeout_at_most
                close_does_not_wait_for_a_name_server
                address_without_a_listener_is_skipped
                unresponsive_address_leaves_time_for_the_next
            }
            own_process panics {
                panicking_connect_is_reported_and_its_socket_is_closed
                panicking_check_costs_one_connection_and_no_get
                panicking_drop_in_a_sweep_does_not_keep_others_from_being_closed
                panicking_drop_does_not_reach_the_caller_of_drop_or_close
                panicking_task_with_a_guard_passes_its_slot_on
            }
            own_process stopped_process {
                sweeps_missed_by_a_stopped_process_are_not_made_up
                connections_expired_in_a_stopped_process_are_replaced_within_max_connecting
                connections_idle_in_a_stopped_process_are_closed_down_to_min_size
                get_polled_after_its_deadline_takes_a_connection_that_came_before_it
                get_polled_after_its_deadline_takes_a_connection_that_came_after_it
            }
            here extremes {
                each_duration_setting_may_be_zero_one_nanosecond_or_max
                close_timeout_may_be_zero_one_nanosecond_or_max
            }
            here control {
                unread_graceful_close_does_not_delay_a_get
                unread_graceful_close_ends_at_close_timeout
                unread_graceful_closes_do_not_delay_close
                shrunk_pool_closes_returned_connections_beyond_max_size
                growing_the_pool_serves_waiters
                pool_can_be_resized_under_load
                close_ends_idle_and_connecting_connections_and_waits_for_borrowed_ones
                close_fails_all_waiters
            }
        }
        $crate::faults::tests_across! { $run;
            own_process runtimes {
                guards_that_outlive_their_runtime_return_their_connections
                pool_can_be_closed_after_its_runtime_ended
                pool_works_in_successive_runtimes
                maintenance_task_restarts_in_the_next_runtime
                tasks_dropped_with_their_executor_return_their_connections
            }
        }
    };
}

/// Defines the tests of [`faults_on`].
macro_rules! tests {
    ($run:path; $($place:ident $module:ident { $($name:ident)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                let test = || $run($crate::faults::$module::$name);
                $crate::faults::isolation::$place($crate::faults::name_of!($name), test);
            })*
        })*
    };
}

/// Like [`tests`], for tests that start and end runtimes: they get a function that runs a future on
/// one.
macro_rules! tests_across {
    ($run:path; $($place:ident $module:ident { $($name:ident)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                let test =
                    || $crate::faults::$module::$name(|part| $run($crate::faults::once(part)));
                $crate::faults::isolation::$place($crate::faults::name_of!($name), test);
            })*
        })*
    };
}

/// The name of a test as the test harness knows it.
macro_rules! name_of {
    ($name:ident) => {
        // `module_path!` starts with the name of the program.
        concat!(module_path!(), "::", stringify!($name))
            .split_once("::")
            .map_or("", |(_program, name)| name)
    };
}

/// Returns a function that returns `value` once, and panics after that.
pub(crate) fn once<T>(value: T) -> impl Fn() -> T {
    let value = std::cell::Cell::new(Some(value));
    move || value.take().unwrap()
}

pub(crate) use {faults_on, name_of, tests, tests_across};
