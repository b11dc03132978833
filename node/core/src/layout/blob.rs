//! What lies beside a layout's document, and is a part of the layout.

use super::{Document, Layout, LayoutError, Placement};
use crate::digest::Digest;

/// Bytes without which a document is no layout. They lie beside it under their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blob {
    /// A list of members: JSON.
    Members(Digest),
    /// The bytes of a [`Standing`](super::Standing).
    Standing(Digest),
}

impl Blob {
    /// The digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Members(digest) | Self::Standing(digest) => *digest,
        }
    }

    /// What it is, for messages to people.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Members(_) => "list",
            Self::Standing(_) => "standing",
        }
    }

    /// Why a layout is not understood which names it.
    #[must_use]
    pub fn error(&self, problem: String) -> LayoutError {
        match self {
            Self::Members(_) => LayoutError::Members(problem),
            Self::Standing(_) => LayoutError::Standing(problem),
        }
    }

    pub(super) fn is_missing(&self) -> LayoutError {
        self.error(format!("the {} {} is missing", self.noun(), self.digest()))
    }

    /// Checks that these are its bytes.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), LayoutError> {
        let (found, named, noun) = (Digest::of(bytes), self.digest(), self.noun());
        if found == named {
            return Ok(());
        }
        Err(self.error(format!("a {noun} has the digest {found}, the layout names {named}")))
    }
}

impl Layout {
    /// The bytes of what its [`Document`] names, in the order of [`Document::blobs`].
    #[must_use]
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        let mut placements = self.placements();
        let bytes = |blob: Blob| match blob {
            // Where two placements have the same members, their list is named once.
            Blob::Members(_) => placements.next().map(Placement::members_json),
            Blob::Standing(_) => Some(self.standing.to_bytes()),
        };
        Document::of(self).blobs().into_iter().filter_map(bytes).collect()
    }
}
