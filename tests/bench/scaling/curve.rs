//! How figures grow with a size.

use kv_bench::figures::{grouped, table};
use kv_bench::journal::{Journal, Unit};

/// Some figures at several sizes.
pub(crate) struct Curve {
    title: &'static str,
    /// What the sizes count.
    of: &'static str,
    columns: Vec<(&'static str, Unit)>,
    points: Vec<(f64, Vec<f64>)>,
}

impl Curve {
    /// One without points.
    pub(crate) fn new(
        title: &'static str,
        of: &'static str,
        columns: &[(&'static str, Unit)],
    ) -> Self {
        Self { title, of, columns: columns.to_vec(), points: Vec::new() }
    }

    /// Adds the measurements at a size: a figure for each column.
    pub(crate) fn add(
        &mut self,
        journal: &mut Journal,
        size: usize,
        figures: Vec<f64>,
    ) -> anyhow::Result<()> {
        for ((name, unit), figure) in self.columns.iter().zip(&figures) {
            let work = format!("{}: {} {}", self.title, grouped(size as f64), self.of);
            journal.tell(&work, name, *figure, *unit)?;
        }
        self.points.push((size as f64, figures));
        Ok(())
    }

    /// A table with a row for each size, and under each column how it grows: the exponent that fits
    /// best. 0 is no growth, 1 is growth in proportion to the size.
    pub(crate) fn report(&self) -> String {
        let mut header = vec![self.of];
        header.extend(self.columns.iter().map(|(name, _)| *name));
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (size, figures) in &self.points {
            let mut row = vec![grouped(*size)];
            let figures = figures.iter().zip(&self.columns);
            row.extend(figures.map(|(figure, (_, unit))| unit.show(*figure)));
            rows.push(row);
        }
        let mut exponents = vec!["exponent".to_owned()];
        for column in 0..self.columns.len() {
            let points: Vec<_> = self.points.iter().map(|(size, it)| (*size, it[column])).collect();
            exponents.push(exponent(&points).map_or("-".to_owned(), |it| format!("{it:.2}")));
        }
        rows.push(exponents);
        table(self.title, &header, &rows)
    }
}

/// The slope of the line that fits the logarithms best; `None` if no line does.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logarithms = points.iter().map(|(x, y)| (*x > 0.0 && *y > 0.0).then(|| (x.ln(), y.ln())));
    let points = logarithms.collect::<Option<Vec<_>>>()?;
    let mean =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x_mean, y_mean) = (mean(|it| it.0), mean(|it| it.1));
    let rise: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let run: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (run > 0.0).then(|| rise / run)
}
