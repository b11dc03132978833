//! Answers: JSON with the index of what it shows, and errors in plain text.

use axum::Json;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::core::ChangeError;
use crate::state::Refusal;

/// Why a request is not answered as wished. The text is for people, and for the few clients that
/// recognise Consul's own.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The request is not one that makes sense.
    Bad(String),
    /// The request is not for such as sent it.
    Forbidden(String),
    /// The request is for another server.
    Misdirected(String),
    /// The request took too long.
    Late(String),
    /// There is no such thing.
    NotFound(String),
    /// The path exists, for other methods.
    Method(String),
    /// The body is larger than the limit.
    TooLarge(String),
    /// Consul answers some bad requests as if it were its own fault, and clients rely on that.
    Failed(String),
    /// The change was not made.
    Change(ChangeError),
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Change(ChangeError::Refused(refusal))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(text) => (StatusCode::BAD_REQUEST, text),
            Self::Forbidden(text) => (StatusCode::FORBIDDEN, text),
            Self::Misdirected(text) => (StatusCode::MISDIRECTED_REQUEST, text),
            Self::Late(text) => (StatusCode::REQUEST_TIMEOUT, text),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text),
            Self::Method(text) => (StatusCode::METHOD_NOT_ALLOWED, text),
            Self::TooLarge(text) => (StatusCode::PAYLOAD_TOO_LARGE, text),
            Self::Failed(text) => (StatusCode::INTERNAL_SERVER_ERROR, text),
            Self::Change(error) => (change_status(&error), error.to_string()),
        }
        .into_response()
    }
}

fn change_status(error: &ChangeError) -> StatusCode {
    match error {
        ChangeError::Refused(Refusal::Full { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        ChangeError::Refused(_) | ChangeError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ChangeError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An answer with the headers that every read has.
pub(super) fn indexed(index: u64, answer: impl IntoResponse) -> Response {
    let headers = [
        (HeaderName::from_static("x-consul-index"), index.to_string()),
        (HeaderName::from_static("x-consul-knownleader"), "true".to_owned()),
        (HeaderName::from_static("x-consul-lastcontact"), "0".to_owned()),
    ];
    (headers, answer).into_response()
}

/// JSON with the headers that every read has.
pub(super) fn indexed_json(index: u64, document: &impl Serialize) -> Response {
    indexed(index, Json(document))
}
