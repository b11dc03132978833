//! Real text to store.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A real word list, where the machine has one (Debian's `wamerican`).
const WORDS: &str = "/usr/share/dict/words";
/// Real Unicode text, where the machine has some (Debian's `unicode-data`).
const UNICODE: &str = "/usr/share/unicode";
/// How many words are made up where there is no list.
const WORDS_MADE: usize = 20_000;
/// How much of each file of Unicode text is used, in lines.
const LINES_OF_FILE_MAX: usize = 500;

/// One record: key and value.
pub type Line = (String, String);

/// Words, each with the number of its line.
pub fn words() -> Vec<Line> {
    let list = fs::read_to_string(WORDS).unwrap_or_else(|_| made_words());
    let words = list.lines().filter(|line| !line.is_empty()).zip(1..);
    words.map(|(word, number): (&str, usize)| (word.to_owned(), number.to_string())).collect()
}

/// Lines of text in many scripts, each under its place.
pub fn unicode() -> Vec<Line> {
    let mut lines = Vec::new();
    for file in text_files(Path::new(UNICODE)) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate().take(LINES_OF_FILE_MAX) {
            lines.push((format!("{name}:{number}"), line.to_owned()));
        }
    }
    lines.extend(characters());
    lines
}

/// Characters of every script as keys and as values, in runs.
fn characters() -> Vec<Line> {
    let all: Vec<char> = ('\0'..=char::MAX).filter(|c| u32::from(*c) % 7 == 0).collect();
    let runs = all.chunks(60).map(|run| run.iter().collect::<String>());
    runs.map(|run| (run.clone(), run.chars().rev().collect())).collect()
}

fn made_words() -> String {
    let syllables = ["ka", "lo", "mi", "n\u{e4}", "\u{df}u", "ty", "\u{3b1}\u{3b2}", "\u{4e2d}"];
    let word = |mut number: usize| {
        let mut word = String::new();
        for _ in 0..5 {
            word.push_str(syllables[number % syllables.len()]);
            number /= syllables.len();
        }
        word
    };
    (0..WORDS_MADE).map(word).collect::<Vec<_>>().join("\n")
}

fn text_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// Records as the lines of an import, in their order.
pub fn ndjson(lines: &[Line]) -> String {
    let line =
        |(key, value): &Line| format!("{{\"key\":{},\"value\":{}}}\n", json(key), json(value));
    lines.iter().map(line).collect()
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// Checks that two texts have the same lines, in any order, byte for byte.
///
/// # Panics
/// Where they have not; the message names some lines that differ.
#[track_caller]
pub fn assert_same_lines(found: &str, expected: &str, what: &str) {
    let (found, expected) = (sorted(found), sorted(expected));
    if found == expected {
        return;
    }
    let (found_set, expected_set) = (set(&found), set(&expected));
    let some = |lines: &mut dyn Iterator<Item = &&str>| {
        lines.take(3).map(|line| line.chars().take(200).collect()).collect::<Vec<String>>()
    };
    panic!(
        "{what}: {} lines instead of {}; missing: {:?}, foreign: {:?}",
        found.len(),
        expected.len(),
        some(&mut expected_set.difference(&found_set)),
        some(&mut found_set.difference(&expected_set)),
    );
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.sort_unstable();
    lines
}

fn set<'a>(lines: &[&'a str]) -> BTreeSet<&'a str> {
    lines.iter().copied().collect()
}
