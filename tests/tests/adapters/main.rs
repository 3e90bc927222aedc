//! What a client and a server do over loopback sockets: written once, run on each runtime.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod bodies;
mod clients;
mod endings;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/plain.rs"]
mod plain;
mod secure;
mod servers;
mod streams;
mod support;

/// Runs every test on every adapter.
macro_rules! on_each_runtime {
    ($($module:ident: $($test:ident)+;)+) => {
        mod on_tokio {
            $($(
                #[test]
                fn $test() {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(crate::support::in_time::<coap_tokio::TokioRuntime>(async {
                        crate::$module::$test::<coap_tokio::TokioRuntime>().await;
                    }));
                }
            )+)+
        }

        mod on_tokio_threads {
            $($(
                #[test]
                fn $test() {
                    let mut runtime = tokio::runtime::Builder::new_multi_thread();
                    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
                    runtime.block_on(crate::support::in_time::<coap_tokio::TokioRuntime>(async {
                        crate::$module::$test::<coap_tokio::TokioRuntime>().await;
                    }));
                }
            )+)+
        }

        mod on_async_std {
            $($(
                #[test]
                fn $test() {
                    async_std::task::block_on(crate::support::in_time::<coap_async_std::AsyncStdRuntime>(async {
                        crate::$module::$test::<coap_async_std::AsyncStdRuntime>().await;
                    }));
                }
            )+)+
        }
    };
}

on_each_runtime! {
    clients:
        every_method_reaches_its_handler
        options_and_payload_travel_both_ways
        a_name_is_looked_up_and_sent_as_uri_host
        a_name_without_address_says_so
        a_closed_client_does_not_wait_for_a_name
        the_next_address_is_tried_when_one_is_unreachable
        the_next_address_is_tried_when_one_is_silent
        what_must_be_secret_is_not_sent_in_the_clear
        a_ping_is_answered_by_any_endpoint
        a_closed_port_is_reported_at_once
        the_system_is_not_taken_for_the_network
        a_silent_group_is_waited_for_as_long_as_it_says
        a_request_can_be_non_confirmable
        silence_ends_in_no_ack_with_its_timing
        a_burst_beyond_the_backlog_waits_and_is_served
        an_ipv4_peer_reaches_a_server_on_all_addresses
        messages_can_be_watched;
    servers:
        path_parameters_and_queries_reach_the_handler
        errors_have_the_code_of_their_reason
        a_slow_handler_is_answered_separately_and_blocks_nobody
        a_handler_that_panics_is_5_00_and_the_server_goes_on
        bad_datagrams_do_not_end_the_server
        a_client_and_a_server_share_a_socket
        a_server_answers_on_each_of_its_sockets
        an_unspecified_address_means_this_machine
        a_datagram_that_is_too_long_is_dropped_and_counted
        a_response_that_is_too_large_is_5_00;
    bodies:
        a_long_body_reaches_its_handler_as_one
        a_reader_takes_a_body_as_it_comes
        a_response_is_sent_while_it_is_read
        a_long_response_goes_in_blocks
        a_change_is_told_from_any_thread;
    endings:
        a_dropped_request_is_not_repeated
        a_closed_client_ends_its_requests
        handles_that_are_gone_free_the_port
        a_shutdown_lets_handlers_finish
        a_shutdown_does_not_wait_for_ever
        a_shutdown_tells_everybody_who_waits
        a_server_whose_future_is_dropped_stops_serving
        a_wrong_route_is_an_error_of_serve
        a_zone_may_be_bound_to
        a_port_in_use_is_an_error_of_bind;
    streams:
        a_reader_is_sent_and_a_download_is_one
        a_download_that_breaks_is_never_taken_for_whole
        an_observer_is_told_and_the_server_of_its_end
        a_task_that_waits_for_a_state_is_woken_by_whoever_ends_it
        a_slow_reader_does_not_hold_up_a_response;
    secure:
        a_pre_shared_key_secures_a_request_and_says_who_asks
        certificates_secure_a_request_and_say_who_asks
        a_wrong_key_and_an_unknown_identity_look_alike
        an_authority_that_is_not_trusted_is_refused
        a_certificate_for_another_name_is_refused
        bodies_and_observations_travel_in_a_session
        a_session_is_kept_closed_and_made_anew
        each_secure_socket_has_credentials_of_its_own
        nothing_secure_is_asked_or_answered_in_the_clear
        a_handshake_that_nobody_answers_ends_in_time
        a_closed_port_is_reported_to_a_handshake
        the_next_address_is_tried_when_no_session_stands
        a_group_is_not_asked_securely
        a_plain_proxy_is_not_told_what_is_secret
        only_who_is_allowed_comes_in
        what_is_made_for_one_identity_is_told_to_no_other
        a_client_that_starts_anew_has_a_new_session
        a_server_that_starts_anew_is_found_again
        a_shutdown_closes_the_sessions
        links_found_in_a_session_are_secure;
}
