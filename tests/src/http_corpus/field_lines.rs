//! Cases of field lines.

use super::Expect::Last;
use super::{BAD, Case, OK, PATH, all_fields, case, fields};

/// All of them.
pub fn all() -> Vec<Case> {
    [
        fields_20_to_33(),
        fields_33_to_35(),
        fields_35_to_39(),
        fields_40_to_40(),
    ]
    .concat()
}

fn fields_20_to_33() -> Vec<Case> {
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
    ]
}

fn fields_33_to_35() -> Vec<Case> {
    let h = "GET /odd/describe/a/b HTTP/1.1\r\n";
    let over = |fields: String| format!("{h}Host: h\r\n{fields}\r\n");
    vec![
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
    ]
}

fn fields_35_to_39() -> Vec<Case> {
    vec![
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
    ]
}

fn fields_40_to_40() -> Vec<Case> {
    vec![
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
