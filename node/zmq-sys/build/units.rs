//! Which files of libzmq have to be compiled again where some are mended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The units that are made of `mended` files in the source tree at `source`: those themselves, and all
/// that include one, directly or through others. Two that saw a class in different shapes would write over
/// each other's memory.
pub(crate) fn units_of(source: &Path, mended: &[&str]) -> Vec<String> {
    let included = read_includes(source);
    let mut touched: BTreeSet<String> = mended.iter().map(|file| (*file).to_owned()).collect();
    loop {
        let more: Vec<String> = included
            .iter()
            .filter(|(file, included)| !touched.contains(*file) && !touched.is_disjoint(included))
            .map(|(file, _)| file.clone())
            .collect();
        if more.is_empty() {
            return touched.into_iter().filter(|file| is_unit(file)).collect();
        }
        touched.extend(more);
    }
}

fn is_unit(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|it| it == "cpp")
}

/// Each file, and the names of those that it includes by name.
fn read_includes(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let entries = fs::read_dir(source)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", source.display()));
    let mut files = BTreeMap::new();
    for entry in entries {
        let path =
            entry.unwrap_or_else(|error| panic!("cannot read {}: {error}", source.display()));
        let path = path.path();
        if !path.extension().is_some_and(|it| it == "cpp" || it == "hpp") {
            continue;
        }
        let text = fs::read(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let text = String::from_utf8_lossy(&text);
        let included = text.lines().filter_map(|line| {
            let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
            // All of libzmq's own files are in one directory.
            Some(rest.trim().strip_prefix('"')?.split_once('"')?.0.to_owned())
        });
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, included.collect());
    }
    files
}
