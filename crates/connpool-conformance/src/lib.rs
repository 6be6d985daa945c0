//! Tests implementations of [`Runtime`]: scenarios of a pool that must end the same on every
//! runtime.
//!
//! The scenarios cover the methods of a runtime and every operation of a pool: `get` with its
//! checks, the wait queue, returns, the maintenance task, failures, cancellation, panics and races.
//! The same list runs on tokio, on smol, on a runtime of one thread for each task and in virtual
//! time. Some scenarios are modelled on the test suites of other pools; their documentation in the
//! source names them.
//!
//! They use a [`FaultyManager`](connpool_testkit::FaultyManager) and need no network. They wait for
//! events; sleeps last some milliseconds, and no outcome depends on how long an operation took. A
//! scenario that does not complete fails after a minute.
//!
//! # Examples
//!
//! A test program without the standard harness:
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! ```
//! # use connpool_core::{Instant, Runtime, BoxFuture};
//! # struct MyRuntime(connpool_testkit::SimRuntime);
//! # impl MyRuntime {
//! #     fn new() -> Arc<Self> { Arc::new(MyRuntime(connpool_testkit::SimRuntime::new(1))) }
//! #     fn block_on<F: Future>(&self, future: F) -> F::Output { self.0.block_on(future) }
//! # }
//! # impl Runtime for MyRuntime {
//! #     fn now(&self) -> Instant { self.0.now() }
//! #     fn sleep_until(&self, at: Instant) -> BoxFuture { self.0.sleep_until(at) }
//! #     fn spawn(&self, task: BoxFuture) { self.0.spawn(task) }
//! #     fn random(&self) -> u64 { self.0.random() }
//! # }
//! use connpool_conformance::Scenario;
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! fn run(scenario: Scenario) {
//!     let runtime = MyRuntime::new();
//!     runtime.block_on(scenario(runtime.clone()));
//! }
//!
//! fn main() -> ExitCode {
//!     connpool_conformance::main(&[("my_runtime", run)])
//! }
//! ```
//!
//! `cargo test --test conformance -- wait_queue` then runs the scenarios with that word in their
//! names, such as `my_runtime::wait_queue::waiter_past_deadline_is_skipped`.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod backoff_and_breaker;
mod batch;
mod cancel;
mod checks;
mod close;
mod connect;
mod control;
mod counting_runtime;
mod drain;
mod env;
mod events;
mod expires_in;
mod get;
mod graceful_close;
mod holders;
mod join_handle;
mod keepalive;
mod maintenance;
mod min_idle;
mod outage;
mod panics;
mod pause;
mod prepare;
mod races;
mod resets;
mod returns;
mod runtime;
mod settings;
mod severity;
mod stress;
mod wait_queue;
mod watchdog;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use connpool_core::Runtime;
use libtest_mimic::{Arguments, Trial};

/// A scenario. Takes the runtime under test and returns a future that must run to completion on that
/// runtime. The future panics if a check fails.
pub type Scenario = fn(Arc<dyn Runtime>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Creates a runtime and runs one scenario on it to completion.
pub type Runner = fn(Scenario);

/// Runs each scenario as a test, with the arguments of the program, which are those of the standard
/// harness.
///
/// Each element of `runtimes` is a name, which begins the names of its tests, and the function that
/// runs a scenario. Returns failure if a test failed.
///
/// Sixteen scenarios run at a time, unless `--test-threads` says otherwise: they wait most of the
/// time.
pub fn main(runtimes: &[(&str, Runner)]) -> ExitCode {
    let trials = runtimes.iter().flat_map(|&(runtime, run)| {
        SCENARIOS.iter().map(move |&(name, scenario)| {
            Trial::test(format!("{runtime}::{name}"), move || {
                run(scenario);
                Ok(())
            })
        })
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(16);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

macro_rules! scenarios {
    ($($module:ident { $($name:ident)* })*) => {
        /// All scenarios by name. Names and number may change in any release.
        pub const SCENARIOS: &[(&str, Scenario)] = &[$($((
            concat!(stringify!($module), "::", stringify!($name)),
            |runtime| Box::pin(env::run(runtime, $module::$name)),
        )),*),*];
    };
}

scenarios! {
    runtime {
        clock_advances_and_never_goes_back
        clock_is_shared_by_all_tasks_and_threads
        timer_wakes_its_task
        timer_in_the_past_fires
        timer_at_the_largest_instant_stays_pending
        timer_polled_in_one_task_fires_in_another
        dropped_timers_have_no_effect
        spawned_task_runs_without_being_awaited
        task_can_await_tasks_it_spawned
        fifty_tasks_wait_for_each_other
        task_is_woken_from_another_thread
        random_numbers_vary_in_every_bit
        unconstrained_runs_its_probe_exactly_once
        task_spawned_at_home_runs_there
        poll_coop_lets_its_task_go_on
    }
    get {
        closed_pool_fails_every_get
        idle_connection_is_reused
        idle_connection_needs_no_task_and_no_timer
        idle_order_selects_the_connection
        build_lazy_opens_nothing_before_the_first_get
        build_opens_min_size_connections
        failed_build_leaves_no_connection_and_no_task
        pool_grows_by_increment_up_to_max_size
        no_batch_starts_while_enough_connects_are_pending
        connect_outlives_the_get_that_started_it
        get_counts_one_request_however_many_connections_it_checks
        gauges_match_the_state_of_the_pool
        try_get_starts_no_task_no_timer_and_no_ping
        try_get_skips_connections_that_need_a_reset
        get_with_zero_timeout_takes_an_idle_connection_or_fails
        get_without_timeout_waits_until_a_connection_returns
        get_and_guard_can_move_between_tasks
    }
    wait_queue {
        twenty_tasks_share_four_connections
        forty_waiters_are_served_in_fifo_order
        new_get_does_not_overtake_a_waiter
        cancelled_waiters_lose_no_connection
        cancelled_waiters_leave_the_others_in_order
        connect_of_a_waiter_served_by_a_return_becomes_idle
        late_connection_beyond_max_idle_is_closed
        waiter_takes_a_new_connection_that_precedes_a_return
        returned_connection_serves_a_waiter_beyond_max_connecting
        waiter_keeps_its_place_when_its_connection_fails_a_check
        unpolled_waiter_keeps_its_connection_until_dropped
        connection_assigned_in_time_beats_a_late_timer
        waiter_past_deadline_is_skipped
        waiter_past_deadline_takes_an_idle_connection
        max_waiters_limits_the_queue
        pool_with_zero_max_waiters_still_grows
        waits_are_counted_and_timed
    }
    checks {
        get_replaces_three_dead_idle_connections
        ping_timeout_closes_its_connection_only
        connection_that_expires_before_its_waiter_is_polled_is_replaced
        slow_closes_and_failing_checks_never_exceed_max_size
        waiter_is_served_after_the_backend_recovers
        check_stops_at_the_first_failure
        get_connects_after_three_failed_checks
        three_failed_checks_free_slots_for_a_connect
        new_connection_is_neither_pinged_nor_reset
        ping_is_skipped_within_ping_after
        liveness_probe_is_skipped_within_liveness_after
        closed_reset_and_unsolicited_connections_are_replaced
        connection_of_unknown_liveness_is_used
        connection_is_reset_between_two_users
        cancelled_check_closes_its_connection
        clear_and_close_take_effect_during_a_check
        connection_over_its_limits_is_not_checked_out
        hanging_ping_does_not_extend_the_deadline
        deadline_covers_wait_and_check
        wait_timeout_reports_the_gauges
    }
    connect {
        each_waiter_gets_the_error_of_a_failed_connect
        first_failed_connect_fails_all_waiters
        failed_connect_beside_others_fails_no_waiter
        failed_connect_without_a_waiter_fails_no_get
        waiters_outlast_failed_connects_without_fail_fast
        timeout_carries_the_last_connect_error
        connect_timeout_frees_the_slot
        connect_continues_after_its_get_times_out
        no_connect_starts_during_backoff
        backoff_ends_without_another_get
        backend_that_accepts_and_hangs_up_triggers_backoff
        max_connecting_limits_concurrent_connects
        no_connect_starts_after_the_load_has_ended
        pending_connect_serves_the_next_waiter
    }
    resets {
        returned_connection_is_reset_while_the_pool_is_idle
        try_get_returns_a_connection_that_was_reset
        returned_connection_that_is_to_be_reset_goes_to_a_waiter
        connection_that_fails_its_reset_after_a_return_is_closed
        reset_when_on_get_leaves_an_idle_connection_alone
        close_does_not_wait_for_resets
    }
    returns {
        returned_connection_goes_to_the_first_waiter
        connection_marked_unusable_frees_its_slot_for_a_waiter
        half_read_connection_is_not_reused
        shut_down_connection_is_not_reused
        unfinished_exchange_closes_its_connection
        connection_of_a_panicking_task_is_closed
        finished_exchange_keeps_its_connection_reusable
        connection_over_a_limit_is_closed_on_return
        slot_is_held_until_its_connection_is_dropped
        detached_connection_frees_its_slot
        guard_can_be_dropped_on_any_thread
        guard_does_not_keep_its_pool_open
        return_calls_no_manager_method
    }
    expires_in {
        connection_that_expires_is_closed_gracefully
    }
    maintenance {
        idle_timeout_shrinks_the_pool_to_min_size
        expired_connections_are_replaced_to_keep_min_size
        sweep_closes_dead_idle_connections
        min_size_is_restored_after_connections_are_lost
        sweep_probe_hides_no_connection
        concurrent_checkout_and_eviction_lose_nothing
        evict_interval_none_stops_only_the_sweep
        maintenance_task_ends_with_the_last_handle
        freed_slot_is_used_without_polling_the_waiter
        runtime_that_refuses_tasks_loses_no_capacity
        connection_returned_to_a_closed_pool_goes_through_close
    }
    min_idle {
        get_that_leaves_too_few_idle_has_others_opened
        last_idle_connection_is_replaced_before_it_expires
    }
    graceful_close {
        every_removed_connection_goes_through_close_with_its_reason
        graceful_close_ends_at_close_timeout
        unfinished_work_keeps_its_slot_from_waiters
        unfinished_work_keeps_its_slot_until_abandon_timeout
        slow_graceful_close_holds_its_slot
        hanging_graceful_close_yields_its_slot_to_a_waiter
        graceful_closes_cut_short_equal_the_number_of_waiters
        graceful_close_is_not_cut_short_while_there_is_room
        hanging_graceful_close_does_not_block_the_others
    }
    close {
        close_fails_all_waiters_at_once
        close_cancels_connects_and_counts_no_failure
        close_ends_idle_connections_and_reports_the_holders
        close_waits_for_guards_and_graceful_closes
        close_with_zero_timeout_continues_in_the_background
        hanging_graceful_close_delays_close_by_close_timeout
        close_takes_effect_at_its_first_poll
        dropping_the_last_handle_closes_the_pool
        dropping_the_last_handle_closes_idle_connections_gracefully
    }
    drain {
        accepted_callers_are_served_and_new_ones_refused
        drain_at_its_limit_closes_the_pool
        dropped_drain_goes_on
    }
    control {
        clear_reaches_idle_borrowed_and_pending_connections
        waiter_gets_a_connection_newer_than_the_clear
        smaller_max_size_closes_idle_now_and_others_on_return
        waiter_of_a_shrinking_pool_waits_for_a_free_slot
        larger_max_size_serves_the_waiters
        connects_beyond_a_smaller_max_size_are_closed_on_arrival
        invalid_max_size_is_rejected
    }
    settings {
        invalid_settings_change_nothing
        min_size_and_limits_apply_to_open_connections
        waiters_are_served_when_a_change_allows_it
        changes_under_load_lose_no_connection_and_no_waiter
        smaller_max_idle_closes_surplus_connections
    }
    batch {
        get_many_returns_all_or_none
        concurrent_get_many_calls_do_not_deadlock
        cancelled_get_many_lets_the_next_one_proceed
        pool_exchange_returns_or_closes_its_connection
    }
    admin {
        retain_closes_rejected_idle_connections
        connection_under_retain_still_serves_a_waiter
        added_connection_is_used_and_counted_like_any_other
    }
    events {
        events_of_a_connection_arrive_in_order
        event_counts_match_the_statistics
        misbehaving_observer_changes_nothing
        slow_get_event_follows_success_and_timeout
    }
    holders {
        holders_lists_exactly_the_borrowed_connections
        holders_is_empty_after_all_connections_return
        wait_timeout_names_the_holders
        connect_phase_timeout_reports_the_last_error
        leak_is_reported_once_and_its_return_once
        timed_out_close_names_the_holders
    }
    backoff_and_breaker {
        connects_start_slowly_after_a_failure
        connect_failures_equal_connect_attempts
        open_breaker_fails_all_waiters_at_once
        open_breaker_keeps_waiters_that_a_return_can_serve
        successful_probe_connect_closes_the_breaker
        burst_of_three_broken_connections_has_the_others_pinged
        leap_of_the_clock_has_idle_connections_pinged
    }
    outage {
        restart_fails_no_get
        zero_fail_fast_after_tells_the_first_failure
        hanging_connect_holds_up_no_other
        clear_abandons_hanging_connects
        nothing_is_dialled_while_paused
        permanent_error_is_told_and_not_retried_unasked
        start_opens_min_size_in_the_background
        failed_check_says_why_and_shows_no_debug
        only_a_lack_of_time_is_a_timeout
    }
    prepare {
        every_tenant_gets_its_role
        failed_preparation_destroys_its_connection
    }
    severity {
        failover_that_twenty_users_hear_of_clears_once
        error_about_a_request_keeps_its_connection
    }
    pause {
        paused_pool_keeps_callers_waiting
        waiter_of_a_paused_pool_keeps_its_deadline
        paused_pool_can_be_closed
        pauses_under_load_lose_no_waiter
    }
    keepalive {
        keepalive_pings_idle_connections
        connection_that_fails_its_keepalive_is_replaced
        get_does_not_wait_for_a_keepalive_ping
        close_cancels_a_keepalive_ping
        many_idle_connections_are_pinged_several_at_once
    }
    cancel {
        get_can_be_dropped_at_every_poll_of_a_connect
        get_can_be_dropped_at_every_poll_of_a_check
        get_can_be_dropped_at_every_poll_of_a_wait
        get_from_a_paused_pool_can_be_dropped_at_every_poll
        get_that_outlasts_failures_can_be_dropped_at_every_poll
        get_many_can_be_dropped_at_every_poll
        close_can_be_dropped_at_every_poll
        build_can_be_dropped_at_every_poll
        every_backend_outcome_leaves_full_capacity
    }
    panics {
        panicking_first_connect_fails_the_waiters
        panicking_check_closes_its_connection
        panicking_is_reusable_closes_its_connection_only
        maintenance_task_survives_every_panic
        connection_with_a_panicking_drop_frees_its_slot
    }
    races {
        concurrent_return_and_get_lose_no_wakeup
        concurrent_freed_slot_and_get_lose_no_wakeup
        concurrent_return_and_cancelled_get_lose_no_connection
        concurrent_connect_and_cancelled_get_lose_no_connection
        concurrent_close_and_get_leave_no_connection
        concurrent_close_and_return_leave_no_connection
        concurrent_last_handle_and_guard_drop_leave_no_connection
        concurrent_clear_and_return_leave_no_old_connection
        concurrent_resize_and_return_leave_no_surplus
    }
    stress {
        no_connection_has_two_holders
        two_tasks_alternate_on_one_connection
        bursts_of_eighty_gets_are_all_served
        close_under_load_leaves_nothing
        statistics_add_up_after_random_operations
        timeouts_end_with_the_overload
    }
}
