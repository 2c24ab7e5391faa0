//! Moments as users type them: milliseconds since 1970, or RFC 3339 (`2026-11-21T10:30:00Z`, a date alone is midnight
//! in UTC).

/// Milliseconds since 1970.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(milliseconds) = text.parse::<i64>() {
        return if milliseconds >= 0 { Ok(milliseconds) } else { Err(FORMS.to_owned()) };
    }
    rfc_3339(text).ok_or_else(|| FORMS.to_owned())
}

fn rfc_3339(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let mut fields = date.split('-');
    let (year, month, day) = (number(fields.next()?, 4)?, number(fields.next()?, 2)?, number(fields.next()?, 2)?);
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let (clock, shift_minutes) = split_zone(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut fields = clock.split(':');
    let (hour, minute) = (number(fields.next()?, 2)?, number(fields.next()?, 2)?);
    let second = fields.next().map_or(Some(0), |field| number(field, 2))?;
    // 60 is a leap second, which has no number of its own.
    if fields.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{fraction:0<3}");
    let milliseconds: i64 = digits.get(..3)?.parse().ok()?;
    let minutes = (days(year, month, day) * 24 + hour) * 60 + minute - shift_minutes;
    Some((minutes * 60 + second) * 1000 + milliseconds)
}

/// The clock and how many minutes it is ahead of UTC.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let minutes = number(hours, 2)? * 60 + number(minutes, 2)?;
    Some((clock, if zone.starts_with('-') { -minutes } else { minutes }))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of the Gregorian calendar: years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    before + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970
}

/// A moment as RFC 3339 has it, in UTC and to the second.
pub(super) fn show(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The inverse of `days`: eras of 400 years, which begin in March.
    let day = day + DAYS_TO_1970;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// From 0000-03-01.
const DAYS_TO_1970: i64 = 719_468;

const FORMS: &str = "milliseconds since 1970, or a moment like 2026-11-21T10:30:00Z or 2026-11-21T10:30:00+02:00";

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn what_is_shown_is_read_again() {
        for day in (-800_000..800_000).step_by(97) {
            let milliseconds = (day * 86_400 + 45_296) * 1000;
            let text = show(milliseconds);
            if text.len() == 20 && !text.starts_with('-') {
                assert_eq!(parse(&text), Ok(milliseconds), "{text}");
            }
        }
        assert_eq!(show(1_700_000_000_123), "2023-11-14T22:13:20Z");
        assert_eq!(show(951_782_400_000), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn moments_are_read() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14 22:13:20.5Z", 1_700_000_000_500),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
            ("2023-11-14T17:13:20.123456-05:00", 1_700_000_000_123),
            ("2023-11-14T22:13Z", 1_699_999_980_000),
            ("1969-12-31T23:59:59Z", -1000),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
        for wrong in [
            "",
            "-5",
            "now",
            "2023-11-14T22:13:20",
            "2023-02-29",
            "2023-13-01",
            "2023-11-14T24:00:00Z",
            "23-1-1",
            "2023-11-14T22:13:20.xZ",
            "2023-11-14T22:13:20+2",
            "2023-11-14-1",
            "2023-11-14T22:13:20+0200",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
