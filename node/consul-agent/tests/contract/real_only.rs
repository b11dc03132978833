//! What only a real Consul has: access control, TLS, and a command line of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use kv_consul::{CheckStatus, Consul, ConsulConfig, ConsulError, Read};
use kv_testkit::consul::{RealConsul, real_consul_binary};
use kv_testkit::needs;

use crate::agent::{await_status, registration};
use crate::server::{PATIENCE, Server};

fn client(address: &str, variables: &[(&str, &str)]) -> Consul {
    let variable = |name: &str| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    };
    let config = ConsulConfig::resolve_with(Some(address), variable).unwrap();
    Consul::new(&config.with_request_timeout(PATIENCE)).unwrap()
}

#[needs(consul)]
#[tokio::test]
async fn a_token_opens_what_is_closed_without() {
    const TOKEN: &str = "11111111-2222-3333-4444-555555555555";
    let server = RealConsul::start_closed(TOKEN);
    let address = server.address().to_string();
    let stranger = client(&address, &[]);
    for error in [
        stranger.kv_put("a", b"1").await.unwrap_err(),
        stranger.register(&registration("kv", "node-0")).await.unwrap_err(),
        client(&address, &[("CONSUL_HTTP_TOKEN", "unknown")]).kv_put("a", b"1").await.unwrap_err(),
    ] {
        assert!(matches!(error, ConsulError::PermissionDenied { .. }), "{error:?}");
        assert!(error.to_string().contains("CONSUL_HTTP_TOKEN"), "{error}");
    }
    let consul = client(&address, &[("CONSUL_HTTP_TOKEN", TOKEN)]);
    consul.kv_put("a", b"1").await.unwrap();
    assert!(consul.kv_get("a", Read::default()).await.unwrap().value.is_some());
    consul.register(&registration("kv", "node-0")).await.unwrap();
    consul.check_pass("node-0", "").await.unwrap();
    await_status(&consul, "kv", CheckStatus::Passing).await;
}

/// Runs `consul tls ...` in `directory`, which makes certificates there.
fn make_certificates(binary: &Path, directory: &Path, arguments: &[&str]) {
    let output =
        Command::new(binary).arg("tls").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[needs(consul)]
#[tokio::test]
async fn tls_is_spoken_with_the_usual_variables() {
    let binary = real_consul_binary();
    let directory = tempfile::tempdir().unwrap();
    make_certificates(&binary, directory.path(), &["ca", "create"]);
    make_certificates(&binary, directory.path(), &["cert", "create", "-server"]);
    make_certificates(&binary, directory.path(), &["cert", "create", "-cli"]);
    let file = |name: &str| -> PathBuf { directory.path().join(name) };
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let ca = text(file("consul-agent-ca.pem"));
    let (cert, key) =
        (text(file("dc1-server-consul-0.pem")), text(file("dc1-server-consul-0-key.pem")));
    // The port is free once the listener is gone; if another process takes it, Consul does not start.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let _server = RealConsul::start(&[
        &format!("-hcl=ports {{ https = {port} }}"),
        &format!("-hcl=ca_file = \"{ca}\""),
        &format!("-hcl=cert_file = \"{cert}\""),
        &format!("-hcl=key_file = \"{key}\""),
        "-hcl=verify_incoming_https = true",
    ]);

    let address = format!("localhost:{port}");
    let ssl = ("CONSUL_HTTP_SSL", "true");
    let ca = ("CONSUL_CACERT", ca.as_str());
    let (client_cert, client_key) =
        (text(file("dc1-cli-consul-0.pem")), text(file("dc1-cli-consul-0-key.pem")));
    let identity =
        [("CONSUL_CLIENT_CERT", client_cert.as_str()), ("CONSUL_CLIENT_KEY", client_key.as_str())];
    let with = |more: &[(&'static str, &str)]| -> Consul {
        let variables: Vec<_> = [&[ssl][..], &identity, more].concat();
        client(&address, &variables)
    };

    assert!(with(&[ca]).leader().await.unwrap().is_some());
    assert!(with(&[("CONSUL_HTTP_SSL_VERIFY", "false")]).leader().await.unwrap().is_some());
    // The certificate is for localhost and for server.dc1.consul, not for other names.
    let named = |name| with(&[ca, ("CONSUL_TLS_SERVER_NAME", name)]);
    assert!(named("server.dc1.consul").leader().await.unwrap().is_some());
    let error = named("elsewhere.test").leader().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // The system's authorities do not know this one.
    let error = with(&[]).leader().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // Without a certificate of its own a client is not let in.
    let error = client(&address, &[ssl, ca]).leader().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // Plain HTTP at the same port is a clear error too.
    let error = client(&address, &[]).leader().await.unwrap_err();
    assert!(error.to_string().contains("HTTPS"), "{error}");
}

/// The authors of this program knew nothing of the embedded agent.
#[needs(consul)]
#[test]
fn consuls_own_command_line_works_with_the_embedded_agent() {
    let binary = real_consul_binary();
    let server = Server::embedded();
    let run = |arguments: &[&str]| {
        let output = Command::new(&binary)
            .args(arguments)
            .env("CONSUL_HTTP_ADDR", server.address().to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "consul {arguments:?} gave {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["kv", "put", "cli/a", "value"]);
    run(&["kv", "put", "-flags=7", "cli/b", "other"]);
    assert_eq!(run(&["kv", "get", "cli/a"]), "value\n");
    assert_eq!(run(&["kv", "get", "-recurse", "cli/"]), "cli/a:value\ncli/b:other\n");
    assert!(run(&["kv", "get", "-detailed", "cli/b"]).contains("Flags            7"));
    assert_eq!(run(&["kv", "get", "-keys", "cli"]), "cli/\n");
    run(&["kv", "delete", "-recurse", "cli/"]);
    assert_eq!(run(&["kv", "get", "-recurse", "cli/"]), "");

    run(&["services", "register", "-name=cli-web", "-id=cli-web-0", "-port=80", "-meta=a=b"]);
    assert!(run(&["catalog", "services"]).contains("cli-web"));
    assert!(run(&["catalog", "nodes"]).contains("127.0.0.1"));
    run(&["services", "deregister", "-id=cli-web-0"]);
    assert!(!run(&["catalog", "services"]).contains("cli-web"));
    // It makes a session, renews it, locks a key, watches it, and cleans up.
    assert_eq!(run(&["lock", "cli-lock", "echo held"]), "held\n");
}
