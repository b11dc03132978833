use std::time::Instant;

use super::*;
use crate::state::{Condition, NewSession, Put};

fn put(state: &mut State, key: &str, value: &[u8], condition: Condition) {
    let put = Put { key: key.to_owned(), value: value.into(), flags: 7, condition };
    assert!(state.put(put, Instant::now()).unwrap());
}

/// A directory with one key in its state, and the path of the state file.
fn written() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (disk, mut state) = Disk::open(directory.path()).unwrap();
    put(&mut state, "a", b"value", Condition::Always);
    disk.write(&state).unwrap();
    let path = directory.path().join(STATE_FILE);
    (directory, path)
}

/// The message with which a directory is refused whose state file holds `content`.
fn refusal(content: &[u8]) -> String {
    let (directory, path) = written();
    std::fs::write(&path, content).unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    assert!(matches!(error, AgentError::Damaged { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), content, "a damaged file is left alone");
    error.to_string()
}

#[test]
fn what_was_written_is_read_back_and_the_identity_stays() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("made/when/missing");
    let (disk, mut state) = Disk::open(&nested).unwrap();
    let id = disk.node_id().to_owned();
    let now = Instant::now();
    for (n, behavior) in [Behavior::Release, Behavior::Delete].into_iter().enumerate() {
        let session = format!("00000000-0000-0000-0000-00000000000{n}");
        let new = NewSession {
            name: String::new(),
            ttl_text: String::new(),
            ttl: None,
            lock_delay: Default::default(),
            behavior,
        };
        state.create_session(session.clone(), new, now).unwrap();
        put(&mut state, &format!("lock-{n}"), b"", Condition::Acquire(session));
    }
    put(&mut state, "binary", &[0, 255, 10, 13], Condition::Always);
    disk.write(&state).unwrap();
    drop(disk);

    let (disk, after) = Disk::open(&nested).unwrap();
    assert_eq!(disk.node_id(), id);
    assert_eq!(after.kv.get("binary").1, state.kv.get("binary").1);
    let released = after.kv.get("lock-0").1.unwrap();
    assert_eq!((released.session.as_deref(), released.lock_index), (None, 1));
    assert_eq!(after.kv.get("lock-1").1, None);
}

#[test]
fn each_start_reserves_indexes_before_anybody_sees_one() {
    let (directory, _) = written();
    let (_, first) = Disk::open(directory.path()).unwrap();
    let (_, second) = Disk::open(directory.path()).unwrap();
    assert!(second.kv.get("missing").0 > first.reserved_index());
}

#[test]
fn a_directory_is_held_by_one_agent_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let held = Disk::open(directory.path()).unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    assert!(matches!(error, AgentError::Held { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another process"));
    drop(held);
    Disk::open(directory.path()).unwrap();
}

#[test]
fn a_leftover_of_an_interrupted_write_does_no_harm() {
    let (directory, _) = written();
    std::fs::write(directory.path().join(STATE_FILE_NEW), "half a fi").unwrap();
    let (_, state) = Disk::open(directory.path()).unwrap();
    assert!(state.kv.get("a").1.is_some());
}

#[test]
fn every_damaged_byte_is_noticed() {
    let (_directory, path) = written();
    let content = std::fs::read(path).unwrap();
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 1;
        assert!(decode(&damaged).is_err(), "byte {at} of {:?}", String::from_utf8_lossy(&content));
    }
    for length in 0..content.len() {
        assert!(decode(&content[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_damaged_file_is_reported_with_what_is_wrong() {
    let body = |text: &str| {
        format!("{MAGIC} {:08x} {}\n{text}", crc32fast::hash(text.as_bytes()), text.len())
    };
    for (content, problem) in [
        (String::new(), "its first line has no end"),
        ("{}\n".to_owned(), "its first line should be"),
        (
            format!("{MAGIC} 00000000 5\n{{}}"),
            "it should have 5 bytes after its first line and has 2",
        ),
        (format!("{MAGIC} 00000000 2\n{{}}"), "its checksum should be 00000000 and is"),
        (body("{}"), "missing field"),
        (
            body(r#"{"node_id":"x","reserved_index":18446744073709551615,"entries":[]}"#),
            "is larger than",
        ),
        (
            body(
                r#"{"node_id":"x","reserved_index":1,"entries":[{"key":"k","value":"!","flags":0,"create_index":1,"modify_index":1,"lock_index":0,"held":null}]}"#,
            ),
            "the value of \"k\" is not base64",
        ),
    ] {
        let message = refusal(content.as_bytes());
        assert!(message.contains(problem), "{content:?} gave {message:?}");
        assert!(
            message.contains("state.json is damaged") && message.contains("backup"),
            "{message}"
        );
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Disk::open(&file.path().join("below")).unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
}

#[test]
fn a_failed_write_leaves_the_old_state() {
    let (directory, path) = written();
    let (disk, mut state) = Disk::open(directory.path()).unwrap();
    let content = std::fs::read(&path).unwrap();
    // A directory in the place of the new file makes the write fail for every user, root included.
    std::fs::create_dir(directory.path().join(STATE_FILE_NEW)).unwrap();
    put(&mut state, "b", b"value", Condition::Always);
    assert!(disk.write(&state).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), content);
}
