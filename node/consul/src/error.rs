//! What can go wrong between this program and Consul, in words for the operator.

use std::time::Duration;

/// The longest part of an answer's body that a message quotes, in characters.
const EXCERPT_CHARS_MAX: usize = 200;

/// Why Consul could not be asked, or what it answered instead of the expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsulError {
    /// A setting from the command line or the environment cannot be used.
    #[error("{setting}: {problem}")]
    InvalidConfig {
        /// The argument or variable at fault.
        setting: String,
        /// What was expected of it, and how it differs, for a person.
        problem: String,
    },

    /// No connection could be made.
    #[error(
        "cannot reach Consul at {address}: {cause}. Is it running? Start one (`consul agent -dev`, or \
         `kvnode dev`, which brings an embedded one), or name another with --consul or \
         CONSUL_HTTP_ADDR"
    )]
    Unreachable {
        /// The URL that was tried.
        address: String,
        /// What the operating system or the TLS library said.
        cause: String,
    },

    /// Consul accepted the connection and did not answer in time.
    #[error("Consul at {address} did not answer {request} within {timeout:?}")]
    Timeout {
        /// The URL of the Consul asked.
        address: String,
        /// The method and path of the request.
        request: String,
        /// How long was waited.
        timeout: Duration,
    },

    /// The connection broke, or what came was not HTTP. Whether a write took effect is unknown.
    #[error("Consul at {address} broke off while answering {request}: {cause}")]
    Interrupted {
        /// The URL of the Consul asked.
        address: String,
        /// The method and path of the request.
        request: String,
        /// What was seen of the failure.
        cause: String,
    },

    /// Consul refused the request: the token is missing, unknown, or may not do this.
    #[error("Consul refused {request} (403: {excerpt}). {}", remedy(request, excerpt))]
    PermissionDenied {
        /// The method and path of the request.
        request: String,
        /// The beginning of the answer's body.
        excerpt: String,
    },

    /// Consul answered with a status that means failure.
    #[error("Consul answered {request} with status {status}: {excerpt}{}", leaderless(excerpt))]
    Status {
        /// The method and path of the request.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer's body.
        excerpt: String,
    },

    /// The answer is not what Consul's API documents. Most likely something else is listening.
    #[error(
        "the answer to {request} is not one of Consul's: {problem} (it begins {excerpt:?}). Is \
         something else listening at this address?"
    )]
    UnexpectedAnswer {
        /// The method and path of the request.
        request: String,
        /// What was expected and what came.
        problem: String,
        /// The beginning of the answer's body.
        excerpt: String,
    },

    /// The answer is larger than this client is prepared to hold.
    #[error("the answer to {request} is larger than {limit_bytes} bytes, which is the limit")]
    AnswerTooLarge {
        /// The method and path of the request.
        request: String,
        /// [`RESPONSE_BYTES_MAX`](super::RESPONSE_BYTES_MAX).
        limit_bytes: usize,
    },

    /// The agent does not know the TTL check: it has restarted, so the service must register again.
    #[error("Consul's agent does not know the check {check_id:?}; register the service again")]
    UnknownCheck {
        /// The id of the check that was reported on.
        check_id: String,
    },

    /// A key or an id that is not sent, since not every Consul would take it literally.
    #[error("{name:?} cannot be {role}: {problem}")]
    InvalidName {
        /// What the name was for, such as "a KV key".
        role: &'static str,
        /// The offending text.
        name: String,
        /// What was expected of it, and how it differs, for a person.
        problem: String,
    },

    /// A value that Consul would refuse, so it is not sent.
    #[error("the value for {key:?} has {size_bytes} bytes; Consul takes at most {limit_bytes}")]
    ValueTooLarge {
        /// The key that it was meant for.
        key: String,
        /// The value's size.
        size_bytes: usize,
        /// [`VALUE_BYTES_MAX`](super::VALUE_BYTES_MAX).
        limit_bytes: usize,
    },
}

impl ConsulError {
    /// Whether the same request may succeed later without an operator changing a setting: Consul is
    /// away, slow, or electing a leader.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// What went wrong, as a stable word in snake_case for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PermissionDenied { excerpt, .. } if is_unknown_token(excerpt) => {
                "consul_token_unknown"
            }
            Self::PermissionDenied { .. } => "consul_denied",
            Self::Status { excerpt, .. } if has_no_leader(excerpt) => "consul_no_leader",
            _ => "consul",
        }
    }

    pub(super) fn config(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidConfig { setting: setting.into(), problem: problem.into() }
    }
}

/// Whether Consul's answer says that it does not know the token, rather than what it may not do.
fn is_unknown_token(excerpt: &str) -> bool {
    excerpt.contains("ACL not found")
}

/// Whether Consul's answer says that its servers have no leader just now.
fn has_no_leader(excerpt: &str) -> bool {
    excerpt.contains("No cluster leader")
}

/// What to do about a refusal.
fn remedy(request: &str, excerpt: &str) -> String {
    if is_unknown_token(excerpt) {
        return "It does not know the token: it was revoked, has expired, or is another Consul's. Set \
                CONSUL_HTTP_TOKEN (or CONSUL_HTTP_TOKEN_FILE) to one that it knows"
            .to_owned();
    }
    let path = request.split_once("/v1/").map_or("", |(_, path)| path);
    let is_read = request.starts_with("GET");
    let access = if is_read { "read" } else { "write" };
    let rule = match path.split('/').next() {
        Some("session") => Some("session_prefix \"\""),
        Some("kv") => Some("key_prefix \"kv/\""),
        Some("agent" | "catalog" | "health") => Some("service_prefix \"kv\""),
        _ => None,
    };
    let rule = rule.map(|rule| format!(", such as `{rule} {{ policy = \"{access}\" }}`"));
    format!(
        "Set CONSUL_HTTP_TOKEN (or CONSUL_HTTP_TOKEN_FILE) to a token whose policy allows it{}",
        rule.unwrap_or_default()
    )
}

/// What to do where Consul has no leader, as words to add.
fn leaderless(excerpt: &str) -> &'static str {
    if has_no_leader(excerpt) {
        ". Its servers have lost their leader: most elect another within seconds, if more than half of them \
         run and reach each other (`consul operator raft list-peers`)"
    } else {
        ""
    }
}

/// The beginning of a body as text that is safe to print on a terminal.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARS_MAX)]);
    let text = text.trim();
    let mut shown: String = text
        .chars()
        .take(EXCERPT_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    if shown.is_empty() { "(empty)".to_owned() } else { shown }
}

/// An error and all its causes in one line, since each layer of an HTTP client says a part.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some layers repeat their cause in their own message.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_printable_and_never_empty() {
        assert_eq!(excerpt(b""), "(empty)");
        assert_eq!(excerpt(b"no\x1b[2J\n"), "no [2J");
        assert_eq!(excerpt(b"a\x07b"), "a b");
        let long = excerpt("\u{20ac}".repeat(5_000).as_bytes());
        assert_eq!(long.chars().count(), EXCERPT_CHARS_MAX + 3);
        assert!(long.ends_with("..."));
        assert_eq!(excerpt(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_missing_leader_a_missing_right_and_an_unknown_token_are_told_apart() {
        let denied = |request: &str, excerpt: &str| ConsulError::PermissionDenied {
            request: request.into(),
            excerpt: excerpt.into(),
        };
        let excerpt = "rpc error: No cluster leader".to_owned();
        let leaderless =
            ConsulError::Status { request: "GET /v1/kv/a".into(), status: 500, excerpt };
        let session = denied("PUT /v1/session/create", "Permission denied");
        let key = denied("GET /v1/kv/kv/default/layout", "Permission denied");
        for (error, code, words) in [
            (leaderless, "consul_no_leader", "lost their leader"),
            (session, "consul_denied", "session_prefix \"\" { policy = \"write\" }"),
            (key, "consul_denied", "key_prefix \"kv/\" { policy = \"read\" }"),
            (denied("GET /v1/kv/a", "ACL not found"), "consul_token_unknown", "was revoked"),
        ] {
            let text = error.to_string();
            assert!(error.code() == code && text.contains(words), "{} {text}", error.code());
        }
        let other = ConsulError::UnknownCheck { check_id: String::new() };
        assert_eq!(other.code(), "consul");
    }

    #[test]
    fn only_what_may_pass_by_itself_is_transient() {
        let status =
            |status| ConsulError::Status { request: String::new(), status, excerpt: String::new() };
        assert!(status(500).is_transient());
        assert!(status(429).is_transient());
        assert!(!status(400).is_transient());
        assert!(
            !ConsulError::PermissionDenied { request: String::new(), excerpt: String::new() }
                .is_transient()
        );
    }
}
