//! `kvclient completions`: what a shell needs to complete commands and options.

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kvclient completions bash > ~/.local/share/bash-completion/completions/kvclient"
)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script for the program that `definition` defines.
    pub(crate) fn run(self, mut definition: clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut definition, "kvclient", &mut script);
        output::raw(&script)
    }
}
