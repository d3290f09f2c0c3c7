//! The ports in sshd's own configuration, for where `sshd -T` says nothing: its keys are missing, its run-time directory is,
//! or a line is wrong. Read with its `Include`s; more is found rather than less, since an open port cuts off nobody.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where sshd listens if nothing says otherwise.
const DEFAULT: u16 = 22;
/// How deep includes are followed; sshd's own limit (servconf.c).
const DEPTH_MAX: usize = 16;

/// Every port that the file and what it includes name; sshd's default where none is named, or none can be read.
pub(super) fn ports(file: &Path) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    collect(file, DEPTH_MAX, &mut ports);
    if ports.is_empty() {
        ports.insert(DEFAULT);
    }
    ports
}

fn collect(file: &Path, depth: usize, ports: &mut BTreeSet<u16>) {
    let text = super::machine::text(file);
    for (key, values) in text.lines().filter_map(setting) {
        match key.as_str() {
            "port" => ports.extend(values.iter().filter_map(|value| value.parse::<u16>().ok())),
            "listenaddress" => ports.extend(values.first().and_then(|value| port_of(value))),
            "include" if depth > 0 => {
                let patterns = values.iter().map(|value| Path::new("/etc/ssh").join(value));
                patterns
                    .flat_map(|pattern| files(&pattern))
                    .for_each(|file| collect(&file, depth - 1, ports));
            }
            _ => {}
        }
    }
}

/// `Port 22`, `Port=22`, `Include "a.conf" b.conf`; the word in lower case.
fn setting(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.split('#').next()?.trim();
    let (key, rest) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let values = rest.split_whitespace().map(|value| value.trim_matches('"').to_owned()).collect();
    Some((key.to_ascii_lowercase(), values))
}

/// Of `0.0.0.0:2222`, `[::]:2222` and `host:2222`; a bare address of IPv6 has colons and no port.
fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    (host.ends_with(']') || !host.contains(':')).then(|| port.parse().ok()).flatten()
}

/// The files that a pattern names. Wildcards stand in the last part alone, where everybody has them.
fn files(pattern: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) =
        (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let fits = entries.filter(|entry| entry.file_name().to_str().is_some_and(|other| fits(name, other)));
    fits.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// glob(7) without brackets.
fn fits(pattern: &str, name: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = characters.as_str();
            // A hidden file is meant only by who says so, which is why it is no match at the beginning.
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| fits(rest, &name[at..]))
        }
        Some(wanted) => {
            let mut others = name.chars();
            others.next().is_some_and(|other| wanted == '?' || wanted == other)
                && fits(characters.as_str(), others.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(main: &str, included: &str, want: &[u16]) {
        let directory = tempfile::tempdir().unwrap();
        let parts = directory.path().join("sshd_config.d");
        fs::create_dir(&parts).unwrap();
        fs::write(parts.join("50-cloud.conf"), included).unwrap();
        fs::write(parts.join("50-cloud.conf.bak"), "Port 9\n").unwrap();
        let file = directory.path().join("sshd_config");
        fs::write(&file, main.replace("HERE", parts.to_str().unwrap())).unwrap();
        assert_eq!(ports(&file), want.iter().copied().collect(), "{main}");
    }

    #[test]
    fn ports_are_found_in_what_is_included_too_and_default_to_22() {
        check("Include HERE/*.conf\n#Port 2\n", "PORT=2222\n", &[2222]);
        check("include \"HERE/??-cloud.conf\"\nPort 22 # as ever\n", "Port 2222\n", &[22, 2222]);
        check(
            "ListenAddress 0.0.0.0:2022\nListenAddress [::]:2023\nListenAddress fe80::22\n",
            "",
            &[2022, 2023],
        );
        check("PermitRootLogin no\n", "Port 2222\n", &[22]);
        assert_eq!(ports(Path::new("/nowhere/sshd_config")), [22].into());
    }

    #[test]
    fn a_file_that_includes_itself_is_read_to_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sshd_config");
        fs::write(&file, format!("Port 2222\nInclude {}\n", file.display())).unwrap();
        assert_eq!(ports(&file), [2222].into());
    }
}
