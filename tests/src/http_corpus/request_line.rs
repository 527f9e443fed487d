//! Cases of the request line.

use super::Expect::{Answered, Last, Served};
use super::{BAD, Case, OK, PATH, case, line};

/// All of them.
pub fn all() -> Vec<Case> {
    [
        request_lines_01_to_08(),
        request_lines_09_to_16(),
        request_lines_16_to_19(),
    ]
    .concat()
}

fn request_lines_01_to_08() -> Vec<Case> {
    vec![
        line(
            "case_01_a_well_formed_get",
            format!("GET {PATH} HTTP/1.1"),
            OK,
        ),
        case(
            "case_02_one_crlf_before_the_request",
            format!("\r\nGET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"),
            OK,
        ),
        case(
            "case_02_two_crlf_before_the_request",
            format!("\r\n\r\nGET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"),
            OK,
        ),
        case(
            "case_02_many_crlf_before_the_request",
            format!("\r\n\r\n\r\nGET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"),
            BAD,
        ),
        line(
            "case_03_two_spaces_in_the_request_line",
            format!("GET  {PATH} HTTP/1.1"),
            BAD,
        ),
        line(
            "case_03_two_spaces_before_the_version",
            format!("GET {PATH}  HTTP/1.1"),
            BAD,
        ),
        line(
            "case_04_a_tab_between_method_and_target",
            format!("GET\t{PATH} HTTP/1.1"),
            BAD,
        ),
        line(
            "case_05_a_space_before_the_method",
            format!(" GET {PATH} HTTP/1.1"),
            BAD,
        ),
        line("case_06_no_version", format!("GET {PATH}"), BAD),
        line(
            "case_07_http_1_2_is_served_as_1_1",
            format!("GET {PATH} HTTP/1.2"),
            OK,
        ),
        line(
            "case_08_http_2_0",
            format!("GET {PATH} HTTP/2.0"),
            Last(&[505]),
        ),
        line(
            "case_08_http_9_9",
            format!("GET {PATH} HTTP/9.9"),
            Last(&[505]),
        ),
        case(
            "case_08_the_preface_of_http_2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Last(&[400, 505]),
        ),
    ]
}

fn request_lines_09_to_16() -> Vec<Case> {
    vec![
        line(
            "case_09_http_1_without_minor_version",
            format!("GET {PATH} HTTP/1"),
            BAD,
        ),
        line("case_09_http_01_1", format!("GET {PATH} HTTP/01.1"), BAD),
        line(
            "case_09_http_in_lower_case",
            format!("GET {PATH} http/1.1"),
            BAD,
        ),
        line(
            "case_09_a_space_within_the_version",
            format!("GET {PATH} HTTP/ 1.1"),
            BAD,
        ),
        line(
            "case_10_a_space_in_the_target",
            format!("GET {PATH} x HTTP/1.1"),
            BAD,
        ),
        line(
            "case_11_a_fragment_in_the_target",
            format!("GET {PATH}#x HTTP/1.1"),
            BAD,
        ),
        line(
            "case_12_a_control_byte_in_the_target",
            format!("GET {PATH}\x01 HTTP/1.1"),
            BAD,
        ),
        line(
            "case_12_nul_in_the_target",
            format!("GET {PATH}\0 HTTP/1.1"),
            BAD,
        ),
        line(
            "case_12_a_raw_high_byte_in_the_target",
            b"GET /odd/describe/a/\xe9 HTTP/1.1",
            BAD,
        ),
        line("case_13_an_empty_target", "GET  HTTP/1.1", BAD),
        line(
            "case_14_absolute_form_with_another_host",
            format!("GET http://other:80{PATH} HTTP/1.1"),
            OK,
        ),
        line(
            "case_15_authority_form_without_connect",
            "GET h:80 HTTP/1.1",
            BAD,
        ),
        line(
            "case_15_connect_is_never_a_tunnel",
            "CONNECT h:80 HTTP/1.1",
            Answered(&[405, 501]),
        ),
        line("case_16_asterisk_with_get", "GET * HTTP/1.1", BAD),
    ]
}

fn request_lines_16_to_19() -> Vec<Case> {
    let long = |bytes: usize| format!("GET {PATH}/{} HTTP/1.1", "x".repeat(bytes));
    vec![
        line(
            "case_16_asterisk_with_options",
            "OPTIONS * HTTP/1.1",
            Served(&[200, 204]),
        ),
        line(
            "case_17_a_line_of_8000_bytes",
            long(8000 - 14 - PATH.len()),
            OK,
        ),
        line("case_17_a_line_over_the_limit", long(20_000), Last(&[414])),
        line(
            "case_18_an_unknown_method",
            format!("BREW {PATH} HTTP/1.1"),
            Served(&[501]),
        ),
        line(
            "case_18_a_known_method_without_a_route",
            format!("DELETE {PATH} HTTP/1.1"),
            Served(&[405]),
        ),
        line(
            "case_18_get_in_lower_case_is_another_method",
            format!("get {PATH} HTTP/1.1"),
            Served(&[501]),
        ),
        case(
            "case_19_a_tls_hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n",
            BAD,
        ),
        case(
            "case_19_a_tls_hello_without_a_line_end",
            b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03\x00\x01",
            BAD,
        ),
        case(
            "case_19_a_bare_cr_in_the_first_line",
            "GET / HTTP/1.1\rX",
            BAD,
        ),
        case(
            "case_19_a_bad_line_that_is_finished",
            "GET /\r\nHost: h\r\n",
            BAD,
        ),
        case(
            "case_19_binary_noise",
            b"\x80\x90\xff\x00\x01\x02\n\x00\xfe\r\n\r\n",
            BAD,
        ),
    ]
}
