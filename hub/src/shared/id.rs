//! Names that nobody can guess.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits in hexadecimal.
pub fn new_id() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    loop {
        match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
            // As few bytes never come in part (getrandom(2)).
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    Ok(bytes.iter().fold(String::new(), hex))
}
