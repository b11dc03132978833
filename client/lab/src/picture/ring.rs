//! The ring: all partitions around a circle, coloured by their owners, and which of them move.

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use kv_placement::StrategyNode;
use kv_placement::measure::Balance;

use super::palette::{BAD, Colour, FAINT, GOOD, GREY, INK, NODES, RULE, scale};
use super::svg::{Anchor, Area, Style, Svg, fitted};
use super::{Picture, Subject, heading, picture};
use crate::Scenario;

const SIZE: (f64, f64) = (1200.0, 920.0);
/// The most steps around the circle. Where there are more partitions, several stand behind another in
/// each step, from the outside to the inside.
const STEPS_MAX: usize = 512;
/// The most partitions behind another in one step. Where there are more, some are left out.
const DEPTH_MAX: usize = 16;
/// The most places around the circle whose moves are counted.
const BARS_MAX: usize = 256;

/// A strategy's own picture.
pub(super) fn draw(subject: &Subject<'_>) -> Picture {
    let mut svg = Svg::new(SIZE.0, SIZE.1);
    let partitions = subject.scenario.partitions().get() as usize;
    let shown = Shown::of(partitions);
    let depth = match (shown.depth, shown.every) {
        (1, _) => "one partition a step around the circle".to_owned(),
        (depth, 1) => {
            format!("in each step {depth} neighbours stand behind one another")
        }
        (_, every) => format!("of the owners, 1 in {every} is shown"),
    };
    let facts = format!("Partitions clockwise from the top; {depth}");
    heading(&mut svg, subject, "the ring", &facts);
    let area = Area { x: 20.0, y: 124.0, width: 780.0, height: 780.0 };
    plot(&mut svg, area, subject, false);
    legend(&mut svg, Area { x: 840.0, y: 170.0, width: 340.0, height: 700.0 }, subject);
    picture(subject, "ring", svg)
}

/// Which partitions are shown, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    steps: usize,
    depth: usize,
    /// One of so many is shown.
    every: usize,
}

impl Shown {
    /// All of these are powers of two, and their product is `partitions`.
    fn of(partitions: usize) -> Self {
        let steps = partitions.min(STEPS_MAX);
        let depth = (partitions / steps).min(DEPTH_MAX);
        Self { steps, depth, every: partitions / (steps * depth) }
    }

    /// The partition at a place.
    fn partition(self, step: usize, deep: usize) -> usize {
        (step * self.depth + deep) * self.every
    }
}

/// The rings without heading and legend: outside the owners, then what joining and leaving moves.
pub(super) fn plot(svg: &mut Svg, area: Area, subject: &Subject<'_>, is_small: bool) {
    let side = area.width.min(area.height);
    let centre = (area.x + area.width / 2.0, area.y + area.height / 2.0);
    let outer = side / 2.0 - 4.0;
    let shown = Shown::of(subject.scenario.partitions().get() as usize);
    let bands = [(1.0, 0.72), (0.66, 0.54), (0.50, 0.38)]
        .map(|(out, inside)| (outer * out, outer * inside));
    owners(svg, centre, bands[0], subject, shown);
    let Subject { scenario, figures, .. } = *subject;
    let after = [
        (scenario.after_join(), &figures.owners_after_join),
        (scenario.after_leave(), &figures.owners_after_leave),
    ];
    let mut longest = [0; 2];
    for (index, ((nodes, table), band)) in after.into_iter().zip(&bands[1..]).enumerate() {
        ring(svg, centre, *band, FAINT);
        if let (Some(nodes), Some(table)) = (nodes, table) {
            let moves = Moves::count(subject, &nodes, table);
            moves.draw(svg, centre, *band);
            longest[index] = moves.longest();
        }
    }
    if !is_small {
        let of = Moves::partitions_a_bar(scenario) * scenario.replicas() as usize;
        let lines = [
            "outer ring: owners".to_owned(),
            format!("middle: moves on the join, up to {} of {of}", longest[0]),
            format!("inner: moves on the leave, up to {} of {of}", longest[1]),
        ];
        let style = Style::new(13.0).anchor(Anchor::Middle).colour(GREY);
        for (line, words) in lines.iter().enumerate() {
            svg.text((centre.0, centre.1 - 14.0 + 22.0 * line as f64), style, words);
        }
    }
}

fn owners(
    svg: &mut Svg,
    centre: (f64, f64),
    band: (f64, f64),
    subject: &Subject<'_>,
    shown: Shown,
) {
    let replicas = subject.scenario.replicas() as usize;
    let count = subject.scenario.nodes().len();
    let thick = (band.0 - band.1) / shown.depth as f64;
    // One path for each owner, so that files stay small.
    let mut paths = vec![String::new(); count];
    for step in 0..shown.steps {
        for deep in 0..shown.depth {
            let first = subject.figures.owners[shown.partition(step, deep) * replicas];
            let far = band.0 - thick * deep as f64;
            let angle = (step, shown.steps);
            sector(&mut paths[first as usize], centre, (far, far - thick), angle);
        }
    }
    for (node, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        svg.fill_path(path, colour(node, count));
    }
}

/// A node's colour: its own where there are few nodes, otherwise its place on the scale.
fn colour(node: usize, count: usize) -> Colour {
    if count <= NODES.len() {
        return NODES[node];
    }
    scale(node as f64 / (count - 1) as f64)
}

/// How much moves at each place around the circle.
struct Moves {
    /// The replicas of partitions that move because their node comes or goes, and those that move
    /// needlessly, for each place.
    bars: Vec<[usize; 2]>,
}

impl Moves {
    /// How many partitions are in one place.
    fn partitions_a_bar(scenario: &Scenario) -> usize {
        (scenario.partitions().get() as usize).div_ceil(BARS_MAX)
    }

    fn count(subject: &Subject<'_>, after: &[StrategyNode], table: &[u32]) -> Self {
        let Subject { scenario, figures, .. } = *subject;
        let before = scenario.nodes();
        let places: HashMap<&str, u32> =
            (0..).zip(before).map(|(index, node)| (node.id.as_str(), index)).collect();
        // For each node afterwards, who it was before.
        let was: Vec<Option<u32>> =
            after.iter().map(|node| places.get(node.id.as_str()).copied()).collect();
        let mut stays = vec![false; before.len()];
        was.iter().flatten().for_each(|index| stays[*index as usize] = true);
        let replicas = scenario.replicas() as usize;
        let in_bar = Self::partitions_a_bar(scenario);
        let mut bars = vec![[0; 2]; (scenario.partitions().get() as usize).div_ceil(in_bar)];
        let partitions = figures.owners.chunks_exact(replicas).zip(table.chunks_exact(replicas));
        for (partition, (old, new)) in partitions.enumerate() {
            let new: Vec<Option<u32>> = new.iter().map(|owner| was[*owner as usize]).collect();
            let gained = new.iter().filter(|it| it.is_none_or(|it| !old.contains(&it)));
            let lost = old.iter().filter(|it| !new.contains(&Some(**it)));
            for (to, from) in gained.zip(lost) {
                let is_needless = to.is_some() && stays[*from as usize];
                bars[partition / in_bar][usize::from(is_needless)] += 1;
            }
        }
        Self { bars }
    }

    fn longest(&self) -> usize {
        self.bars.iter().map(|[asked, needless]| asked + needless).max().unwrap_or(0)
    }

    /// Bars from the inside of a band to the outside, of which the longest one fills it.
    fn draw(&self, svg: &mut Svg, centre: (f64, f64), (outer, inner): (f64, f64)) {
        let scale = (outer - inner) / self.longest().max(1) as f64;
        let (mut asked, mut needless) = (String::new(), String::new());
        for (step, bar) in self.bars.iter().enumerate() {
            let end = inner + bar[0] as f64 * scale;
            let angle = (step, self.bars.len());
            if bar[0] > 0 {
                sector(&mut asked, centre, (end, inner), angle);
            }
            if bar[1] > 0 {
                sector(&mut needless, centre, (end + bar[1] as f64 * scale, end), angle);
            }
        }
        for (path, colour) in [(asked, GOOD), (needless, BAD)] {
            if !path.is_empty() {
                svg.fill_path(&path, colour);
            }
        }
    }
}

/// Adds a piece of a ring to a path: one of so many steps around the circle.
fn sector(
    path: &mut String,
    centre: (f64, f64),
    (far, near): (f64, f64),
    (step, steps): (usize, usize),
) {
    let angle = |step: usize| TAU * step as f64 / steps as f64;
    // The straight sides of few and wide steps would be seen.
    let pieces = (64 / steps).max(1);
    let point = |radius: f64, piece: usize| {
        let (from, to) = (angle(step), angle(step + 1));
        let at = from + (to - from) * piece as f64 / pieces as f64;
        (centre.0 + radius * at.sin(), centre.1 - radius * at.cos())
    };
    let outward = (0..=pieces).map(|piece| point(far, piece));
    let back = (0..=pieces).rev().map(|piece| point(near, piece));
    for (index, (x, y)) in outward.chain(back).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    path.push('Z');
}

/// A plain band.
fn ring(svg: &mut Svg, centre: (f64, f64), (outer, inner): (f64, f64), colour: Colour) {
    let radius = f64::midpoint(outer, inner);
    let (left, right) = (centre.0 - radius, centre.0 + radius);
    let data = format!(
        "M{left:.1} {y:.1}A{radius:.1} {radius:.1} 0 1 1 {right:.1} {y:.1}A{radius:.1} {radius:.1} 0 1 1 {left:.1} {y:.1}Z",
        y = centre.1
    );
    svg.stroke_path(&data, colour, outer - inner);
}

fn legend(svg: &mut Svg, area: Area, subject: &Subject<'_>) {
    let nodes = subject.scenario.nodes();
    let Balance { loads, ratios, .. } = &subject.figures.partitions;
    let mut y = area.y;
    svg.text((area.x, y), Style::new(16.0).strong(), "Owners");
    if nodes.len() <= NODES.len() {
        let style = Style::new(13.0).colour(GREY).anchor(Anchor::End);
        svg.text((area.x + 230.0, y), style, "partitions");
        svg.text((area.x + 300.0, y), style, "over due");
    }
    y += 28.0;
    if nodes.len() <= NODES.len() {
        for (index, node) in nodes.iter().enumerate() {
            let swatch = Area { x: area.x, y: y - 13.0, width: 16.0, height: 16.0 };
            svg.rect(swatch, colour(index, nodes.len()));
            svg.frame(swatch, RULE, 0.6);
            svg.text((area.x + 26.0, y), Style::new(14.0), &fitted(&node.id, 14.0, 130.0));
            let style = Style::new(14.0).anchor(Anchor::End);
            svg.text((area.x + 230.0, y), style, &loads[index].to_string());
            svg.text((area.x + 300.0, y), style, &format!("{:.3}", ratios[index]));
            y += 25.0;
        }
        y += 24.0;
    } else {
        const STEPS: usize = 60;
        let step = area.width / STEPS as f64;
        for index in 0..STEPS {
            let colour = scale(index as f64 / (STEPS - 1) as f64);
            svg.rect(
                Area { x: area.x + step * index as f64, y, width: step + 0.3, height: 18.0 },
                colour,
            );
        }
        let ends = [nodes.first(), nodes.last()].map(|it| it.map_or("", |it| it.id.as_str()));
        svg.text((area.x, y + 38.0), Style::new(14.0), &fitted(ends[0], 14.0, 150.0));
        let style = Style::new(14.0).anchor(Anchor::End);
        svg.text((area.right(), y + 38.0), style, &fitted(ends[1], 14.0, 150.0));
        y += 84.0;
    }
    svg.text((area.x, y), Style::new(16.0).strong(), "Moves");
    for (colour, words) in
        [(GOOD, "asked for by the change"), (BAD, "needless: between nodes that stay")]
    {
        y += 27.0;
        svg.rect(Area { x: area.x, y: y - 13.0, width: 16.0, height: 16.0 }, colour);
        svg.text((area.x + 26.0, y), Style::new(14.0).colour(INK), words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_partitions_has_its_places() {
        for (partitions, steps, depth, every) in
            [(1, 1, 1, 1), (512, 512, 1, 1), (4096, 512, 8, 1), (65_536, 512, 16, 8)]
        {
            let shown = Shown::of(partitions);
            assert_eq!(shown, Shown { steps, depth, every });
            assert_eq!(shown.partition(steps - 1, depth - 1), partitions - every);
        }
    }
}
