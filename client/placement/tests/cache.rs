//! The cache of compiled components: it saves the compiler's work, and is never trusted blindly.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kv_placement::{Cache, CacheOutcome, Strategy, StrategyHost, StrategyNode, StrategySource};

/// Loads the default strategy as a new process would, and checks that it works.
fn start(cache: &Cache) -> (Strategy, Vec<u32>) {
    let host = StrategyHost::new(cache.clone()).unwrap();
    let strategy = host.load(&StrategySource::default()).unwrap();
    let nodes = ["a", "b", "c"].map(|id| StrategyNode {
        id: id.to_owned(),
        weight: 1,
        zone: String::new(),
    });
    let owners = strategy.assign(&nodes, 256, 1, "").unwrap();
    (strategy, owners)
}

fn outcome(cache: &Cache) -> CacheOutcome {
    start(cache).0.cache_outcome()
}

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_second_start_does_not_compile() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("new/strategies");
    let cache = Cache::at(&directory);
    let (first, table) = start(&cache);
    assert_eq!(first.cache_outcome(), CacheOutcome::Stored);
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    let file = only_file(&directory);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with(&first.digest().to_string()), "{name}");
    let (second, again) = start(&cache);
    assert_eq!(second.cache_outcome(), CacheOutcome::Hit);
    assert_eq!(again, table);
    assert_eq!(second.info(), first.info());
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::at(home.path());
    let (_, table) = start(&cache);
    let path = only_file(home.path());
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damages = [whole[..whole.len() / 2].to_vec(), Vec::new(), b"foreign".repeat(100), flipped];
    for damaged in damages {
        fs::write(&path, &damaged).unwrap();
        let (strategy, again) = start(&cache);
        assert_eq!(strategy.cache_outcome(), CacheOutcome::Stored, "{} bytes", damaged.len());
        assert_eq!(again, table);
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert_eq!(outcome(&cache), CacheOutcome::Hit);
    }
}

#[test]
fn another_strategys_file_is_not_taken_for_it() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::at(home.path());
    let (_, table) = start(&cache);
    let path = only_file(home.path());
    let host = StrategyHost::new(cache.clone()).unwrap();
    host.load(&"consistent-hash".parse().unwrap()).unwrap();
    let other = fs::read_dir(home.path()).unwrap().map(|f| f.unwrap().path()).find(|p| *p != path);
    fs::copy(other.unwrap(), &path).unwrap();
    let (strategy, again) = start(&cache);
    assert_eq!(strategy.cache_outcome(), CacheOutcome::Stored);
    assert_eq!(again, table);
}

#[test]
fn a_file_or_directory_that_others_can_write_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::at(home.path());
    assert_eq!(outcome(&cache), CacheOutcome::Stored);
    let path = only_file(home.path());
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(outcome(&cache), CacheOutcome::Stored);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

    fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(outcome(&cache), CacheOutcome::NotStored);
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(outcome(&cache), CacheOutcome::Hit);
}

#[test]
fn without_a_cache_everything_still_works() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "x").unwrap();
    let expected = start(&Cache::disabled()).1;
    for cache in [Cache::disabled(), Cache::at(&file), Cache::at(file.join("below"))] {
        let (strategy, table) = start(&cache);
        assert_eq!(strategy.cache_outcome(), CacheOutcome::NotStored, "{cache:?}");
        assert_eq!(table, expected);
    }
}

#[test]
fn a_read_only_directory_still_gives_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("strategies");
    let cache = Cache::at(&directory);
    assert_eq!(outcome(&cache), CacheOutcome::Stored);
    fs::set_permissions(&directory, Permissions::from_mode(0o500)).unwrap();
    assert_eq!(outcome(&cache), CacheOutcome::Hit);

    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, Permissions::from_mode(0o500)).unwrap();
    let expected = if fs::write(empty.join("probe"), "x").is_ok() {
        // The superuser writes where the mode forbids it.
        CacheOutcome::Stored
    } else {
        CacheOutcome::NotStored
    };
    assert_eq!(outcome(&Cache::at(&empty)), expected);
    for path in [directory, empty] {
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn starts_at_the_same_time_do_not_disturb_each_other() {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::at(home.path());
    let tables: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&cache).1)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(tables.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(outcome(&cache), CacheOutcome::Hit);
    only_file(home.path());
}
