//! Real directories.

use super::*;
use crate::identity::{IDENTITY_BYTES, OTHER_IDENTITY_FILE};

#[test]
fn a_directory_names_its_holder_and_shows_that_it_is_held() {
    let root = tempfile::tempdir().unwrap();
    let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
    let path = root.path().join("node-0");
    assert!(!is_held(&path));
    let directory = DataDirectory::take(&path, &id, &cluster).unwrap();
    let pid = fs::read_to_string(path.join(LOCK_FILE)).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
    assert!(is_held(&path));
    let refused = DataDirectory::take(&path, &id, &cluster);
    assert!(matches!(refused, Err(DataDirectoryError::Held { .. })));
    assert_eq!(fs::read_to_string(path.join(LOCK_FILE)).unwrap(), pid);
    drop(directory);
    assert!(!is_held(&path));
}

#[test]
fn a_removal_is_kept_until_the_node_starts_again() {
    let root = tempfile::tempdir().unwrap();
    let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
    assert!(Identity::read(root.path()).unwrap().is_none());
    let mut directory = DataDirectory::take(root.path(), &id, &cluster).unwrap();
    directory.keep(2000).unwrap();
    directory.remember_removal().unwrap();
    assert!(Identity::read(root.path()).unwrap().unwrap().removed);
    directory.keep(2000).unwrap();
    assert!(!Identity::read(root.path()).unwrap().unwrap().removed);
}

#[test]
fn a_run_has_ended_where_its_lock_is_held_and_is_unknown_to_a_copy() {
    let root = tempfile::tempdir().unwrap();
    let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
    let (path, copy) = (root.path().join("node-0"), root.path().join("copy"));
    let mut directory = DataDirectory::take(&path, &id, &cluster).unwrap();
    assert_eq!(directory.ended(), None);
    let first = directory.identity().incarnations.next(None);
    directory.begin(first).unwrap();
    drop(directory);

    fs::create_dir(&copy).unwrap();
    for file in [IDENTITY_FILE, LOCK_FILE] {
        fs::copy(path.join(file), copy.join(file)).unwrap();
    }
    let moved = root.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(DataDirectory::take(&moved, &id, &cluster).unwrap().ended(), Some(first));
    let copy = DataDirectory::take(&copy, &id, &cluster).unwrap();
    assert_eq!(copy.identity().incarnations.last(), Some(first));
    assert_eq!(copy.ended(), None);
}

#[test]
fn an_identity_that_is_removed_is_written_anew_where_the_directory_is() {
    let root = tempfile::tempdir().unwrap();
    let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
    let path = root.path().join("node-0");
    let mut directory = DataDirectory::take(&path, &id, &cluster).unwrap();
    directory.set_disk(&Disk::new(&path, 0)).unwrap();
    directory.keep(2000).unwrap();
    assert!(!directory.mend().unwrap());
    fs::remove_file(path.join(IDENTITY_FILE)).unwrap();
    assert!(directory.mend().unwrap());
    assert_eq!(Identity::read(&path).unwrap().as_ref(), Some(directory.identity()));
    fs::rename(&path, root.path().join("aside")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!directory.mend().unwrap());
    assert_eq!(Identity::read(&path).unwrap(), None, "that is another directory");
}

#[test]
fn an_identity_is_written_anew_in_the_room_that_it_has() {
    let root = tempfile::tempdir().unwrap();
    let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
    let mut directory = DataDirectory::take(root.path(), &id, &cluster).unwrap();
    let files = [IDENTITY_FILE, OTHER_IDENTITY_FILE].map(|name| root.path().join(name));
    let inodes = || files.clone().map(|file| fs::metadata(file).map(|it| it.ino()).ok());
    directory.keep(2000).unwrap();
    directory.keep(2001).unwrap();
    let [current, other] = inodes();
    assert!(current.is_some() && other.is_some());
    directory.keep(2002).unwrap();
    assert_eq!(inodes(), [other, current], "they take turns");
    let lengths = files.each_ref().map(|file| fs::metadata(file).unwrap().len());
    assert_eq!(lengths, [IDENTITY_BYTES as u64; 2]);
    assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2002));
    // A write that was cut short leaves the one that counts as it is.
    fs::write(&files[1], b"{\"format\":").unwrap();
    assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2002));
    directory.keep(2003).unwrap();
    assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2003));
}
