//! Where an export goes is no ordinary file.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use kv_testkit::harness::{Backend, Cluster};
use rustix::fs::{CWD, Mode, mkfifoat};

const EXPORTED: &str = "{\"key\":\"key\",\"value\":\"value\"}\n";

fn stored() -> Cluster {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("it is text")
}

#[track_caller]
fn export(cluster: &Cluster, path: &Path) {
    let path = path.display().to_string();
    cluster.kvclient(&["export", &path]).output().success().no_stdout().says(&["wrote 1 records"]);
}

#[test]
fn a_file_keeps_its_mode_and_a_new_one_is_private() {
    let cluster = stored();
    let new = cluster.directory().join("new");
    export(&cluster, &new);
    assert_eq!((mode(&new), read(&new)), (0o600, EXPORTED.into()));
    for wanted in [0o600, 0o640, 0o666, 0o4755] {
        let old = cluster.directory().join(format!("old-{wanted:o}"));
        fs::write(&old, "old").expect("it can be written");
        fs::set_permissions(&old, Permissions::from_mode(wanted)).expect("it is ours");
        export(&cluster, &old);
        assert_eq!((mode(&old), read(&old)), (wanted, EXPORTED.into()));
    }
    // Only a privileged user can give a file away, and see that its owner stays.
    let others = cluster.directory().join("others");
    fs::write(&others, "old").expect("it can be written");
    if std::os::unix::fs::chown(&others, Some(12345), Some(12346)).is_ok() {
        export(&cluster, &others);
        let metadata = fs::metadata(&others).expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 12346));
    }
}

#[test]
fn a_link_leads_where_it_did() {
    let cluster = stored();
    let folder = cluster.directory().join("elsewhere");
    fs::create_dir(&folder).expect("it can be made");
    fs::write(folder.join("there"), "old").expect("it can be written");
    for (link, target) in [("direct", "there"), ("dangling", "not-there-yet"), ("second", "first")]
    {
        symlink(Path::new("elsewhere").join(target), cluster.directory().join(link))
            .expect("it can be made");
    }
    // A link to a link, which is relative to where it is.
    symlink("behind", folder.join("first")).expect("it can be made");
    for (link, target) in [("direct", "there"), ("dangling", "not-there-yet"), ("second", "behind")]
    {
        let link = cluster.directory().join(link);
        export(&cluster, &link);
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
        assert_eq!(read(&folder.join(target)), EXPORTED);
        assert!(!folder.join(target).is_symlink());
    }
    symlink("round", cluster.directory().join("round")).expect("it can be made");
    let output = cluster.kvclient(&["export", "round"]).output();
    output.code(2).no_stdout().says(&["round cannot be written"]);
}

#[test]
fn a_file_with_two_names_keeps_both() {
    let cluster = stored();
    let [one, other] = ["one", "other"].map(|name| cluster.directory().join(name));
    fs::write(&one, "an old text that is longer than the new one is, and is to be gone")
        .expect("it works");
    fs::hard_link(&one, &other).expect("it can be made");
    export(&cluster, &one);
    assert_eq!((read(&one), read(&other)), (EXPORTED.into(), EXPORTED.into()));
}

#[test]
fn what_is_no_file_is_written_to() {
    let cluster = stored();
    let fifo = cluster.directory().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("it can be made");
    let text = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&fifo));
        export(&cluster, &fifo);
        reader.join().expect("it does not panic")
    });
    assert_eq!(text, EXPORTED);
    export(&cluster, Path::new("/dev/null"));
    cluster.kvclient(&["export", "/"]).output().code(2).says(&["/ cannot be written"]);
    // A name of standard output stands for the open stream, which goes on where it is.
    for name in ["/dev/stdout", "/dev/fd/1", "-"] {
        let output = cluster.kvclient(&["export", name]).output().success();
        assert_eq!(output.stdout_text(), EXPORTED, "{name}");
    }
    let log = cluster.directory().join("log");
    let mut file = File::create(&log).expect("it can be made");
    file.write_all(b"before\n").expect("it can be written");
    let again = file.try_clone().expect("it can be shared");
    cluster.kvclient(&["export", "/dev/stdout"]).stdout_to(again).output().success();
    file.write_all(b"after\n").expect("it can be written");
    assert_eq!(read(&log), format!("before\n{EXPORTED}after\n"));
}

#[test]
fn a_pipe_that_was_named_and_has_lost_its_reader_is_an_error() {
    let cluster = stored();
    // More than a pipe holds, so that writing goes on when the reader has gone.
    let value = "v".repeat(1 << 20);
    cluster.kvclient(&["put", "large"]).stdin(value).output().success();
    let fifo = cluster.directory().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("it can be made");
    let running = cluster.kvclient(&["export", "fifo"]).spawn();
    let mut reader = File::open(&fifo).expect("the export opens the other end");
    reader.read_exact(&mut [0]).expect("it writes");
    drop(reader);
    running.output().code(2).no_stdout().says(&["fifo cannot be written"]);
}
