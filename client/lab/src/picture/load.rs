//! The load of nodes: bars against their dues, or, of many nodes, a curve.

use std::fmt::Write as _;

use kv_placement::measure::Balance;

use super::palette::{BAD, FAINT, GOOD, GREY, INK, LITTLE, RULE, heat, ink_on};
use super::svg::{Anchor, Area, Style, Svg, fitted, text_width};
use super::{Picture, Subject, TOLERANCE, heading, picture};

/// The most nodes that have bars with their names.
const BARS_MAX: usize = 40;
/// The most that an axis shows; a higher bar is cut off, with its value written there.
const RATIO_SHOWN_MAX: f64 = 3.0;
const SIZE: (f64, f64) = (1200.0, 680.0);

/// A strategy's own picture.
pub(super) fn draw(subject: &Subject<'_>) -> Picture {
    let mut svg = Svg::new(SIZE.0, SIZE.1);
    let Balance { max, min, deviation, .. } = subject.figures.partitions;
    let mut facts = format!(
        "Load over what is due to each node's weight: at most {max:.3}, at least {min:.3}, standard \
         deviation {deviation:.3}"
    );
    if let Some(keys) = &subject.figures.keys {
        let _ = write!(facts, "; in keys at most {:.3}, at least {:.3}", keys.max, keys.min);
    }
    heading(&mut svg, subject, "load per node", &facts);
    let area = Area { x: 0.0, y: 120.0, width: SIZE.0, height: SIZE.1 - 170.0 };
    let top = axis_top([subject].into_iter());
    plot(&mut svg, area.inside(84.0, 10.0, 30.0, 82.0), subject, top, false);
    legend(&mut svg, (84.0, SIZE.1 - 26.0), subject.figures.keys.is_some());
    picture(subject, "load", svg)
}

/// The end of the axis that all these fit under.
pub(super) fn axis_top<'a>(subjects: impl Iterator<Item = &'a Subject<'a>>) -> f64 {
    let figures = subjects.map(|it| it.figures);
    let most = figures.flat_map(|it| [Some(&it.partitions), it.keys.as_ref()]).flatten();
    let most = most.map(|balance| balance.max).fold(1.0, f64::max);
    (most * 1.08).clamp(1.3, RATIO_SHOWN_MAX)
}

/// The axes and the plot between them, without a heading. `is_small` leaves out what only a large
/// picture has room for.
pub(super) fn plot(svg: &mut Svg, area: Area, subject: &Subject<'_>, top: f64, is_small: bool) {
    let axis = Axis { area, top };
    axis.draw(svg, is_small);
    let balance = &subject.figures.partitions;
    if balance.ratios.len() <= BARS_MAX {
        bars(svg, &axis, subject, is_small);
    } else {
        curve(svg, &axis, balance);
        if let Some(keys) = &subject.figures.keys {
            svg.stroke_path(&steps(&axis, &sorted(keys)), INK, 1.6);
        }
        ranks(svg, &axis, balance.ratios.len(), is_small);
        if !is_small {
            extremes(svg, &axis, subject);
        }
    }
    let due = axis.y(1.0);
    svg.dashed((area.x, due), (area.right(), due), INK, 1.6);
    svg.line((area.x, area.bottom()), (area.right(), area.bottom()), GREY, 1.0);
}

/// The place of ratios.
struct Axis {
    area: Area,
    top: f64,
}

impl Axis {
    fn y(&self, ratio: f64) -> f64 {
        self.area.bottom() - self.area.height * (ratio / self.top).min(1.0)
    }

    fn draw(&self, svg: &mut Svg, is_small: bool) {
        let Area { x, y, width, height } = self.area;
        let (high, low) = (self.y(1.0 + TOLERANCE), self.y(1.0 - TOLERANCE));
        svg.rect(Area { x, y: high, width, height: low - high }, FAINT);
        let step = if self.top > 1.6 { 0.5 } else { 0.25 };
        let size = if is_small { 11.0 } else { 14.0 };
        let ticks = (self.top / step) as usize;
        for tick in 0..=ticks {
            let ratio = tick as f64 * step;
            let at = self.y(ratio);
            svg.line((x, at), (x + width, at), RULE, 0.7);
            let style = Style::new(size).anchor(Anchor::End);
            svg.text((x - 7.0, at + size * 0.36), style, &format!("{ratio:.2}"));
        }
        if !is_small {
            let style = Style::new(15.0).anchor(Anchor::Middle).turned(-90.0);
            svg.text((x - 58.0, y + height / 2.0), style, "load / what is due");
        }
    }
}

fn bars(svg: &mut Svg, axis: &Axis, subject: &Subject<'_>, is_small: bool) {
    let nodes = subject.scenario.nodes();
    let Balance { ratios, loads, .. } = &subject.figures.partitions;
    let slot = axis.area.width / ratios.len() as f64;
    let width = (slot * 0.72).min(90.0);
    for (index, ((ratio, load), node)) in ratios.iter().zip(loads).zip(nodes).enumerate() {
        let middle = axis.area.x + slot * (index as f64 + 0.5);
        let y = axis.y(*ratio);
        let bar = Area { x: middle - width / 2.0, y, width, height: axis.area.bottom() - y };
        svg.rect(bar, heat(*ratio));
        number(svg, axis, bar, *ratio, *load, is_small);
        if let Some(keys) = subject.figures.keys.as_ref().and_then(|keys| keys.ratios.get(index)) {
            svg.circle((middle, axis.y(*keys)), (slot / 8.0).clamp(2.5, 5.0), INK);
        }
        if !is_small {
            name(svg, axis, slot, middle, &node.id, node.weight);
        }
    }
    let below = axis.area.bottom() + if is_small { 16.0 } else { 68.0 };
    let words = if is_small { "nodes" } else { "nodes (weight); in the bars their partitions" };
    let style = Style::new(if is_small { 12.0 } else { 15.0 }).anchor(Anchor::Middle);
    svg.text((axis.area.x + axis.area.width / 2.0, below), style, words);
}

/// The number of partitions at the foot of a bar, where there is room, and the ratio above it where the
/// axis ends before it.
fn number(svg: &mut Svg, axis: &Axis, bar: Area, ratio: f64, load: u64, is_small: bool) {
    let middle = bar.x + bar.width / 2.0;
    let style = Style::new(13.0).anchor(Anchor::Middle);
    if ratio > axis.top {
        svg.text((middle, bar.y - 6.0), style.strong(), &format!("{ratio:.1}x"));
    }
    let count = load.to_string();
    if is_small || text_width(&count, 13.0) + 4.0 > bar.width {
        return;
    }
    match bar.height {
        ..24.0 => svg.text((middle, bar.y - 8.0), style, &count),
        _ => {
            svg.text((middle, axis.area.bottom() - 9.0), style.colour(ink_on(heat(ratio))), &count);
        }
    }
}

/// A node's name under its bar: level where there is room, or else on a slant.
fn name(svg: &mut Svg, axis: &Axis, slot: f64, middle: f64, id: &str, weight: u32) {
    let bottom = axis.area.bottom();
    let full = format!("{id} ({weight})");
    if text_width(&full, 13.0) <= slot {
        let style = Style::new(13.0).anchor(Anchor::Middle);
        svg.text((middle, bottom + 20.0), style, &full);
    } else {
        let style = Style::new(11.0).anchor(Anchor::End).turned(-35.0);
        svg.text((middle + 4.0, bottom + 13.0), style, &fitted(&full, 11.0, 66.0));
    }
}

/// Ratios from the highest to the lowest.
fn sorted(balance: &Balance) -> Vec<f64> {
    let mut ratios = balance.ratios.clone();
    ratios.sort_by(|a, b| b.total_cmp(a));
    ratios
}

/// One step for each ratio.
fn steps(axis: &Axis, ratios: &[f64]) -> String {
    let slot = axis.area.width / ratios.len() as f64;
    let mut data = String::new();
    for (index, ratio) in ratios.iter().enumerate() {
        let (from, to) = (index as f64 * slot, (index + 1) as f64 * slot);
        let (verb, y) = (if index == 0 { 'M' } else { 'L' }, axis.y(*ratio));
        // Writing to a String cannot fail.
        let _ = write!(data, "{verb}{:.2} {y:.2}H{:.2}", axis.area.x + from, axis.area.x + to);
    }
    data
}

/// The area under the sorted ratios. They are sorted, so each colour is one piece of it.
fn curve(svg: &mut Svg, axis: &Axis, balance: &Balance) {
    let ratios = sorted(balance);
    let slot = axis.area.width / ratios.len() as f64;
    for colour in [BAD, GOOD, LITTLE] {
        let Some(first) = ratios.iter().position(|ratio| heat(*ratio) == colour) else { continue };
        let count = ratios[first..].iter().take_while(|ratio| heat(**ratio) == colour).count();
        let x = axis.area.x + first as f64 * slot;
        let width = count as f64 * slot;
        let piece = Axis { area: Area { x, width, ..axis.area }, top: axis.top };
        let data = steps(&piece, &ratios[first..first + count]);
        let bottom = axis.area.bottom();
        svg.fill_path(&format!("{data}V{bottom:.2}H{x:.2}Z"), colour);
    }
}

fn ranks(svg: &mut Svg, axis: &Axis, count: usize, is_small: bool) {
    let Area { x, width, .. } = axis.area;
    let below = axis.area.bottom();
    let size = if is_small { 11.0 } else { 14.0 };
    for quarter in 0..=4 {
        let rank = (count * quarter / 4).max(1);
        let at = x + width * (rank as f64 - 0.5) / count as f64;
        svg.line((at, below), (at, below + 5.0), GREY, 1.0);
        let style = Style::new(size).anchor(Anchor::Middle);
        svg.text((at, below + 6.0 + size), style, &rank.to_string());
    }
    let style = Style::new(if is_small { 12.0 } else { 15.0 }).anchor(Anchor::Middle);
    let below = below + if is_small { 32.0 } else { 52.0 };
    svg.text((x + width / 2.0, below), style, "nodes, from the most to the least loaded");
}

/// Who has the most and who has the least.
fn extremes(svg: &mut Svg, axis: &Axis, subject: &Subject<'_>) {
    let Balance { ratios, loads, max, min, .. } = &subject.figures.partitions;
    let nodes = subject.scenario.nodes();
    let at = |wanted: f64| ratios.iter().position(|ratio| *ratio == wanted);
    let words = |index: usize| {
        format!("{}: {} partitions, {:.3}", nodes[index].id, loads[index], ratios[index])
    };
    if let Some(most) = at(*max) {
        let style = Style::new(14.0).strong();
        svg.text(
            (axis.area.x + axis.area.width / ratios.len() as f64 + 8.0, axis.y(*max) - 8.0),
            style,
            &words(most),
        );
    }
    if let Some(least) = at(*min) {
        let style = Style::new(14.0).anchor(Anchor::End).strong();
        svg.text((axis.area.right() - 4.0, axis.y(1.0 + TOLERANCE) - 10.0), style, &words(least));
    }
}

/// What the colours mean.
pub(super) fn legend(svg: &mut Svg, at: (f64, f64), has_keys: bool) {
    let (mut x, y) = at;
    let percent = TOLERANCE * 100.0;
    for (colour, words) in [
        (GOOD, format!("within {percent:.0} % of what is due")),
        (BAD, format!("more than {percent:.0} % above")),
        (LITTLE, format!("more than {percent:.0} % below")),
    ] {
        svg.rect(Area { x, y: y - 12.0, width: 14.0, height: 14.0 }, colour);
        svg.text((x + 20.0, y), Style::new(14.0), &words);
        x += 46.0 + text_width(&words, 14.0);
    }
    svg.dashed((x, y - 5.0), (x + 26.0, y - 5.0), INK, 1.6);
    svg.text((x + 32.0, y), Style::new(14.0), "due");
    if has_keys {
        svg.circle((x + 92.0, y - 5.0), 4.0, INK);
        svg.text((x + 104.0, y), Style::new(14.0), "in keys (of many nodes: the black line)");
    }
}
