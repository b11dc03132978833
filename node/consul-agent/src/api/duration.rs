//! Durations as Consul's API writes them, which is as the Go language does: `10s`, `1h30m`, `1.5ms`.

use std::time::Duration;

/// The longest duration that Go can hold: about 292 years.
const NANOS_MAX: u128 = i64::MAX as u128;

/// The units, the longer before those that are their beginning.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The duration that `text` describes. Negative ones are refused, since none makes sense here.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() || text.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, nanos_per_unit) = *UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        // Longer numbers are far out of range, or more exact than a nanosecond.
        let whole: u128 = if whole.is_empty() { 0 } else { number(whole, 20)? };
        let fraction = &fraction[..fraction.len().min(15)];
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part: u128 = if fraction.is_empty() { 0 } else { number(fraction, 15)? };
        nanos += whole * nanos_per_unit + part * nanos_per_unit / scale;
        if nanos > NANOS_MAX {
            return None;
        }
        rest = &after[unit.len()..];
    }
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str, length_max: usize) -> Option<u128> {
    if digits.len() > length_max { None } else { digits.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000),
            ("1500ms", 1_500),
            ("1h2m3s", 3_723_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1.s", 1_000),
            ("2000000ns", 2),
            ("3000us", 3),
            ("3000\u{b5}s", 3),
            ("1.000000000000000000000s", 1_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text:?}");
        }
        assert_eq!(parse("9223372036854775807ns").map(|d| d.as_nanos()), Some(NANOS_MAX));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            ".s",
            "-1s",
            "1 s",
            "1d",
            "10sx",
            "1s2",
            "zz",
            "1..2s",
            "\u{e9}",
            "9223372036854775808ns",
            "99999999999999999999999999999s",
            "2562048h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
