//! The sections to measure, and their sizes and times, as the command line gives them.

use std::path::PathBuf;
use std::time::Duration;

/// One of the benchmark programs, as its user sees it.
#[derive(Debug)]
pub struct Usage {
    /// What `--help` prints.
    pub text: &'static str,
    /// What it can measure. Where nothing is named, it measures all of it.
    pub sections: &'static [&'static str],
    /// Which options it has, besides `--programs` and `--help`.
    pub options: &'static [&'static str],
    /// What holds where nothing else is said.
    pub defaults: Settings,
}

/// The sections to measure, and how long. A program heeds those that are among its options.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The sections to measure, by name.
    pub sections: Vec<&'static str>,
    /// How many keys there are.
    pub keys: usize,
    /// How often everything is measured; the sides take turns.
    pub rounds: usize,
    /// How many keys there are, one after the other; empty where a program measures with `keys`.
    pub sizes: Vec<usize>,
    /// The keys of what needs a large store.
    pub stored: usize,
    /// How long one measurement takes.
    pub measured_for: Duration,
    /// Whether what takes long is measured too.
    pub large: bool,
    /// How much memory a node may take, in bytes; `None` if the program decides.
    pub memory_bytes: Option<u64>,
    /// Where each measurement is written, as a line of JSON.
    pub json: Option<PathBuf>,
    /// Where the programs under test are; `None` if they are to be built.
    pub programs: Option<PathBuf>,
}

impl Settings {
    /// Reads the command line; `None` if it asks for help.
    ///
    /// # Errors
    /// An option that is not known, or a value that it cannot have.
    pub fn from_args(
        usage: &Usage,
        mut args: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let mut settings = usage.defaults.clone();
        while let Some(arg) = args.next() {
            if matches!(arg.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            // Cargo says so to every benchmark.
            if arg == "--bench" {
                continue;
            }
            if !arg.starts_with('-') {
                let section = usage.sections.iter().find(|it| **it == arg);
                settings.sections.push(section.ok_or_else(|| unknown(&arg))?);
                continue;
            }
            if arg != "--programs" && !usage.options.contains(&arg.as_str()) {
                return Err(unknown(&arg));
            }
            settings.set(&arg, &mut args)?;
        }
        if settings.sections.is_empty() {
            settings.sections = usage.sections.to_vec();
        }
        Ok(Some(settings))
    }

    fn set(&mut self, option: &str, args: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut value = || args.next().ok_or_else(|| format!("{option} needs a value"));
        let number = |value: String| {
            let number = value.parse::<usize>().ok().filter(|it| *it > 0);
            number.ok_or_else(|| format!("{option} {value}: expected a number above 0"))
        };
        match option {
            "--keys" if !self.sizes.is_empty() => {
                let value = value()?;
                let sizes = value.split(',').map(|it| number(it.trim().to_owned()));
                self.sizes = sizes.collect::<Result<_, _>>()?;
            }
            "--memory" => self.memory_bytes = Some(number(value()?)? as u64),
            "--keys" => self.keys = number(value()?)?,
            "--rounds" => self.rounds = number(value()?)?,
            "--stored" => self.stored = number(value()?)?,
            "--seconds" => self.measured_for = Duration::from_secs(number(value()?)? as u64),
            "--large" => self.large = true,
            "--json" => self.json = Some(value()?.into()),
            "--programs" => self.programs = Some(value()?.into()),
            _ => return Err(unknown(option)),
        }
        Ok(())
    }
}

fn unknown(arg: &str) -> String {
    format!("{arg:?} is neither something to measure nor an option")
}
