//! The environment of the programs under test: nothing of the user's, everything in a directory. And
//! what the environment tells the tests themselves.

use std::path::Path;
use std::process::Command;

/// Lets `command` run in `home`, with no setting of the user's left.
pub fn isolate(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CONSUL_", "KV", "XDG_", "RUST_LOG"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(home)
        .env("HOME", home)
        .env("KV_CACHE_DIR", home.join("cache"))
        .env("XDG_CACHE_HOME", home.join("xdg-cache"))
        .env("XDG_DATA_HOME", home.join("xdg-data"))
        .env("RUST_BACKTRACE", "1");
}

/// The number that a variable gives; `None` where it is not set.
///
/// # Panics
/// Where it is set to another text.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse::<u64>();
    Some(number.unwrap_or_else(|_| panic!("{variable} is {text:?}, expected a number")))
}
