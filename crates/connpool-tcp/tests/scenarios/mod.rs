//! What both adapters promise, over real TCP on the loopback interface: written once, run on every
//! runtime.
//!
//! A test target that includes this brings what `support` needs and, in its root, `unix`: the
//! adapter's `Io` around a Unix socket.

#[cfg(feature = "dyn")]
pub(crate) mod boxed;
pub(crate) mod checks;
pub(crate) mod connect;
pub(crate) mod faults;
pub(crate) mod idle;
pub(crate) mod lent;
pub(crate) mod many;
pub(crate) mod start;
#[cfg(unix)]
pub(crate) mod streams;
pub(crate) mod tasks;

/// Makes a test of every scenario, run by `$run`. The only list of them.
macro_rules! scenarios_on {
    ($run:path) => {
        $crate::support::tests! { $run; scenarios;
            start {
                the_quick_start_works
                a_pool_that_cannot_open_its_first_connections_is_not_built
                the_extension_traits_of_the_runtime_work_on_the_guard
                the_extension_traits_of_futures_lite_work_on_the_guard
                a_line_can_be_read_through_a_buffered_reader
                every_connection_made_is_accounted_for
            }
            idle {
                a_connection_closed_while_idle_is_replaced
                a_connection_reset_while_idle_is_replaced
                a_connection_with_garbage_is_replaced
                a_connection_with_garbage_and_then_closed_is_replaced
                a_connection_with_an_urgent_byte_is_replaced
                a_connection_whose_peer_only_stopped_writing_is_replaced
                a_dead_connection_among_good_ones_costs_only_itself
                a_quiet_connection_is_lent_again
            }
            many {
                two_hundred_dead_connections_are_all_replaced
                a_restarted_server_gets_new_connections_only
                two_hundred_dead_connections_are_found_without_anybody_asking
                no_dead_connection_is_hidden_from_a_sweep_in_one_go
                no_dead_connection_is_hidden_from_gets_in_one_go
                no_ended_stream_is_hidden_from_the_generic_look_in_one_go
            }
            lent {
                a_connection_closed_while_lent_and_not_used_is_not_lent_again
                a_connection_reset_while_lent_and_not_used_is_not_lent_again
                a_read_left_pending_is_not_lent_again
                a_write_left_pending_is_not_lent_again
                a_connection_whose_end_was_read_is_not_lent_again
                a_connection_that_failed_a_write_is_not_lent_again
                a_connection_that_was_shut_down_is_not_lent_again
                a_clean_request_and_reply_leave_the_connection_for_the_next
                a_reply_that_nobody_read_does_not_reach_the_next_user
                a_cancelled_exchange_spoils_the_connection
                a_marked_connection_is_not_lent_again
            }
            connect {
                a_refused_connect_says_what_refused_it
                a_name_that_does_not_exist_is_named
                an_address_without_a_port_is_named
                a_connect_that_hangs_is_a_timeout_and_the_pool_works_after
                a_connect_over_its_own_limit_is_a_timeout_and_frees_its_slot
                a_server_that_comes_back_is_found
                the_options_are_set_on_every_socket
            }
            checks {
                a_ping_that_is_answered_keeps_the_connection
                a_ping_that_is_answered_wrongly_replaces_it
                a_ping_that_is_not_answered_replaces_it
                a_ping_of_a_dead_connection_is_not_even_sent
                a_connection_over_its_lifetime_is_replaced
                a_connection_idle_for_too_long_is_closed
            }
            faults {
                a_peer_that_accepts_and_hangs_up_is_not_dialled_without_rest
                a_peer_that_accepts_and_resets_is_not_dialled_without_rest
                a_peer_that_refuses_is_not_dialled_without_rest
                a_ping_that_is_answered_byte_by_byte_is_out_of_time
                a_peer_that_hangs_up_when_it_is_pinged_is_replaced
            }
            tasks {
                a_guard_can_be_dropped_on_a_thread_without_a_runtime
                a_guard_can_be_dropped_after_the_pool
                a_detached_connection_goes_on_without_the_pool
                a_connection_can_be_had_in_a_task
                an_exchange_in_a_task_can_borrow
                tasks_share_fewer_connections_than_they_are
                a_cancelled_get_takes_nothing_along
                a_closed_pool_closes_its_sockets
            }
            #[cfg(unix)]
            streams {
                a_look_at_a_stream_leaves_it_clean
                a_pool_made_of_a_closure_keeps_clean_streams_and_no_others
                a_stream_whose_peer_is_gone_is_replaced
                a_stream_with_bytes_nobody_asked_for_is_replaced
                a_stream_left_half_read_is_not_lent_again
                no_ended_socket_is_hidden_from_a_look_in_the_kernel
            }
            #[cfg(feature = "dyn")]
            boxed {
                a_manager_without_its_type_works_the_same
            }
        }
    };
}

pub(crate) use scenarios_on;
