//! Numbers as text, without `fmt`.

/// Writes a number in decimal behind the end of `out`.
pub fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A number as sixteen hexadecimal digits.
pub fn hex(number: u64) -> [u8; 16] {
    let digit = |index: usize| b"0123456789abcdef"[(number >> (60 - 4 * index) & 15) as usize];
    std::array::from_fn(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_fmt_writes_them() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            out.push(b' ');
            out.extend(hex(number));
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("{number} {number:016x}")
            );
        }
    }
}
