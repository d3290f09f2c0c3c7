//! What the sandbox has refused to a worker, by the worker's own last words: Node names file and call, and only we know
//! that it was the sandbox and not the file's permissions. It must never open what strangers' lines name.

use std::path::{Path, PathBuf};

use super::{
    super::{child::Program, sandbox::Rules, visitor::Visitor},
    NAMED_MAX,
};

/// How Node begins to say it, in the text of an error; the call and its file follow.
const DENIED: &str = "EACCES: permission denied, ";

/// Calls that only look.
const LOOKS: [&str; 8] = ["open", "scandir", "opendir", "access", "stat", "lstat", "readlink", "realpath"];

/// What these lines say was refused, as far as the sandbox has done that, each a line.
pub(super) async fn refused(started: &Program, written: &[String]) -> Vec<String> {
    let Some(rules) = started.confinement.rules.clone() else { return Vec::new() };
    let directory = started.confinement.directory.clone();
    let visitor = Visitor::of(started.confinement.identity.as_ref());
    let mut asked: Vec<_> = written.iter().filter_map(|line| denied(line, &directory)).collect();
    asked.dedup();
    asked.truncate(NAMED_MAX);
    // What is around hidden files takes looking at many.
    let told =
        move || asked.iter().filter_map(|(call, path)| explained(call, path, &rules, &visitor)).collect();
    tokio::task::spawn_blocking(told).await.unwrap_or_default()
}

/// The call and the file that a line says permission was denied for.
fn denied(line: &str, directory: &Path) -> Option<(String, PathBuf)> {
    let (_, rest) = line.split_once(DENIED)?;
    let (call, rest) = rest.split_once(" '")?;
    let (path, _) = rest.split_once('\'')?;
    Some((call.to_owned(), directory.join(path)))
}

fn explained(call: &str, path: &Path, rules: &Rules, visitor: &Visitor) -> Option<String> {
    let (read, write) = rules.opened(path, visitor);
    let shown = path.display();
    // A file is opened to write as well: one that is made, or one that can be read.
    let looks = LOOKS.contains(&call) && (call != "open" || path.exists());
    let (verb, key, open) = match looks && !read {
        true => ("read", "allow_read", visitor.is_kept_out_of(path)),
        false => ("write", "allow_write", write),
    };
    (!open).then(|| format!("it cannot {verb}: {shown} (outside the sandbox: `{key}`)"))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;

    #[test]
    fn node_names_the_call_and_the_file() {
        let found = |line: &str| denied(line, Path::new("/srv/app"));
        let error = "Error: EACCES: permission denied, open '/var/lib/dpkg/status'";
        assert_eq!(found(error), Some(("open".to_owned(), "/var/lib/dpkg/status".into())));
        let relative = "[cause]: Error: EACCES: permission denied, mkdir 'uploads'";
        assert_eq!(found(relative), Some(("mkdir".to_owned(), "/srv/app/uploads".into())));
        for other in ["  code: 'EACCES',", "Error: listen EACCES: permission denied 0.0.0.0:80", "EACCES"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_sandbox_refused_is_told_with_the_setting_that_opens_it() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["app", "uploads", "state"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        for (name, mode) in [("open", 0o644), ("closed", 0o600), ("app/file", 0o644), ("state/file", 0o644)] {
            fs::write(top.join(name), "").unwrap();
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let rules = Rules {
            read: vec![top.join("app")],
            allow_write: vec![top.join("uploads")],
            hidden: vec![top.join("state")],
            ..Rules::default()
        };
        let stranger = Visitor::stranger(fs::metadata(&top).unwrap().uid() + 4_000_001);
        let says = |call, name: &str| explained(call, &top.join(name), &rules, &stranger);
        let named = |verb, name: &str| {
            Some(format!(
                "it cannot {verb}: {} (outside the sandbox: `allow_{verb}`)",
                top.join(name).display()
            ))
        };
        assert_eq!(says("open", "open"), named("read", "open"));
        assert_eq!(says("scandir", "uploads"), None, "what may be written may be read");
        assert_eq!(says("open", "closed"), None, "permissions keep it out, whatever the sandbox lets pass");
        assert_eq!(says("open", "app/file"), named("write", "app/file"), "it may be read");
        assert_eq!(says("mkdir", "app/new"), named("write", "app/new"));
        assert_eq!(says("open", "app/new"), named("write", "app/new"));
        assert_eq!(says("mkdir", "uploads/new"), None);
        assert_eq!(says("open", "state/file"), None, "no setting opens what is the gateway's");
    }
}
