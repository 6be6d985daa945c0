//! One suite that proves a runtime: everything a pool does, on a runtime of yours.
//!
//! Whoever implements [`Runtime`] gets the suite with one line: [`conformance!`](crate::conformance!)
//! makes a `#[test]` of each scenario. The same scenarios run on tokio, on smol, on a thread for
//! each task and in virtual time, and must come to the same figures everywhere. Without libtest,
//! walk through [`SCENARIOS`].
//!
//! The scenarios use a [`FaultyManager`](crate::FaultyManager), so that no network is needed. They
//! wait for events; where time has to pass it is some milliseconds, and no outcome depends on how
//! long anything took. A scenario that does not end fails after a minute.
//!
//! # What is covered
//!
//! What a runtime has to do:
//!
//! | method | scenarios |
//! |---|---|
//! | `now` | `runtime::the_clock_moves_and_never_goes_back` |
//! | | `runtime::the_clock_is_the_same_for_all_tasks` |
//! | `sleep_until` | `runtime::a_timer_wakes_its_task` |
//! | | `runtime::a_timer_that_is_due_fires` |
//! | | `runtime::a_timer_at_the_end_of_time_only_waits` |
//! | | `runtime::a_timer_polled_in_one_task_fires_in_another` |
//! | | `runtime::a_thousand_dropped_timers_disturb_nobody` |
//! | `spawn` | `runtime::a_task_runs_by_itself` |
//! | | `runtime::tasks_wait_for_tasks_they_have_spawned` |
//! | | `runtime::fifty_tasks_wait_for_each_other` |
//! | | `runtime::a_task_is_woken_by_a_thread` |
//! | `random` | `runtime::random_numbers_vary_in_every_bit` |
//! | `unconstrained` | `runtime::a_probe_runs_once_and_at_once` |
//!
//! What a pool does:
//!
//! | step | scenarios |
//! |---|---|
//! | get 1: closed? | `get::a_closed_pool_lends_nothing` |
//! | get 2: an idle one, unless others wait | `get::a_connection_is_lent_again_and_no_other_opened` |
//! | | `get::what_is_idle_is_lent_without_a_task_or_a_timer` |
//! | | `get::the_idle_order_says_which_one_is_lent` |
//! | | `line::nobody_overtakes_who_waits` |
//! | get 3: its health, cheapest first; three tries | `checks::a_check_ends_at_the_first_thing_that_is_wrong` |
//! | | `checks::three_bad_ones_are_enough_and_then_only_a_new_one_will_do` |
//! | | `checks::three_bad_ones_make_room_for_a_new_one` |
//! | | `checks::a_ping_is_saved_within_ping_after` |
//! | | `checks::a_look_is_saved_within_liveness_after` |
//! | | `checks::dead_and_talkative_connections_are_replaced` |
//! | | `checks::a_connection_that_cannot_be_looked_at_is_lent` |
//! | | `checks::a_connection_is_reset_between_two_users` |
//! | | `checks::a_cancelled_check_destroys_its_connection` |
//! | | `checks::nothing_is_lent_that_the_pool_gave_up_during_its_check` |
//! | | `checks::what_is_over_its_limits_is_not_lent` |
//! | | `panics::a_check_that_panics_destroys_its_connection` |
//! | | `cancel::a_get_can_be_dropped_at_every_poll_of_a_check` |
//! | get 4: connects, in batches, the pool's own | `get::the_pool_grows_in_batches_and_not_beyond_its_size` |
//! | | `get::no_batch_begins_while_enough_are_under_way` |
//! | | `get::a_connect_outlives_whoever_asked_for_it` |
//! | | `connect::a_get_times_out_while_its_connect_goes_on` |
//! | | `connect::one_connect_serves_one_after_the_other` |
//! | | `cancel::a_get_can_be_dropped_at_every_poll_of_a_connect` |
//! | get 5: the line | `line::who_leaves_the_line_leaves_the_others_in_order` |
//! | | `line::a_waiter_takes_a_new_one_that_comes_before_a_return` |
//! | | `line::a_waiter_whose_connection_fails_its_check_keeps_its_place` |
//! | | `line::who_has_no_time_left_is_passed_over` |
//! | | `cancel::a_get_can_be_dropped_at_every_poll_of_a_wait` |
//! | get 6: one deadline, and a last look | `line::what_was_handed_over_in_time_beats_a_late_timer` |
//! | | `line::at_the_end_of_his_time_a_waiter_takes_what_is_idle` |
//! | | `checks::pings_that_hang_do_not_stretch_the_deadline` |
//! | | `checks::the_deadline_runs_through_wait_and_check` |
//! | | `checks::a_timeout_of_a_wait_says_who_has_what` |
//! | | `get::a_get_without_time_takes_what_is_idle_or_nothing` |
//! | | `get::a_get_without_a_limit_waits_as_long_as_it_takes` |
//! | a failed connect | `connect::a_failed_connect_answers_the_first_in_line_only` |
//! | | `connect::with_nobody_in_line_a_failed_connect_answers_nobody` |
//! | | `connect::without_fail_fast_all_wait_on_and_are_served` |
//! | | `connect::a_connect_that_hangs_is_given_up_and_its_slot_is_free` |
//! | | `panics::a_connect_that_panics_answers_the_first_in_line` |
//! | | `cancel::a_get_that_waits_on_after_failures_can_be_dropped_at_every_poll` |
//! | return: to the line, or idle, at no cost | `returns::a_returned_connection_goes_to_the_first_in_line` |
//! | | `returns::a_return_costs_no_call` |
//! | | `returns::a_guard_can_be_dropped_on_any_thread` |
//! | | `returns::a_clean_exchange_leaves_the_connection_for_the_next` |
//! | return: destroyed | `returns::an_exchange_that_does_not_end_well_spoils_its_connection` |
//! | | `returns::a_connection_of_a_task_that_panics_is_destroyed` |
//! | | `returns::a_connection_that_was_shut_down_is_not_lent_again` |
//! | | `returns::what_is_over_a_limit_is_closed_when_it_comes_back` |
//! | | `panics::an_answer_that_panics_costs_its_connection_and_not_its_user` |
//! | driver: retires, without hiding anything | `driver::what_nobody_wants_is_closed_down_to_min_size` |
//! | | `driver::what_is_too_old_is_replaced_to_keep_min_size` |
//! | | `driver::dead_idle_connections_are_found_without_anybody_asking` |
//! | | `driver::a_look_in_the_background_hides_no_connection` |
//! | | `driver::without_an_evict_interval_only_the_looks_stop` |
//! | | `panics::the_background_outlives_every_panic` |
//! | driver: keeps `min_size`, runs connects and pauses | `driver::min_size_is_kept_up_when_users_lose_connections` |
//! | | `driver::freed_capacity_is_used_though_nobody_polls` |
//! | | `connect::nobody_dials_during_the_pause_after_a_failure` |
//! | | `connect::the_pause_ends_without_anybody_asking` |
//! | | `connect::a_backend_that_accepts_and_hangs_up_is_not_dialled_without_rest` |
//! | connects in trouble: slow start, breaker | `governor::after_a_failure_connects_begin_slowly` |
//! | | `governor::many_at_a_closed_port_count_as_many_failures_as_attempts` |
//! | | `governor::an_open_breaker_answers_everybody_at_once` |
//! | | `governor::an_open_breaker_leaves_those_in_line_who_may_be_served` |
//! | | `governor::a_probe_that_succeeds_closes_the_breaker` |
//! | connections in trouble: suspicion | `governor::three_broken_connections_have_the_others_pinged` |
//! | driver: one, held by nobody, and none at all | `driver::one_task_a_pool_and_it_ends_with_the_last_handle` |
//! | | `driver::a_runtime_that_takes_no_tasks_loses_nothing` |
//! | | `driver::without_a_driver_what_is_over_its_limits_is_dropped_in_place` |
//! | goodbye | `goodbye::only_clean_connections_get_a_goodbye` |
//! | | `goodbye::a_goodbye_ends_at_close_timeout` |
//! | | `goodbye::a_goodbye_that_takes_its_time_counts_as_an_open_connection` |
//! | | `goodbye::as_many_goodbyes_are_cut_short_as_people_wait` |
//! | | `goodbye::a_goodbye_is_left_in_peace_while_there_is_room` |
//! | | `goodbye::a_goodbye_that_hangs_keeps_no_other_from_being_said` |
//! | | `close::the_last_handle_closes_the_pool` |
//! | | `close::the_idle_of_a_forgotten_pool_are_told_goodbye` |
//!
//! The fine print:
//!
//! | about | scenarios |
//! |---|---|
//! | counting | `get::gauges_tell_who_has_what` |
//! | | `get::one_get_is_one_request_however_many_it_checks` |
//! | | `line::waits_are_counted_and_timed` |
//! | `max_waiters` | `line::the_line_has_room_for_max_waiters` |
//! | | `line::a_pool_in_which_nobody_may_wait_still_grows` |
//! | new connections | `checks::a_new_connection_is_neither_pinged_nor_reset` |
//! | `max_connecting` | `connect::no_more_connects_are_under_way_than_allowed` |
//! | slots | `returns::a_slot_is_held_until_its_connection_is_gone` |
//! | | `panics::a_connection_whose_drop_panics_frees_its_slot` |
//! | waiters handed a connection | `line::a_waiter_keeps_what_it_was_handed_until_it_is_dropped` |
//! | guards and handles | `returns::a_guard_outlives_its_pool_and_brings_nothing_back` |
//! | | `returns::a_detached_connection_is_its_users_and_its_slot_is_free` |
//! | | `get::a_get_begun_here_can_end_there_and_its_guard_elsewhere` |
//! | `build`, `build_lazy` | `get::a_pool_is_built_with_its_first_connections` |
//! | | `get::a_pool_that_cannot_be_built_leaves_nothing` |
//! | | `get::a_lazy_pool_opens_nothing_before_it_is_asked` |
//! | | `cancel::a_build_can_be_dropped_at_every_poll` |
//! | `try_get` | `get::try_get_never_waits_and_starts_nothing` |
//! | | `get::try_get_lends_a_used_connection_only_if_nothing_has_to_be_reset` |
//! | `close` | `close::a_close_ends_connects_and_they_have_not_failed` |
//! | | `close::a_close_says_goodbye_to_the_idle_and_reports_who_is_out` |
//! | | `close::a_close_waits_for_what_is_out` |
//! | | `close::a_close_without_time_closes_in_the_background` |
//! | | `close::a_goodbye_that_hangs_does_not_hold_a_close_up_for_ever` |
//! | | `close::a_close_takes_effect_at_its_first_poll` |
//! | | `cancel::a_close_can_be_dropped_at_every_poll` |
//! | `clear` | `control::who_waits_when_the_pool_is_cleared_gets_a_newer_one` |
//! | `pause`, `resume` | `pause::a_paused_pool_holds_everybody_in_line` |
//! | | `pause::who_waits_in_a_paused_pool_has_his_own_deadline` |
//! | | `pause::a_paused_pool_can_be_closed` |
//! | | `pause::pauses_while_everybody_comes_and_goes_lose_nobody` |
//! | | `cancel::a_get_in_a_paused_pool_can_be_dropped_at_every_poll` |
//! | `keepalive` | `keepalive::idle_connections_are_pinged_in_the_background` |
//! | | `keepalive::a_connection_that_fails_its_keepalive_is_replaced` |
//! | | `keepalive::nobody_waits_for_what_is_being_pinged` |
//! | | `keepalive::a_close_ends_a_keepalive` |
//! | `resize` | `control::a_pool_made_smaller_closes_the_idle_now_and_the_rest_on_return` |
//! | | `control::who_waits_in_a_pool_made_smaller_waits_until_it_is_small_enough` |
//! | | `control::a_pool_made_larger_serves_those_in_line` |
//! | | `control::connects_beyond_a_smaller_size_are_closed_when_they_are_there` |
//! | | `control::a_size_that_cannot_be_is_refused` |
//! | `reconfigure` | `settings::settings_that_cannot_be_change_nothing` |
//! | | `settings::min_size_and_limits_reach_what_is_open_already` |
//! | | `settings::those_in_line_are_served_by_what_a_change_allows` |
//! | | `settings::changes_under_load_lose_no_connection_and_no_waiter` |
//! | | `settings::a_smaller_max_idle_closes_what_is_too_much` |
//! | `get_many`, a pool's `exchange` | `many::several_are_lent_at_once_or_none` |
//! | | `many::two_that_gather_do_not_wait_for_each_other` |
//! | | `many::a_gatherer_that_gives_up_lets_the_next_one_gather` |
//! | | `many::an_exchange_of_the_pool_returns_or_destroys` |
//! | | `cancel::a_gatherer_can_be_dropped_at_every_poll` |
//! | `retain`, `add` | `stock::retain_closes_what_is_idle_and_not_wanted` |
//! | | `stock::what_retain_looks_at_is_not_lost_to_who_waits` |
//! | | `stock::what_is_added_is_lent_and_counted_like_any_other` |
//! | events | `events::the_life_of_a_connection_is_told_in_order` |
//! | | `events::what_is_told_adds_up` |
//! | | `events::an_observer_that_misbehaves_changes_nothing` |
//! | | `events::a_slow_get_is_told` |
//! | holders, leaks, diagnosis | `holders::everybody_who_has_one_is_listed_and_nobody_else` |
//! | | `holders::the_list_is_empty_when_all_have_come_back` |
//! | | `holders::a_timeout_names_those_who_have_what_it_waited_for` |
//! | | `holders::a_timeout_tells_what_the_last_connect_came_to` |
//! | | `holders::what_does_not_come_back_is_told_once_and_when_it_does` |
//! | | `holders::a_close_names_who_is_still_out` |
//!
//! Two things at the same moment:
//!
//! | one and the other | scenario |
//! |---|---|
//! | a return and a `get` | `duels::a_return_and_a_get_meet` |
//! | a freed slot and a `get` | `duels::a_freed_slot_and_a_get_meet` |
//! | a return and a cancelled `get` | `duels::a_return_and_a_waiter_that_gives_up_lose_nothing` |
//! | a connect and a cancelled `get` | `duels::a_connect_and_a_waiter_that_gives_up_lose_nothing` |
//! | `close` and `get` | `duels::a_close_and_a_get_leave_nothing` |
//! | `close` and a return | `duels::a_close_reaches_what_just_comes_back` |
//! | the last handle and a guard | `duels::the_last_handle_and_a_guard_leave_nothing` |
//! | `clear` and a return | `duels::a_clear_reaches_what_just_comes_back` |
//! | `resize` and a return | `duels::a_resize_reaches_what_just_comes_back` |
//!
//! What the suites of other pools test, in our own words and on a smaller scale:
//!
//! | no. | from | scenario |
//! |---|---|---|
//! | P1 | HikariCP | `line::twenty_tasks_share_four_connections` |
//! | P2 | Commons Pool, Vitess | `stress::no_connection_ever_has_two_holders` |
//! | P3 | puddle | `stress::two_tasks_pass_one_connection_to_and_fro` |
//! | P4 | Vitess | `stress::eighty_at_once_are_all_served_time_after_time` |
//! | P5 | Vitess | `stress::a_close_in_the_middle_of_everything_leaves_nothing` |
//! | P6 | Vitess | `close::everybody_in_line_is_told_at_once` |
//! | P7 | puddle | `stress::everything_at_random_adds_up` |
//! | P8 | Commons Pool | `checks::slow_goodbyes_and_failing_checks_never_lead_beyond_max_size` |
//! | P9 | Commons Pool | `driver::borrowing_and_evicting_do_not_get_into_each_others_way` |
//! | P10 | Commons Pool, MongoDB | `line::forty_waiters_are_served_in_the_order_in_which_they_came` |
//! | P11 | database/sql, Commons Pool | `line::waiters_that_gave_up_leave_everything_to_others` |
//! | P12 | database/sql | `connect::when_every_dial_fails_each_who_waits_is_told` |
//! | P13 | Commons Pool | `checks::who_waits_is_served_when_the_backend_is_back` |
//! | P14 | Commons Pool | `returns::a_marked_connection_makes_room_for_who_waits` |
//! | P15 | pgxpool | `checks::three_dead_idle_connections_cost_one_get_nothing` |
//! | P16 | pgxpool | `checks::a_ping_that_takes_too_long_costs_its_connection_only` |
//! | P17 | pgxpool | `returns::a_connection_left_half_read_is_not_lent_again` |
//! | P18 | HikariCP | `goodbye::a_goodbye_that_hangs_makes_way_for_who_waits` |
//! | P19 | HikariCP | `connect::a_timeout_tells_why_the_last_connect_failed` |
//! | P20 | HikariCP | `stress::timeouts_end_with_the_overload` |
//! | P21 | HikariCP | `connect::a_load_that_is_over_leaves_no_connects_behind` |
//! | P22 | database/sql, go-redis | `line::a_waiter_takes_a_return_and_its_connect_ends_among_the_idle` |
//! | | | `line::a_late_connection_beyond_max_idle_is_closed_and_not_leaked` |
//! | P23 | MongoDB | `line::a_returned_connection_serves_one_who_waits_for_a_connect` |
//! | P24 | deadpool | `cancel::whatever_the_backend_does_all_capacity_is_left` |
//! | P25 | puddle, MongoDB | `control::clear_reaches_what_is_idle_out_and_under_way` |
//! | P26 | database/sql | `checks::a_connection_that_expires_on_its_way_to_a_waiter_is_replaced` |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use connpool_core::Runtime;

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
#[doc(hidden)]
pub mod driver;
#[doc(hidden)]
pub mod duels;
#[doc(hidden)]
pub mod events;
#[doc(hidden)]
pub mod get;
#[doc(hidden)]
pub mod goodbye;
#[doc(hidden)]
pub mod governor;
#[doc(hidden)]
pub mod holders;
mod host;
mod job;
#[doc(hidden)]
pub mod keepalive;
#[doc(hidden)]
pub mod line;
mod list;
#[doc(hidden)]
pub mod many;
#[doc(hidden)]
pub mod panics;
#[doc(hidden)]
pub mod pause;
#[doc(hidden)]
pub mod returns;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod settings;
#[doc(hidden)]
pub mod stock;
#[doc(hidden)]
pub mod stress;
mod watchdog;
mod watched;

/// A scenario: given the runtime that the pool is to use, it is to be run to its end on that
/// runtime. It panics if something is wrong.
pub type Scenario = fn(Arc<dyn Runtime>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every scenario, by name. What they are called, and how many there are, may change with any
/// version.
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

/// Runs a scenario to its end.
#[doc(hidden)]
pub fn run<F>(
    runtime: Arc<dyn Runtime>,
    scenario: fn(host::Host) -> F,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::pin(host::run(runtime, scenario))
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
        ("driver", include_str!("driver.rs")),
        ("duels", include_str!("duels.rs")),
        ("events", include_str!("events.rs")),
        ("get", include_str!("get.rs")),
        ("goodbye", include_str!("goodbye.rs")),
        ("governor", include_str!("governor.rs")),
        ("holders", include_str!("holders.rs")),
        ("keepalive", include_str!("keepalive.rs")),
        ("line", include_str!("line.rs")),
        ("many", include_str!("many.rs")),
        ("panics", include_str!("panics.rs")),
        ("pause", include_str!("pause.rs")),
        ("returns", include_str!("returns.rs")),
        ("runtime", include_str!("runtime.rs")),
        ("settings", include_str!("settings.rs")),
        ("stock", include_str!("stock.rs")),
        ("stress", include_str!("stress.rs")),
    ];

    fn listed() -> BTreeSet<String> {
        SCENARIOS
            .iter()
            .map(|(name, _)| String::from(*name))
            .collect()
    }

    #[test]
    fn every_scenario_that_is_written_is_listed_once() {
        let written: BTreeSet<String> = SOURCES
            .iter()
            .flat_map(|(group, source)| {
                let functions = source.split("\npub async fn ").skip(1);
                let names = functions.filter_map(|rest| rest.split('(').next());
                names.map(move |name| format!("{group}::{name}"))
            })
            .collect();
        assert_eq!(written, listed());
        assert_eq!(listed().len(), SCENARIOS.len());
    }

    #[test]
    fn every_scenario_has_its_place_in_the_tables_and_they_name_no_other() {
        let table = DOCS.lines().filter(|line| line.starts_with("//! |"));
        let in_the_tables: Vec<String> = table
            .flat_map(|line| line.split('`'))
            .filter(|name| name.contains("::"))
            .map(String::from)
            .collect();
        assert_eq!(
            in_the_tables.iter().cloned().collect::<BTreeSet<_>>(),
            listed()
        );
        assert_eq!(in_the_tables.len(), SCENARIOS.len(), "one of them twice");
    }
}
