//! The list of scenarios, and what is made of it.

/// Tests that everything a pool does works on a runtime: a `#[test]` for each scenario of the
/// [suite](mod@crate::conformance).
///
/// It takes a function that makes a fresh runtime and runs one
/// [`Scenario`](crate::conformance::Scenario) on it to its end:
///
/// ```
/// # use connpool_core::{Instant, Runtime, BoxFuture};
/// # struct MyRuntime(connpool_testkit::SimRuntime);
/// # impl MyRuntime {
/// #     fn new() -> Arc<Self> { Arc::new(MyRuntime(connpool_testkit::SimRuntime::new(1))) }
/// #     fn block_on<F: Future>(&self, future: F) -> F::Output { self.0.block_on(future) }
/// # }
/// # impl Runtime for MyRuntime {
/// #     fn now(&self) -> Instant { self.0.now() }
/// #     fn sleep_until(&self, at: Instant) -> BoxFuture { self.0.sleep_until(at) }
/// #     fn spawn(&self, task: BoxFuture) { self.0.spawn(task) }
/// #     fn random(&self) -> u64 { self.0.random() }
/// # }
/// use connpool_testkit::conformance::Scenario;
/// use std::sync::Arc;
///
/// fn run(scenario: Scenario) {
///     let runtime = MyRuntime::new();
///     runtime.block_on(scenario(runtime.clone()));
/// }
///
/// connpool_testkit::conformance!(run);
/// # fn main() { run(connpool_testkit::conformance::SCENARIOS[0].1) }
/// ```
///
/// The tests are in modules of a module `conformance`: `conformance::line::nobody_overtakes_who_waits`
/// and so on. For a second runtime, or a second mode of one, use it in another module.
#[macro_export]
macro_rules! conformance {
    ($run:expr) => {
        $crate::__conformance! { tests ($run) }
    };
}

/// The one list of scenarios, for [`conformance!`](crate::conformance!) and for
/// [`SCENARIOS`](crate::conformance::SCENARIOS).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance {
    ($what:ident $run:tt) => {
        $crate::__conformance_of! { $what $run
            runtime {
                the_clock_moves_and_never_goes_back
                the_clock_is_the_same_for_all_tasks
                a_timer_wakes_its_task
                a_timer_that_is_due_fires
                a_timer_at_the_end_of_time_only_waits
                a_timer_polled_in_one_task_fires_in_another
                a_thousand_dropped_timers_disturb_nobody
                a_task_runs_by_itself
                tasks_wait_for_tasks_they_have_spawned
                fifty_tasks_wait_for_each_other
                a_task_is_woken_by_a_thread
                random_numbers_vary_in_every_bit
                a_probe_runs_once_and_at_once
            }
            get {
                a_closed_pool_lends_nothing
                a_connection_is_lent_again_and_no_other_opened
                what_is_idle_is_lent_without_a_task_or_a_timer
                the_idle_order_says_which_one_is_lent
                a_lazy_pool_opens_nothing_before_it_is_asked
                a_pool_is_built_with_its_first_connections
                a_pool_that_cannot_be_built_leaves_nothing
                the_pool_grows_in_batches_and_not_beyond_its_size
                no_batch_begins_while_enough_are_under_way
                a_connect_outlives_whoever_asked_for_it
                one_get_is_one_request_however_many_it_checks
                gauges_tell_who_has_what
                try_get_never_waits_and_starts_nothing
                try_get_lends_a_used_connection_only_if_nothing_has_to_be_reset
                a_get_without_time_takes_what_is_idle_or_nothing
                a_get_without_a_limit_waits_as_long_as_it_takes
                a_get_begun_here_can_end_there_and_its_guard_elsewhere
            }
            line {
                twenty_tasks_share_four_connections
                forty_waiters_are_served_in_the_order_in_which_they_came
                nobody_overtakes_who_waits
                waiters_that_gave_up_leave_everything_to_others
                who_leaves_the_line_leaves_the_others_in_order
                a_waiter_takes_a_return_and_its_connect_ends_among_the_idle
                a_late_connection_beyond_max_idle_is_closed_and_not_leaked
                a_waiter_takes_a_new_one_that_comes_before_a_return
                a_returned_connection_serves_one_who_waits_for_a_connect
                a_waiter_whose_connection_fails_its_check_keeps_its_place
                a_waiter_keeps_what_it_was_handed_until_it_is_dropped
                what_was_handed_over_in_time_beats_a_late_timer
                who_has_no_time_left_is_passed_over
                at_the_end_of_his_time_a_waiter_takes_what_is_idle
                the_line_has_room_for_max_waiters
                a_pool_in_which_nobody_may_wait_still_grows
                waits_are_counted_and_timed
            }
            checks {
                three_dead_idle_connections_cost_one_get_nothing
                a_ping_that_takes_too_long_costs_its_connection_only
                a_connection_that_expires_on_its_way_to_a_waiter_is_replaced
                slow_goodbyes_and_failing_checks_never_lead_beyond_max_size
                who_waits_is_served_when_the_backend_is_back
                a_check_ends_at_the_first_thing_that_is_wrong
                three_bad_ones_are_enough_and_then_only_a_new_one_will_do
                three_bad_ones_make_room_for_a_new_one
                a_new_connection_is_neither_pinged_nor_reset
                a_ping_is_saved_within_ping_after
                a_look_is_saved_within_liveness_after
                dead_and_talkative_connections_are_replaced
                a_connection_that_cannot_be_looked_at_is_lent
                a_connection_is_reset_between_two_users
                a_cancelled_check_destroys_its_connection
                nothing_is_lent_that_the_pool_gave_up_during_its_check
                what_is_over_its_limits_is_not_lent
                pings_that_hang_do_not_stretch_the_deadline
                the_deadline_runs_through_wait_and_check
                a_timeout_of_a_wait_says_who_has_what
            }
            connect {
                when_every_dial_fails_each_who_waits_is_told
                a_failed_connect_answers_the_first_in_line_only
                with_nobody_in_line_a_failed_connect_answers_nobody
                without_fail_fast_all_wait_on_and_are_served
                a_timeout_tells_why_the_last_connect_failed
                a_connect_that_hangs_is_given_up_and_its_slot_is_free
                a_get_times_out_while_its_connect_goes_on
                nobody_dials_during_the_pause_after_a_failure
                the_pause_ends_without_anybody_asking
                a_backend_that_accepts_and_hangs_up_is_not_dialled_without_rest
                no_more_connects_are_under_way_than_allowed
                a_load_that_is_over_leaves_no_connects_behind
                one_connect_serves_one_after_the_other
            }
            returns {
                a_returned_connection_goes_to_the_first_in_line
                a_marked_connection_makes_room_for_who_waits
                a_connection_left_half_read_is_not_lent_again
                a_connection_that_was_shut_down_is_not_lent_again
                an_exchange_that_does_not_end_well_spoils_its_connection
                a_connection_of_a_task_that_panics_is_destroyed
                a_clean_exchange_leaves_the_connection_for_the_next
                what_is_over_a_limit_is_closed_when_it_comes_back
                a_slot_is_held_until_its_connection_is_gone
                a_detached_connection_is_its_users_and_its_slot_is_free
                a_guard_can_be_dropped_on_any_thread
                a_guard_outlives_its_pool_and_brings_nothing_back
                a_return_costs_no_call
            }
            driver {
                what_nobody_wants_is_closed_down_to_min_size
                what_is_too_old_is_replaced_to_keep_min_size
                dead_idle_connections_are_found_without_anybody_asking
                min_size_is_kept_up_when_users_lose_connections
                a_look_in_the_background_hides_no_connection
                borrowing_and_evicting_do_not_get_into_each_others_way
                without_an_evict_interval_only_the_looks_stop
                one_task_a_pool_and_it_ends_with_the_last_handle
                freed_capacity_is_used_though_nobody_polls
                a_runtime_that_takes_no_tasks_loses_nothing
                without_a_driver_what_is_over_its_limits_is_dropped_in_place
            }
            goodbye {
                only_clean_connections_get_a_goodbye
                a_goodbye_ends_at_close_timeout
                a_goodbye_that_takes_its_time_counts_as_an_open_connection
                a_goodbye_that_hangs_makes_way_for_who_waits
                as_many_goodbyes_are_cut_short_as_people_wait
                a_goodbye_is_left_in_peace_while_there_is_room
                a_goodbye_that_hangs_keeps_no_other_from_being_said
            }
            close {
                everybody_in_line_is_told_at_once
                a_close_ends_connects_and_they_have_not_failed
                a_close_says_goodbye_to_the_idle_and_reports_who_is_out
                a_close_waits_for_what_is_out
                a_close_without_time_closes_in_the_background
                a_goodbye_that_hangs_does_not_hold_a_close_up_for_ever
                a_close_takes_effect_at_its_first_poll
                the_last_handle_closes_the_pool
                the_idle_of_a_forgotten_pool_are_told_goodbye
            }
            control {
                clear_reaches_what_is_idle_out_and_under_way
                who_waits_when_the_pool_is_cleared_gets_a_newer_one
                a_pool_made_smaller_closes_the_idle_now_and_the_rest_on_return
                who_waits_in_a_pool_made_smaller_waits_until_it_is_small_enough
                a_pool_made_larger_serves_those_in_line
                connects_beyond_a_smaller_size_are_closed_when_they_are_there
                a_size_that_cannot_be_is_refused
            }
            settings {
                settings_that_cannot_be_change_nothing
                min_size_and_limits_reach_what_is_open_already
                those_in_line_are_served_by_what_a_change_allows
                changes_under_load_lose_no_connection_and_no_waiter
                a_smaller_max_idle_closes_what_is_too_much
            }
            many {
                several_are_lent_at_once_or_none
                two_that_gather_do_not_wait_for_each_other
                a_gatherer_that_gives_up_lets_the_next_one_gather
                an_exchange_of_the_pool_returns_or_destroys
            }
            stock {
                retain_closes_what_is_idle_and_not_wanted
                what_retain_looks_at_is_not_lost_to_who_waits
                what_is_added_is_lent_and_counted_like_any_other
            }
            events {
                the_life_of_a_connection_is_told_in_order
                what_is_told_adds_up
                an_observer_that_misbehaves_changes_nothing
                a_slow_get_is_told
            }
            holders {
                everybody_who_has_one_is_listed_and_nobody_else
                the_list_is_empty_when_all_have_come_back
                a_timeout_names_those_who_have_what_it_waited_for
                a_timeout_tells_what_the_last_connect_came_to
                what_does_not_come_back_is_told_once_and_when_it_does
                a_close_names_who_is_still_out
            }
            governor {
                after_a_failure_connects_begin_slowly
                many_at_a_closed_port_count_as_many_failures_as_attempts
                an_open_breaker_answers_everybody_at_once
                an_open_breaker_leaves_those_in_line_who_may_be_served
                a_probe_that_succeeds_closes_the_breaker
                three_broken_connections_have_the_others_pinged
            }
            pause {
                a_paused_pool_holds_everybody_in_line
                who_waits_in_a_paused_pool_has_his_own_deadline
                a_paused_pool_can_be_closed
                pauses_while_everybody_comes_and_goes_lose_nobody
            }
            keepalive {
                idle_connections_are_pinged_in_the_background
                a_connection_that_fails_its_keepalive_is_replaced
                nobody_waits_for_what_is_being_pinged
                a_close_ends_a_keepalive
            }
            cancel {
                a_get_can_be_dropped_at_every_poll_of_a_connect
                a_get_can_be_dropped_at_every_poll_of_a_check
                a_get_can_be_dropped_at_every_poll_of_a_wait
                a_get_in_a_paused_pool_can_be_dropped_at_every_poll
                a_get_that_waits_on_after_failures_can_be_dropped_at_every_poll
                a_gatherer_can_be_dropped_at_every_poll
                a_close_can_be_dropped_at_every_poll
                a_build_can_be_dropped_at_every_poll
                whatever_the_backend_does_all_capacity_is_left
            }
            panics {
                a_connect_that_panics_answers_the_first_in_line
                a_check_that_panics_destroys_its_connection
                an_answer_that_panics_costs_its_connection_and_not_its_user
                the_background_outlives_every_panic
                a_connection_whose_drop_panics_frees_its_slot
            }
            duels {
                a_return_and_a_get_meet
                a_freed_slot_and_a_get_meet
                a_return_and_a_waiter_that_gives_up_lose_nothing
                a_connect_and_a_waiter_that_gives_up_lose_nothing
                a_close_and_a_get_leave_nothing
                a_close_reaches_what_just_comes_back
                the_last_handle_and_a_guard_leave_nothing
                a_clear_reaches_what_just_comes_back
                a_resize_reaches_what_just_comes_back
            }
            stress {
                no_connection_ever_has_two_holders
                two_tasks_pass_one_connection_to_and_fro
                eighty_at_once_are_all_served_time_after_time
                a_close_in_the_middle_of_everything_leaves_nothing
                everything_at_random_adds_up
                timeouts_end_with_the_overload
            }
        }
    };
}

/// See [`__conformance!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_of {
    (tests ($run:expr) $($group:ident { $($name:ident)* })*) => {
        #[cfg(test)]
        fn conformance(scenario: $crate::conformance::Scenario) {
            let run: fn($crate::conformance::Scenario) = $run;
            run(scenario);
        }

        #[cfg(test)]
        mod conformance {
            $(mod $group {
                $(#[test]
                fn $name() {
                    super::super::conformance(|runtime| {
                        $crate::conformance::run(runtime, $crate::conformance::$group::$name)
                    });
                })*
            })*
        }
    };
    (table () $($group:ident { $($name:ident)* })*) => {
        &[$($((
            concat!(stringify!($group), "::", stringify!($name)),
            |runtime| $crate::conformance::run(runtime, $crate::conformance::$group::$name),
        )),*),*]
    };
}
