//! The HTTP front end over real sockets: every case of the corpus by name, on
//! each engine.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slotway_tests::ENGINES;
use slotway_tests::http::{self, Connection};
use slotway_tests::http_corpus::{Case, Expect, cases};
use slotway_tests::smuggling::{CANARY, mutations};
use slotway_tests::system::{HubPart, PATIENCE, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn start(io: &str) -> (HubPart, Part) {
    let hub = HubPart::start(program(), &["--io", io]);
    let worker = hub.start_worker("odd", "odd");
    (hub, worker)
}

/// Sends the pieces one after the other and then the canary, and reads to the
/// end. Returns the statuses of the final answers.
fn statuses(address: SocketAddr, pieces: &[&[u8]]) -> Vec<u16> {
    let mut connection = Connection::open(address);
    let method = String::from_utf8_lossy(pieces.concat().trim_ascii_start()).into_owned();
    let method = method.split(' ').next().unwrap_or_default().to_owned();
    let canary = CANARY.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        // The hub may have refused, and closed, already.
        let _ = connection.stream().write_all(piece);
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = connection
        .stream()
        .write_all(&[last, canary.as_bytes()].concat());
    let mut statuses = Vec::new();
    while let Ok(response) =
        connection.read_response(if statuses.is_empty() { &method } else { "GET" })
    {
        if response.status >= 200 {
            statuses.push(response.status);
        }
    }
    statuses
}

fn is_as_expected(statuses: &[u16], expect: Expect) -> bool {
    match (statuses, expect) {
        ([first, 200], Expect::Served(expected)) | ([first], Expect::Last(expected)) => {
            expected.contains(first)
        }
        ([first] | [first, 200], Expect::Answered(expected)) => expected.contains(first),
        _ => false,
    }
}

fn check(name: &str, io: &str) {
    let (hub, _worker) = start(io);
    let case = cases()
        .into_iter()
        .find(|case| case.name == name)
        .expect("a case of the corpus");
    let statuses = statuses(hub.address, &[&case.bytes]);
    assert!(
        is_as_expected(&statuses, case.expect),
        "{io} {name}: {statuses:?}, expected {:?}",
        case.expect
    );
    let seen = http::get(hub.address, "/odd/canaries").text();
    let expected = if statuses.len() == 2 { "1" } else { "0" };
    assert_eq!(seen, expected, "canaries that reached the worker");
}

/// A test on each engine for each named case.
macro_rules! named {
    ($($name:ident)*) => {
        mod on_uring { $(#[test] fn $name() { super::check(stringify!($name), "uring"); })* }
        mod on_uring_direct { $(#[test] fn $name() { super::check(stringify!($name), "uring-direct"); })* }
        mod on_epoll { $(#[test] fn $name() { super::check(stringify!($name), "epoll"); })* }
        const NAMED: &[&str] = &[$(stringify!($name)),*];
    };
}

named! {
    case_01_a_well_formed_get
    case_02_one_crlf_before_the_request
    case_02_many_crlf_before_the_request
    case_02_two_crlf_before_the_request
    case_03_two_spaces_in_the_request_line
    case_03_two_spaces_before_the_version
    case_04_a_tab_between_method_and_target
    case_05_a_space_before_the_method
    case_06_no_version
    case_07_http_1_2_is_served_as_1_1
    case_08_http_2_0
    case_08_http_9_9
    case_08_the_preface_of_http_2
    case_09_http_1_without_minor_version
    case_09_http_01_1
    case_09_http_in_lower_case
    case_09_a_space_within_the_version
    case_10_a_space_in_the_target
    case_11_a_fragment_in_the_target
    case_12_a_control_byte_in_the_target
    case_12_nul_in_the_target
    case_12_a_raw_high_byte_in_the_target
    case_13_an_empty_target
    case_14_absolute_form_with_another_host
    case_15_authority_form_without_connect
    case_15_connect_is_never_a_tunnel
    case_16_asterisk_with_get
    case_16_asterisk_with_options
    case_17_a_line_of_8000_bytes
    case_17_a_line_over_the_limit
    case_18_an_unknown_method
    case_18_a_known_method_without_a_route
    case_18_get_in_lower_case_is_another_method
    case_19_a_tls_hello
    case_19_binary_noise
    case_19_a_tls_hello_without_a_line_end
    case_19_a_bare_cr_in_the_first_line
    case_19_a_bad_line_that_is_finished
    case_20_a_blank_before_the_colon
    case_21_a_folded_field
    case_22_a_first_field_line_that_begins_with_a_blank
    case_23_an_empty_field_name
    case_24_a_field_line_without_a_colon
    case_25_a_field_name_that_is_no_token
    case_25_a_field_name_with_a_high_byte
    case_26_nul_in_a_value
    case_26_a_cr_in_a_value
    case_26_an_lf_in_a_value
    case_27_bel_in_a_value
    case_27_del_in_a_value
    case_28_obs_text_in_a_value
    case_29_an_empty_value
    case_30_blanks_and_tabs_around_a_value
    case_30_other_white_space_is_not_trimmed_from_a_length
    case_31_bare_lf_after_the_request_line
    case_31_bare_lf_after_a_field
    case_31_bare_lf_as_the_blank_line
    case_32_bare_cr_ends_no_line
    case_32_cr_lf_cr_and_something_else
    case_33_a_head_over_the_limit
    case_33_more_fields_than_the_limit
    case_33_a_name_over_the_limit
    case_34_content_underscore_length_is_no_length
    case_34_transfer_underscore_encoding_is_no_coding
    case_35_a_field_that_connection_names
    case_35_connection_names_host
    case_35_connection_names_content_length
    case_35_connection_names_cookie
    case_35_connection_names_authorization
    case_35_connection_names_forwarded
    case_35_connection_names_x_forwarded_for
    case_35_connection_names_x_forwarded_proto
    case_35_connection_names_x_real_ip
    case_35_connection_names_via
    case_35_connection_names_content_type
    case_36_no_host_in_1_1
    case_37_no_host_in_1_0
    case_38_two_hosts_that_differ
    case_38_the_same_host_twice
    case_39_an_empty_host
    case_39_a_host_with_userinfo
    case_39_a_host_with_a_path
    case_39_two_hosts_in_one_field
    case_39_a_host_with_a_port_that_is_none
    case_39_a_host_with_an_encoded_nul
    case_39_a_host_with_an_encoded_slash
    case_40_an_ipv6_literal_as_host
    case_40_a_host_in_upper_case_with_a_trailing_dot
    case_41_an_exact_length
    case_42_a_length_of_0
    case_43_neither_length_nor_coding
    case_44_a_length_with_plus
    case_44_a_negative_length
    case_44_minus_0
    case_44_a_hexadecimal_length
    case_44_a_length_with_underscore
    case_44_a_length_with_a_blank_inside
    case_44_a_length_with_a_fraction
    case_44_a_length_of_letters
    case_44_an_empty_length
    case_45_leading_zeros_are_decimal
    case_46_a_length_of_2_to_the_63
    case_46_a_length_of_100_digits
    case_46_a_length_over_the_limit
    case_47_two_lengths_that_differ
    case_48_the_same_length_twice
    case_48_a_list_of_lengths
    case_49_length_and_coding
    case_49_coding_and_length
    case_50_xchunked
    case_50_identity
    case_50_gzip
    case_51_chunked_then_gzip
    case_51_gzip_then_chunked
    case_52_two_coding_fields
    case_52_chunked_twice
    case_52_an_empty_element_before_chunked
    case_52_an_empty_element_behind_chunked
    case_53_a_vertical_tab_before_chunked
    case_53_nul_behind_chunked
    case_53_chunked_in_quotes
    case_53_chunked_with_a_parameter
    case_54_chunked_in_upper_case
    case_55_a_coding_in_http_1_0
    case_57_a_get_with_a_body
    case_57_a_head_with_a_body
    case_57_a_delete_with_a_body
    case_57_options_with_a_body
    case_58_one_chunk
    case_58_many_chunks
    case_58_no_chunk_at_all
    case_58_upper_case_size_with_leading_zeros
    case_59_a_size_with_0x
    case_59_a_size_with_plus
    case_59_a_negative_size
    case_59_a_size_with_underscore
    case_59_a_blank_before_the_size
    case_59_a_blank_behind_the_size
    case_59_an_empty_size_line
    case_60_a_size_of_17_digits
    case_60_a_size_over_the_limit
    case_61_data_longer_than_its_size
    case_61_something_else_behind_the_data
    case_62_bare_lf_behind_a_size
    case_62_bare_lf_in_an_extension
    case_62_bare_lf_behind_the_data
    case_62_bare_lf_ends_the_trailers
    case_62_bare_lf_as_the_last_line
    case_63_extensions
    case_63_a_bare_semicolon
    case_63_cr_in_an_extension
    case_63_nul_in_an_extension
    case_64_extensions_of_more_than_16_kib
    case_64_extensions_of_more_than_16_kib_in_all
    case_65_trailers_that_are_framing_fields
    case_66_trailers_over_the_limit
    case_68_a_body_in_chunks_of_one_byte
    case_61_a_request_hidden_in_chunk_data
    case_63_white_space_in_extensions
    case_69_close_ends_the_connection
    case_69_http_1_0_ends_the_connection
    case_69_http_1_0_with_keep_alive_goes_on
    case_72_an_expectation_in_http_1_1
    case_72_an_expectation_in_http_1_0_is_ignored
    case_72_an_expectation_without_a_body_gets_no_100
    case_73_an_unknown_expectation
    case_75_an_unknown_upgrade_is_ignored
    case_75_an_upgrade_in_http_1_0_is_ignored
    case_75_an_upgrade_with_a_body
}

#[test]
fn every_case_of_the_corpus_has_its_named_test() {
    let all: Vec<_> = cases().iter().map(|case| case.name).collect();
    for name in &all {
        assert!(NAMED.contains(name), "{name} is not listed");
    }
    assert_eq!(all.len(), NAMED.len());
}

/// Runs `work` on every item, on some threads.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

#[test]
fn every_case_cut_at_every_byte_has_the_same_outcome() {
    // Long ones at some places, spread over their whole length.
    let cuts_of = |case: &Case| -> Vec<usize> {
        let length = case.bytes.len();
        let step = (length / 200).max(1);
        (1..length).step_by(step).collect()
    };
    let all: Vec<_> = cases()
        .into_iter()
        .flat_map(|case| {
            cuts_of(&case)
                .into_iter()
                .map(move |cut| (case.clone(), cut))
                .collect::<Vec<_>>()
        })
        .collect();
    for io in ENGINES {
        let (hub, _worker) = start(io);
        in_parallel(&all, |(case, cut)| {
            let (first, second) = case.bytes.split_at(*cut);
            let statuses = statuses(hub.address, &[first, second]);
            assert!(
                is_as_expected(&statuses, case.expect),
                "{io} {} cut at {cut}: {statuses:?}, expected {:?}",
                case.name,
                case.expect
            );
        });
    }
}

#[test]
fn a_canary_hidden_in_hundreds_of_framing_mutations_reaches_no_worker() {
    let all = mutations();
    assert!(all.len() >= 300, "{}", all.len());
    for io in ENGINES {
        let (hub, _worker) = start(io);
        in_parallel(&all, |(name, bytes)| {
            let mut stream = TcpStream::connect(hub.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answers = Vec::new();
            // A reset would hide nothing: the worker counts.
            let _ = stream.read_to_end(&mut answers);
            let answers = String::from_utf8_lossy(&answers).into_owned();
            // An interim response asks whether the client is still there.
            let interim_count = answers.matches("HTTP/1.1 100 Continue").count();
            let final_count = answers.matches("HTTP/1.1 ").count() - interim_count;
            assert!(final_count <= 1, "{io} {name}: {answers}");
        });
        assert_eq!(http::get(hub.address, "/odd/canaries").text(), "0", "{io}");
        // The count counts: without a mutation it is seen.
        assert_eq!(http::get(hub.address, "/odd/canary").status, 200);
        assert_eq!(http::get(hub.address, "/odd/canaries").text(), "1");
    }
}
