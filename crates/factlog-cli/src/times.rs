//! Times as text: RFC 3339 in UTC, and "five minutes ago".
//!
//! Knows: how times are written and read. Does not know: what they are the times of.

use std::str::FromStr;
use std::time::Duration;

use factlog::Timestamp;

const SECOND: u64 = 1_000_000;

/// RFC 3339 in UTC with six decimals: `2016-02-27T16:07:26.000000Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let micros = i64::try_from(at.micros()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.6}")
}

/// Whether `text` is a time as RFC 3339 writes it, with its offset from UTC.
pub fn is_rfc3339(text: &str) -> bool {
    has_shape(text.as_bytes()) && jiff::Timestamp::from_str(text).is_ok()
}

/// Date, `T`, time, an optional fraction and an offset; whether the numbers exist is not looked at.
fn has_shape(text: &[u8]) -> bool {
    let Some((fixed, rest)) = text.split_at_checked(19) else { return false };
    let fixed_fits = fixed.iter().zip(b"0000-00-00T00:00:00").all(|(have, want)| match want {
        b'0' => have.is_ascii_digit(),
        b'T' => matches!(have, b'T' | b't' | b' '),
        _ => have == want,
    });
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            fraction.get(digits..).unwrap_or_default()
        }
        None => rest,
    };
    fixed_fits
        && match rest {
            [b'Z' | b'z'] => true,
            [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|x| x.is_ascii_digit()),
            _ => false,
        }
}

/// A time as `--since` and `--until` take it: RFC 3339, a date (its first moment in UTC), or an age
/// (`90s`, `5m`, `2h`, `3d`, `1w`: that long before `now`).
///
/// # Errors
/// A sentence that names the three ways.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(age) = age(text) {
        return Ok(Timestamp::from_micros(now.micros().saturating_sub(age)));
    }
    if is_rfc3339(text) {
        let time = jiff::Timestamp::from_str(text).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        return Ok(from_jiff(time));
    }
    let first_moment = format!("{text}T00:00:00Z");
    if text.len() == 10 && is_rfc3339(&first_moment) {
        return parse(&first_moment, now);
    }
    Err("give a time (2026-01-31T12:00:00Z), a date (2026-01-31) or an age (90s, 5m, 2h, 3d)"
        .into())
}

/// As [`parse`], for the command line.
///
/// # Errors
/// As [`parse`].
pub fn parse_now(text: &str) -> Result<Timestamp, String> {
    parse(text, std::time::SystemTime::now().into())
}

fn from_jiff(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(u64::try_from(time.as_microsecond()).unwrap_or(0))
}

/// A length of time as the command line takes it: `90s`, `5m`, `2h`, `30d`, `4w`.
///
/// # Errors
/// A sentence with examples.
pub fn duration(text: &str) -> Result<Duration, String> {
    let micros = age(text).ok_or("give a length of time: 90s, 5m, 2h, 30d, 4w")?;
    Ok(Duration::from_micros(micros))
}

fn age(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => SECOND,
        b'm' => 60 * SECOND,
        b'h' => 3600 * SECOND,
        b'd' => 86_400 * SECOND,
        b'w' => 7 * 86_400 * SECOND,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    #[test]
    fn times_have_six_decimals_and_a_z() {
        assert_eq!(rfc3339(NOW), "2023-11-14T22:13:20.000000Z");
        assert_eq!(rfc3339(Timestamp::from_micros(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(Timestamp::from_micros(1)), "1970-01-01T00:00:00.000001Z");
        assert!(rfc3339(Timestamp::from_micros(u64::MAX)).starts_with("9999-12-"));
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for micros in [0, 1, 999_999, NOW.micros(), NOW.micros() + 123_456] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(parse(&rfc3339(at), NOW), Ok(at));
        }
    }

    #[test]
    fn rfc_3339_is_told_from_what_is_not() {
        let good = [
            "2016-02-27T16:07:26Z",
            "2016-02-27t16:07:26.5z",
            "2016-02-27T16:07:26.123456789+02:00",
            "1969-12-31 23:59:59-00:30",
        ];
        for text in good {
            assert!(is_rfc3339(text), "{text}");
        }
        let bad = [
            "",
            "2016-02-27",
            "2016-02-27T16:07:26",
            "2016-02-30T16:07:26Z",
            "2016-02-27T25:07:26Z",
            "2016-02-27T16:07:26.Z",
            "2016-02-27T16:07:26+0200",
            "2016-02-27T16:07:26Z[UTC]",
            "20160227T160726Z",
            "yesterday",
            "２016-02-27T16:07:26Z",
        ];
        for text in bad {
            assert!(!is_rfc3339(text), "{text}");
        }
    }

    #[test]
    fn ages_count_back_from_now() {
        let before = |seconds: u64| Ok(Timestamp::from_micros(NOW.micros() - seconds * SECOND));
        assert_eq!(parse("5m", NOW), before(300));
        assert_eq!(parse("2h", NOW), before(7200));
        assert_eq!(parse("1d", NOW), before(86_400));
        assert_eq!(parse("0s", NOW), before(0));
        assert_eq!(parse("99999999999999999999w", NOW), Ok(Timestamp::from_micros(0)));
        for text in ["m", "-5m", "5", "5 m", "1.5h", ""] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_first_moment() {
        assert_eq!(parse("2023-11-14", NOW), parse("2023-11-14T00:00:00Z", NOW));
        assert!(parse("2023-13-14", NOW).is_err());
        assert_eq!(parse("1960-01-01", NOW), Ok(Timestamp::from_micros(0)));
    }
}
