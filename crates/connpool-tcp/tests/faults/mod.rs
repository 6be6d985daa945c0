//! What can go wrong around a pool, made to happen over real TCP, on every runtime: the fault
//! matrix. Each row is a fault; beside it, what shows that the pool survives it.
//!
//! | fault | what shows it |
//! |---|---|
//! | F1 reset while idle | scenario `idle::a_connection_reset_while_idle_is_replaced` |
//! | F2 closed while idle | scenarios `idle::a_connection_closed_while_idle_is_replaced`, `idle::a_connection_whose_peer_only_stopped_writing_is_replaced`, `many` |
//! | F3 bytes, then closed, while idle | scenario `idle::a_connection_with_garbage_and_then_closed_is_replaced` |
//! | F4 bytes while idle | scenario `idle::a_connection_with_garbage_is_replaced` |
//! | F5 an urgent byte while idle | scenario `idle::a_connection_with_an_urgent_byte_is_replaced` |
//! | F6 closed or reset while lent | `while_lent`; scenarios `lent`, `faults::a_peer_that_hangs_up_when_it_is_pinged_is_replaced` |
//! | F7 half open while idle: the peer is silent, or gone | `silence`, `three_..` and `silent_..`; `lost_packets`, `three_..`, `a_get_..` and `a_lost_..` |
//! | F8 the same while lent | `silence`, `a_guard_..`; `lost_packets`, `a_guard_..` and `a_request_..` |
//! | F9 connects that get lost | `lost_packets`, `connects_..`; scenarios `connect::a_connect_that_hangs_is_a_timeout_and_the_pool_works_after`, `connect::a_connect_over_its_own_limit_is_a_timeout_and_frees_its_slot` |
//! | F10 connects refused | scenarios `faults::a_peer_that_refuses_is_not_dialled_without_rest`, `connect::a_refused_connect_says_what_refused_it`, `connect::a_server_that_comes_back_is_found`; core `failures`, `trouble` |
//! | F11 accepted, then closed | `outage`; scenarios `faults::a_peer_that_accepts_and_hangs_up_is_not_dialled_without_rest`, `faults::a_peer_that_accepts_and_resets_is_not_dialled_without_rest`; core `failures::a_backend_that_accepts_and_hangs_up_is_not_dialled_without_rest` and the three after it |
//! | F12 slow handshakes | `silence`, `no_more_..` and `who_waits_..` |
//! | F13 a reply byte by byte | scenario `faults::a_ping_that_is_answered_byte_by_byte_is_out_of_time`; core `checks::ten_pings_that_hang_do_not_stretch_the_deadline` |
//! | F14 restart with 1000 idle | `restart`, `the_first_..`, `one_round_..` and `min_size_..`; scenario `many::a_restarted_server_gets_new_connections_only` |
//! | F15 restart with 1000 waiting | `restart`, `a_thousand_..` |
//! | F16 no files left | `open_files` |
//! | F17 no ports left | `ports`, `without_ports_..` and `who_waits_..` |
//! | F18 connected to itself | `ports`, `a_connection_to_itself_..`; `addresses` of `connpool-tcp` |
//! | F19 a name not known, or slow | `names`, `a_name_..` and `a_close_..` |
//! | F20 several addresses, the first one dead | `names`, `an_address_..`; `addresses` of `connpool-tcp` |
//! | F21 a connect that panics | `panics`, `a_connect_..`; core `panics` |
//! | F22 a check that panics | `panics`, `a_check_..`; core `panics` |
//! | F23 a drop that panics | `panics`, `a_drop_..`; core `panics` |
//! | F24 a task that panics with a guard | `panics`, `a_task_..`; core `panics` |
//! | F25 a runtime that ends before the guards | `runtimes`, `guards_..`, `a_pool_is_closed_..` and `tasks_..`; `runtime` of `connpool-tokio`; core `runtime_ends` |
//! | F26 a pool that goes on in another runtime | `runtimes`, `a_pool_works_..` and `the_background_..`; `runtime` of `connpool-tokio` |
//! | F27 dropped at any await | core `cancel`; scenario `tasks::a_cancelled_get_takes_nothing_along`; `given_up` |
//! | F28 stopped and continued | `standstill`, `rounds_..` and `what_..`; core `sweep::a_round_that_takes_longer_than_its_interval_leaves_the_thread_to_others` |
//! | F29 a starved executor | `standstill`, `a_get_..`; core `lend::what_was_handed_over_in_time_beats_a_late_timer` |
//! | F30 extreme durations | `extremes`; core `extremes` |
//! | F31 a goodbye that takes long | `control`, `a_goodbye_..` and `a_close_is_not_..`; core `sweep`, `close` |
//! | F32 resized | `control`, `a_pool_..`; core `control` |
//! | F33 closed in the midst | `control`, `a_close_ends_..` and `a_close_tells_..`; core `close`, `meanwhile` |
//! | F34 a handshake that never ends | `silence`, `a_handshake_..` |
//!
//! "Scenarios" are those in the folder beside this one, "core" is `tests/pool` of `connpool-core`.
//!
//! A test target that includes this brings what `support` needs and, in its root, `Tasks`: an
//! executor that can be ended. Some faults concern a whole process or network, see `place`; they
//! need `iproute2`, `nftables`, `redis-server` and root.

pub(crate) use crate::support::{client, server};

pub(crate) mod counted;
pub(crate) mod greeted;
pub(crate) mod kernel;
pub(crate) mod network;
pub(crate) mod place;
pub(crate) mod redis;

pub(crate) mod control;
pub(crate) mod extremes;
pub(crate) mod given_up;
pub(crate) mod lost_packets;
pub(crate) mod names;
pub(crate) mod open_files;
pub(crate) mod outage;
pub(crate) mod panics;
pub(crate) mod ports;
pub(crate) mod restart;
pub(crate) mod runtimes;
pub(crate) mod silence;
pub(crate) mod standstill;
pub(crate) mod while_lent;

/// Makes a test of every fault, run by `$run`. The only list of them: which module, and where its
/// tests run, see [`place`].
macro_rules! faults_on {
    ($run:path) => {
        $crate::faults::tests! { $run;
            here while_lent {
                who_waits_for_a_connection_that_was_closed_gets_a_new_one
                who_waits_for_a_connection_that_was_reset_gets_a_new_one
                who_waits_for_a_connection_that_failed_its_user_gets_a_new_one
                who_waits_for_a_connection_that_was_marked_gets_a_new_one
            }
            here silence {
                three_silent_connections_are_enough_for_a_new_one
                silent_connections_do_not_stretch_a_get_beyond_its_time
                a_guard_whose_peer_is_silent_frees_its_slot_as_it_is_dropped
                a_handshake_that_never_ends_is_given_up_and_its_socket_closed
                a_handshake_that_never_ends_is_given_up_also_if_its_getter_has_left
                no_more_handshakes_are_under_way_than_allowed
                who_waits_for_a_slow_handshake_takes_what_comes_back_first
            }
            own_network lost_packets {
                three_lost_connections_are_enough_for_a_new_one
                a_get_is_over_in_time_while_nothing_arrives_and_all_is_well_after
                a_lost_connection_is_found_by_the_kernels_own_probes
                a_request_that_gets_lost_fails_after_user_timeout
                a_guard_of_a_lost_connection_frees_its_slot_and_its_socket_as_it_is_dropped
                connects_that_get_lost_are_timeouts_and_the_pool_is_well_after
            }
            own_process restart {
                the_first_get_after_a_restart_is_served
                one_round_of_looks_finds_all_of_a_thousand_dead
                min_size_is_open_again_after_a_restart_and_not_all_at_once
                a_thousand_who_wait_out_a_restart_are_all_served
                a_thousand_who_wait_during_a_restart_are_served_or_told_why_not
            }
            own_process open_files {
                without_files_what_is_open_is_lent_and_no_more_is_opened
                who_waits_out_a_want_of_files_is_served_by_a_return_or_when_there_are_some
                a_name_cannot_be_looked_up_without_files_and_the_error_names_it
            }
            own_network given_up {
                no_reply_reaches_another_request_than_its_own
            }
            here outage {
                a_backend_that_is_down_is_not_stormed_by_a_thousand_who_wait
            }
            own_network ports {
                without_ports_what_is_open_is_lent_and_no_more_is_opened
                who_waits_out_a_want_of_ports_is_served_when_there_are_some
                a_connection_to_itself_is_never_lent
            }
            own_network names {
                a_name_is_looked_up_for_every_connection
                a_name_that_is_not_known_yet_is_an_error_that_names_it
                a_name_server_that_does_not_answer_holds_nobody_beyond_connect_timeout
                a_close_does_not_wait_for_a_name_server
                an_address_where_nobody_listens_is_passed_over
                an_address_that_does_not_answer_leaves_time_for_the_next
            }
            own_process panics {
                a_connect_that_panics_is_answered_so_and_its_socket_is_closed
                a_check_that_panics_costs_one_connection_and_no_get
                a_drop_that_panics_in_a_round_of_looks_keeps_no_other_from_being_closed
                a_drop_that_panics_does_not_reach_whoever_brings_back_or_closes
                a_task_that_panics_with_a_connection_passes_its_slot_on
            }
            own_process standstill {
                rounds_that_a_stopped_process_missed_are_not_made_up_for
                what_expired_in_a_stopped_process_is_replaced_without_a_storm
                what_was_idle_in_a_stopped_process_is_closed_down_to_min_size
                a_get_that_is_polled_too_late_has_what_came_in_time
                a_get_that_is_polled_too_late_has_what_came_too_late
            }
            here extremes {
                every_duration_may_be_zero_a_nanosecond_or_for_ever
                a_close_may_take_no_time_or_for_ever
            }
            here control {
                a_goodbye_that_nobody_hears_holds_up_nobody
                a_goodbye_that_nobody_hears_ends_at_close_timeout
                a_close_is_not_held_up_by_goodbyes_that_nobody_hears
                a_pool_made_smaller_closes_what_comes_back_beyond_its_size
                a_pool_made_larger_serves_those_in_line
                a_pool_can_be_resized_under_load
                a_close_ends_what_is_idle_and_under_way_and_waits_for_what_is_out
                a_close_tells_everybody_in_line
            }
        }
        $crate::faults::tests_across! { $run;
            own_process runtimes {
                guards_that_outlive_their_runtime_come_back
                a_pool_is_closed_after_its_runtime
                a_pool_works_in_one_runtime_after_the_other
                the_background_of_a_pool_begins_again_in_the_next_runtime
                tasks_that_end_with_their_executor_give_back_what_they_hold
            }
        }
    };
}

/// See [`faults_on`].
macro_rules! tests {
    ($run:path; $($place:ident $module:ident { $($name:ident)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                let test = || $run($crate::faults::$module::$name);
                $crate::faults::place::$place($crate::faults::name_of!($name), test);
            })*
        })*
    };
}

/// The same for tests that begin and end runtimes: they get what runs something on one.
macro_rules! tests_across {
    ($run:path; $($place:ident $module:ident { $($name:ident)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                let test =
                    || $crate::faults::$module::$name(|part| $run($crate::faults::once(part)));
                $crate::faults::place::$place($crate::faults::name_of!($name), test);
            })*
        })*
    };
}

/// What the test harness calls a test.
macro_rules! name_of {
    ($name:ident) => {
        // Without the name of the program in front.
        concat!(module_path!(), "::", stringify!($name))
            .split_once("::")
            .map_or("", |(_program, name)| name)
    };
}

/// Gives away a value when it is called, which must be once.
pub(crate) fn once<T>(value: T) -> impl Fn() -> T {
    let value = std::cell::Cell::new(Some(value));
    move || value.take().unwrap()
}

pub(crate) use {faults_on, name_of, tests, tests_across};
