//! The behaviour that the Go library documents, as tests over real TCP that are named after it:
//! <https://github.com/soyvural/connpool>. Written once, run on every runtime.
//!
//! The root of the test program provides `RealRuntime`, the adapter's own runtime.

pub(crate) mod clock;
pub(crate) mod evictor;
pub(crate) mod get;
pub(crate) mod limits;
pub(crate) mod peer;
pub(crate) mod ping;
pub(crate) mod pool;
pub(crate) mod put;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod stop;

/// Defines a test for each entry, run by `$run`. This is the only list.
macro_rules! go_parity_on {
    ($run:path) => {
        $crate::client::tests! { $run; go_parity;
            pool {
                quick_start_runs
                name_can_be_given
                name_is_generated_if_none_is_given
                factory_is_called_when_the_pool_has_to_grow
                pool_can_be_used_from_many_threads
            }
            settings {
                defaults_match_the_go_library
                min_size_connections_are_open_when_build_returns
                min_size_zero_opens_nothing
                max_size_is_never_exceeded
                increment_is_the_number_opened_when_the_pool_grows
                fixed_size_pool_is_allowed_with_any_increment
                max_size_zero_is_an_error
                min_size_above_max_size_is_an_error
                increment_zero_is_an_error
            }
            limits {
                idle_timeout_closes_idle_connections_without_a_get
                idle_timeout_replaces_an_idle_connection_on_get
                max_lifetime_closes_old_connections_without_a_get
                max_lifetime_replaces_an_old_connection_on_get
                max_lifetime_counts_from_the_connect_of_a_busy_connection
                lifetime_jitter_spreads_lifetimes_and_never_lengthens_them
                connections_without_limits_are_not_closed_for_age
                connection_in_use_is_not_closed_before_its_return
            }
            get {
                idle_connection_is_lent_without_waiting
                get_and_return_allocate_nothing
                pool_grows_up_to_max_size
                get_at_max_size_waits_for_a_return
                waiters_are_served_in_fifo_order
                get_ends_at_its_deadline
                get_without_a_deadline_waits_forever
                cancelled_get_loses_nothing
                get_opens_a_new_connection_after_three_unhealthy_ones
                get_that_may_not_wait_returns_exhausted
            }
            ping {
                ping_is_called_before_a_connection_is_lent
                new_connection_is_lent_without_a_ping
                ping_is_skipped_within_a_second_of_use_by_default
                connection_whose_ping_fails_is_discarded_and_another_is_tried
                peer_receives_nothing_without_a_ping
                checks_run_in_the_order_lifetime_idle_time_ping
                unsolicited_bytes_are_found_before_the_sample_ping_consumes_them
                dead_connection_is_found_without_the_sample_ping
                sample_ping_keeps_a_quiet_connection
            }
            put {
                returned_connection_is_lent_again
                connection_marked_unusable_is_destroyed_on_return
                destroyed_connection_makes_room_for_another
                connection_returned_to_a_stopped_pool_is_destroyed
                return_restarts_the_idle_time
                connection_returned_beyond_max_idle_is_destroyed
                all_connections_may_be_idle_by_default
            }
            evictor {
                evictor_finds_dead_connections_without_a_get
                evictor_replenishes_to_min_size
                evictor_keeps_min_size_while_lifetimes_end
                evictor_keeps_min_size_connections_past_idle_timeout
                evictor_runs_every_thirty_seconds_by_default
                evictor_does_not_run_without_an_interval
                get_during_an_evictor_run_finds_the_pool_full
            }
            stop {
                stop_closes_every_connection
                stop_waits_for_borrowed_connections
                stop_wakes_every_waiter
                get_after_stop_returns_closed
                stop_can_be_repeated
                dropped_pool_stops_by_itself
            }
            stats {
                size_counts_idle_and_active_connections
                available_counts_idle_connections
                active_counts_connections_checked_out
                request_counts_every_get
                success_counts_every_served_get
                idle_closed_counts_connections_past_idle_timeout
                lifetime_closed_counts_connections_past_max_lifetime
                ping_failed_counts_failed_pings
                wait_count_counts_every_get_that_waits_at_max_size
                wait_time_adds_up_the_time_of_all_waits
            }
        }
    };
}

pub(crate) use go_parity_on;
