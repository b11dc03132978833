//! All strategies side by side: figures, load, movement and ring of each in a column.

use super::palette::{BAD, GREY, INK, RULE};
use super::svg::{Area, Style, Svg, fitted, wrapped};
use super::{Picture, Subject, asked, load, movement, named, ring};
use crate::trial::Problem;
use crate::{Figures, Scenario, Trial};

/// The legends need some room, however few strategies there are.
const WIDTH_MIN: f64 = 830.0;
const COLUMN: f64 = 340.0;
const LEFT: f64 = 24.0;
const TOP: f64 = 100.0;
/// Of one figure.
const LINE: f64 = 21.0;
const LOAD: f64 = 270.0;
const MATRIX: f64 = 336.0;
const RING: f64 = 370.0;
const BOTTOM: f64 = 80.0;

/// The picture of all trials; a strategy without figures has its error in its column.
pub(super) fn draw(
    scenario: &Scenario,
    trials: &[Trial],
    subjects: &[Result<Subject<'_>, &Problem>],
) -> Picture {
    let answered: Vec<&Subject<'_>> = subjects.iter().flatten().collect();
    let matrices = answered.iter().map(|it| movement::changes(it).len()).max().unwrap_or(0);
    let width = (LEFT * 2.0 + COLUMN * trials.len() as f64).max(WIDTH_MIN);
    let height = TOP + figures_height(&answered) + LOAD + MATRIX * matrices as f64 + RING + BOTTOM;
    let mut svg = Svg::new(width, height);
    let title = match trials {
        [_] => "1 strategy".to_owned(),
        _ => format!("{} strategies side by side", trials.len()),
    };
    svg.text((LEFT, 42.0), Style::new(26.0).strong(), &title);
    let changes = format!("{} join, {} leave", scenario.joining().len(), scenario.leaving().len());
    let words = format!("{}; {changes}", asked(scenario));
    svg.text((LEFT, 72.0), Style::new(16.0).colour(GREY), &words);
    let top = load::axis_top(answered.iter().copied());
    for (index, (trial, subject)) in trials.iter().zip(subjects).enumerate() {
        let x = LEFT + COLUMN * index as f64;
        let area = Area { x, y: TOP, width: COLUMN, height: height - TOP - BOTTOM };
        if index > 0 {
            svg.line((x, TOP), (x, area.bottom()), RULE, 1.0);
        }
        let name = fitted(&trial.name, 20.0, COLUMN - 30.0);
        svg.text((x + 16.0, TOP + 22.0), Style::new(20.0).strong(), &name);
        match subject {
            Ok(subject) => column(&mut svg, area, subject, (top, figures_height(&answered))),
            Err(problem) => failed(&mut svg, area, problem),
        }
    }
    let has_keys = answered.iter().any(|it| it.figures.keys.is_some());
    load::legend(&mut svg, (LEFT, height - 48.0), has_keys);
    movement::legend(&mut svg, (LEFT, height - 20.0), true);
    named("overview".into(), svg)
}

/// The height of the part with figures.
fn figures_height(answered: &[&Subject<'_>]) -> f64 {
    let lines = answered.iter().map(|it| facts(it.figures).len()).max().unwrap_or(0);
    54.0 + LINE * lines as f64
}

/// A strategy's column, with the end of its axis of load and the height of its figures.
fn column(svg: &mut Svg, area: Area, subject: &Subject<'_>, (top, figures): (f64, f64)) {
    let mut y = area.y + 50.0;
    for (name, value) in facts(subject.figures) {
        svg.text((area.x + 16.0, y), Style::new(14.0).colour(GREY), name);
        svg.text((area.x + 150.0, y), Style::new(14.0), &value);
        y += LINE;
    }
    let part = |y: f64, height: f64| Area { y, height, ..area };
    let mut y = area.y + figures;
    caption(svg, part(y, LOAD), "load per node", "over what is due");
    load::plot(svg, part(y, LOAD).inside(48.0, 44.0, 14.0, 44.0), subject, top, true);
    y += LOAD;
    for change in movement::changes(subject) {
        caption(svg, part(y, MATRIX), &change.title, &movement::words(&change, true));
        let matrix = part(y, MATRIX).inside(40.0, 58.0, 30.0, 14.0);
        movement::plot(svg, matrix, subject, &change, true);
        y += MATRIX;
    }
    caption(svg, part(y, RING), "the ring", "owners outside, then what join and leave move");
    ring::plot(svg, part(y, RING).inside(16.0, 44.0, 16.0, 6.0), subject, true);
}

/// What a part of a column is.
fn caption(svg: &mut Svg, area: Area, title: &str, words: &str) {
    let (x, width) = (area.x + 16.0, area.width - 24.0);
    svg.text((x, area.y + 14.0), Style::new(14.0).strong(), &fitted(title, 14.0, width));
    svg.text((x, area.y + 32.0), Style::new(12.0).colour(GREY), &fitted(words, 12.0, width));
}

/// A strategy in a few figures.
fn facts(figures: &Figures) -> Vec<(&'static str, String)> {
    let Figures { partitions, keys, spread, cost, .. } = figures;
    let mut facts = vec![
        ("most loaded", format!("{:.3} x due", partitions.max)),
        ("least loaded", format!("{:.3} x due", partitions.min)),
        ("deviation", format!("{:.3}", partitions.deviation)),
    ];
    if let Some(keys) = keys {
        facts.push(("most keys", format!("{:.3} x due", keys.max)));
    }
    if spread.possible > 1 {
        let words = format!("{} of {}, {} short", spread.fewest, spread.possible, spread.short);
        facts.push(("zones at least", words));
    }
    let native = cost.ratio().map_or_else(String::new, |times| format!(", {times:.2} x native"));
    facts.push(("table in", format!("{:.1} ms{native}", cost.wasm.as_secs_f64() * 1e3)));
    facts
}

fn failed(svg: &mut Svg, area: Area, problem: &Problem) {
    svg.text((area.x + 16.0, area.y + 52.0), Style::new(16.0).colour(BAD).strong(), "failed");
    let lines = wrapped(&problem.to_string(), 14.0, COLUMN - 32.0);
    for (index, line) in lines.iter().enumerate() {
        let y = area.y + 78.0 + 20.0 * index as f64;
        svg.text((area.x + 16.0, y), Style::new(14.0).colour(INK), line);
    }
}
