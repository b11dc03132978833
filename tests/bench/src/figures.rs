//! Measurements, as figures and as tables.

use std::fmt::Write as _;
use std::time::Duration;

/// The middle one of some measurements; 0 where there are none.
pub fn median(measured: &[f64]) -> f64 {
    let mut sorted = measured.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The time within which `share` of the sorted `times` stay, in milliseconds.
pub fn percentile_ms(times: &[Duration], share: f64) -> f64 {
    let rank = (times.len() as f64 * share).ceil() as usize;
    let time = times.get(rank.saturating_sub(1).min(times.len().saturating_sub(1)));
    time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// A number of keys, or of keys per second, in groups of three digits.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lays out rows of cells under a title; all columns but the first are flush right.
pub fn table(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&header).chain(rows);
    let width = |column: usize| {
        lines().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let mut text = format!("## {title}\n");
    for row in lines() {
        text.push('\n');
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let cell =
                if column == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell}");
        }
    }
    text
}
