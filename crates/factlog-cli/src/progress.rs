//! How far long work has come: how much of how much, how fast, and how long it will take.
//!
//! Knows: the sentence. Does not know: the work, or where the sentence is shown.

use std::time::Duration;

use crate::output::{counted, grouped, sized};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Events,
    Segments,
}

/// Before so much time has passed a rate says nothing.
const LEAST: Duration = Duration::from_millis(500);

/// `12.0 MiB of 36.0 MiB, 4.0 MiB/s, 6 s left`; without a total only what is known.
pub fn told(unit: Unit, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let mut text = match (unit, total) {
        (Unit::Bytes, Some(total)) => format!("{} of {}", sized(done), sized(total)),
        (Unit::Bytes, None) => sized(done),
        (Unit::Events, Some(total)) => {
            format!("{} of {}", grouped(done), counted(total, "event"))
        }
        (Unit::Events, None) => counted(done, "event"),
        (Unit::Segments, Some(total)) => {
            format!("{} of {}", grouped(done), counted(total, "segment"))
        }
        (Unit::Segments, None) => counted(done, "segment"),
    };
    if done == 0 || elapsed < LEAST {
        return text;
    }
    let whole = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
    let (nanos, second) = (elapsed.as_nanos(), Duration::from_secs(1).as_nanos());
    let rate = whole(u128::from(done) * second / nanos);
    text += &match unit {
        Unit::Bytes => format!(", {}/s", sized(rate)),
        Unit::Events => format!(", {}/s", grouped(rate)),
        Unit::Segments => format!(", {:.1}/s", done as f64 / elapsed.as_secs_f64()),
    };
    if let Some(total) = total {
        let left = u128::from(total.saturating_sub(done)) * nanos / u128::from(done);
        text += &format!(", {} left", span(whole(left.div_ceil(second))));
    }
    text
}

/// A stretch of time, told by its two largest parts.
fn span(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {} min", minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_is_told_with_rate_and_remaining_time() {
        const MIB: u64 = 1 << 20;
        let table = [
            (Unit::Bytes, 0, Some(36 * MIB), 9.0, "0 B of 36.0 MiB"),
            (Unit::Bytes, 12 * MIB, Some(36 * MIB), 0.4, "12.0 MiB of 36.0 MiB"),
            (
                Unit::Bytes,
                12 * MIB,
                Some(36 * MIB),
                3.0,
                "12.0 MiB of 36.0 MiB, 4.0 MiB/s, 6 s left",
            ),
            (
                Unit::Bytes,
                36 * MIB,
                Some(36 * MIB),
                9.0,
                "36.0 MiB of 36.0 MiB, 4.0 MiB/s, 0 s left",
            ),
            // A file that grows while it is read.
            (Unit::Bytes, 2048, Some(1024), 1.0, "2.0 KiB of 1.0 KiB, 2.0 KiB/s, 0 s left"),
            (Unit::Bytes, 12 * MIB, None, 3.0, "12.0 MiB, 4.0 MiB/s"),
            (
                Unit::Events,
                1000,
                Some(181_000),
                1.0,
                "1,000 of 181,000 events, 1,000/s, 3 min 0 s left",
            ),
            (Unit::Events, 1, Some(1), 0.0, "1 of 1 event"),
            (
                Unit::Events,
                1000,
                Some(10_000_000),
                1.0,
                "1,000 of 10,000,000 events, 1,000/s, 2 h 46 min left",
            ),
            (Unit::Events, 7, None, 1.0, "7 events, 7/s"),
            (Unit::Segments, 1, Some(4), 2.0, "1 of 4 segments, 0.5/s, 6 s left"),
            (Unit::Segments, 0, Some(0), 2.0, "0 of 0 segments"),
        ];
        for (unit, done, total, elapsed, text) in table {
            assert_eq!(told(unit, done, total, Duration::from_secs_f64(elapsed)), text);
        }
    }
}
