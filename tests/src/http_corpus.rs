//! Requests on which readers could disagree, and what must become of each: the
//! cases 1 to 68 of RFC 9110 and 9112 that are bytes on a connection. Behaviour
//! over time (dribbling, half-closing, pipelining) has tests of its own.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

/// What must become of a case's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Answered with one of these, and the connection serves what follows.
    Served(&'static [u16]),
    /// Answered with one of these, then closed; nothing that follows is read as
    /// a request.
    Last(&'static [u16]),
    /// Answered with one of these; whether the connection goes on is left open.
    Answered(&'static [u16]),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its number and what it is about, as the name of its test.
    pub name: &'static str,
    /// What the client sends.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub expect: Expect,
}

use Expect::{Answered, Last, Served};

/// A route of the worker that tests of the front end ask.
pub const PATH: &str = "/odd/describe/a/b";

const OK: Expect = Served(&[200]);
const BAD: Expect = Last(&[400]);

fn case(name: &'static str, bytes: impl AsRef<[u8]>, expect: Expect) -> Case {
    Case {
        name,
        bytes: bytes.as_ref().to_vec(),
        expect,
    }
}

/// A request line, and an ordinary rest.
fn line(name: &'static str, line: impl AsRef<[u8]>, expect: Expect) -> Case {
    case(
        name,
        [line.as_ref(), b"\r\nHost: h\r\n\r\n"].concat(),
        expect,
    )
}

/// Fields of a GET beside Host.
fn fields(name: &'static str, fields: impl AsRef<[u8]>, expect: Expect) -> Case {
    let start = format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n");
    case(
        name,
        [start.as_bytes(), fields.as_ref(), b"\r\n\r\n"].concat(),
        expect,
    )
}

/// All fields of a GET.
fn all_fields(name: &'static str, version: &str, fields: &str, expect: Expect) -> Case {
    case(
        name,
        format!("GET {PATH} HTTP/{version}\r\n{fields}\r\n"),
        expect,
    )
}

/// A POST with these fields and this body.
fn post(
    name: &'static str,
    fields: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
    expect: Expect,
) -> Case {
    let start = format!("POST {PATH} HTTP/1.1\r\nHost: h\r\n");
    let bytes = [
        start.as_bytes(),
        fields.as_ref(),
        b"\r\n\r\n",
        body.as_ref(),
    ]
    .concat();
    case(name, bytes, expect)
}

/// Another method with a body of five bytes.
fn with_body(name: &'static str, method: &str, statuses: &'static [u16]) -> Case {
    let head = format!("{method} {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    case(name, head + "hello", Served(statuses))
}

/// A POST with a chunked body.
fn chunks(name: &'static str, body: impl AsRef<[u8]>, expect: Expect) -> Case {
    post(name, "Transfer-Encoding: chunked", body, expect)
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        request_line(),
        field_lines(),
        lengths(),
        codings(),
        chunked_bodies(),
        persistence(),
    ]
    .concat()
}

fn request_line() -> Vec<Case> {
    let long = |bytes: usize| format!("GET {PATH}/{} HTTP/1.1", "x".repeat(bytes));
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

fn field_lines() -> Vec<Case> {
    let h = "GET /odd/describe/a/b HTTP/1.1\r\n";
    let over = |fields: String| format!("{h}Host: h\r\n{fields}\r\n");
    vec![
        fields("case_20_a_blank_before_the_colon", "X-A : b", BAD),
        fields("case_21_a_folded_field", "X-A: b\r\n c", BAD),
        case(
            "case_22_a_first_field_line_that_begins_with_a_blank",
            format!("{h} X-A: b\r\nHost: h\r\n\r\n"),
            BAD,
        ),
        fields("case_23_an_empty_field_name", ": b", BAD),
        fields("case_24_a_field_line_without_a_colon", "X-A", BAD),
        fields("case_25_a_field_name_that_is_no_token", "X(A): b", BAD),
        fields("case_25_a_field_name_with_a_high_byte", b"X-\xe9: b", BAD),
        fields("case_26_nul_in_a_value", "X-A: b\0c", BAD),
        fields("case_26_a_cr_in_a_value", "X-A: b\rc", BAD),
        fields("case_26_an_lf_in_a_value", "X-A: b\nc", BAD),
        fields("case_27_bel_in_a_value", "X-A: b\x07", BAD),
        fields("case_27_del_in_a_value", "X-A: b\x7f", BAD),
        fields("case_28_obs_text_in_a_value", b"X-A: \xe9\xff", OK),
        fields("case_29_an_empty_value", "X-A:", OK),
        fields(
            "case_30_blanks_and_tabs_around_a_value",
            "X-A: \t b \t ",
            OK,
        ),
        fields(
            "case_30_other_white_space_is_not_trimmed_from_a_length",
            b"Content-Length: 0\x85",
            BAD,
        ),
        case(
            "case_31_bare_lf_after_the_request_line",
            format!("GET {PATH} HTTP/1.1\nHost: h\r\n\r\n"),
            BAD,
        ),
        case(
            "case_31_bare_lf_after_a_field",
            format!("{h}Host: h\n\r\n"),
            BAD,
        ),
        case(
            "case_31_bare_lf_as_the_blank_line",
            format!("{h}Host: h\r\n\n"),
            BAD,
        ),
        case(
            "case_32_bare_cr_ends_no_line",
            format!("{h}Host: h\rX-A: b\r\n\r\n"),
            BAD,
        ),
        case(
            "case_32_cr_lf_cr_and_something_else",
            format!("{h}Host: h\r\n\rX: y\r\n\r\n"),
            BAD,
        ),
        case(
            "case_33_a_head_over_the_limit",
            over(format!("X-A: {}\r\n", "b".repeat(1000)).repeat(70)),
            Last(&[431]),
        ),
        case(
            "case_33_more_fields_than_the_limit",
            over("X-A: b\r\n".repeat(1000)),
            Last(&[431]),
        ),
        case(
            "case_33_a_name_over_the_limit",
            over(format!("{}: b\r\n", "X".repeat(70_000))),
            Last(&[431]),
        ),
        fields(
            "case_34_content_underscore_length_is_no_length",
            "Content_Length: 20",
            OK,
        ),
        fields(
            "case_34_transfer_underscore_encoding_is_no_coding",
            "Transfer_Encoding: chunked",
            OK,
        ),
        fields(
            "case_35_a_field_that_connection_names",
            "X-Auth: secret\r\nConnection: X-Auth",
            OK,
        ),
        fields(
            "case_35_connection_names_host",
            "X-Other: 192.0.2.1\r\nConnection: close, Host",
            BAD,
        ),
        fields(
            "case_35_connection_names_content_length",
            "X-Other: 192.0.2.1\r\nConnection: close, Content-Length",
            BAD,
        ),
        fields(
            "case_35_connection_names_cookie",
            "Cookie: 192.0.2.1\r\nConnection: close, Cookie",
            BAD,
        ),
        fields(
            "case_35_connection_names_authorization",
            "Authorization: 192.0.2.1\r\nConnection: close, Authorization",
            BAD,
        ),
        fields(
            "case_35_connection_names_forwarded",
            "Forwarded: 192.0.2.1\r\nConnection: close, Forwarded",
            BAD,
        ),
        fields(
            "case_35_connection_names_x_forwarded_for",
            "X-Forwarded-For: 192.0.2.1\r\nConnection: close, X-Forwarded-For",
            BAD,
        ),
        fields(
            "case_35_connection_names_x_forwarded_proto",
            "X-Forwarded-Proto: 192.0.2.1\r\nConnection: close, X-Forwarded-Proto",
            BAD,
        ),
        fields(
            "case_35_connection_names_x_real_ip",
            "X-Real-IP: 192.0.2.1\r\nConnection: close, X-Real-IP",
            BAD,
        ),
        fields(
            "case_35_connection_names_via",
            "Via: 192.0.2.1\r\nConnection: close, Via",
            BAD,
        ),
        fields(
            "case_35_connection_names_content_type",
            "Content-Type: 192.0.2.1\r\nConnection: close, Content-Type",
            BAD,
        ),
        all_fields("case_36_no_host_in_1_1", "1.1", "", BAD),
        all_fields(
            "case_37_no_host_in_1_0",
            "1.0",
            "Connection: keep-alive\r\n",
            OK,
        ),
        all_fields(
            "case_38_two_hosts_that_differ",
            "1.1",
            "Host: a\r\nHost: b\r\n",
            BAD,
        ),
        all_fields(
            "case_38_the_same_host_twice",
            "1.1",
            "Host: a\r\nHost: a\r\n",
            BAD,
        ),
        all_fields("case_39_an_empty_host", "1.1", "Host:\r\n", BAD),
        all_fields("case_39_a_host_with_userinfo", "1.1", "Host: u@h\r\n", BAD),
        all_fields("case_39_a_host_with_a_path", "1.1", "Host: h/p\r\n", BAD),
        all_fields(
            "case_39_a_host_with_an_encoded_nul",
            "1.1",
            "Host: h%00\r\n",
            BAD,
        ),
        all_fields(
            "case_39_a_host_with_an_encoded_slash",
            "1.1",
            "Host: h%2fa\r\n",
            BAD,
        ),
        all_fields(
            "case_39_two_hosts_in_one_field",
            "1.1",
            "Host: a,b\r\n",
            BAD,
        ),
        all_fields(
            "case_39_a_host_with_a_port_that_is_none",
            "1.1",
            "Host: h:8x\r\n",
            BAD,
        ),
        all_fields(
            "case_40_an_ipv6_literal_as_host",
            "1.1",
            "Host: [::1]:80\r\n",
            OK,
        ),
        all_fields(
            "case_40_a_host_in_upper_case_with_a_trailing_dot",
            "1.1",
            "Host: EXAMPLE.com.\r\n",
            OK,
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let length =
        |name, value: &str, expect| post(name, format!("Content-Length: {value}"), "hello", expect);
    vec![
        length("case_41_an_exact_length", "5", OK),
        post("case_42_a_length_of_0", "Content-Length: 0", "", OK),
        post("case_43_neither_length_nor_coding", "X-A: b", "", OK),
        length("case_44_a_length_with_plus", "+5", BAD),
        length("case_44_a_negative_length", "-5", BAD),
        length("case_44_minus_0", "-0", BAD),
        length("case_44_a_hexadecimal_length", "0x5", BAD),
        length("case_44_a_length_with_underscore", "1_0", BAD),
        length("case_44_a_length_with_a_blank_inside", "1 0", BAD),
        length("case_44_a_length_with_a_fraction", "5.0", BAD),
        length("case_44_a_length_of_letters", "abc", BAD),
        length("case_44_an_empty_length", "", BAD),
        length("case_45_leading_zeros_are_decimal", "005", OK),
        length(
            "case_46_a_length_of_2_to_the_63",
            "9223372036854775808",
            BAD,
        ),
        length("case_46_a_length_of_100_digits", &"9".repeat(100), BAD),
        length(
            "case_46_a_length_over_the_limit",
            "999999999999",
            Last(&[413]),
        ),
        post(
            "case_47_two_lengths_that_differ",
            "Content-Length: 5\r\nContent-Length: 6",
            "hello",
            BAD,
        ),
        post(
            "case_48_the_same_length_twice",
            "Content-Length: 5\r\nContent-Length: 5",
            "hello",
            BAD,
        ),
        length("case_48_a_list_of_lengths", "5, 5", BAD),
    ]
}

fn codings() -> Vec<Case> {
    const EMPTY: &str = "0\r\n\r\n";
    const UNKNOWN: Expect = Last(&[501, 400]);
    let coding = |name, value: &str, expect| {
        post(name, format!("Transfer-Encoding: {value}"), EMPTY, expect)
    };
    vec![
        post(
            "case_49_length_and_coding",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            EMPTY,
            BAD,
        ),
        post(
            "case_49_coding_and_length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            EMPTY,
            BAD,
        ),
        coding("case_50_xchunked", "xchunked", UNKNOWN),
        coding("case_50_identity", "identity", UNKNOWN),
        coding("case_50_gzip", "gzip", UNKNOWN),
        coding("case_51_chunked_then_gzip", "chunked, gzip", BAD),
        coding("case_51_gzip_then_chunked", "gzip, chunked", UNKNOWN),
        post(
            "case_52_two_coding_fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            EMPTY,
            BAD,
        ),
        coding("case_52_an_empty_element_before_chunked", ",chunked", BAD),
        coding("case_52_an_empty_element_behind_chunked", "chunked,", BAD),
        coding("case_52_chunked_twice", "chunked, chunked", BAD),
        coding("case_53_a_vertical_tab_before_chunked", "\x0bchunked", BAD),
        coding("case_53_nul_behind_chunked", "chunked\0", BAD),
        coding("case_53_chunked_in_quotes", "\"chunked\"", BAD),
        coding("case_53_chunked_with_a_parameter", "chunked;a=1", BAD),
        coding("case_54_chunked_in_upper_case", "CHUNKED", OK),
        case(
            "case_55_a_coding_in_http_1_0",
            format!("POST {PATH} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{EMPTY}"),
            BAD,
        ),
        with_body("case_57_a_get_with_a_body", "GET", &[200]),
        with_body("case_57_a_head_with_a_body", "HEAD", &[200]),
        with_body("case_57_a_delete_with_a_body", "DELETE", &[405]),
        with_body("case_57_options_with_a_body", "OPTIONS", &[200, 204, 405]),
    ]
}

fn chunked_bodies() -> Vec<Case> {
    const GET: &str = "GET /odd/describe/a/b HTTP/1.1";
    vec![
        chunks("case_58_one_chunk", "5\r\nhello\r\n0\r\n\r\n", OK),
        chunks(
            "case_58_many_chunks",
            "1\r\na\r\n".repeat(50) + "0\r\n\r\n",
            OK,
        ),
        chunks("case_58_no_chunk_at_all", "0\r\n\r\n", OK),
        chunks(
            "case_58_upper_case_size_with_leading_zeros",
            "00A\r\n0123456789\r\n000\r\n\r\n",
            OK,
        ),
        chunks("case_59_a_size_with_0x", "0x5\r\nhello\r\n0\r\n\r\n", BAD),
        chunks("case_59_a_size_with_plus", "+5\r\nhello\r\n0\r\n\r\n", BAD),
        chunks("case_59_a_negative_size", "-5\r\nhello\r\n0\r\n\r\n", BAD),
        chunks(
            "case_59_a_size_with_underscore",
            "1_0\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_59_a_blank_before_the_size",
            " 5\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_59_a_blank_behind_the_size",
            "5 \r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks("case_59_an_empty_size_line", "\r\nhello\r\n0\r\n\r\n", BAD),
        chunks(
            "case_60_a_size_of_17_digits",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_60_a_size_over_the_limit",
            "fffffffffff\r\nhello\r\n0\r\n\r\n",
            Last(&[413]),
        ),
        chunks(
            "case_61_data_longer_than_its_size",
            "4\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_61_something_else_behind_the_data",
            "5\r\nhelloXX0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_62_bare_lf_behind_a_size",
            "5\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_62_bare_lf_in_an_extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_62_bare_lf_behind_the_data",
            "5\r\nhello\n0\r\n\r\n",
            BAD,
        ),
        chunks("case_62_bare_lf_ends_the_trailers", "0\r\nX: y\n\r\n", BAD),
        chunks("case_62_bare_lf_as_the_last_line", "0\r\n\n", BAD),
        chunks(
            "case_63_extensions",
            "5;a\r\nhello\r\n1;a=b\r\n!\r\n1;a=\"q;\\\"\"\r\n!\r\n0;z\r\n\r\n",
            OK,
        ),
        chunks(
            "case_63_white_space_in_extensions",
            "5; a=b\r\nhello\r\n1 ;a\t=\tb\r\n!\r\n0 ; z\r\n\r\n",
            OK,
        ),
        chunks("case_63_a_bare_semicolon", "5;\r\nhello\r\n0\r\n\r\n", BAD),
        chunks(
            "case_63_cr_in_an_extension",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_63_nul_in_an_extension",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            BAD,
        ),
        chunks(
            "case_64_extensions_of_more_than_16_kib",
            format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(17_000)),
            Last(&[400, 413, 431]),
        ),
        chunks(
            "case_64_extensions_of_more_than_16_kib_in_all",
            format!("1;{}\r\na\r\n", "a".repeat(1000)).repeat(20) + "0\r\n\r\n",
            Last(&[400, 413, 431]),
        ),
        chunks(
            "case_65_trailers_that_are_framing_fields",
            "5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\nHost: b\r\nAuthorization: c\r\n\r\n",
            OK,
        ),
        chunks(
            "case_66_trailers_over_the_limit",
            format!(
                "0\r\n{}\r\n",
                format!("X: {}\r\n", "a".repeat(1000)).repeat(70)
            ),
            Last(&[431]),
        ),
        chunks(
            "case_68_a_body_in_chunks_of_one_byte",
            "1\r\na\r\n".repeat(5_000) + "0\r\n\r\n",
            OK,
        ),
        chunks(
            "case_61_a_request_hidden_in_chunk_data",
            format!(
                "{:x}\r\n{GET}\r\nHost: h\r\n\r\n\r\n0\r\n\r\n",
                GET.len() + 13
            ),
            OK,
        ),
    ]
}

fn persistence() -> Vec<Case> {
    vec![
        fields(
            "case_69_close_ends_the_connection",
            "Connection: close",
            Last(&[200]),
        ),
        all_fields(
            "case_69_http_1_0_ends_the_connection",
            "1.0",
            "Host: h\r\n",
            Last(&[200]),
        ),
        all_fields(
            "case_69_http_1_0_with_keep_alive_goes_on",
            "1.0",
            "Host: h\r\nConnection: keep-alive\r\n",
            OK,
        ),
        post(
            "case_72_an_expectation_in_http_1_1",
            "Content-Length: 5\r\nExpect: 100-continue",
            "hello",
            OK,
        ),
        case(
            "case_72_an_expectation_in_http_1_0_is_ignored",
            format!(
                "POST {PATH} HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\nhello"
            ),
            OK,
        ),
        fields(
            "case_72_an_expectation_without_a_body_gets_no_100",
            "Expect: 100-continue",
            OK,
        ),
        fields(
            "case_73_an_unknown_expectation",
            "Expect: nonsense",
            Answered(&[200, 417]),
        ),
        fields(
            "case_75_an_unknown_upgrade_is_ignored",
            "Connection: upgrade\r\nUpgrade: nonsense",
            OK,
        ),
        all_fields(
            "case_75_an_upgrade_in_http_1_0_is_ignored",
            "1.0",
            "Host: h\r\nConnection: keep-alive, upgrade\r\nUpgrade: websocket\r\n",
            OK,
        ),
        post(
            "case_75_an_upgrade_with_a_body",
            "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5",
            "hello",
            OK,
        ),
    ]
}
