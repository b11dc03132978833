//! The result as pictures for a design review: load per node, what moves from where to where, and the
//! ring, for each strategy, and an overview of all side by side.
//!
//! A picture is made as SVG, by code of our own; a PNG is that SVG, drawn with letters that are part of
//! the program, so that it looks alike on every machine.
//!
//! | file | what it does |
//! |---|---|
//! | `load`, `movement`, `ring`, `overview` | the pictures |
//! | `groups` | many nodes as few rows |
//! | `palette`, `svg` | colours and shapes |
//! | `raster` | PNG; the only file that names the renderer |
//! | `folder` | files, each replaced at once |

mod folder;
mod groups;
mod load;
mod movement;
mod overview;
mod palette;
mod raster;
mod ring;
mod svg;

pub use self::folder::Folder;
pub use self::raster::RenderError;

use self::palette::GREY;
use self::svg::{Style, Svg, fitted};
use super::{Experiment, Figures, Scenario, Trial};

/// How far from its due a load is still as it should be.
const TOLERANCE: f64 = 0.1;

/// A picture of figures, which is drawn but not yet rendered as PNG.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Picture {
    /// The name of its files, without an ending.
    pub name: String,
    /// The picture as SVG.
    pub svg: String,
    /// Its width in pixels of the SVG.
    pub width: f64,
    /// Its height, likewise.
    pub height: f64,
}

/// A picture in both formats.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rendered {
    /// The name of its files, without an ending.
    pub name: String,
    /// The picture as SVG.
    pub svg: String,
    /// The picture as PNG.
    pub png: Vec<u8>,
}

impl Picture {
    /// Draws the PNG, [`Picture::scale`] times as large as the SVG says.
    ///
    /// # Errors
    /// There is not enough memory for it.
    pub fn render(&self) -> Result<Rendered, RenderError> {
        let png = raster::png(&self.svg, self.scale())?;
        Ok(Rendered { name: self.name.clone(), svg: self.svg.clone(), png })
    }

    /// How many pixels of the PNG there are for one of the SVG, in each direction: two, so that small
    /// letters stay sharp, or fewer where it would be too large for common viewers.
    #[must_use]
    pub fn scale(&self) -> f64 {
        const PIXELS_MAX: f64 = 8192.0;
        (PIXELS_MAX / self.width.max(self.height)).min(2.0)
    }
}

/// A strategy that is drawn.
#[derive(Clone, Copy)]
struct Subject<'a> {
    /// What a person calls it.
    name: &'a str,
    /// What its files are called by.
    slug: &'a str,
    scenario: &'a Scenario,
    figures: &'a Figures,
}

/// All pictures: the overview, and three of each strategy that has figures (two where nothing changes).
#[must_use]
pub fn all(experiment: &Experiment, trials: &[Trial]) -> Vec<Picture> {
    let mut slugs: Vec<String> = Vec::new();
    for trial in trials {
        let slug = slug(&trial.name);
        // Names differ, and yet they may have the same letters and digits.
        let same = slugs.iter().filter(|it| **it == slug).count();
        slugs.push(if same == 0 { slug } else { format!("{slug}-{}", slugs.len()) });
    }
    let scenario = experiment.scenario();
    let subject = |(trial, slug)| {
        let Trial { name, outcome, .. }: &Trial = trial;
        let slug: &String = slug;
        outcome.as_ref().map(|figures| Subject { name, slug, scenario, figures })
    };
    let subjects: Vec<_> = trials.iter().zip(&slugs).map(subject).collect();
    let mut pictures = vec![overview::draw(scenario, trials, &subjects)];
    for subject in subjects.iter().flatten() {
        pictures.push(load::draw(subject));
        pictures.extend(movement::draw(subject));
        pictures.push(ring::draw(subject));
    }
    pictures
}

/// A picture of one strategy.
fn picture(subject: &Subject<'_>, kind: &str, svg: Svg) -> Picture {
    named(format!("{}-{kind}", subject.slug), svg)
}

fn named(name: String, svg: Svg) -> Picture {
    let (width, height) = svg.size();
    Picture { name, svg: svg.finish(), width, height }
}

/// The title of a strategy's picture, the scenario, and the picture's own facts.
fn heading(svg: &mut Svg, subject: &Subject<'_>, what: &str, facts: &str) {
    let (width, _) = svg.size();
    let title = fitted(&format!("{}: {what}", subject.name), 26.0, width - 60.0);
    svg.text((30.0, 42.0), Style::new(26.0).strong(), &title);
    let style = Style::new(16.0).colour(GREY);
    for (y, words) in [(72.0, &*asked(subject.scenario)), (95.0, facts)] {
        svg.text((30.0, y), style, &fitted(words, 16.0, width - 60.0));
    }
}

fn asked(scenario: &Scenario) -> String {
    let replicas = match scenario.replicas() {
        1 => String::new(),
        replicas => format!(", {replicas} replicas"),
    };
    let (nodes, partitions) = (scenario.nodes().len(), scenario.partitions().get());
    format!("{nodes} nodes, {partitions} partitions{replicas}")
}

/// A part in percent; a small one with more digits.
fn percent(share: f64) -> String {
    let digits = if share > 0.0 && share < 0.01 { 2 } else { 1 };
    format!("{:.digits$} %", share * 100.0)
}

/// A name as a file can have it: lower-case letters, digits and hyphens.
fn slug(name: &str) -> String {
    let name = name.strip_suffix(".wasm").unwrap_or(name);
    let letter = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
    let letters: String = name.chars().map(letter).collect();
    let words: Vec<&str> = letters.split('-').filter(|word| !word.is_empty()).collect();
    // A file's name has at most 255 bytes.
    let slug: String = words.join("-").chars().take(200).collect();
    if slug.is_empty() { "strategy".into() } else { slug }
}

#[cfg(test)]
mod tests {
    use kv_core::partition::PartitionCount;
    use resvg::tiny_skia::Pixmap;

    use super::*;
    use crate::Candidate;
    use kv_placement::Cache;

    /// The pictures of two strategies and one that fails.
    fn pictures(nodes: usize, partitions: u32) -> Vec<Picture> {
        let mut all = crate::nodes(0..nodes + 2);
        let joining = all.split_off(nodes);
        let leaving = vec![all[0].id.clone()];
        let partitions = PartitionCount::new(partitions).unwrap();
        let scenario = Scenario::new(all, joining, leaving, partitions, 1).unwrap();
        let ring = |config: &str| Candidate::new("consistent-hash".parse().unwrap(), config);
        let candidates = [Candidate::built_in("hrw").unwrap(), ring("points=1"), ring("<&>")];
        let current = vec![0; partitions.get() as usize];
        let experiment = Experiment::new(scenario).with_current(current);
        let trials = experiment.run(&candidates, &Cache::disabled()).unwrap();
        assert!(trials[2].outcome.is_err());
        super::all(&experiment, &trials)
    }

    #[test]
    fn every_picture_is_drawn_whatever_the_numbers() {
        for (nodes, partitions) in [(2, 1), (3, 16), (13, 1024), (41, 1024), (250, 16_384)] {
            let pictures = pictures(nodes, partitions);
            let mut names: Vec<&str> = pictures.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names[0], "overview");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 7, "{names:?}");
            // One size shows that the renderer takes these pictures.
            for picture in pictures.iter().filter(|_| partitions == 16) {
                let png = picture.render().unwrap().png;
                let pixels = Pixmap::decode_png(&png).unwrap();
                assert_eq!(f64::from(pixels.width()), (picture.width * picture.scale()).ceil());
                let ink = pixels.pixels().iter().filter(|it| it.red() < 0x40).count();
                assert!(ink > 1000, "{} has letters and shapes: {ink}", picture.name);
            }
        }
    }

    #[test]
    fn names_become_names_of_files() {
        assert_eq!(slug("./dir/Mine.wasm"), "dir-mine");
        assert_eq!(slug("consistent-hash points=64"), "consistent-hash-points-64");
        assert_eq!(slug("../.."), "strategy");
        assert_eq!(slug(&"x".repeat(500)).len(), 200);
    }
}
