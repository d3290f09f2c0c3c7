//! The files that the program carries for systemd, and where they go.

use std::path::{Path, PathBuf};

use super::{follow, places, settings, system};

/// A file and its place.
pub(super) struct Shipped {
    /// Where it goes.
    pub(super) path: &'static str,
    /// What stands in it.
    pub(super) content: &'static str,
}

/// Users and groups.
pub(super) const SYSUSERS: Shipped = Shipped {
    path: "/etc/sysusers.d/gateway.conf",
    content: include_str!("../../../systemd/gateway.sysusers"),
};
/// Directories.
pub(super) const TMPFILES: Shipped = Shipped {
    path: "/etc/tmpfiles.d/gateway.conf",
    content: include_str!("../../../systemd/gateway.tmpfiles"),
};
/// Units.
pub(super) const UNITS: [Shipped; 3] = [
    Shipped {
        path: "/etc/systemd/system/gateway.socket",
        content: include_str!("../../../systemd/gateway.socket"),
    },
    Shipped {
        path: "/etc/systemd/system/gateway.service",
        content: include_str!("../../../systemd/gateway.service"),
    },
    Shipped {
        path: "/etc/systemd/system/gateway-firewall.service",
        content: include_str!("../../../systemd/gateway-firewall.service"),
    },
];

/// Those of the files for systemd, shipped and written, that are there and hold something else, as `read` finds them: another
/// version's, or edited. Pure.
pub(in crate::bootstrap) fn differing(read: impl Fn(&Path) -> Option<String>) -> Vec<&'static str> {
    let all = UNITS.iter().chain([&SYSUSERS, &TMPFILES]).chain(&follow::WRITTEN);
    let differs =
        |shipped: &&Shipped| read(Path::new(shipped.path)).is_some_and(|text| text != shipped.content);
    all.filter(differs).map(|shipped| shipped.path).collect()
}

/// Every file that a plan may write, and every unit that it may switch on: what facts must look at.
pub(in crate::bootstrap) fn touched() -> (Vec<PathBuf>, Vec<&'static str>) {
    let shipped = [&SYSUSERS, &TMPFILES].into_iter().chain(&UNITS).map(|shipped| shipped.path);
    let ours = [settings::DROP_IN, settings::SOCKET_DROP_IN, places::SEAL_DROP_IN, places::CONFIG];
    let systems = [system::SYSCTL, system::JOURNAL, system::UPDATES];
    let guards = follow::WRITTEN.iter().map(|written| written.path);
    let files = shipped.chain(ours).chain(systems).chain(guards).map(PathBuf::from).collect();
    let units = vec![
        "gateway.socket",
        "gateway.service",
        "gateway-firewall.service",
        follow::SSH_WATCH_UNIT,
        system::CLOCK,
    ];
    (files, units)
}

/// The directories of the tmpfiles file that are made at its reading (tmpfiles.d(5), types `d` and `D`).
pub(in crate::bootstrap) fn directories() -> Vec<PathBuf> {
    directories_of(TMPFILES.content).map(|(path, _)| path).collect()
}

/// The same with their permissions and owners, as facts have them: `750 root:gateway`.
pub(super) fn directories_of(text: &str) -> impl Iterator<Item = (PathBuf, String)> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.next()?.trim_end_matches(['!', '-', '+', '=']);
        matches!(kind, "d" | "D").then_some(())?;
        let (path, mode) = (words.next()?, words.next()?.trim_start_matches('0'));
        Some((PathBuf::from(path), format!("{mode} {}:{}", words.next()?, words.next()?)))
    })
}
