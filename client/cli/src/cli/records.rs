//! What the commands about keys and values are told.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use kv_core::version::Version;

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The key: 1 to 1024 bytes of text
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The key: 1 to 1024 bytes of text
    pub(crate) key: String,
    /// Compare with where it was in this epoch [default: before it moved last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) epoch: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Prefix {
    /// Only keys that start with this
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The key: 1 to 1024 bytes of text. Without one, records are read from standard input: one
    /// {"op":"PUT","key":"...","value":"..."} a line, the op optional
    pub(crate) key: Option<String>,
    /// The value; standard input where it is - or missing
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<OsString>,
    /// Only if there is no value yet
    #[arg(long, conflicts_with = "if_version", requires = "key")]
    pub(crate) if_absent: bool,
    /// Only if the record has this version
    #[arg(long, value_name = "VERSION", requires = "key")]
    pub(crate) if_version: Option<Version>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The key
    pub(crate) key: String,
    /// Only if the record has this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<Version>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; standard input where it is - or missing
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file; standard output where it is - or missing. A new one is for its owner only (mode 600);
    /// one that is there keeps its owner and mode
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) only: Prefix,
}
