//! The ports in the files of a socket unit, as they are on the disk: systemd itself answers from what it has read, until
//! somebody has it read them anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where units lie; what is earlier hides what is later and has its name (systemd.unit(5)).
pub(super) const PLACES: [&str; 9] = [
    "/etc/systemd/system.control",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Every port that the unit and its drop-ins have it listen on.
pub(super) fn ports(unit: &str, places: &[&Path]) -> BTreeSet<u16> {
    let whole = places.iter().map(|place| place.join(unit)).find(|path| path.exists());
    let mut drop_ins = BTreeMap::new();
    for place in places.iter().rev() {
        let entries = fs::read_dir(place.join(format!("{unit}.d"))).into_iter().flatten().flatten();
        let named = entries.map(|entry| (entry.file_name(), entry.path()));
        drop_ins.extend(named.filter(|(_, path)| path.extension().is_some_and(|end| end == "conf")));
    }
    let files: Vec<PathBuf> = whole.into_iter().chain(drop_ins.into_values()).collect();
    let text: String = files.iter().map(|file| super::machine::text(file) + "\n").collect();
    listened_on(&text)
}

/// `ListenStream=22`, `=0.0.0.0:22`, `=[::]:22`; an empty one takes back all before it. Pure.
fn listened_on(text: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match (key.trim(), value.trim()) {
            ("ListenStream", "") => ports.clear(),
            ("ListenStream", value) if !value.starts_with(['/', '@']) && !value.starts_with("vsock:") => {
                let port = value.rsplit_once(':').map_or(value, |(_, port)| port);
                ports.extend(port.parse::<u16>());
            }
            _ => {}
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_the_disk_counts_though_systemd_has_not_read_it() {
        let (own, vendor) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = [own.path(), vendor.path()];
        let write = |place: &Path, name: &str, text: &str| {
            let file = place.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("[Socket]\n{text}")).unwrap();
        };
        let check = |want: &[u16]| {
            assert_eq!(ports("ssh.socket", &places), want.iter().copied().collect::<BTreeSet<u16>>());
        };
        check(&[]);
        write(places[1], "ssh.socket", "ListenStream=22\nListenStream=/run/ssh\nListenStream=vsock::23\n");
        check(&[22]);
        write(
            places[0],
            "ssh.socket.d/listen.conf",
            "ListenStream = 2222\nListenStream=[::]:2022\n#ListenStream=1\n",
        );
        check(&[22, 2022, 2222]);
        write(places[0], "ssh.socket.d/listen.conf~", "ListenStream=1\n");
        write(places[1], "ssh.socket.d/z.conf", "ListenStream=\nListenStream=0.0.0.0:2200\n");
        check(&[2200]);
        // The same name nearer to the operator hides it.
        write(places[0], "ssh.socket.d/z.conf", "FreeBind=yes\n");
        check(&[22, 2022, 2222]);
        write(places[0], "ssh.socket", "ListenStream=24\n");
        check(&[24, 2022, 2222]);
    }
}
