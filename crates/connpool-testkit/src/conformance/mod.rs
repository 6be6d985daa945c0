//! A conformance suite for implementations of [`Runtime`].
//!
//! [`conformance!`](crate::conformance!) generates a `#[test]` for each scenario. The same scenarios
//! run on tokio, on smol, on a runtime of one thread per task and in virtual time, and must produce
//! the same statistics on each. Without libtest, iterate over [`SCENARIOS`].
//!
//! The scenarios use a [`FaultyManager`](crate::FaultyManager) and need no network. They wait for
//! events; sleeps last some milliseconds, and no outcome depends on how long an operation took. A
//! scenario that does not complete fails after a minute.
//!
//! # Coverage
//!
//! Methods of a runtime:
//!
//! | method | scenarios |
//! |---|---|
//! | `now` | `runtime::clock_advances_and_never_goes_back` |
//! | | `runtime::clock_is_shared_by_all_tasks_and_threads` |
//! | `sleep_until` | `runtime::timer_wakes_its_task` |
//! | | `runtime::timer_in_the_past_fires` |
//! | | `runtime::timer_at_the_largest_instant_stays_pending` |
//! | | `runtime::timer_polled_in_one_task_fires_in_another` |
//! | | `runtime::dropped_timers_have_no_effect` |
//! | `spawn` | `runtime::spawned_task_runs_without_being_awaited` |
//! | | `runtime::task_can_await_tasks_it_spawned` |
//! | | `runtime::fifty_tasks_wait_for_each_other` |
//! | | `runtime::task_is_woken_from_another_thread` |
//! | `random` | `runtime::random_numbers_vary_in_every_bit` |
//! | `unconstrained` | `runtime::unconstrained_runs_its_probe_exactly_once` |
//!
//! Operations of a pool:
//!
//! | operation | scenarios |
//! |---|---|
//! | get: closed pool | `get::closed_pool_fails_every_get` |
//! | get: reuse of idle connections | `get::idle_connection_is_reused` |
//! | | `get::idle_connection_needs_no_task_and_no_timer` |
//! | | `get::idle_order_selects_the_connection` |
//! | | `wait_queue::new_get_does_not_overtake_a_waiter` |
//! | get: health checks, at most three | `checks::check_stops_at_the_first_failure` |
//! | | `checks::get_connects_after_three_failed_checks` |
//! | | `checks::three_failed_checks_free_slots_for_a_connect` |
//! | | `checks::ping_is_skipped_within_ping_after` |
//! | | `checks::liveness_probe_is_skipped_within_liveness_after` |
//! | | `checks::closed_reset_and_unsolicited_connections_are_replaced` |
//! | | `checks::connection_of_unknown_liveness_is_used` |
//! | | `checks::connection_is_reset_between_two_users` |
//! | | `checks::cancelled_check_closes_its_connection` |
//! | | `checks::clear_and_close_take_effect_during_a_check` |
//! | | `checks::connection_over_its_limits_is_not_checked_out` |
//! | | `panics::panicking_check_closes_its_connection` |
//! | | `cancel::get_can_be_dropped_at_every_poll_of_a_check` |
//! | get: connects, in batches | `get::pool_grows_by_increment_up_to_max_size` |
//! | | `get::no_batch_starts_while_enough_connects_are_pending` |
//! | | `get::connect_outlives_the_get_that_started_it` |
//! | | `connect::connect_continues_after_its_get_times_out` |
//! | | `connect::pending_connect_serves_the_next_waiter` |
//! | | `cancel::get_can_be_dropped_at_every_poll_of_a_connect` |
//! | get: wait queue | `wait_queue::cancelled_waiters_leave_the_others_in_order` |
//! | | `wait_queue::waiter_takes_a_new_connection_that_precedes_a_return` |
//! | | `wait_queue::waiter_keeps_its_place_when_its_connection_fails_a_check` |
//! | | `wait_queue::waiter_past_deadline_is_skipped` |
//! | | `cancel::get_can_be_dropped_at_every_poll_of_a_wait` |
//! | get: deadline | `wait_queue::connection_assigned_in_time_beats_a_late_timer` |
//! | | `wait_queue::waiter_past_deadline_takes_an_idle_connection` |
//! | | `checks::hanging_ping_does_not_extend_the_deadline` |
//! | | `checks::deadline_covers_wait_and_check` |
//! | | `checks::wait_timeout_reports_the_gauges` |
//! | | `get::get_with_zero_timeout_takes_an_idle_connection_or_fails` |
//! | | `get::get_without_timeout_waits_until_a_connection_returns` |
//! | failed connects | `connect::failed_connect_fails_the_first_waiter_only` |
//! | | `connect::failed_connect_without_a_waiter_fails_no_get` |
//! | | `connect::waiters_outlast_failed_connects_without_fail_fast` |
//! | | `connect::connect_timeout_frees_the_slot` |
//! | | `panics::panicking_connect_fails_the_first_waiter` |
//! | | `cancel::get_that_outlasts_failures_can_be_dropped_at_every_poll` |
//! | return: to a waiter or to the idle set | `returns::returned_connection_goes_to_the_first_waiter` |
//! | | `returns::return_calls_no_manager_method` |
//! | | `returns::guard_can_be_dropped_on_any_thread` |
//! | | `returns::finished_exchange_keeps_its_connection_reusable` |
//! | return: close | `returns::unfinished_exchange_closes_its_connection` |
//! | | `returns::connection_of_a_panicking_task_is_closed` |
//! | | `returns::shut_down_connection_is_not_reused` |
//! | | `returns::connection_over_a_limit_is_closed_on_return` |
//! | | `panics::panicking_is_reusable_closes_its_connection_only` |
//! | maintenance: sweep | `maintenance::idle_timeout_shrinks_the_pool_to_min_size` |
//! | | `maintenance::expired_connections_are_replaced_to_keep_min_size` |
//! | | `maintenance::sweep_closes_dead_idle_connections` |
//! | | `maintenance::sweep_probe_hides_no_connection` |
//! | | `maintenance::evict_interval_none_stops_only_the_sweep` |
//! | | `panics::maintenance_task_survives_every_panic` |
//! | maintenance: `min_size`, connects, backoff | `maintenance::min_size_is_restored_after_connections_are_lost` |
//! | | `maintenance::freed_slot_is_used_without_polling_the_waiter` |
//! | | `connect::no_connect_starts_during_backoff` |
//! | | `connect::backoff_ends_without_another_get` |
//! | | `connect::backend_that_accepts_and_hangs_up_triggers_backoff` |
//! | slow start and breaker | `backoff_and_breaker::connects_start_slowly_after_a_failure` |
//! | | `backoff_and_breaker::connect_failures_equal_connect_attempts` |
//! | | `backoff_and_breaker::open_breaker_fails_all_waiters_at_once` |
//! | | `backoff_and_breaker::open_breaker_keeps_waiters_that_a_return_can_serve` |
//! | | `backoff_and_breaker::successful_probe_connect_closes_the_breaker` |
//! | bursts of broken connections | `backoff_and_breaker::burst_of_three_broken_connections_has_the_others_pinged` |
//! | maintenance: lifetime of the task | `maintenance::maintenance_task_ends_with_the_last_handle` |
//! | | `maintenance::runtime_that_refuses_tasks_loses_no_capacity` |
//! | | `maintenance::connection_over_a_limit_is_dropped_without_a_maintenance_task` |
//! | graceful close | `graceful_close::only_healthy_connections_are_closed_gracefully` |
//! | | `graceful_close::graceful_close_ends_at_close_timeout` |
//! | | `graceful_close::slow_graceful_close_holds_its_slot` |
//! | | `graceful_close::graceful_closes_cut_short_equal_the_number_of_waiters` |
//! | | `graceful_close::graceful_close_is_not_cut_short_while_there_is_room` |
//! | | `graceful_close::hanging_graceful_close_does_not_block_the_others` |
//! | | `close::dropping_the_last_handle_closes_the_pool` |
//! | | `close::dropping_the_last_handle_closes_idle_connections_gracefully` |
//!
//! Details:
//!
//! | subject | scenarios |
//! |---|---|
//! | counting | `get::gauges_match_the_state_of_the_pool` |
//! | | `get::get_counts_one_request_however_many_connections_it_checks` |
//! | | `wait_queue::waits_are_counted_and_timed` |
//! | `max_waiters` | `wait_queue::max_waiters_limits_the_queue` |
//! | | `wait_queue::pool_with_zero_max_waiters_still_grows` |
//! | new connections | `checks::new_connection_is_neither_pinged_nor_reset` |
//! | `max_connecting` | `connect::max_connecting_limits_concurrent_connects` |
//! | slots | `returns::slot_is_held_until_its_connection_is_dropped` |
//! | | `panics::connection_with_a_panicking_drop_frees_its_slot` |
//! | waiters with an assigned connection | `wait_queue::unpolled_waiter_keeps_its_connection_until_dropped` |
//! | guards and handles | `returns::guard_does_not_keep_its_pool_open` |
//! | | `returns::detached_connection_frees_its_slot` |
//! | | `get::get_and_guard_can_move_between_tasks` |
//! | `build`, `build_lazy` | `get::build_opens_min_size_connections` |
//! | | `get::failed_build_leaves_no_connection_and_no_task` |
//! | | `get::build_lazy_opens_nothing_before_the_first_get` |
//! | | `cancel::build_can_be_dropped_at_every_poll` |
//! | `try_get` | `get::try_get_starts_no_task_no_timer_and_no_ping` |
//! | | `get::try_get_skips_connections_that_need_a_reset` |
//! | `close` | `close::close_cancels_connects_and_counts_no_failure` |
//! | | `close::close_ends_idle_connections_and_reports_the_holders` |
//! | | `close::close_waits_for_guards_and_graceful_closes` |
//! | | `close::close_with_zero_timeout_continues_in_the_background` |
//! | | `close::hanging_graceful_close_delays_close_by_close_timeout` |
//! | | `close::close_takes_effect_at_its_first_poll` |
//! | | `cancel::close_can_be_dropped_at_every_poll` |
//! | `clear` | `control::waiter_gets_a_connection_newer_than_the_clear` |
//! | `pause`, `resume` | `pause::paused_pool_keeps_callers_waiting` |
//! | | `pause::waiter_of_a_paused_pool_keeps_its_deadline` |
//! | | `pause::paused_pool_can_be_closed` |
//! | | `pause::pauses_under_load_lose_no_waiter` |
//! | | `cancel::get_from_a_paused_pool_can_be_dropped_at_every_poll` |
//! | `keepalive` | `keepalive::keepalive_pings_idle_connections` |
//! | | `keepalive::connection_that_fails_its_keepalive_is_replaced` |
//! | | `keepalive::get_does_not_wait_for_a_keepalive_ping` |
//! | | `keepalive::close_cancels_a_keepalive_ping` |
//! | `resize` | `control::smaller_max_size_closes_idle_now_and_others_on_return` |
//! | | `control::waiter_of_a_shrinking_pool_waits_for_a_free_slot` |
//! | | `control::larger_max_size_serves_the_waiters` |
//! | | `control::connects_beyond_a_smaller_max_size_are_closed_on_arrival` |
//! | | `control::invalid_max_size_is_rejected` |
//! | `reconfigure` | `settings::invalid_settings_change_nothing` |
//! | | `settings::min_size_and_limits_apply_to_open_connections` |
//! | | `settings::waiters_are_served_when_a_change_allows_it` |
//! | | `settings::changes_under_load_lose_no_connection_and_no_waiter` |
//! | | `settings::smaller_max_idle_closes_surplus_connections` |
//! | `get_many`, `exchange` of a pool | `batch::get_many_returns_all_or_none` |
//! | | `batch::concurrent_get_many_calls_do_not_deadlock` |
//! | | `batch::cancelled_get_many_lets_the_next_one_proceed` |
//! | | `batch::pool_exchange_returns_or_closes_its_connection` |
//! | | `cancel::get_many_can_be_dropped_at_every_poll` |
//! | `retain`, `add` | `admin::retain_closes_rejected_idle_connections` |
//! | | `admin::connection_under_retain_still_serves_a_waiter` |
//! | | `admin::added_connection_is_used_and_counted_like_any_other` |
//! | events | `events::events_of_a_connection_arrive_in_order` |
//! | | `events::event_counts_match_the_statistics` |
//! | | `events::misbehaving_observer_changes_nothing` |
//! | | `events::slow_get_event_follows_success_and_timeout` |
//! | holders, leaks, diagnosis | `holders::holders_lists_exactly_the_borrowed_connections` |
//! | | `holders::holders_is_empty_after_all_connections_return` |
//! | | `holders::wait_timeout_names_the_holders` |
//! | | `holders::connect_phase_timeout_reports_the_last_error` |
//! | | `holders::leak_is_reported_once_and_its_return_once` |
//! | | `holders::timed_out_close_names_the_holders` |
//!
//! Operations that run at the same moment:
//!
//! | operations | scenario |
//! |---|---|
//! | a return and a `get` | `races::concurrent_return_and_get_lose_no_wakeup` |
//! | a freed slot and a `get` | `races::concurrent_freed_slot_and_get_lose_no_wakeup` |
//! | a return and a cancelled `get` | `races::concurrent_return_and_cancelled_get_lose_no_connection` |
//! | a connect and a cancelled `get` | `races::concurrent_connect_and_cancelled_get_lose_no_connection` |
//! | `close` and `get` | `races::concurrent_close_and_get_leave_no_connection` |
//! | `close` and a return | `races::concurrent_close_and_return_leave_no_connection` |
//! | the last handle and a guard | `races::concurrent_last_handle_and_guard_drop_leave_no_connection` |
//! | `clear` and a return | `races::concurrent_clear_and_return_leave_no_old_connection` |
//! | `resize` and a return | `races::concurrent_resize_and_return_leave_no_surplus` |
//!
//! Scenarios modelled on the test suites of other pools:
//!
//! | no. | from | scenario |
//! |---|---|---|
//! | P1 | HikariCP | `wait_queue::twenty_tasks_share_four_connections` |
//! | P2 | Commons Pool, Vitess | `stress::no_connection_has_two_holders` |
//! | P3 | puddle | `stress::two_tasks_alternate_on_one_connection` |
//! | P4 | Vitess | `stress::bursts_of_eighty_gets_are_all_served` |
//! | P5 | Vitess | `stress::close_under_load_leaves_nothing` |
//! | P6 | Vitess | `close::close_fails_all_waiters_at_once` |
//! | P7 | puddle | `stress::statistics_add_up_after_random_operations` |
//! | P8 | Commons Pool | `checks::slow_closes_and_failing_checks_never_exceed_max_size` |
//! | P9 | Commons Pool | `maintenance::concurrent_checkout_and_eviction_lose_nothing` |
//! | P10 | Commons Pool, MongoDB | `wait_queue::forty_waiters_are_served_in_fifo_order` |
//! | P11 | database/sql, Commons Pool | `wait_queue::cancelled_waiters_lose_no_connection` |
//! | P12 | database/sql | `connect::each_waiter_gets_the_error_of_a_failed_connect` |
//! | P13 | Commons Pool | `checks::waiter_is_served_after_the_backend_recovers` |
//! | P14 | Commons Pool | `returns::connection_marked_unusable_frees_its_slot_for_a_waiter` |
//! | P15 | pgxpool | `checks::get_replaces_three_dead_idle_connections` |
//! | P16 | pgxpool | `checks::ping_timeout_closes_its_connection_only` |
//! | P17 | pgxpool | `returns::half_read_connection_is_not_reused` |
//! | P18 | HikariCP | `graceful_close::hanging_graceful_close_yields_its_slot_to_a_waiter` |
//! | P19 | HikariCP | `connect::timeout_carries_the_last_connect_error` |
//! | P20 | HikariCP | `stress::timeouts_end_with_the_overload` |
//! | P21 | HikariCP | `connect::no_connect_starts_after_the_load_has_ended` |
//! | P22 | database/sql, go-redis | `wait_queue::connect_of_a_waiter_served_by_a_return_becomes_idle` |
//! | | | `wait_queue::late_connection_beyond_max_idle_is_closed` |
//! | P23 | MongoDB | `wait_queue::returned_connection_serves_a_waiter_beyond_max_connecting` |
//! | P24 | deadpool | `cancel::every_backend_outcome_leaves_full_capacity` |
//! | P25 | puddle, MongoDB | `control::clear_reaches_idle_borrowed_and_pending_connections` |
//! | P26 | database/sql | `checks::connection_that_expires_before_its_waiter_is_polled_is_replaced` |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use connpool_core::Runtime;

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod backoff_and_breaker;
#[doc(hidden)]
pub mod batch;
#[doc(hidden)]
pub mod cancel;
#[doc(hidden)]
pub mod checks;
#[doc(hidden)]
pub mod close;
#[doc(hidden)]
pub mod connect;
#[doc(hidden)]
pub mod control;
mod counting_runtime;
mod env;
#[doc(hidden)]
pub mod events;
#[doc(hidden)]
pub mod get;
#[doc(hidden)]
pub mod graceful_close;
#[doc(hidden)]
pub mod holders;
mod join_handle;
#[doc(hidden)]
pub mod keepalive;
mod list;
#[doc(hidden)]
pub mod maintenance;
#[doc(hidden)]
pub mod panics;
#[doc(hidden)]
pub mod pause;
#[doc(hidden)]
pub mod races;
#[doc(hidden)]
pub mod returns;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod settings;
#[doc(hidden)]
pub mod stress;
#[doc(hidden)]
pub mod wait_queue;
mod watchdog;

/// A scenario. Takes the runtime under test and returns a future that must run to completion on that
/// runtime. The future panics if a check fails.
pub type Scenario = fn(Arc<dyn Runtime>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// All scenarios by name. Names and number may change in any release.
///
/// ```
/// use connpool_testkit::{SimRuntime, conformance::SCENARIOS};
/// use std::sync::Arc;
///
/// for (name, scenario) in SCENARIOS {
///     println!("{name}");
///     let sim = SimRuntime::new(1);
///     sim.block_on(scenario(Arc::new(sim.clone())));
/// }
/// ```
pub const SCENARIOS: &[(&str, Scenario)] = crate::__conformance!(table());

/// Runs a scenario to completion.
#[doc(hidden)]
pub fn run<F>(
    runtime: Arc<dyn Runtime>,
    scenario: fn(env::Env) -> F,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::pin(env::run(runtime, scenario))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SCENARIOS;

    const DOCS: &str = include_str!("mod.rs");

    const SOURCES: [(&str, &str); 22] = [
        ("cancel", include_str!("cancel.rs")),
        ("checks", include_str!("checks.rs")),
        ("close", include_str!("close.rs")),
        ("connect", include_str!("connect.rs")),
        ("control", include_str!("control.rs")),
        ("maintenance", include_str!("maintenance.rs")),
        ("races", include_str!("races.rs")),
        ("events", include_str!("events.rs")),
        ("get", include_str!("get.rs")),
        ("graceful_close", include_str!("graceful_close.rs")),
        ("backoff_and_breaker", include_str!("backoff_and_breaker.rs")),
        ("holders", include_str!("holders.rs")),
        ("keepalive", include_str!("keepalive.rs")),
        ("wait_queue", include_str!("wait_queue.rs")),
        ("batch", include_str!("batch.rs")),
        ("panics", include_str!("panics.rs")),
        ("pause", include_str!("pause.rs")),
        ("returns", include_str!("returns.rs")),
        ("runtime", include_str!("runtime.rs")),
        ("settings", include_str!("settings.rs")),
        ("admin", include_str!("admin.rs")),
        ("stress", include_str!("stress.rs")),
    ];

    fn listed() -> BTreeSet<String> {
        SCENARIOS.iter().map(|(name, _)| String::from(*name)).collect()
    }

    #[test]
    fn every_scenario_is_listed_once() {
        let defined: BTreeSet<String> = SOURCES
            .iter()
            .flat_map(|(group, source)| {
                let functions = source.split("\npub async fn ").skip(1);
                let names = functions.filter_map(|rest| rest.split('(').next());
                names.map(move |name| format!("{group}::{name}"))
            })
            .collect();
        assert_eq!(defined, listed());
        assert_eq!(listed().len(), SCENARIOS.len());
    }

    #[test]
    fn tables_name_every_scenario_once() {
        let table = DOCS.lines().filter(|line| line.starts_with("//! |"));
        let in_the_tables: Vec<String> = table
            .flat_map(|line| line.split('`'))
            .filter(|name| name.contains("::"))
            .map(String::from)
            .collect();
        assert_eq!(in_the_tables.iter().cloned().collect::<BTreeSet<_>>(), listed());
        assert_eq!(in_the_tables.len(), SCENARIOS.len(), "a scenario is named twice");
    }
}
