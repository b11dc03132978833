//! `kvclient strategy new`: a project, whole or not at all, and never in the place of something else.

use std::fs;

use kv_testkit::harness::{Backend, Cluster};
use serde_json::json;

#[test]
fn a_project_is_made_whole_and_once() {
    let cluster = Cluster::empty(Backend::Embedded);
    let here = cluster.directory();
    for (language, file, word) in [
        ("rust", "src/lib.rs", "fn assign"),
        ("c", "src/strategy.c", "struct answer assign"),
        ("zig", "src/strategy.zig", "fn assign"),
        ("assemblyscript", "src/strategy.ts", "function assign"),
    ] {
        let name = format!("my-{language}");
        let new = ["strategy", "new", &name, "--lang", language];
        let made = cluster.kvclient_anywhere(&new).output().success().no_stderr();
        assert!(made.stdout_text().contains(&format!("kvclient strategy check ./{name}.wasm")));
        let source = fs::read_to_string(here.join(&name).join(file)).expect("the source is there");
        assert!(source.contains(word), "{source}");
        assert!(!source.contains("my-strategy"), "{source}");
        fs::write(here.join(&name).join(file), "mine").expect("a file can be written");
        cluster.kvclient_anywhere(&new).output().code(2).no_stdout().says(&["exists already"]);
        assert_eq!(fs::read(here.join(&name).join(file)).expect("it is still there"), b"mine");
    }
    let elsewhere = here.join("my-rust");
    let new = ["strategy", "new", "other", "--output", "json", "--lang", "javascript"];
    let made = cluster.kvclient_anywhere(&new).arg_path("--directory", &elsewhere).output();
    let made = made.success().json();
    assert_eq!(made["commands"], json!(["npm install", "npm run build"]));
    assert!(elsewhere.join("other/package.json").exists());
    let left = fs::read_dir(&elsewhere).expect("the folder is there");
    let left = left.filter(|it| it.as_ref().is_ok_and(|it| it.file_name() == "other")).count();
    assert_eq!(left, 1);
}

#[test]
fn a_name_that_is_none_makes_nothing() {
    let cluster = Cluster::empty(Backend::Embedded);
    let before = fs::read_dir(cluster.directory()).expect("it is there").count();
    for name in ["", "../up", "Upper", "a_b", "-x"] {
        cluster.kvclient_anywhere(&["strategy", "new", "--", name]).output().code(2).no_stdout();
    }
    for arguments in [&["a", "--lang", "cobol"][..], &["a", "--directory", "/dev/null"]] {
        let new = ["strategy", "new"].iter().chain(arguments).copied().collect::<Vec<_>>();
        cluster.kvclient_anywhere(&new).output().code(2).no_stdout();
    }
    assert_eq!(fs::read_dir(cluster.directory()).expect("it is there").count(), before);
}
