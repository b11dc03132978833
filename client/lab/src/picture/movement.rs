//! What moves: from which node to which, as a matrix, for each change.

use std::collections::HashMap;

use kv_placement::StrategyNode;
use kv_placement::measure::Movement;

use super::groups::{Group, grouped};
use super::palette::{BAD, FAINT, GOOD, GREY, INK, PAPER, RULE, ink_on, mixed};
use super::svg::{Anchor, Area, Style, Svg, fitted, text_width};
use super::{Picture, Subject, heading, percent, picture};

const PANEL: f64 = 640.0;
const TOP: f64 = 140.0;
/// The least width of a cell that has its number in it, in pixels.
const CELL_WITH_NUMBER: f64 = 27.0;
/// How much colour the smallest number has.
const TINT_MIN: f64 = 0.14;

/// A change with what it moves.
pub(super) struct Panel<'a> {
    pub(super) title: String,
    movement: &'a Movement,
    /// The nodes that get something, which are those afterwards.
    after: Vec<StrategyNode>,
    /// Whether moves between nodes that stay are needless: not where the strategy itself changes.
    has_needless: bool,
}

/// The changes of a strategy, as far as there are any.
pub(super) fn changes<'a>(subject: &Subject<'a>) -> Vec<Panel<'a>> {
    let Subject { scenario, figures, .. } = *subject;
    let named = |verb: &str, ids: Vec<&str>| match ids[..] {
        [id] => format!("{id} {verb}s"),
        _ => format!("{} nodes {verb}", ids.len()),
    };
    let mut changes = Vec::new();
    if let (Some(movement), Some(after)) = (&figures.join, scenario.after_join()) {
        let ids = scenario.joining().iter().map(|node| node.id.as_str()).collect();
        changes.push(Panel { title: named("join", ids), movement, after, has_needless: true });
    }
    if let (Some(movement), Some(after)) = (&figures.leave, scenario.after_leave()) {
        let ids = scenario.leaving().iter().map(String::as_str).collect();
        changes.push(Panel { title: named("leave", ids), movement, after, has_needless: true });
    }
    if let Some(movement) = &figures.migrate {
        let (title, after) = ("the cluster adopts it".to_owned(), scenario.nodes().to_vec());
        changes.push(Panel { title, movement, after, has_needless: false });
    }
    changes
}

/// A strategy's own picture; `None` if nothing changes.
pub(super) fn draw(subject: &Subject<'_>) -> Option<Picture> {
    let changes = changes(subject);
    if changes.is_empty() {
        return None;
    }
    let width = PANEL * changes.len().max(2) as f64;
    let mut svg = Svg::new(width, TOP + PANEL + 60.0);
    heading(&mut svg, subject, "what moves", "Replicas of partitions that change their node");
    for (index, change) in changes.iter().enumerate() {
        let area = Area { x: PANEL * index as f64, y: TOP, width: PANEL, height: PANEL };
        let summary = words(change, false);
        svg.text((area.x + 30.0, area.y + 6.0), Style::new(18.0).strong(), &change.title);
        svg.text((area.x + 30.0, area.y + 28.0), Style::new(15.0).colour(GREY), &summary);
        plot(&mut svg, area.inside(116.0, 136.0, 46.0, 0.0), subject, change, false);
    }
    legend(&mut svg, (30.0, TOP + PANEL + 34.0), changes.iter().any(|it| it.has_needless));
    Some(picture(subject, "movement", svg))
}

/// What a change moves, in words; `is_small` leaves out what the title of a column has no room for.
pub(super) fn words(change: &Panel<'_>, is_small: bool) -> String {
    let Movement { minimum, needless, total, .. } = *change.movement;
    let moved = format!("{} moves", percent(change.movement.share()));
    let needless = percent(needless as f64 / total.max(1) as f64);
    match (change.has_needless, change.movement.ratio()) {
        (false, _) => moved,
        (true, None) => format!("{moved}, nothing has to"),
        (true, Some(times)) if is_small => {
            format!("{moved}, {times:.2} x minimum; {needless} needless")
        }
        (true, Some(times)) => {
            let least = percent(minimum);
            format!("{moved}, {times:.2} x the minimum of {least}; {needless} needless")
        }
    }
}

/// How much goes from group to group, in rows of those from which.
fn cells(
    change: &Panel<'_>,
    before: &[StrategyNode],
    rows: &[Group],
    columns: &[Group],
) -> Vec<Vec<u64>> {
    fn places<'a>(groups: &[Group], nodes: &'a [StrategyNode]) -> HashMap<&'a str, usize> {
        let indexed = groups.iter().enumerate();
        indexed
            .flat_map(|(place, group)| group.nodes.iter().map(move |node| (place, *node)))
            .map(|(place, node)| (nodes[node].id.as_str(), place))
            .collect()
    }
    let (from, to) = (places(rows, before), places(columns, &change.after));
    let mut cells = vec![vec![0; columns.len()]; rows.len()];
    for flow in &change.movement.flows {
        if let (Some(row), Some(column)) = (from.get(&*flow.from), to.get(&*flow.to)) {
            cells[*row][*column] += flow.moved;
        }
    }
    cells
}

/// The matrix, without a heading.
pub(super) fn plot(
    svg: &mut Svg,
    area: Area,
    subject: &Subject<'_>,
    change: &Panel<'_>,
    is_small: bool,
) {
    let scenario = subject.scenario;
    let leaves = |id: &str| !change.after.iter().any(|node| node.id == id);
    let joins = |id: &str| scenario.joining().iter().any(|node| node.id == id);
    let rows = grouped(scenario.nodes(), leaves);
    let columns = grouped(&change.after, joins);
    let cells = cells(change, scenario.nodes(), &rows, &columns);
    let most = cells.iter().flatten().copied().max().unwrap_or(0);
    let side = area.width.min(area.height);
    let (wide, high) = (side / columns.len() as f64, side / rows.len() as f64);
    for (y, row) in cells.iter().enumerate() {
        for (x, count) in row.iter().enumerate() {
            let cell = Area {
                x: area.x + wide * x as f64,
                y: area.y + high * y as f64,
                width: wide,
                height: high,
            };
            let is_asked = rows[y].is_special || columns[x].is_special || !change.has_needless;
            let is_same = rows[y].nodes.len() == 1
                && columns[x].nodes.len() == 1
                && rows[y].label == columns[x].label;
            draw_cell(svg, cell, *count, most, if is_asked { GOOD } else { BAD }, is_same);
        }
    }
    outline(svg, area, side, &rows, &columns);
    labels(svg, area, side, (&rows, &columns), is_small);
}

fn draw_cell(
    svg: &mut Svg,
    cell: Area,
    count: u64,
    most: u64,
    full: super::palette::Colour,
    is_same: bool,
) {
    let part = count as f64 / most.max(1) as f64;
    let fill = match count {
        0 if is_same => FAINT,
        0 => PAPER,
        _ => mixed(PAPER, full, TINT_MIN + (1.0 - TINT_MIN) * part),
    };
    svg.rect(cell, fill);
    if cell.width.min(cell.height) >= 8.0 {
        svg.frame(cell, RULE, 0.5);
    }
    let size = if count > 999 { 10.5 } else { 12.5 };
    if count > 0
        && cell.width >= CELL_WITH_NUMBER.max(text_width("0000", size))
        && cell.height > 16.0
    {
        let style = Style::new(size).anchor(Anchor::Middle).colour(ink_on(fill));
        let middle = (cell.x + cell.width / 2.0, cell.y + cell.height / 2.0 + size * 0.36);
        svg.text(middle, style, &count.to_string());
    }
}

/// Lines around everything, and around those that come or go.
fn outline(svg: &mut Svg, area: Area, side: f64, rows: &[Group], columns: &[Group]) {
    svg.frame(Area { width: side, height: side, ..area }, GREY, 1.0);
    let (wide, high) = (side / columns.len() as f64, side / rows.len() as f64);
    for (index, _) in columns.iter().enumerate().filter(|(_, it)| it.is_special) {
        let x = area.x + wide * index as f64;
        svg.frame(Area { x, y: area.y, width: wide, height: side }, INK, 1.8);
    }
    for (index, _) in rows.iter().enumerate().filter(|(_, it)| it.is_special) {
        let y = area.y + high * index as f64;
        svg.frame(Area { x: area.x, y, width: side, height: high }, INK, 1.8);
    }
}

fn labels(
    svg: &mut Svg,
    area: Area,
    side: f64,
    (rows, columns): (&[Group], &[Group]),
    is_small: bool,
) {
    let size = if is_small { 11.0 } else { 15.0 };
    let middle = (area.x + side / 2.0, area.y + side / 2.0);
    let style = Style::new(size).anchor(Anchor::Middle);
    if is_small {
        svg.text((middle.0, area.y - 7.0), style, "to");
        svg.text((area.x - 7.0, middle.1), style.turned(-90.0), "from");
        return;
    }
    svg.text((middle.0, area.y - 84.0), style, "to");
    svg.text((area.x - 96.0, middle.1), style.turned(-90.0), "from");
    let (wide, high) = (side / columns.len() as f64, side / rows.len() as f64);
    // Letters are to be read, and so some of the names are left out where there are many.
    let every = |room: f64| (12.0 / room).ceil().max(1.0) as usize;
    let is_shown =
        |index: usize, group: &Group, every: usize| group.is_special || index.is_multiple_of(every);
    for (index, group) in columns.iter().enumerate() {
        if is_shown(index, group, every(wide)) {
            let at = (area.x + wide * (index as f64 + 0.5) + 4.0, area.y - 6.0);
            let style = Style::new(11.0).turned(-60.0);
            let style = if group.is_special { style.strong() } else { style };
            svg.text(at, style, &fitted(&group.label, 11.0, 80.0));
        }
    }
    for (index, group) in rows.iter().enumerate() {
        if is_shown(index, group, every(high)) {
            let at = (area.x - 6.0, area.y + high * (index as f64 + 0.5) + 4.0);
            let style = Style::new(11.0).anchor(Anchor::End);
            let style = if group.is_special { style.strong() } else { style };
            svg.text(at, style, &fitted(&group.label, 11.0, 84.0));
        }
    }
}

/// What the colours mean.
pub(super) fn legend(svg: &mut Svg, at: (f64, f64), has_needless: bool) {
    const STEPS: usize = 24;
    const STEP: f64 = 5.0;
    let (mut x, y) = at;
    let kinds =
        [(GOOD, "asked for by the change (pale: few)"), (BAD, "needless: between nodes that stay")];
    for (colour, words) in kinds.into_iter().take(1 + usize::from(has_needless)) {
        for step in 0..STEPS {
            let part = TINT_MIN + (1.0 - TINT_MIN) * step as f64 / STEPS as f64;
            let x = x + STEP * step as f64;
            let area = Area { x, y: y - 13.0, width: STEP + 0.3, height: 15.0 };
            svg.rect(area, mixed(PAPER, colour, part));
        }
        x += STEP * STEPS as f64 + 8.0;
        svg.text((x, y), Style::new(14.0), words);
        x += text_width(words, 14.0) + 30.0;
    }
}
