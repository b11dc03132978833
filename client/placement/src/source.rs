//! Where a strategy's bytes come from: the program itself or a file.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kv_core::limits::COMPONENT_BYTES_MAX;

use super::error::{StrategyError, StrategyFault};

/// The strategies that are part of this program, the default one first.
const BUILT_IN: [(&str, &[u8]); 5] = [
    ("hrw", include_bytes!("../../../strategies/hrw.wasm")),
    ("consistent-hash", include_bytes!("../../../strategies/consistent-hash.wasm")),
    ("zone-hrw", include_bytes!("../../../strategies/zone-hrw.wasm")),
    ("bounded-hrw", include_bytes!("../../../strategies/bounded-hrw.wasm")),
    ("maglev", include_bytes!("../../../strategies/maglev.wasm")),
];

/// What `--strategy FILE|NAME` names.
///
/// A value that contains a path separator or ends in `.wasm` is a file; any other is the name of a
/// built-in strategy. So `./hrw` is a file and `hrw` is not, whatever the directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrategySource {
    /// A strategy that is part of this program.
    BuiltIn(&'static str),
    /// A file that holds a component.
    File(PathBuf),
}

impl Default for StrategySource {
    fn default() -> Self {
        Self::BuiltIn(BUILT_IN[0].0)
    }
}

impl fmt::Display for StrategySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for StrategySource {
    type Err = StrategyError;

    fn from_str(value: &str) -> Result<Self, StrategyError> {
        if value.contains(std::path::is_separator) || value.ends_with(".wasm") {
            return Ok(Self::File(PathBuf::from(value)));
        }
        match BUILT_IN.iter().find(|(name, _)| *name == value) {
            Some((name, _)) => Ok(Self::BuiltIn(name)),
            None => {
                let fault = StrategyFault::UnknownName { known: known() };
                Err(StrategyError::new(format_args!("{value:?}"), fault))
            }
        }
    }
}

impl StrategySource {
    /// The names of the built-in strategies, the default one first.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Whether these are the bytes of a built-in strategy.
    pub(super) fn is_built_in(bytes: &[u8]) -> bool {
        BUILT_IN.iter().any(|(_, known)| *known == bytes)
    }

    /// The bytes, read from the file where it is one. At most [`COMPONENT_BYTES_MAX`] are read.
    pub(super) fn read(&self) -> Result<Cow<'static, [u8]>, StrategyFault> {
        match self {
            Self::BuiltIn(wanted) => BUILT_IN
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, bytes)| Cow::Borrowed(*bytes))
                .ok_or_else(|| StrategyFault::UnknownName { known: known() }),
            Self::File(path) => read_file(path).map(Cow::Owned),
        }
    }
}

fn known() -> String {
    StrategySource::built_in_names().collect::<Vec<_>>().join(", ")
}

fn read_file(path: &Path) -> Result<Vec<u8>, StrategyFault> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => StrategyFault::NotFound { known: known() },
        _ => StrategyFault::Unreadable(error),
    };
    // Asked before the file is opened, because to open a named pipe is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if metadata.is_dir() {
        return Err(StrategyFault::NotAFile { what: "a directory" });
    }
    if !metadata.is_file() {
        return Err(StrategyFault::NotAFile { what: "a device, pipe or socket" });
    }
    // One byte more than allowed, so that a file which has grown meanwhile is still seen as too large.
    let limit = COMPONENT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize);
    let file = File::open(path).map_err(refused)?;
    file.take(limit).read_to_end(&mut bytes).map_err(StrategyFault::Unreadable)?;
    if bytes.len() > COMPONENT_BYTES_MAX {
        let bytes = metadata.len().max(limit);
        return Err(StrategyFault::TooLarge { bytes });
    }
    Ok(bytes)
}

/// Refuses bytes whose beginning is not that of a WebAssembly component, so that the user is told what they
/// are instead of the compiler's view of them.
pub(super) fn check_kind(bytes: &[u8]) -> Result<(), StrategyFault> {
    const MAGIC: &[u8] = b"\0asm";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    if bytes.is_empty() {
        return Err(StrategyFault::Empty);
    }
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(StrategyFault::TooLarge { bytes: bytes.len() as u64 });
    }
    if bytes.starts_with(MODULE) {
        return Err(StrategyFault::CoreModule);
    }
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    let text = bytes.trim_ascii_start();
    if [&b"(module"[..], b"(component", b";;", b"(;"].iter().any(|start| text.starts_with(start)) {
        return Err(StrategyFault::Text);
    }
    Err(StrategyFault::NotWasm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_or_the_extension_makes_it_a_file() {
        for path in ["./hrw", "/tmp/x", "hrw.wasm", "dir/hrw.wasm"] {
            assert_eq!(path.parse::<StrategySource>().unwrap(), StrategySource::File(path.into()));
        }
        assert_eq!("hrw".parse::<StrategySource>().unwrap(), StrategySource::default());
    }

    #[test]
    fn an_unknown_name_is_told_the_built_in_ones() {
        for name in ["rendezvous", "", "HRW"] {
            let error = name.parse::<StrategySource>().unwrap_err();
            assert_eq!(error.code(), "strategy-unknown");
            assert!(
                error.to_string().contains("hrw, consistent-hash, zone-hrw, bounded-hrw, maglev"),
                "{error}"
            );
        }
    }

    #[test]
    fn first_bytes_tell_what_it_is() {
        let code = |bytes: &[u8]| check_kind(bytes).unwrap_err().code();
        assert_eq!(code(b""), "strategy-empty");
        assert_eq!(code(b"\0asm\x01\0\0\0rest"), "strategy-core-module");
        assert_eq!(code(b"\n  (component)"), "strategy-text");
        assert_eq!(code(b";; a comment"), "strategy-text");
        assert_eq!(code(b"\x7fELF"), "strategy-not-wasm");
        assert!(check_kind(b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn the_size_limit_is_obeyed_and_enforced() {
        let mut bytes = vec![0; COMPONENT_BYTES_MAX];
        bytes[..4].copy_from_slice(b"\0asm");
        assert!(check_kind(&bytes).is_ok());
        bytes.push(0);
        assert!(matches!(check_kind(&bytes), Err(StrategyFault::TooLarge { .. })));
    }
}
