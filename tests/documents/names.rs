//! What pages name: files, links, crates, options and commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::run::Run;
use regex_lite::Regex;

use super::page::{Page, root};

/// Files that exist only once a reader has followed a page.
const MADE_BY_READERS: [&str; 2] = ["strategies/mine", "target/"];

/// Options of other programs that the guides name.
const OPTIONS_OF_OTHERS: [&str; 17] = [
    "--all-features",
    "--bench",
    "--config",
    "--example",
    "--features",
    "--locked",
    "--no-default-features",
    "--no-deps",
    "--nocapture",
    "--open",
    "--profile",
    "--release",
    "--requirement",
    "--root",
    "--test",
    "--version",
    "--workspace",
];

/// What a page links to or names as a file, and is not there.
pub(super) fn missing_files(page: &Page) -> Vec<String> {
    let root = root();
    let here = root.join(&page.name);
    let here = here.parent().expect("a page lies in a folder");
    let link = pattern(r"\]\(([^)\s]+)\)");
    let mut missing = Vec::new();
    for (number, line) in &page.prose {
        for target in link.captures_iter(line).filter_map(|it| it.get(1)) {
            let target = target.as_str();
            if !target.contains("://") && !is_link_good(page, here, target) {
                missing.push(format!("{}:{number}: the link {target}", page.name));
            }
        }
    }
    let top: Vec<_> = fs::read_dir(&root).expect("the root can be read").flatten().collect();
    let is_ours = |path: &str| {
        let first = path.split('/').next().unwrap_or_default();
        path.contains('/') && !path.contains(' ') && top.iter().any(|it| it.file_name() == *first)
    };
    for (number, path) in page.code().filter(|(_, code)| is_ours(code)) {
        // Of a pattern such as `strategies/*.wasm`, the folder.
        let plain = path.split(['*', '<']).next().unwrap_or_default();
        let plain = if plain == path { path } else { plain.rsplit_once('/').unwrap_or_default().0 };
        let is_made = MADE_BY_READERS.iter().any(|it| path.starts_with(it));
        if !is_made && !root.join(plain).exists() && !here.join(plain).exists() {
            missing.push(format!("{}:{number}: {path}", page.name));
        }
    }
    missing
}

fn is_link_good(page: &Page, here: &Path, target: &str) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    if path.is_empty() {
        return page.anchors().iter().any(|it| it == anchor);
    }
    let path = here.join(path);
    if anchor.is_empty() {
        return path.exists();
    }
    let Ok(path) = path.canonicalize() else { return false };
    let root = root().canonicalize().expect("the root is there");
    let name = path.strip_prefix(root).ok().and_then(Path::to_str).unwrap_or_default();
    Page::read(name).anchors().iter().any(|it| it == anchor)
}

/// Checks that the map of the page names folders that are there, and every crate but single strategies.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub(super) fn assert_map_is_whole(page: &Page) {
    let map = page.blocks.iter().find(|it| it.language == "text").expect("the page has a map");
    let mut above = "";
    let mut named = BTreeSet::new();
    for line in &map.lines {
        let folder = line.trim_start().split('/').next().unwrap_or_default();
        let is_within = line.starts_with(' ');
        let path = if is_within { format!("{above}/{folder}") } else { folder.to_owned() };
        assert!(root().join(&path).is_dir(), "the map names {path}, which is not there");
        above = if is_within { above } else { folder };
        named.insert(path);
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let members = manifest.split("members = [").nth(1).and_then(|it| it.split(']').next());
    let members = members.expect("the workspace has members");
    let members = members.split('"').skip(1).step_by(2).filter(|it| !it.starts_with("strategies"));
    // What lies within a crate's folder is that crate's.
    let members = members.filter(|it| it.split('/').count() <= 2);
    let missing: Vec<_> = members.filter(|member| !named.contains(*member)).collect();
    assert!(missing.is_empty(), "the map does not name {missing:?}");
}

/// The programs, as their help tells.
pub(super) struct Programs {
    options: BTreeSet<String>,
    /// Commands in full, such as `kvclient rebalance pause`.
    commands: BTreeSet<String>,
}

impl Programs {
    /// Asks the programs for their help, and that of all commands.
    #[track_caller]
    pub(super) fn ask() -> Self {
        let options = OPTIONS_OF_OTHERS.map(str::to_owned).into_iter().collect();
        let mut programs = Self { options, commands: BTreeSet::new() };
        programs.learn(kvnode(), &["kvnode"]);
        programs.learn(kvclient(), &["kvclient"]);
        programs
    }

    #[track_caller]
    fn learn(&mut self, program: &Path, command: &[&str]) {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let run = Run::new(program, home.path()).args(&command[1..]).args(["--help"]);
        let output = run.output().success();
        let help = output.stdout_text();
        let options = pattern("--[a-z][a-z-]+");
        self.options.extend(options.find_iter(help).map(|it| it.as_str().to_owned()));
        let within = help.split("\nCommands:\n").nth(1).and_then(|it| it.split("\n\n").next());
        let names = within.into_iter().flat_map(str::lines).filter_map(|line| {
            // What continues a description is further in.
            line.strip_prefix("  ").filter(|it| !it.starts_with(' '))?.split(' ').next()
        });
        for name in names.filter(|name| *name != "help") {
            let command = [command, &[name]].concat();
            self.commands.insert(command.join(" "));
            self.learn(program, &command);
        }
    }

    /// The options and commands that `page` names and no program has.
    pub(super) fn unknown_in(&self, page: &Page) -> Vec<String> {
        let option = pattern(r"(?:^|[\s\[(])(--[a-z][a-z-]+)");
        let command = pattern(r"\b(kvnode|kvclient) ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?");
        let typed = page.blocks.iter().flat_map(|block| {
            let lines =
                (block.line..).zip(&block.lines).map(|(number, line)| (number, line.as_str()));
            lines.filter(|(_, line)| match block.language.as_str() {
                "sh" => true,
                "console" => line.starts_with("$ "),
                _ => false,
            })
        });
        let mut unknown = Vec::new();
        for (number, text) in page.code().chain(typed) {
            let text = text.split(" #").next().unwrap_or_default();
            let mut report = |what: &str| unknown.push(format!("{}:{number}: {what}", page.name));
            for found in option.captures_iter(text) {
                if !self.options.contains(&found[1]) {
                    report(&found[1]);
                }
            }
            for found in command.captures_iter(text) {
                let outer = format!("{} {}", &found[1], &found[2]);
                let inner = found.get(3).map(|it| format!("{outer} {}", it.as_str()));
                let has_inner = self.commands.iter().any(|it| it.starts_with(&format!("{outer} ")));
                match inner.filter(|_| has_inner) {
                    Some(inner) if !self.commands.contains(&inner) => report(&inner),
                    _ if !self.commands.contains(&outer) => report(&outer),
                    _ => {}
                }
            }
        }
        unknown
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("it is a pattern")
}
