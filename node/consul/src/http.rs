//! The exchange over HTTP. The only code that names reqwest, apart from reading its settings.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::ConsulConfig;
use super::error::{ConsulError, chain, excerpt};
use super::read::Read;
use super::token::Token;

/// How long to wait for a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read: room for a listing of more than forty values of the largest size.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often a silent connection is probed, so that a vanished peer is noticed during a long wait.
const KEEPALIVE: Duration = Duration::from_secs(15);

const TOKEN_HEADER: &str = "X-Consul-Token";
const INDEX_HEADER: &str = "X-Consul-Index";

pub(super) struct Http {
    client: Client,
    token: Token,
    base: Url,
    address: String,
    basic_auth: Option<(String, Option<String>)>,
    timeout: Duration,
}

impl fmt::Debug for Http {
    /// The settings hold secrets, so only the address is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A request that has not been sent yet.
pub(super) struct Request {
    method: Method,
    url: Url,
    body: Vec<u8>,
    timeout: Duration,
}

impl Request {
    /// Adds a parameter to the query.
    pub(super) fn parameter(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Asks for the consistency and the wait that `read` describes.
    pub(super) fn read(mut self, read: Read) -> Self {
        for (name, value) in read.parameters() {
            self = self.parameter(name, &value);
        }
        self.timeout += read.extra_time();
        self
    }

    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(super) fn json(self, document: &impl Serialize) -> Self {
        let body = serde_json::to_vec(document).expect("plain structs with string keys serialize");
        Self { body, ..self }
    }
}

impl Http {
    pub(super) fn new(config: &ConsulConfig) -> Result<Self, ConsulError> {
        // A failure means that the process has chosen a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let token = Token::new(config)?;
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .tcp_nodelay(true)
            // Consul is named by its own variables; a proxy for the web has no place in between.
            .no_proxy()
            // A redirect would carry the token to wherever it points.
            .redirect(Policy::none());
        let (builder, base) = with_tls(builder, config)?;
        let client = builder
            .build()
            .map_err(|error| ConsulError::config("the TLS settings for Consul", chain(&error)))?;
        Ok(Self {
            client,
            token,
            base,
            address: config.address(),
            basic_auth: config.basic_auth.clone(),
            timeout: config.request_timeout,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn token_changes(&self) -> u64 {
        self.token.changes()
    }

    pub(super) fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    pub(super) fn put(&self, path: &[&str]) -> Request {
        self.request(Method::PUT, path)
    }

    pub(super) fn delete(&self, path: &[&str]) -> Request {
        self.request(Method::DELETE, path)
    }

    /// `path` is what follows `/v1/`, segment by segment; each segment is escaped.
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Request { method, url, body: Vec::new(), timeout: self.timeout }
    }

    /// Sends `request` and reads the whole answer, of any status. A request that is refused under
    /// a token which was replaced since is sent once more, under the new one: it was not carried out.
    pub(super) async fn send(&self, request: Request) -> Result<Response, ConsulError> {
        let token = self.token.current();
        let answer = self.exchange(&request, token.clone()).await?;
        if answer.status == StatusCode::FORBIDDEN && self.token.is_replaced(token.as_ref()) {
            return self.exchange(&request, self.token.current()).await;
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        request: &Request,
        token: Option<HeaderValue>,
    ) -> Result<Response, ConsulError> {
        let Request { method, url, body, timeout } = request;
        let timeout = *timeout;
        let name = format!("{method} {}", url.path());
        let builder = self.client.request(method.clone(), url.clone());
        let mut builder = builder.body(body.clone()).timeout(timeout);
        if let Some(token) = token {
            builder = builder.header(TOKEN_HEADER, token);
        }
        if let Some((user, password)) = &self.basic_auth {
            builder = builder.basic_auth(user, password.as_ref());
        }
        let failure = |error: reqwest::Error| self.failure(&error, &name, timeout);

        let mut response = builder.send().await.map_err(failure)?;
        let status = response.status();
        let index = response
            .headers()
            .get(INDEX_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
                return Err(ConsulError::AnswerTooLarge {
                    request: name,
                    limit_bytes: RESPONSE_BYTES_MAX,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { request: name, status, index, body })
    }

    fn failure(&self, error: &reqwest::Error, request: &str, timeout: Duration) -> ConsulError {
        let address = self.address.clone();
        // A connection that could not be made in time is both; what matters is that no process is there.
        if error.is_connect() {
            return ConsulError::Unreachable { address, cause: causes(error) };
        }
        let request = request.to_owned();
        if error.is_timeout() {
            ConsulError::Timeout { address, request, timeout }
        } else {
            ConsulError::Interrupted { address, request, cause: causes(error) }
        }
    }
}

/// What reqwest's causes say; its own message only repeats the URL.
fn causes(error: &reqwest::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), chain)
}

/// Applies the TLS settings, and says under which URL to send requests.
fn with_tls(
    mut builder: ClientBuilder,
    config: &ConsulConfig,
) -> Result<(ClientBuilder, Url), ConsulError> {
    let mut base = config.endpoint.clone();
    if base.scheme() != "https" {
        // Without this the system's certificates are loaded, which fails on a machine that has none.
        return Ok((builder.tls_certs_only([]), base));
    }
    let tls = &config.tls;
    if let Some(roots) = tls.roots()? {
        builder = builder.tls_certs_only(roots);
    }
    if let Some(identity) = tls.identity()? {
        builder = builder.identity(identity);
    }
    if !tls.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(server_name) = &tls.server_name {
        // reqwest takes the name for SNI and verification from the URL, so the URL gets that name,
        // and the name resolves to where Consul is.
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        base.set_host(Some(server_name)).map_err(|_| {
            ConsulError::config(
                "CONSUL_TLS_SERVER_NAME",
                "expected a DNS name, such as consul.test",
            )
        })?;
        builder = builder.dns_resolver(Arc::new(Alias { host }));
    }
    Ok((builder, base))
}

/// Resolves every name to the addresses of one host.
struct Alias {
    host: String,
}

impl Resolve for Alias {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // Port 0 is replaced by the URL's.
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A complete answer of any status.
pub(super) struct Response {
    request: String,
    status: StatusCode,
    index: Option<u64>,
    body: Vec<u8>,
}

impl Response {
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    pub(super) fn is_failure(&self) -> bool {
        !self.status.is_success()
    }

    /// The beginning of the body.
    pub(super) fn excerpt(&self) -> String {
        excerpt(&self.body)
    }

    /// This answer if its status means success.
    pub(super) fn success(self) -> Result<Self, ConsulError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let excerpt = self.excerpt();
        let request = self.request;
        Err(match self.status {
            StatusCode::FORBIDDEN => ConsulError::PermissionDenied { request, excerpt },
            status => ConsulError::Status { request, status: status.as_u16(), excerpt },
        })
    }

    /// The body as JSON of the expected shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ConsulError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected(error.to_string()))
    }

    /// The index that every answer to a read carries.
    pub(super) fn index(&self) -> Result<u64, ConsulError> {
        self.index.ok_or_else(|| self.unexpected(format!("it has no valid {INDEX_HEADER} header")))
    }

    /// The error for an answer whose content is not as documented.
    pub(super) fn unexpected(&self, problem: impl Into<String>) -> ConsulError {
        ConsulError::UnexpectedAnswer {
            request: self.request.clone(),
            problem: problem.into(),
            excerpt: self.excerpt(),
        }
    }
}
