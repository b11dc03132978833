//! A page of documentation, as its prose and its blocks.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no pages of this project.
const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", ".venv"];

/// A page of the repository, in Markdown.
pub(super) struct Page {
    /// Its path from the root.
    pub(super) name: String,
    /// All of it.
    pub(super) text: String,
    /// The lines outside its blocks, each with its number from 1.
    pub(super) prose: Vec<(usize, String)>,
    /// Its fenced blocks, in their order.
    pub(super) blocks: Vec<Block>,
}

/// A fenced block of a page.
pub(super) struct Block {
    /// What stands behind the fence.
    pub(super) language: String,
    /// The number of its first line, from 1.
    pub(super) line: usize,
    pub(super) lines: Vec<String>,
}

/// The root of the workspace.
pub(super) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    root.expect("the tests lie in a folder of the workspace")
}

impl Page {
    /// Reads the page at this path from the root.
    #[track_caller]
    pub(super) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name));
        Self::parse(name, text.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    fn parse(name: &str, text: String) -> Self {
        let (mut prose, mut blocks, mut open) = (Vec::new(), Vec::new(), None::<Block>);
        for (number, line) in (1..).zip(text.lines()) {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(language), None) => {
                    let language = language.trim().to_owned();
                    open = Some(Block { language, line: number + 1, lines: Vec::new() });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.lines.push(line.to_owned());
                    open = Some(block);
                }
                (None, None) => prose.push((number, line.to_owned())),
            }
        }
        assert!(open.is_none(), "{name}: a block has no end");
        Self { name: name.to_owned(), text, prose, blocks }
    }

    /// Every page of the workspace.
    pub(super) fn all() -> Vec<Self> {
        let (root, mut names) = (root(), Vec::new());
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder can be read").flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let is_ours = !NOT_OURS.iter().any(|it| name == *it);
                if path.is_dir() && !path.is_symlink() && is_ours {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "md") {
                    let name = path.strip_prefix(&root).expect("it lies in it");
                    names.push(name.to_str().expect("names are text").to_owned());
                }
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// The pages that lead through the use and the making of the programs.
    pub(super) fn guides() -> Vec<Self> {
        let is_guide = |name: &str| match name.split('/').collect::<Vec<_>>()[..] {
            ["README.md"] | [".github", _] => true,
            [folder, "README.md"] => ["node", "client", "strategies"].contains(&folder),
            _ => false,
        };
        Self::all().into_iter().filter(|page| is_guide(&page.name)).collect()
    }

    /// What stands between backticks in the prose, with the numbers of the lines.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().flat_map(|(number, line)| {
            line.split('`').skip(1).step_by(2).map(|code| (*number, code))
        })
    }

    /// The anchors of its headings, as links name them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        let anchor = |(_, line): &(usize, String)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
            kept.map(|it| if it == ' ' { '-' } else { it }).collect()
        };
        headings.map(anchor).collect()
    }
}
