//! The environment of a worker: a clean base, what the operator set, what the gateway says. Pure but for `base`
//! and `terminal`, which read our own environment; it must never pass on the rest of it, which may hold secrets.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::account::Identity;

/// What a program expects to find, and nothing else of ours.
const BASE: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "USER"];

/// Where programs are when nobody said so: systemd's own default.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables by name, in order.
pub(super) type Environment = BTreeMap<String, OsString>;

/// The base as this process has it. The time zone is always said where it can be told: it must not depend on how
/// the gateway itself was started.
pub(super) fn base() -> Environment {
    let ours = BASE.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    let zone = jiff::tz::TimeZone::try_system().ok();
    let zone =
        zone.as_ref().and_then(jiff::tz::TimeZone::iana_name).map(|name| ("TZ".to_owned(), name.into()));
    zone.into_iter().chain(ours).collect()
}

/// What a program on the operator's terminal needs to know of it.
pub(super) fn terminal() -> Environment {
    const TERMINAL: [&str; 5] = ["TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CI"];
    TERMINAL.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?))).collect()
}

/// What only the gateway can know about one start of one worker.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    /// What to listen on.
    pub(super) port: OsString,
    /// No other living process of the backend has this number.
    pub(super) instance: usize,
    /// Such as `api/0`.
    pub(super) worker: &'a str,
    /// Its own directory for temporary files.
    pub(super) temporary: PathBuf,
    /// Whom it becomes, if not what we are.
    pub(super) identity: Option<&'a Identity>,
    /// The directory of its Node, where PATH would not find it.
    pub(super) node: Option<&'a Path>,
}

/// The whole environment: each later source wins, so that nobody can move a worker off its socket by accident.
/// `configured`: the file, then what stands in the configuration itself.
pub(super) fn environment(
    base: &Environment,
    configured: [&BTreeMap<String, String>; 2],
    extra: &BTreeMap<String, String>,
    place: Place<'_>,
) -> Environment {
    let mut all = Environment::from([
        ("PATH".to_owned(), PATH_DEFAULT.into()),
        // Frameworks are slow and talkative without it, and this is no development server.
        ("NODE_ENV".to_owned(), "production".into()),
    ]);
    all.extend(base.clone());
    if let Some(identity) = place.identity {
        all.insert("HOME".to_owned(), identity.home.clone().into_os_string());
        all.insert("USER".to_owned(), identity.user.clone().into());
    }
    all.insert("TMPDIR".to_owned(), place.temporary.into_os_string());
    let [file, stated] = configured;
    for source in [file, stated, extra] {
        all.extend(source.iter().map(|(name, value)| (name.clone(), value.into())));
    }
    if let Some(node) = place.node {
        let mut path = node.as_os_str().to_owned();
        if let Some(rest) = all.get("PATH").filter(|rest| !rest.is_empty()) {
            path.push(":");
            path.push(rest);
        }
        all.insert("PATH".to_owned(), path);
    }
    all.insert("PORT".to_owned(), place.port);
    all.insert("NODE_APP_INSTANCE".to_owned(), place.instance.to_string().into());
    all.insert("GATEWAY_WORKER".to_owned(), place.worker.into());
    all
}

/// Has the operator said where HOME is?
pub(super) fn says_home(configured: [&BTreeMap<String, String>; 2]) -> bool {
    configured.iter().any(|source| source.contains_key("HOME"))
}

/// The search path that a worker gets, before its Node is put first.
pub(super) fn search_path(
    base: &Environment,
    configured: [&BTreeMap<String, String>; 2],
) -> (String, OsString) {
    let stated = configured.iter().rev().find_map(|source| source.get("PATH")).map(OsString::from);
    let path = stated.or_else(|| base.get("PATH").cloned()).unwrap_or_else(|| PATH_DEFAULT.into());
    ("PATH".to_owned(), path)
}

/// Where the program of that name is, behind all symbolic links, as that environment finds it.
pub(super) fn program(environment: &Environment, directory: &Path, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return directory.join(name).canonicalize().ok();
    }
    let path = environment.get("PATH")?;
    std::env::split_paths(path).find_map(|place| directory.join(place).join(name).canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn check<const N: usize>(
        base: &[(&str, &str)],
        env: &[(&str, &str)],
        extra: &[(&str, &str)],
        node: Option<&str>,
        expected: [(&str, &str); N],
    ) {
        let own = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let base = own(base).into_iter().map(|(name, value)| (name, value.into())).collect();
        let place = Place {
            port: "/run/w.sock".into(),
            instance: 3,
            worker: "api/3",
            temporary: "/run/tmp".into(),
            identity: None,
            node: node.map(Path::new),
        };
        let got: BTreeMap<String, String> =
            environment(&base, [&own(&[("NODE_ENV", "test")]), &own(env)], &own(extra), place)
                .into_iter()
                .map(|(name, value)| (name, value.into_string().unwrap()))
                .collect();
        let mut all = strings([
            ("PORT", "/run/w.sock"),
            ("NODE_APP_INSTANCE", "3"),
            ("GATEWAY_WORKER", "api/3"),
            ("TMPDIR", "/run/tmp"),
        ]);
        all.extend(strings(expected));
        assert_eq!(got, all);
    }

    #[test]
    fn later_sources_win_and_the_gateways_word_is_last() {
        check(&[], &[], &[], None, [("PATH", PATH_DEFAULT), ("NODE_ENV", "test")]);
        check(&[("PATH", "/opt/bin")], &[], &[], None, [("PATH", "/opt/bin"), ("NODE_ENV", "test")]);
        check(
            &[("PATH", "/opt/bin"), ("HOME", "/root")],
            &[
                ("NODE_ENV", "development"),
                ("HOME", "/srv/app"),
                ("PORT", "3000"),
                ("GATEWAY_TICKETS", "mine"),
            ],
            &[("GATEWAY_TICKETS", "/run/t.sock")],
            None,
            [
                ("PATH", "/opt/bin"),
                ("HOME", "/srv/app"),
                ("NODE_ENV", "development"),
                ("GATEWAY_TICKETS", "/run/t.sock"),
            ],
        );
    }

    #[test]
    fn its_node_is_the_first_that_a_worker_finds() {
        let (node, path) = (Some("/state/node/v22.1.0/bin"), "/state/node/v22.1.0/bin:/opt/bin");
        check(&[("PATH", "/opt/bin")], &[], &[], node, [("PATH", path), ("NODE_ENV", "test")]);
        check(
            &[("PATH", "/usr/bin")],
            &[("PATH", "/opt/bin")],
            &[],
            node,
            [("PATH", path), ("NODE_ENV", "test")],
        );
    }

    #[test]
    fn of_our_own_environment_only_the_base_is_passed_on() {
        assert!(std::env::vars_os().count() > 0);
        assert!(base().keys().all(|name| BASE.contains(&name.as_str())));
    }
}
