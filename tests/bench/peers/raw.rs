//! What the machine gives to any program: a ZeroMQ round trip, an append that is synced.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use kv_bench::figures::percentile_ms;

/// The bytes of a message, which are those of a value.
const MESSAGE_BYTES: usize = 100;
/// The bytes of an appended record: a value of 100 bytes with its key and what describes it.
const RECORD_BYTES: usize = 150;
/// How long an echo may take, in milliseconds.
const ECHO_WITHIN_MS: i32 = 10_000;

/// The median time of a round trip between a DEALER and a ROUTER on the loopback interface, each in
/// a thread of its own, in microseconds. Each has a context of its own, and so an I/O thread, as those
/// of two processes have.
pub(crate) fn round_trip_us(time: Duration) -> anyhow::Result<f64> {
    let router = zmq::Context::new().socket(zmq::ROUTER)?;
    router.bind("tcp://127.0.0.1:*")?;
    let endpoint = router.get_last_endpoint()?;
    let endpoint = endpoint.map_err(|_| anyhow::anyhow!("the endpoint is not text"))?;
    let echo = thread::spawn(move || -> Result<(), zmq::Error> {
        loop {
            let message = router.recv_multipart(0)?;
            // An empty message says that it was the last one.
            if message.last().is_none_or(Vec::is_empty) {
                return Ok(());
            }
            router.send_multipart(message, 0)?;
        }
    });
    let dealer = zmq::Context::new().socket(zmq::DEALER)?;
    dealer.set_rcvtimeo(ECHO_WITHIN_MS)?;
    dealer.connect(&endpoint)?;
    let message = [b'v'; MESSAGE_BYTES];
    let times = timed(time, || {
        dealer.send(&message[..], 0)?;
        dealer.recv_bytes(0).map(drop).context("no echo")
    })?;
    dealer.send(&b""[..], 0)?;
    echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))??;
    Ok(times)
}

/// The median time of an append to a file in `directory` with its fdatasync, in microseconds.
pub(crate) fn append_us(directory: &Path, time: Duration) -> anyhow::Result<f64> {
    let path = directory.join("appended");
    let mut file = File::create(&path)?;
    let record = [b'r'; RECORD_BYTES];
    let median = timed(time, || {
        file.write_all(&record)?;
        Ok(file.sync_data()?)
    });
    std::fs::remove_file(path)?;
    median
}

/// Repeats `work` for some time and gives its median time, in microseconds.
fn timed(time: Duration, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < time {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(percentile_ms(&times, 0.5) * 1e3)
}
