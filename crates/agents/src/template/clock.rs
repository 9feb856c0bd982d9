//! The time that a template may tell, written as Python's `strftime` writes it.

use minijinja::{Error, ErrorKind};

/// Seconds since 1970-01-01 00:00, without regard to time zones and leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant(pub i64);

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const DAY: i64 = 86_400;

impl Instant {
    /// The time by `format`.
    pub(super) fn format(self, format: &str) -> Result<String, Error> {
        let (days, second) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let name = MONTHS[month as usize - 1];
        let weekday = DAYS[days.rem_euclid(7) as usize];
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let (mut out, mut rest) = (String::new(), format.chars());
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match rest.next() {
                Some('Y') => out += &year.to_string(),
                Some('y') => out += &format!("{:02}", year.rem_euclid(100)),
                Some('m') => out += &format!("{month:02}"),
                Some('d') => out += &format!("{day:02}"),
                Some('B') => out += name,
                Some('b') => out += &name[..3],
                Some('A') => out += weekday,
                Some('a') => out += &weekday[..3],
                Some('H') => out += &format!("{hour:02}"),
                Some('I') => out += &format!("{:02}", (hour + 11) % 12 + 1),
                Some('M') => out += &format!("{minute:02}"),
                Some('S') => out += &format!("{:02}", second % 60),
                Some('p') => out += if hour < 12 { "AM" } else { "PM" },
                Some('%') => out.push('%'),
                other => {
                    let found = other.map(String::from).unwrap_or_default();
                    let allowed = "%Y %y %m %d %B %b %A %a %H %I %M %S %p %%";
                    let reason = format!("strftime_now: %{found} is not known, only {allowed}");
                    return Err(Error::new(ErrorKind::InvalidOperation, reason));
                }
            }
        }
        Ok(out)
    }
}

/// Year, month and day of a day since 1970-01-01. After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`:
/// years begin in March, so that the leap day is the last of one.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `datetime.datetime.fromtimestamp(n, datetime.UTC).strftime("%A %a %d %B %b %Y %y-%m %H %I:%M:%S %p %%")`.
    #[test]
    fn time_is_told_as_python_tells_it() {
        let told = |seconds| Instant(seconds).format("%A %a %d %B %b %Y %y-%m %H %I:%M:%S %p %%").unwrap();
        assert_eq!(told(0), "Thursday Thu 01 January Jan 1970 70-01 00 12:00:00 AM %");
        assert_eq!(told(1_709_210_096), "Thursday Thu 29 February Feb 2024 24-02 12 12:34:56 PM %");
        assert_eq!(told(1_773_043_507), "Monday Mon 09 March Mar 2026 26-03 08 08:05:07 AM %");
        assert_eq!(told(-1), "Wednesday Wed 31 December Dec 1969 69-12 23 11:59:59 PM %");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let told = Instant(0).format("%Q").unwrap_err().to_string();
        assert!(told.contains("%Q is not known, only %Y"), "{told}");
    }
}
