//! Names that nobody can guess.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    loop {
        match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
            // As few bytes never come in part (getrandom(2)).
            Ok(_) => return Ok(bytes),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// With which a generator of numbers begins that need not be secret.
pub fn random_seed() -> io::Result<u64> {
    random().map(u64::from_ne_bytes)
}

/// 128 random bits in hexadecimal.
pub fn new_id() -> io::Result<String> {
    let bytes = random::<16>()?;
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    Ok(bytes.iter().fold(String::new(), hex))
}
