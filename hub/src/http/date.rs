//! The Date field (RFC 9110 section 6.6.1), formatted once a second.

use std::fmt::Write;

use crate::clock;

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n` of the current second.
#[derive(Debug, Default)]
pub struct DateLine {
    second: u64,
    line: String,
}

impl DateLine {
    /// The line for now.
    pub fn now(&mut self) -> &[u8] {
        let second = clock::unix_seconds();
        if second != self.second || self.line.is_empty() {
            self.second = second;
            self.line.clear();
            write_imf_fixdate(&mut self.line, second);
        }
        self.line.as_bytes()
    }
}

fn write_imf_fixdate(line: &mut String, unix_seconds: u64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Civil date from days, counting years from March so that the leap day is
    // a year's last (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    write!(
        line,
        "Date: {}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT\r\n",
        DAYS[(days % 7) as usize],
        MONTHS[(month - 1) as usize],
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
    .expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (second, expected) in [
            (0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            (784_111_777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (951_782_400, "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n"),
            (1_735_689_599, "Date: Tue, 31 Dec 2024 23:59:59 GMT\r\n"),
            (4_107_542_400, "Date: Mon, 01 Mar 2100 00:00:00 GMT\r\n"),
        ] {
            let mut line = String::new();
            write_imf_fixdate(&mut line, second);
            assert_eq!(line, expected);
        }
    }
}
