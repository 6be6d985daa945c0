//! Scenarios for all adapters over real TCP on the loopback interface: written once, run on every
//! runtime.
//!
//! The root of the test program provides `unix`, which wraps a Unix socket in the adapter's `Io`.

pub(crate) mod checks;
pub(crate) mod connect;
pub(crate) mod erased;
pub(crate) mod faults;
pub(crate) mod idle;
pub(crate) mod in_use;
pub(crate) mod life;
pub(crate) mod mass_disconnect;
pub(crate) mod start;
#[cfg(all(unix, not(connpool_portable)))]
pub(crate) mod streams;
pub(crate) mod tasks;

/// Defines a test for each scenario, run by `$run`. This is the only list.
macro_rules! scenarios_on {
    ($run:path) => {
        $crate::client::tests! { $run; scenarios;
            start {
                quick_start_works
                build_fails_without_its_first_connections
                runtime_extension_traits_work_on_the_guard
                futures_lite_extension_traits_work_on_the_guard
                line_can_be_read_through_a_buffered_reader
                every_opened_connection_is_accounted_for
            }
            idle {
                connection_closed_while_idle_is_replaced
                connection_reset_while_idle_is_replaced
                idle_connection_with_unsolicited_bytes_is_replaced
                idle_connection_with_unsolicited_bytes_before_its_end_is_replaced
                idle_connection_with_an_urgent_byte_is_replaced
                idle_connection_half_closed_by_its_peer_is_replaced
                dead_connection_among_healthy_ones_costs_only_itself
                quiet_connection_is_lent_again
                idle_connection_may_receive_bytes_if_allowed
                allowed_bytes_are_allowed_to_managers_that_connect_through_tcp
                end_behind_allowed_bytes_is_found
            }
            mass_disconnect {
                two_hundred_dead_connections_are_all_replaced
                restarted_server_gets_only_new_connections
                two_hundred_dead_connections_are_found_without_a_get
                cooperative_budget_hides_no_dead_connection_from_try_get
                cooperative_budget_hides_no_dead_connection_from_get
                cooperative_budget_hides_no_ended_stream_from_the_generic_probe
            }
            in_use {
                connection_closed_while_borrowed_and_unused_is_not_lent_again
                connection_reset_while_borrowed_and_unused_is_not_lent_again
                connection_with_a_pending_read_is_not_lent_again
                connection_with_a_pending_write_is_not_lent_again
                connection_whose_end_was_read_is_not_lent_again
                connection_with_a_failed_write_is_not_lent_again
                connection_that_was_shut_down_is_not_lent_again
                connection_is_reused_after_complete_exchanges
                unread_reply_does_not_reach_the_next_user
                cancelled_exchange_makes_the_connection_unusable
                marked_connection_is_not_lent_again
            }
            connect {
                refused_connect_names_the_address
                nonexistent_name_is_named_in_the_error
                address_without_a_port_is_named_in_the_error
                hanging_connect_is_a_timeout_and_the_pool_recovers
                connect_over_connect_timeout_frees_its_slot
                recovered_server_is_found
                socket_options_are_set_on_every_socket
                socket_can_be_set_up_before_the_connect
            }
            checks {
                answered_ping_keeps_the_connection
                wrongly_answered_ping_replaces_the_connection
                unanswered_ping_replaces_the_connection
                ping_is_not_sent_on_a_dead_connection
                connection_past_its_lifetime_is_replaced
                connection_past_idle_timeout_is_closed
            }
            faults {
                peer_that_accepts_and_closes_is_dialled_with_backoff
                peer_that_accepts_and_resets_is_dialled_with_backoff
                peer_that_refuses_is_dialled_with_backoff
                ping_answered_byte_by_byte_times_out
                connection_whose_peer_closes_on_ping_is_replaced
            }
            tasks {
                guard_can_be_dropped_on_a_thread_without_a_runtime
                guard_can_be_dropped_after_the_pool
                detached_connection_works_without_the_pool
                connection_can_be_borrowed_in_a_task
                exchange_in_a_task_can_borrow_locals
                tasks_share_fewer_connections_than_tasks
                cancelled_get_keeps_its_connection_in_the_pool
                closed_pool_closes_its_sockets
            }
            #[cfg(all(unix, not(connpool_portable)))]
            streams {
                liveness_probe_leaves_a_stream_clean
                io_fn_pool_reuses_only_clean_streams
                stream_closed_by_its_peer_is_replaced
                stream_with_unsolicited_bytes_is_replaced
                stream_with_a_pending_read_is_not_lent_again
                ended_socket_of_io_fn_is_found_by_the_kernel_probe
                ended_socket_of_socket_fn_is_found_by_the_kernel_probe
                ended_socket_below_another_stream_is_found_by_the_kernel_probe
                pool_of_sockets_without_a_stream_is_not_built
            }
            life {
                lock_of_a_given_up_transaction_is_released_without_another_get
                cancelled_requests_never_exceed_max_size_at_the_server
                slow_drop_never_blocks_a_thread_of_the_runtime
                lingering_close_waits_for_the_end_of_the_server
                lingering_close_ends_at_its_limit
                broken_connection_does_not_linger
            }
            erased {
                type_erased_manager_works_the_same
            }
        }
    };
}

pub(crate) use scenarios_on;
