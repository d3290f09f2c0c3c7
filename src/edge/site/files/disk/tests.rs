//! Both ways of opening against one tree: links inside, links out, pipes, and a root that is replaced.

use std::{io::Read, os::unix::fs::symlink};

use super::*;

/// A root with files and ways out of it.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("sub/deep")).unwrap();
    std::fs::write(dir.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(root.join("a.txt"), "a").unwrap();
    std::fs::write(root.join("sub/b.txt"), "b").unwrap();
    symlink("a.txt", root.join("inside.txt")).unwrap();
    symlink("../a.txt", root.join("sub/up-inside.txt")).unwrap();
    symlink("../secret.txt", root.join("out.txt")).unwrap();
    symlink(dir.path().join("secret.txt"), root.join("absolute.txt")).unwrap();
    symlink(root.join("a.txt"), root.join("absolute-inside.txt")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("circle", root.join("circle")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    rustix::fs::mkfifoat(CWD, root.join("pipe"), Permissions::RUSR).unwrap();
    dir
}

fn read(root: &Root, path: &str) -> Result<String, Trouble> {
    match root.open(Path::new(path), Mode::OnDisk)? {
        Entry::Directory => Ok("directory".to_owned()),
        Entry::File(mut file, _) => {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            Ok(text)
        }
    }
}

const WAYS_OUT: [&str; 9] = [
    "out.txt",
    "absolute.txt",
    "parent/secret.txt",
    "circle",
    "magic/etc/passwd",
    "pipe",
    "none.txt",
    "a.txt/x",
    "../secret.txt",
];

#[test]
fn links_inside_are_followed_and_none_leads_out() {
    let dir = tree();
    let root = Root::new(dir.path().join("root"));
    for (path, want) in [
        ("a.txt", "a"),
        ("sub/b.txt", "b"),
        ("inside.txt", "a"),
        ("sub/up-inside.txt", "a"),
        (".", "directory"),
        ("sub", "directory"),
    ] {
        assert_eq!(read(&root, path).unwrap(), want, "{path}");
    }
    for path in WAYS_OUT.into_iter().chain(["absolute-inside.txt"]) {
        assert!(matches!(read(&root, path), Err(Trouble::Absent)), "{path}");
    }
    assert!(!root.walks.load(Relaxed), "this kernel has no openat2: the test proves nothing");
}

#[test]
fn without_the_kernels_help_no_link_is_followed_at_all() {
    let dir = tree();
    let root = Root::new(dir.path().join("root"));
    root.walks.store(true, Relaxed);
    for (path, want) in [("a.txt", "a"), ("sub/b.txt", "b"), (".", "directory"), ("sub", "directory")] {
        assert_eq!(read(&root, path).unwrap(), want, "{path}");
    }
    for path in WAYS_OUT.into_iter().chain(["inside.txt", "sub/up-inside.txt", "absolute-inside.txt"]) {
        assert!(matches!(read(&root, path), Err(Trouble::Absent)), "{path}");
    }
    assert!(matches!(root.open(Path::new("a.txt"), Mode::InMemory), Err(Trouble::NotInMemory)));
}

#[test]
fn what_was_opened_a_moment_ago_is_opened_without_waiting() {
    let dir = tree();
    let root = Root::new(dir.path().join("root"));
    read(&root, "a.txt").unwrap();
    assert!(matches!(root.open(Path::new("a.txt"), Mode::InMemory), Ok(Entry::File(..))));
}

#[test]
fn a_replaced_root_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["1", "2"] {
        std::fs::create_dir(dir.path().join(release)).unwrap();
        std::fs::write(dir.path().join(release).join("a.txt"), release).unwrap();
    }
    let current = dir.path().join("current");
    symlink("1", &current).unwrap();
    let root = Root::new(current.clone());
    assert_eq!(read(&root, "a.txt").unwrap(), "1");
    symlink("2", dir.path().join("next")).unwrap();
    std::fs::rename(dir.path().join("next"), &current).unwrap();
    let begun = Instant::now();
    while read(&root, "a.txt").unwrap() == "1" {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_root_that_is_not_there_is_told_with_its_path() {
    let root = Root::new(PathBuf::from("/nowhere/at/all"));
    let error = read(&root, "a.txt").unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}
