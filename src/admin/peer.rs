//! Who gives the order, as the kernel says (SO_PEERCRED), and whether they may. It must never believe anything
//! that a request says about its sender.

use nix::unistd::{Group, Uid, User, geteuid, getpid};

/// The process at the other end of an admin connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its effective user.
    pub(crate) uid: u32,
    /// Its effective group.
    pub(crate) gid: u32,
    /// Its process id; none from another pid namespace.
    pub(crate) pid: Option<i32>,
}

/// The group whose members may give orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorGroup {
    /// Its number.
    pub(crate) gid: u32,
    /// Its members' names, as the system has them now.
    pub(crate) members: Vec<String>,
}

impl Peer {
    /// This process itself.
    pub(crate) fn own() -> Self {
        Self { uid: geteuid().as_raw(), gid: nix::unistd::getegid().as_raw(), pid: Some(getpid().as_raw()) }
    }

    /// Ask the kernel who is at the other end.
    pub(crate) fn of(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credential = stream.peer_cred()?;
        Ok(Self { uid: credential.uid(), gid: credential.gid(), pid: credential.pid() })
    }

    /// The user's name, or its number where it has none.
    pub(crate) fn name(&self) -> String {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        user.map_or_else(|| self.uid.to_string(), |user| user.name)
    }

    /// Root, the gateway's own user, and members of the group may give orders.
    pub(crate) fn may_order(&self, own_uid: u32, group: Option<&OperatorGroup>) -> bool {
        if self.uid == 0 || self.uid == own_uid {
            return true;
        }
        group.is_some_and(|group| group.gid == self.gid || group.members.contains(&self.name()))
    }
}

impl OperatorGroup {
    /// Look the group up; each time anew, so that a new member needs no restart.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let group = Group::from_name(name).ok().flatten()?;
        Some(Self { gid: group.gid.as_raw(), members: group.mem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_groups_members_may_order_and_nobody_else() {
        let root_name = User::from_uid(Uid::from_raw(0)).unwrap().unwrap().name;
        let group = OperatorGroup { gid: 77, members: vec![root_name, "no-such-user".to_owned()] };
        let peer = |uid, gid| Peer { uid, gid, pid: Some(1) };
        for (peer, own, group, want) in [
            (peer(0, 0), 990, None, true),
            (peer(990, 990), 990, None, true),
            (peer(4_000_001, 990), 990, None, false),
            (peer(4_000_001, 77), 990, Some(&group), true),
            (peer(4_000_001, 78), 990, Some(&group), false),
            (peer(4_000_001, 0), 990, Some(&group), false),
        ] {
            assert_eq!(peer.may_order(own, group), want, "{peer:?} at {own}");
        }
    }

    #[test]
    fn a_member_by_name_may_order_whatever_its_primary_group() {
        // `daemon` (uid 1) is on every Unix.
        let Some(user) = User::from_uid(Uid::from_raw(1)).unwrap() else { return };
        let peer = Peer { uid: 1, gid: 1, pid: None };
        let group = |members| OperatorGroup { gid: 77, members };
        assert!(peer.may_order(990, Some(&group(vec![user.name]))));
        assert!(!peer.may_order(990, Some(&group(vec![]))));
    }

    #[tokio::test]
    async fn the_kernel_says_who_is_at_the_other_end() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!((peer.uid, peer.pid), (Peer::own().uid, Peer::own().pid));
        assert!(peer.may_order(peer.uid, None));
    }
}
