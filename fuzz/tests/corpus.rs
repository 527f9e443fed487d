//! The corpus, and what a few thousand small changes make of it.

use std::path::Path;

use slotway_fuzz::TARGETS;

/// Changed copies of each file of the corpus.
const CHANGES_PER_FILE: u64 = 200;

fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries = std::fs::read_dir(folder).expect("the target has a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let bytes = std::fs::read(&path).expect("a file");
            (path.display().to_string(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Xorshift64*: a small generator of which every run makes the same numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

/// What framing hangs on.
const TELLING: &[u8] = b"\r\n :;,\t\0\"0aFx/.%-_\x7f\xff";

fn change(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len() + 1);
        let end = at + numbers.below(bytes.len() - at + 1).min(16);
        match numbers.below(5) {
            0 => bytes.insert(at, TELLING[numbers.below(TELLING.len())]),
            1 if at < bytes.len() => bytes[at] = TELLING[numbers.below(TELLING.len())],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let start = numbers.below(other.len() + 1);
                let end = start + numbers.below(other.len() - start + 1).min(40);
                bytes.splice(at..at, other[start..end].iter().copied());
            }
        }
    }
}

fn go_through(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let files = files(name);
    assert!(files.len() >= 20, "a corpus of {} files", files.len());
    for (_, bytes) in &files {
        (target.check)(bytes);
    }
    for (index, (path, bytes)) in files.iter().enumerate() {
        for seed in 1..=CHANGES_PER_FILE {
            let mut numbers = Numbers(seed << 32 | (index as u64 + 1));
            let mut changed = bytes.clone();
            let other = &files[numbers.below(files.len())].1;
            change(&mut changed, other, &mut numbers);
            // The output of a failed test says what it was.
            println!("{path}, seed {seed}: {}", changed.escape_ascii());
            (target.check)(&changed);
        }
    }
}

#[test]
fn any_request_head_holds() {
    go_through("request_head");
}

#[test]
fn any_chunked_body_holds() {
    go_through("chunk_decoder");
}

#[test]
fn any_answer_holds() {
    go_through("response_encoder");
}
