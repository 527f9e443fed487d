//! Requests with another request hidden in them: a canary. Each is written so
//! that a reader who follows RFC 9112 finds the canary in a body, or refuses the
//! whole; who reads a field, a size or a line end too kindly finds a request.

use crate::http_corpus::PATH;

/// What must never reach a worker.
pub const CANARY: &str = "GET /odd/canary HTTP/1.1\r\nHost: h\r\n\r\n";

/// A mutation's name, and its bytes.
pub type Mutation = (String, Vec<u8>);

/// All mutations.
pub fn mutations() -> Vec<Mutation> {
    [
        codings_beside_a_length(),
        lengths_beside_a_coding(),
        lengths_alone(),
        chunk_sizes(),
        line_ends(),
    ]
    .concat()
}

fn post(fields: &[u8], body: &[u8]) -> Vec<u8> {
    let start = format!("POST {PATH} HTTP/1.1\r\nHost: h\r\n");
    [start.as_bytes(), fields, b"\r\n\r\n", body].concat()
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A right Content-Length over an empty chunked body and the canary: who reads
/// the coding takes the canary for a request.
fn codings_beside_a_length() -> Vec<Mutation> {
    let names: [&[u8]; 10] = [
        b"Transfer-Encoding",
        b"transfer-encoding",
        b"TRANSFER-ENCODING",
        b"Transfer_Encoding",
        b"Transfer-Encoding ",
        b" Transfer-Encoding",
        b"\tTransfer-Encoding",
        b"X: y\r\n Transfer-Encoding",
        b"Transfer-Encoding\0",
        b"Transfer\xadEncoding",
    ];
    let values: [&[u8]; 12] = [
        b" chunked",
        b"chunked",
        b"\tchunked",
        b" Chunked",
        b" chunked ",
        b" \x0bchunked",
        b" xchunked",
        b" chunked;a=1",
        b" identity, chunked",
        b" \"chunked\"",
        b"\r\n chunked",
        b" chunk\xc3\xa9d",
    ];
    let body = format!("0\r\n\r\n{CANARY}");
    let mut mutations = Vec::new();
    for name in names {
        for value in values {
            let coding = [name, b":", value].concat();
            let length = format!("Content-Length: {}", body.len());
            for fields in [
                [length.as_bytes(), b"\r\n", &coding].concat(),
                [&coding, &b"\r\n"[..], length.as_bytes()].concat(),
            ] {
                mutations.push((shown(&fields), post(&fields, body.as_bytes())));
            }
        }
    }
    mutations
}

/// A right chunked body with the canary as its chunk: who reads the length finds
/// the canary right behind the size line.
fn lengths_beside_a_coding() -> Vec<Mutation> {
    let body = format!("{:x}\r\n{CANARY}\r\n0\r\n\r\n", CANARY.len());
    let names = [
        "Content-Length",
        "content-length",
        "Content_Length",
        "Content-Length ",
        " Content-Length",
        "X-Content-Length",
    ];
    let values = ["4", "+4", " 4", "04", "4, 4", "4.0"];
    let mut mutations = Vec::new();
    for name in names {
        for value in values {
            let length = format!("{name}: {value}");
            for fields in [
                format!("{length}\r\nTransfer-Encoding: chunked"),
                format!("Transfer-Encoding: chunked\r\n{length}"),
            ] {
                mutations.push((fields.clone(), post(fields.as_bytes(), body.as_bytes())));
            }
        }
    }
    mutations
}

/// Lengths that are none, or two: who reads the wrong one, or none, finds the
/// canary.
fn lengths_alone() -> Vec<Mutation> {
    let whole = CANARY.len();
    let fields = [
        format!("Content-Length: {whole}\r\nContent-Length: 0"),
        format!("Content-Length: 0\r\nContent-Length: {whole}"),
        format!("Content-Length: 0, {whole}"),
        format!("Content-Length: +{whole}"),
        format!("Content-Length: -{whole}"),
        format!("Content-Length: 0x{whole:x}"),
        format!("Content-Length: {whole}_0"),
        format!("Content-Length: {whole}abc"),
        format!("Content-Length: \"{whole}\""),
        format!("Content-Length: {whole}\r\nContent-Length: {whole}"),
        format!("Content-Length : {whole}"),
        format!("Content-Length: {whole}\r\n\tX: y"),
        "Content-Length: 18446744073709551616".to_owned(),
        "Content-Length:".to_owned(),
    ];
    fields
        .map(|fields| (fields.clone(), post(fields.as_bytes(), CANARY.as_bytes())))
        .to_vec()
}

/// Last chunks that are none: who takes them for one finds the canary.
fn chunk_sizes() -> Vec<Mutation> {
    let sizes: [&[u8]; 26] = [
        b"0x0\r\n",
        b"+0\r\n",
        b"-0\r\n",
        b" 0\r\n",
        b"0 \r\n",
        b"\t0\r\n",
        b"0\t\r\n",
        b"\r\n",
        b"0_0\r\n",
        b"00000000000000000\r\n",
        b"0\n",
        b"0\r",
        b"0\r\r\n",
        b"0;\r\n",
        b"0;=\r\n",
        b"0;a=\r\n",
        b"0;\"\r\n",
        b"0;a=\"\r\n",
        b"0;a\nb\r\n",
        b"0;a\0\r\n",
        b"g\r\n",
        b"0,\r\n",
        b"0.0\r\n",
        b"\x0b0\r\n",
        b"0\0\r\n",
        b"'0'\r\n",
    ];
    let mut mutations = Vec::new();
    for size in sizes {
        for before in [&b""[..], b"5\r\nhello\r\n"] {
            let body = [before, size, b"\r\n", CANARY.as_bytes()].concat();
            let fields = b"Transfer-Encoding: chunked";
            mutations.push((
                format!("chunks {}", shown(&body[..body.len() - CANARY.len()])),
                post(fields, &body),
            ));
        }
    }
    for wrong in [
        &b"5\r\nhell\r\n"[..],
        b"5\r\nhelloo\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello",
        b"5\r\nhelloXX",
        b"0\r\nX\r\n",
        b"0\r\n X: y\r\n",
        b"0\r\nX: y\n",
    ] {
        let body = [wrong, b"0\r\n\r\n", CANARY.as_bytes()].concat();
        mutations.push((
            format!("chunks {}", shown(wrong)),
            post(b"Transfer-Encoding: chunked", &body),
        ));
    }
    mutations
}

/// Heads that end where they should not: who takes the end for one finds the
/// canary.
fn line_ends() -> Vec<Mutation> {
    let ends: [&[u8]; 10] = [
        b"\n\n",
        b"\r\n\n",
        b"\n\r\n",
        b"\r\r",
        b"\r\n\r\r\n",
        b"\r\n \r\n",
        b"\r\n\t\r\n",
        b"\r\n\0\r\n",
        b"\r\n\x0b\r\n",
        b"\n\r\r\n",
    ];
    let mut mutations = Vec::new();
    for end in ends {
        for start in [
            "GET /odd/describe/a/b HTTP/1.1\r\nHost: h",
            "GET /odd/describe/a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0",
        ] {
            let bytes = [start.as_bytes(), end, CANARY.as_bytes()].concat();
            mutations.push((
                shown(&bytes[start.len() - 7..start.len() + end.len()]),
                bytes,
            ));
        }
    }
    mutations
}
