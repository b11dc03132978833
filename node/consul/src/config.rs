//! Where Consul is and how to authenticate: an argument, or the variables of Consul's ecosystem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Identity, Url};

use super::error::ConsulError;

/// Where a Consul agent listens unless told otherwise.
pub const ADDRESS_DEFAULT: &str = "127.0.0.1:8500";

/// How long an exchange may take, beyond the time that a blocking query asks for, unless
/// [`ConsulConfig::with_request_timeout`] says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The variable that names Consul's address.
pub const HTTP_ADDR_VARIABLE: &str = "CONSUL_HTTP_ADDR";

/// The variable that names a file with the token.
const TOKEN_FILE_VARIABLE: &str = "CONSUL_HTTP_TOKEN_FILE";

/// The port that is meant where an address names neither a scheme nor a port.
const PORT_DEFAULT: u16 = 8500;

/// How to reach one Consul. Made by [`ConsulConfig::resolve`].
#[derive(Clone)]
pub struct ConsulConfig {
    pub(super) endpoint: Url,
    pub(super) token: Option<String>,
    /// The file that the token is read from again when it changes.
    pub(super) token_file: Option<PathBuf>,
    /// User and password for a proxy in front of Consul.
    pub(super) basic_auth: Option<(String, Option<String>)>,
    pub(super) tls: Tls,
    /// How long an exchange may take, beyond the time that a blocking query asks for.
    pub(super) request_timeout: Duration,
}

impl fmt::Debug for ConsulConfig {
    /// Tokens and passwords are left out, since settings end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulConfig")
            .field("endpoint", &self.endpoint.as_str())
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("basic_auth", &self.basic_auth.as_ref().map(|_| "(hidden)"))
            .field("tls", &self.tls)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

impl ConsulConfig {
    /// The settings from `address`, where one is given, and from the process's environment.
    ///
    /// `address` is `HOST`, `HOST:PORT` or a URL (`http://` or `https://`, with a path if Consul is
    /// served under one). Without it `CONSUL_HTTP_ADDR` counts, and without that
    /// [`ADDRESS_DEFAULT`]. A scheme in `address` is taken at its word; otherwise
    /// `CONSUL_HTTP_SSL=true` means https.
    ///
    /// Also honoured, as Consul's own tools do: `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE` (it
    /// wins, and is read again when it changes), `CONSUL_HTTP_AUTH` (`user:password`), and for https `CONSUL_HTTP_SSL_VERIFY`,
    /// `CONSUL_CACERT`, `CONSUL_CAPATH`, `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY` and
    /// `CONSUL_TLS_SERVER_NAME`.
    ///
    /// # Errors
    ///
    /// [`ConsulError::InvalidConfig`] names the setting that cannot be used and says why.
    pub fn resolve(address: Option<&str>) -> Result<Self, ConsulError> {
        Self::resolve_with(address, |variable| {
            std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// [`resolve`](Self::resolve) with an environment of the caller's.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn resolve_with(
        address: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConsulError> {
        // A variable that is set to nothing counts as unset, as it does for Consul's own tools.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let ssl = boolean("CONSUL_HTTP_SSL", &variable)?.unwrap_or(false);
        let endpoint = match (address, variable(HTTP_ADDR_VARIABLE)) {
            (Some(address), _) => {
                endpoint("the address of Consul", address, ssl && !address.contains("://"))?
            }
            (None, Some(address)) => endpoint(HTTP_ADDR_VARIABLE, &address, ssl)?,
            (None, None) => endpoint("the default address", ADDRESS_DEFAULT, ssl)?,
        };
        Ok(Self {
            endpoint,
            token: token(&variable)?,
            token_file: variable(TOKEN_FILE_VARIABLE).map(PathBuf::from),
            basic_auth: variable("CONSUL_HTTP_AUTH").map(|auth| match auth.split_once(':') {
                Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
                None => (auth, None),
            }),
            tls: Tls {
                verify: boolean("CONSUL_HTTP_SSL_VERIFY", &variable)?.unwrap_or(true),
                ca_file: variable("CONSUL_CACERT").map(PathBuf::from),
                ca_directory: variable("CONSUL_CAPATH").map(PathBuf::from),
                client_cert: variable("CONSUL_CLIENT_CERT").map(PathBuf::from),
                client_key: variable("CONSUL_CLIENT_KEY").map(PathBuf::from),
                server_name: variable("CONSUL_TLS_SERVER_NAME"),
            },
            request_timeout: REQUEST_TIMEOUT,
        })
    }

    /// Lets an exchange take at most `timeout` instead of [`REQUEST_TIMEOUT`]. A blocking query may
    /// take as much longer as it asks to wait.
    #[must_use]
    pub fn with_request_timeout(self, timeout: Duration) -> Self {
        Self { request_timeout: timeout, ..self }
    }

    /// Where Consul is, as a URL without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoint.as_str().trim_end_matches('/').to_owned()
    }
}

/// Understands an address; `force_https` overrides a missing scheme and `http`.
fn endpoint(setting: &str, address: &str, force_https: bool) -> Result<Url, ConsulError> {
    let invalid = |problem: &str| {
        ConsulError::config(
            setting,
            format!(
                "{address:?} is not usable: {problem}. Expected HOST:PORT or http(s)://HOST:PORT"
            ),
        )
    };
    if address.starts_with("unix:") || address.starts_with('/') {
        return Err(invalid("unix sockets are not supported, only TCP"));
    }
    let bare = !address.contains("://");
    let text = if bare { format!("http://{address}") } else { address.to_owned() };
    let mut url = Url::parse(&text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the scheme is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConsulError::config(
            setting,
            "a user or password does not belong in the address. Set CONSUL_HTTP_AUTH instead",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a query or a fragment"));
    }
    // The port is set before the scheme, since a URL forgets a port that its scheme implies.
    if bare && !names_port(address) {
        url.set_port(Some(PORT_DEFAULT)).map_err(|()| invalid("it cannot carry a port"))?;
    }
    if force_https {
        url.set_scheme("https").map_err(|()| invalid("it cannot be used with https"))?;
    }
    Ok(url)
}

/// Whether `HOST[:PORT][/PATH]` names a port. The colons inside `[::1]` are not one.
fn names_port(address: &str) -> bool {
    let host = address.split('/').next().unwrap_or_default();
    host.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

fn token(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, ConsulError> {
    const FILE: &str = TOKEN_FILE_VARIABLE;
    if let Some(path) = variable(FILE) {
        let text = String::from_utf8(read(FILE, Path::new(&path))?)
            .map_err(|_| ConsulError::config(FILE, format!("{path} is not text")))?;
        let token = text.trim();
        if !token.is_empty() {
            return Ok(Some(token.to_owned()));
        }
    }
    Ok(variable("CONSUL_HTTP_TOKEN"))
}

/// A variable that is true or false, in all the spellings that Consul's own tools take.
fn boolean(
    name: &str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<bool>, ConsulError> {
    match variable(name).as_deref() {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => {
            Err(ConsulError::config(name, format!("{other:?} is neither true nor false")))
        }
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, ConsulError> {
    std::fs::read(path).map_err(|error| {
        ConsulError::config(setting, format!("cannot read {}: {error}", path.display()))
    })
}

/// The settings that matter for https only. Files are read when the client is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) verify: bool,
    ca_file: Option<PathBuf>,
    ca_directory: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    /// The name that the server's certificate must have, where that is not the address.
    pub(super) server_name: Option<String>,
}

impl Tls {
    /// The only authorities to trust, or `None` for the system's.
    pub(super) fn roots(&self) -> Result<Option<Vec<Certificate>>, ConsulError> {
        let mut files = Vec::new();
        if let Some(file) = &self.ca_file {
            files.push(("CONSUL_CACERT", file.clone()));
        } else if let Some(directory) = &self.ca_directory {
            let entries = std::fs::read_dir(directory).map_err(|error| {
                let problem = format!("cannot list {}: {error}", directory.display());
                ConsulError::config("CONSUL_CAPATH", problem)
            })?;
            files.extend(entries.flatten().map(|entry| ("CONSUL_CAPATH", entry.path())));
        } else {
            return Ok(None);
        }
        let mut roots = Vec::new();
        for (setting, file) in files {
            let found = Certificate::from_pem_bundle(&read(setting, &file)?).unwrap_or_default();
            if found.is_empty() {
                let problem = format!("{} holds no PEM certificate", file.display());
                return Err(ConsulError::config(setting, problem));
            }
            roots.extend(found);
        }
        Ok(Some(roots))
    }

    /// The certificate and key to present to Consul.
    pub(super) fn identity(&self) -> Result<Option<Identity>, ConsulError> {
        const SETTINGS: &str = "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY";
        let (cert, key) = match (&self.client_cert, &self.client_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            _ => return Err(ConsulError::config(SETTINGS, "set both or neither")),
        };
        let mut pem = read("CONSUL_CLIENT_KEY", key)?;
        pem.push(b'\n');
        pem.extend(read("CONSUL_CLIENT_CERT", cert)?);
        let identity = Identity::from_pem(&pem).map_err(|error| {
            let problem = format!(
                "{} and {} are not a PEM certificate and its key: {error}",
                cert.display(),
                key.display()
            );
            ConsulError::config(SETTINGS, problem)
        })?;
        Ok(Some(identity))
    }
}

#[cfg(test)]
mod tests;
