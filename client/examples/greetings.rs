//! Stores two records and reads them again: what a program needs to begin with.
//!
//! Its manifest names `kvclient`, `futures` and `tokio`. `kvnode dev` is a cluster to try it with; another one
//! than `default` is named by the argument.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::pin::pin;

use futures::TryStreamExt;
use kvclient::{Client, ClientConfig, ConsulConfig};

async fn greet() -> Result<(), Box<dyn Error>> {
    // Consul is where CONSUL_HTTP_ADDR says, or on this machine.
    let mut config = ClientConfig::new(ConsulConfig::resolve(None)?);
    if let Some(name) = std::env::args().nth(1) {
        config.cluster = name.parse()?;
    }
    let client = Client::connect(config).await?;
    client.put("greeting/en", "hello").await?;
    client.put("greeting/fr", "bonjour").await?;
    if let Some(record) = client.get("greeting/en").await? {
        println!("greeting/en is {}", String::from_utf8_lossy(&record.value));
    }
    let mut greetings = pin!(client.get_all("greeting/"));
    while let Some((key, record)) = greetings.try_next().await? {
        println!("{key}: {} bytes", record.value.len());
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    // Errors say what to do next.
    if let Err(error) = greet().await {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
