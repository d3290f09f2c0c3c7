//! Whose processes a backend's workers are. Names are looked up by the gateway, once a generation; it must never
//! let workers run as root because nobody said who else they should be.

use std::{ffi::CString, path::PathBuf};

use nix::unistd::{self, Gid, Group, Uid, User};
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use super::hands;

/// What becoming somebody else takes, and ending what runs as somebody else.
const TO_SWITCH: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// Somebody whom workers are turned into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// As configured.
    pub(super) user: String,
    /// The user.
    pub(super) uid: u32,
    /// The first group.
    pub(super) gid: u32,
    /// All groups, and no other.
    pub(super) groups: Vec<u32>,
    /// Becomes HOME.
    pub(super) home: PathBuf,
}

/// What the configuration says about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    /// `user`: a name or a number.
    pub(super) user: Option<&'a str>,
    /// `group`: a name or a number.
    pub(super) group: Option<&'a str>,
    /// `allow_root`.
    pub(super) allow_root: bool,
}

/// Who we are, and may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    uid: u32,
    gid: u32,
    may_switch: bool,
}

impl Own {
    /// As this process is, and the thread of it that starts others.
    pub(super) fn now() -> Self {
        let able = || capabilities(None).is_ok_and(|sets| sets.effective.contains(TO_SWITCH));
        let may_switch = hands::done_at_once(able).unwrap_or(false);
        Self { uid: unistd::geteuid().as_raw(), gid: unistd::getegid().as_raw(), may_switch }
    }
}

impl Wish<'_> {
    /// Whom to become; none: workers stay what the gateway is.
    pub(super) fn resolve(self, own: Own) -> Result<Option<Identity>, String> {
        let found = self.found()?;
        let uid = found.as_ref().map_or(own.uid, |identity| identity.uid);
        if uid == 0 && !self.allow_root {
            return Err(
                "its workers would run as root: set `user` to an account of their own, or `allow_root = true`"
                    .to_owned(),
            );
        }
        let identity = found.filter(|identity| (identity.uid, identity.gid) != (own.uid, own.gid));
        match identity {
            Some(Identity { user, .. }) if !own.may_switch => Err(format!(
                "the gateway runs as user {} and may not start workers as `{user}`: start it as root, give it \
                 CAP_SETUID, CAP_SETGID and CAP_KILL, or take `user` and `group` out",
                name_of(own.uid)
            )),
            identity => Ok(identity),
        }
    }

    /// The user and its groups as the system knows them, whoever we are.
    pub(super) fn found(self) -> Result<Option<Identity>, String> {
        let group = self.group.map(group_id).transpose()?;
        let Some(name) = self.user else {
            return match group {
                None => Ok(None),
                Some(_) => Err("`group` needs a `user`".to_owned()),
            };
        };
        let failed = |error: nix::Error| format!("user `{name}` cannot be looked up: {error}");
        let user = match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)).map_err(failed)?.ok_or(uid),
            Err(_) => match User::from_name(name).map_err(failed)? {
                Some(user) => Ok(user),
                None => {
                    return Err(format!(
                        "there is no user `{name}`: create it (`useradd --system {name}`) or name another"
                    ));
                }
            },
        };
        match (user, group) {
            (Ok(user), group) => {
                let gid = group.unwrap_or(user.gid);
                let groups = groups(&user, gid).map_err(failed)?;
                let (uid, gid) = (user.uid.as_raw(), gid.as_raw());
                Ok(Some(Identity { user: user.name, uid, gid, groups, home: user.dir }))
            }
            // A number that no account has: nothing but the number is needed, as in containers.
            (Err(uid), Some(gid)) => Ok(Some(Identity {
                user: name.to_owned(),
                uid,
                gid: gid.as_raw(),
                groups: vec![gid.as_raw()],
                home: "/".into(),
            })),
            (Err(_), None) => Err(format!("no account has the number {name}: set `group` as well")),
        }
    }
}

/// The user's groups by the system's list, with `gid` as the first.
fn groups(user: &User, gid: Gid) -> nix::Result<Vec<u32>> {
    let name = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    let mut groups: Vec<u32> = unistd::getgrouplist(&name, gid)?.into_iter().map(Gid::as_raw).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

fn group_id(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => {
            Err(format!("there is no group `{name}`: create it (`groupadd --system {name}`) or name another"))
        }
        Err(error) => Err(format!("group `{name}` cannot be looked up: {error}")),
    }
}

/// A user's name, or its number where it has none.
pub(super) fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Own = Own { uid: 0, gid: 0, may_switch: true };
    const SOMEBODY: Own = Own { uid: 4_000_000, gid: 4_000_000, may_switch: false };

    fn check(wish: Wish<'_>, own: Own, expected: Result<Option<u32>, &str>) {
        let got = wish.resolve(own).map(|identity| identity.map(|identity| identity.uid));
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{wish:?} {own:?}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, expected) => panic!("{wish:?} {own:?}: {got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn nobody_becomes_root_unless_told() {
        let root = Some("root");
        check(Wish::default(), ROOT, Err("`allow_root = true`"));
        check(Wish { user: root, ..Wish::default() }, ROOT, Err("would run as root"));
        check(Wish { user: Some("0"), ..Wish::default() }, ROOT, Err("would run as root"));
        check(Wish { allow_root: true, ..Wish::default() }, ROOT, Ok(None));
        check(Wish { user: root, allow_root: true, ..Wish::default() }, ROOT, Ok(None));
    }

    #[test]
    fn a_gateway_that_is_not_root_runs_workers_as_itself_or_says_why_not() {
        check(Wish::default(), SOMEBODY, Ok(None));
        check(Wish { user: Some("4000000"), group: Some("4000000"), ..Wish::default() }, SOMEBODY, Ok(None));
        let other = Wish { user: Some("4000001"), group: Some("4000001"), ..Wish::default() };
        check(other, SOMEBODY, Err("CAP_SETUID"));
        check(other, ROOT, Ok(Some(4_000_001)));
    }

    #[test]
    fn unknown_names_come_with_the_command_that_creates_them() {
        let user = Wish { user: Some("no-such-user"), ..Wish::default() };
        check(user, ROOT, Err("useradd --system no-such-user"));
        let group = Wish { user: Some("root"), group: Some("no-such-group"), allow_root: true };
        check(group, ROOT, Err("groupadd --system no-such-group"));
        check(Wish { user: Some("4000001"), ..Wish::default() }, ROOT, Err("set `group` as well"));
        check(Wish { group: Some("4000001"), ..Wish::default() }, ROOT, Err("`group` needs a `user`"));
    }
}
