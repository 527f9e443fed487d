//! What must hold of any bytes whatever: each function takes some and panics if
//! it does not. `just fuzz` lets libFuzzer look for such bytes (`libfuzzer`); the
//! ones it found worth keeping are in `corpus`, which `cargo test` goes through.
#![forbid(unsafe_code)]

mod chunk_decoder;
mod request_head;
mod response_encoder;

pub use chunk_decoder::chunk_decoder;
pub use request_head::request_head;
pub use response_encoder::response_encoder;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its function, of its fuzz target and of its folder in the corpus.
    pub name: &'static str,
    /// Panics if something does not hold of the bytes.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 3] = [
    Target {
        name: "request_head",
        check: request_head,
    },
    Target {
        name: "chunk_decoder",
        check: chunk_decoder,
    },
    Target {
        name: "response_encoder",
        check: response_encoder,
    },
];

/// Numbers that the bytes under test decide: where to cut, how much room there is.
struct Choices(u64);

impl Choices {
    fn from_bytes(bytes: &[u8]) -> Self {
        // FNV-1a: a byte more or less changes every choice.
        let hash =
            |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// From 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 32) % (most as u64 + 1)) as usize
    }
}
