//! Cases of connections that stay or end.

use super::Expect::{Answered, Last};
use super::{Case, OK, PATH, all_fields, case, fields, post};

/// All of them.
pub fn all() -> Vec<Case> {
    [persistence_69_to_75()].concat()
}

fn persistence_69_to_75() -> Vec<Case> {
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
