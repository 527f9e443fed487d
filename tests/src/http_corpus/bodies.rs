//! Cases of body lengths, codings and chunks.

use super::Expect::Last;
use super::{BAD, Case, Expect, OK, PATH, case, chunks, post, with_body};

/// All of them.
pub fn all() -> Vec<Case> {
    [
        lengths_41_to_48(),
        codings_49_to_57(),
        chunked_bodies_58_to_62(),
        chunked_bodies_62_to_68(),
        chunked_bodies_61_to_61(),
    ]
    .concat()
}

fn lengths_41_to_48() -> Vec<Case> {
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

fn codings_49_to_57() -> Vec<Case> {
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

fn chunked_bodies_58_to_62() -> Vec<Case> {
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
    ]
}

fn chunked_bodies_62_to_68() -> Vec<Case> {
    vec![
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
    ]
}

fn chunked_bodies_61_to_61() -> Vec<Case> {
    const GET: &str = "GET /odd/describe/a/b HTTP/1.1";
    vec![chunks(
        "case_61_a_request_hidden_in_chunk_data",
        format!(
            "{:x}\r\n{GET}\r\nHost: h\r\n\r\n\r\n0\r\n\r\n",
            GET.len() + 13
        ),
        OK,
    )]
}
