//! The templates of strategies, which are part of this program.

use clap::ValueEnum;

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// With cargo
    Rust,
    /// With a compiler from Python's package index
    C,
    /// JavaScript's typed and compiled sibling, with npm
    #[value(alias = "javascript", alias = "js", alias = "typescript", alias = "ts")]
    Assemblyscript,
    /// With a compiler from Python's package index
    Zig,
}

impl Language {
    /// The two commands that build a template.
    pub(super) fn commands(self) -> [&'static str; 2] {
        match self {
            Self::Rust => ["rustup target add wasm32-unknown-unknown", "cargo strategy"],
            Self::C | Self::Zig => [
                "python3 -m venv .venv && .venv/bin/pip install --requirement requirements.txt",
                ".venv/bin/python build.py",
            ],
            Self::Assemblyscript => ["npm install", "npm run build"],
        }
    }
}

/// A file's path within the project, and its content.
type File = (&'static str, &'static str);

/// The files of a template of this folder.
macro_rules! template {
    ($folder:literal: $($path:literal)*) => {
        &[$(($path, include_str!(concat!("../../../../../strategies/templates/", $folder, "/", $path)))),*]
    };
}

/// The files of a language's template.
pub(super) fn of(language: Language) -> &'static [File] {
    match language {
        Language::Rust => template!("rust":
            ".cargo/config.toml"
            ".gitignore"
            "Cargo.lock"
            "Cargo.toml"
            "README.md"
            "builder/Cargo.toml"
            "builder/src/main.rs"
            "rustfmt.toml"
            "src/contract.rs"
            "src/hash.rs"
            "src/lib.rs"
            "wit/placement.wit"
        ),
        Language::C => template!("c":
            ".gitignore"
            "README.md"
            "build.py"
            "requirements.txt"
            "src/contract.c"
            "src/contract.h"
            "src/hash.c"
            "src/hash.h"
            "src/log.h"
            "src/strategy.c"
            "wit/placement.wit"
        ),
        Language::Assemblyscript => template!("assemblyscript":
            ".gitignore"
            "README.md"
            "build.mjs"
            "package-lock.json"
            "package.json"
            "src/contract.ts"
            "src/exports.ts"
            "src/hash.ts"
            "src/log.ts"
            "src/strategy.ts"
            "wit/placement.wit"
        ),
        Language::Zig => template!("zig":
            ".gitignore"
            "README.md"
            "build.py"
            "requirements.txt"
            "src/contract.zig"
            "src/exports.zig"
            "src/hash.zig"
            "src/log.zig"
            "src/strategy.zig"
            "wit/placement.wit"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// What a build may leave in a template's folder, where a developer tried it there.
    const BUILT: [&str; 4] = ["node_modules", ".venv", "target", "my-strategy.wasm"];

    fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if BUILT.iter().any(|built| entry.file_name() == *built) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => files(&entry.path(), found),
                false => drop(found.insert(entry.path())),
            }
        }
    }

    #[test]
    fn no_file_of_a_template_is_forgotten() {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../strategies/templates");
        let mut found = BTreeSet::new();
        files(&templates, &mut found);
        let mut known = BTreeSet::new();
        for language in Language::value_variants() {
            let folder = templates.join(language.to_possible_value().unwrap().get_name());
            known.extend(of(*language).iter().map(|(path, _)| folder.join(path)));
        }
        assert_eq!(known, found);
    }
}
