//! What the Go library promises whose system this is, each promise a test of its name, over real
//! TCP: <https://github.com/soyvural/connpool>. Written once, run on every runtime.
//!
//! A test target that includes this brings what `support` needs and, in its root, `RealRuntime`:
//! the adapter's own.

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

/// Makes a test of every promise, run by `$run`. The only list of them.
macro_rules! promises_on {
    ($run:path) => {
        $crate::support::tests! { $run; seed;
            pool {
                the_quick_start_runs
                a_name_can_be_given
                a_name_is_made_up_if_none_is_given
                the_factory_is_called_when_the_pool_has_to_grow
                a_pool_can_be_used_from_many_threads
            }
            settings {
                the_defaults_are_those_of_the_seed
                min_size_connections_are_open_when_build_returns
                a_min_size_of_zero_opens_nothing
                max_size_is_never_exceeded
                increment_is_how_many_are_opened_when_the_pool_grows
                a_pool_of_fixed_size_is_allowed_whatever_its_increment
                a_max_size_of_zero_is_an_error
                a_min_size_above_max_size_is_an_error
                an_increment_of_zero_is_an_error
            }
            limits {
                idle_timeout_closes_idle_connections_without_anybodys_get
                idle_timeout_replaces_an_idle_connection_on_get
                max_lifetime_closes_old_connections_without_anybodys_get
                max_lifetime_replaces_an_old_connection_on_get
                max_lifetime_counts_from_the_connect_however_busy_it_is
                a_tenth_of_jitter_spreads_lifetimes_and_never_lengthens_one
                without_limits_nothing_is_closed_for_its_age
                a_connection_in_use_is_left_alone_until_it_comes_back
            }
            get {
                an_idle_connection_is_lent_without_waiting
                getting_and_putting_back_allocates_nothing
                a_pool_grows_up_to_max_size
                at_max_size_a_get_waits_for_a_connection_to_come_back
                those_who_wait_are_served_in_their_order
                a_get_ends_at_its_deadline
                a_get_without_a_deadline_waits_for_ever
                a_get_can_be_cancelled_and_loses_nothing
                after_three_unhealthy_connections_a_new_one_is_opened
                who_may_not_wait_is_told_that_the_pool_is_exhausted
            }
            ping {
                ping_is_called_before_a_connection_is_lent
                a_new_connection_is_lent_without_a_ping
                by_default_a_ping_waits_until_the_last_use_is_a_second_ago
                a_connection_whose_ping_fails_is_discarded_and_another_is_tried
                without_a_ping_a_peer_is_asked_nothing
                the_checks_are_lifetime_then_idle_time_then_ping
                bytes_that_the_sample_ping_would_eat_are_found_and_never_lent
                a_dead_connection_is_found_without_the_sample_ping
                the_sample_ping_keeps_a_quiet_connection
            }
            put {
                a_connection_that_comes_back_is_lent_again
                a_connection_marked_unusable_is_destroyed_when_it_comes_back
                destroying_one_makes_room_for_another
                a_connection_that_comes_back_to_a_stopped_pool_is_destroyed
                coming_back_begins_the_idle_time_anew
                what_comes_back_beyond_max_idle_is_destroyed
                by_default_all_may_be_idle
            }
            evictor {
                it_finds_the_dead_without_anybodys_get
                it_replenishes_to_min_size
                it_keeps_min_size_while_lifetimes_end
                it_leaves_min_size_connections_idle_for_longer_than_idle_timeout
                it_runs_every_thirty_seconds_by_default
                without_an_interval_it_does_not_run
                a_get_while_it_runs_finds_the_pool_full
            }
            stop {
                stop_closes_every_connection
                stop_waits_for_what_is_out
                stop_wakes_everybody_who_waits
                a_get_after_stop_says_that_the_pool_is_closed
                stop_can_be_repeated
                a_pool_that_nobody_has_any_more_stops_by_itself
            }
            stats {
                size_is_all_connections_idle_and_active
                available_is_the_idle_connections
                active_is_the_connections_checked_out
                request_counts_every_get
                success_counts_every_get_that_got_one
                idle_closed_counts_those_over_idle_timeout
                lifetime_closed_counts_those_over_max_lifetime
                ping_failed_counts_those_whose_ping_failed
                wait_count_counts_every_get_that_waits_at_max_size
                wait_time_adds_up_what_they_waited
            }
        }
    };
}

pub(crate) use promises_on;
