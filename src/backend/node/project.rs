//! `node.version = "auto"`: what an application's own files say about the Node it wants. The files are the
//! application's, so nothing of what they say is repeated unless it is a version.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;

use super::spec::Spec;

/// A `package.json` has a few KB; what is a hundred times that is none.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The version files, in the order in which they are asked.
const VERSION_FILES: [&str; 2] = [".nvmrc", ".node-version"];

/// Asked last.
const PACKAGE: &str = "package.json";

/// What is wanted, and by which file; or why nobody can tell.
pub(super) fn wanted(directory: &Path) -> Result<(Spec, &'static str), String> {
    asked(directory)?.ok_or_else(|| {
        format!(
            "node.version is \"auto\", and {} has no .nvmrc, no .node-version and no package.json with engines.node\nhint: \
             write one of them (`echo 22 > .nvmrc`), or the version into the configuration",
            directory.display()
        )
    })
}

/// The same; none where no file says anything.
pub(super) fn asked(directory: &Path) -> Result<Option<(Spec, &'static str)>, String> {
    for name in VERSION_FILES {
        if let Some(text) = text(directory, name)? {
            let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            let said = lines.find(|line| !line.is_empty()).unwrap_or_default();
            let why = match said {
                // nvm's words for what one user of one machine has.
                "default" | "system" => "it names no version, but what somebody's nvm or PATH has",
                _ => "it names no version of Node",
            };
            let spec = said.parse().map_err(|_| unreadable(directory, name, why))?;
            return Ok(Some((spec, name)));
        }
    }
    let Some(package) = text(directory, PACKAGE)? else { return Ok(None) };
    let package: serde_json::Value =
        serde_json::from_str(&package).map_err(|_| unreadable(directory, PACKAGE, "it is no JSON"))?;
    let Some(said) = package.pointer("/engines/node").and_then(serde_json::Value::as_str) else {
        return Ok(None);
    };
    let spec =
        said.parse().map_err(|_| unreadable(directory, PACKAGE, "engines.node is no range of versions"))?;
    Ok(Some((spec, PACKAGE)))
}

/// What a file says; none where there is no such file.
pub(super) fn text(directory: &Path, name: &str) -> Result<Option<String>, String> {
    let mut text = String::new();
    let path = directory.join(name);
    // A pipe that never says anything must not hold us.
    let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
    let read = open.and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    });
    match read {
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => Err(unreadable(directory, name, "it is too long")),
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(directory, name, &error.to_string())),
    }
}

fn unreadable(directory: &Path, name: &str, why: &str) -> String {
    format!(
        "{} cannot be used: {why}\nhint: write it like `22`, `lts/jod` or `>=20`",
        directory.join(name).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], want: Result<(&str, &str), &str>) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        match (wanted(directory.path()), want) {
            (Ok((spec, file)), Ok(want)) => assert_eq!((spec.to_string().as_str(), file), want, "{files:?}"),
            (Err(error), Err(want)) => assert!(error.contains(want) && error.contains("\nhint: "), "{error}"),
            (got, want) => panic!("{files:?}: {got:?} is not {want:?}"),
        }
    }

    #[test]
    fn the_first_file_that_is_there_is_the_one_that_counts() {
        let package = ("package.json", r#"{"engines": {"node": ">=18 <21"}}"#);
        check(&[(".nvmrc", "# ours\n\nlts/jod  # until spring\n"), package], Ok(("lts/jod", ".nvmrc")));
        check(&[(".node-version", "v22.1.0\n"), package], Ok(("v22.1.0", ".node-version")));
        check(&[package], Ok((">=18 <21", "package.json")));
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_text() {
        check(&[], Err("has no .nvmrc"));
        check(&[("package.json", "{}")], Err("no package.json with engines.node"));
        check(&[("package.json", "{")], Err("it is no JSON"));
        check(&[(".nvmrc", "hunter2")], Err(".nvmrc cannot be used: it names no version of Node"));
        check(&[(".nvmrc", "default")], Err("what somebody's nvm or PATH has"));
        check(&[(".nvmrc", ""), (".node-version", "22")], Err(".nvmrc cannot be used"));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".nvmrc"), "password=hunter2").unwrap();
        assert!(!wanted(directory.path()).unwrap_err().contains("hunter2"));
    }
}
