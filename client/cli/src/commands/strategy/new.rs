//! `kvclient strategy new`: a project that works, to be changed into one's own strategy.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use kv_placement::limits::INFO_NAME_BYTES_MAX;
use serde_json::json;

use super::templates::{self, Language};
use crate::failure::Failure;
use crate::output::{self, Format};

/// What stands for the strategy's name in the templates.
const PLACEHOLDER: &str = "my-strategy";

/// Make a project that works, to be changed into a strategy of one's own
///
/// It starts as weighted rendezvous hashing, gives the same tables as the built-in hrw, and is built
/// with the two commands of its README.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient strategy new my-own
  kvclient strategy new my-own --lang c")]
pub(crate) struct New {
    /// The strategy's name, and the new directory's: letters a to z, digits and dashes
    #[arg(value_name = "NAME", value_parser = strategy_name)]
    name: String,
    /// The language that it is to be written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Where the directory is to be made [default: here]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
}

fn strategy_name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_name && text.len() <= INFO_NAME_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected up to {INFO_NAME_BYTES_MAX} letters a to z, digits and dashes, a letter first and no dash last"
    ))
}

impl New {
    pub(super) fn run(&self, format: Format) -> Result<(), Failure> {
        let Self { name, lang, directory } = self;
        let project = directory.join(name);
        if fs::symlink_metadata(&project).is_ok() {
            let shown = project.display();
            return Err(Failure::Usage(format!(
                "{shown} exists already: choose another name, or another place with --directory"
            )));
        }
        // Made aside, so that what appears under its name is whole.
        let partial = directory.join(format!(".{name}.{}.partial", std::process::id()));
        let written = write(&partial, *lang, name).and_then(|()| rename(&partial, &project));
        if let Err(failure) = written {
            let _ = fs::remove_dir_all(&partial);
            return Err(failure);
        }
        let [prepare, build] = lang.commands();
        if format == Format::Json {
            return output::json(&json!({
                "directory": project,
                "commands": [prepare, build],
                "component": project.join(format!("{name}.wasm")),
            }));
        }
        output::data(
            format!(
                "made {}; its README.md says what is what\n\n  cd {}\n  {prepare}\n  {build}\n  \
                 kvclient strategy check ./{name}.wasm\n",
                project.display(),
                project.display(),
            )
            .as_bytes(),
        )
    }
}

fn write(project: &Path, lang: Language, name: &str) -> Result<(), Failure> {
    let named = |text: &str| {
        // Rust's names of crates have underscores where those of packages have dashes.
        let text = text.replace(PLACEHOLDER, name);
        text.replace(&PLACEHOLDER.replace('-', "_"), &name.replace('-', "_"))
    };
    for (path, content) in templates::of(lang) {
        let path = project.join(named(path));
        let failed = |error| Failure::local(format_args!("cannot write {}", path.display()), error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(&path, named(content)).map_err(failed)?;
    }
    Ok(())
}

fn rename(partial: &Path, project: &Path) -> Result<(), Failure> {
    fs::rename(partial, project).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => {
            Failure::Usage(format!("{} exists already: choose another name", project.display()))
        }
        _ => Failure::local(format_args!("cannot make {}", project.display()), error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_every_toolchain_takes_are_taken() {
        for name in ["a", "my-own", "ring2", &"n".repeat(INFO_NAME_BYTES_MAX)] {
            assert!(strategy_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "2a", "A", "a_b", "a/b", "..", &"n".repeat(65)] {
            assert!(strategy_name(name).is_err(), "{name}");
        }
    }
}
