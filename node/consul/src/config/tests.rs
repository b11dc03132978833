use std::collections::HashMap;

use super::*;
use crate::Consul;

/// Resolves with nothing in the environment but `variables`.
fn resolve(address: Option<&str>, variables: &[(&str, &str)]) -> Result<ConsulConfig, ConsulError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    ConsulConfig::resolve_with(address, |name| variables.get(name).map(|v| (*v).to_owned()))
}

fn address(argument: Option<&str>, variables: &[(&str, &str)]) -> String {
    resolve(argument, variables).unwrap().address()
}

fn problem(argument: Option<&str>, variables: &[(&str, &str)]) -> String {
    resolve(argument, variables).unwrap_err().to_string()
}

#[test]
fn an_argument_wins_over_the_variable_and_the_variable_over_the_default() {
    let variable = [(HTTP_ADDR_VARIABLE, "consul.test:1234")];
    assert_eq!(address(Some("localhost:8500"), &variable), "http://localhost:8500");
    assert_eq!(address(None, &variable), "http://consul.test:1234");
    assert_eq!(address(None, &[]), "http://127.0.0.1:8500");
    assert_eq!(address(None, &[(HTTP_ADDR_VARIABLE, "")]), "http://127.0.0.1:8500");
}

#[test]
fn every_usual_form_of_an_address_is_understood() {
    for (given, expected) in [
        ("localhost", "http://localhost:8500"),
        ("localhost:80", "http://localhost"),
        ("10.0.0.1:8501", "http://10.0.0.1:8501"),
        ("[::1]", "http://[::1]:8500"),
        ("[::1]:9", "http://[::1]:9"),
        ("http://consul.test:8500/", "http://consul.test:8500"),
        ("https://consul.test", "https://consul.test"),
        ("https://consul.test:8501/under/a/path", "https://consul.test:8501/under/a/path"),
    ] {
        assert_eq!(address(Some(given), &[]), expected, "for {given:?}");
    }
}

#[test]
fn https_comes_from_the_scheme_or_from_the_variable() {
    let ssl = [("CONSUL_HTTP_SSL", "true")];
    assert_eq!(address(None, &ssl), "https://127.0.0.1:8500");
    assert_eq!(address(Some("localhost:8501"), &ssl), "https://localhost:8501");
    assert_eq!(address(Some("localhost:443"), &ssl), "https://localhost");
    // An explicit argument is taken at its word; a variable never turns TLS off again.
    assert_eq!(address(Some("http://localhost:8500"), &ssl), "http://localhost:8500");
    let both = [("CONSUL_HTTP_SSL", "1"), (HTTP_ADDR_VARIABLE, "http://consul.test:8501")];
    assert_eq!(address(None, &both), "https://consul.test:8501");
}

#[test]
fn an_unusable_address_is_named_with_the_reason() {
    for (given, reason) in [
        ("unix:///run/consul.sock", "unix sockets are not supported"),
        ("/run/consul.sock", "unix sockets are not supported"),
        ("ftp://localhost", "neither http nor https"),
        ("localhost:99999", "port"),
        ("", "empty host"),
        ("localhost:8500?token=x", "query"),
        ("http://me:secret@localhost:8500", "CONSUL_HTTP_AUTH"),
    ] {
        let message = problem(Some(given), &[]);
        assert!(message.contains(reason), "{given:?} gave {message:?}");
        assert!(!message.contains("secret"), "{message:?} shows the password");
    }
    assert!(problem(None, &[(HTTP_ADDR_VARIABLE, "a b")]).starts_with("CONSUL_HTTP_ADDR: "));
}

#[test]
fn a_token_file_wins_over_the_token_and_secrets_stay_out_of_debug_output() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let path = file.to_str().unwrap();
    let config = resolve(
        None,
        &[
            ("CONSUL_HTTP_TOKEN", "from-variable"),
            ("CONSUL_HTTP_TOKEN_FILE", path),
            ("CONSUL_HTTP_AUTH", "me:secret:word"),
        ],
    )
    .unwrap();
    assert_eq!(config.token.as_deref(), Some("from-file"));
    assert_eq!(config.basic_auth, Some(("me".to_owned(), Some("secret:word".to_owned()))));
    let shown = format!("{config:?} {:?}", Consul::new(&config).unwrap());
    for secret in ["from-file", "secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }

    std::fs::write(&file, "\n").unwrap();
    let variables = [("CONSUL_HTTP_TOKEN", "from-variable"), ("CONSUL_HTTP_TOKEN_FILE", path)];
    assert_eq!(resolve(None, &variables).unwrap().token.as_deref(), Some("from-variable"));

    std::fs::remove_file(&file).unwrap();
    let message = problem(None, &variables);
    assert!(message.starts_with("CONSUL_HTTP_TOKEN_FILE: cannot read "), "{message}");
}

#[test]
fn a_token_that_cannot_be_a_header_is_refused_without_showing_it() {
    let config = resolve(None, &[("CONSUL_HTTP_TOKEN", "se\ncret")]).unwrap();
    let message = Consul::new(&config).unwrap_err().to_string();
    assert!(message.contains("token") && !message.contains("cret"), "{message}");
}

#[test]
fn a_truth_value_has_the_usual_spellings_and_no_others() {
    for (text, verify) in
        [("0", false), ("f", false), ("False", false), ("TRUE", true), ("1", true)]
    {
        let config = resolve(None, &[("CONSUL_HTTP_SSL_VERIFY", text)]).unwrap();
        assert_eq!(config.tls.verify, verify, "for {text}");
    }
    let message = problem(None, &[("CONSUL_HTTP_SSL", "yes")]);
    assert_eq!(message, "CONSUL_HTTP_SSL: \"yes\" is neither true nor false");
}

/// The message with which a client for https refuses the settings.
fn tls_problem(variables: &[(&str, &str)]) -> String {
    let config = resolve(Some("https://localhost"), variables).unwrap();
    Consul::new(&config).unwrap_err().to_string()
}

#[test]
fn certificate_files_that_are_missing_or_damaged_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.pem");
    std::fs::write(&bad, "no certificate").unwrap();
    let (bad, folder) = (bad.to_str().unwrap(), directory.path().to_str().unwrap());

    let message = tls_problem(&[("CONSUL_CACERT", "/nowhere.pem")]);
    assert!(message.starts_with("CONSUL_CACERT: cannot read /nowhere.pem"), "{message}");
    let message = tls_problem(&[("CONSUL_CACERT", bad)]);
    assert!(message.contains("bad.pem holds no PEM certificate"), "{message}");
    let message = tls_problem(&[("CONSUL_CAPATH", folder)]);
    assert!(message.starts_with("CONSUL_CAPATH: ") && message.contains("bad.pem"), "{message}");

    let skip = ("CONSUL_HTTP_SSL_VERIFY", "false");
    let message = tls_problem(&[skip, ("CONSUL_CLIENT_CERT", bad)]);
    assert!(message.contains("set both or neither"), "{message}");
    let message = tls_problem(&[skip, ("CONSUL_CLIENT_CERT", bad), ("CONSUL_CLIENT_KEY", bad)]);
    assert!(message.contains("not a PEM certificate and its key"), "{message}");
    let message = tls_problem(&[skip, ("CONSUL_TLS_SERVER_NAME", "not a name")]);
    assert!(message.starts_with("CONSUL_TLS_SERVER_NAME: "), "{message}");
}

#[test]
fn certificates_do_not_matter_without_https() {
    let config = resolve(Some("localhost:8500"), &[("CONSUL_CACERT", "/nowhere.pem")]).unwrap();
    assert!(Consul::new(&config).is_ok());
}
