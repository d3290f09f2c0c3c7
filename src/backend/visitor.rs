//! Whom the permissions of files keep out, whatever he does: not the owner, who may change them. It must never take an
//! access list for less than it gives: where the visitor is this process itself, the kernel is asked as well.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, Gid, access, getegid, geteuid, getgroups},
};

use super::account::Identity;

/// Somebody without capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visitor {
    uid: u32,
    gids: Vec<u32>,
    /// Is it this process, as it is now?
    ourselves: bool,
}

impl Visitor {
    /// This process, once it has given up its capabilities.
    pub(super) fn ourselves() -> Self {
        Self { ourselves: true, ..Self::of(None) }
    }

    /// A worker, seen from outside: by the modes of files alone. Without an identity it is who we are.
    pub(super) fn of(identity: Option<&Identity>) -> Self {
        if let Some(Identity { uid, gid, groups, .. }) = identity {
            return Self {
                uid: *uid,
                gids: groups.iter().copied().chain([*gid]).collect(),
                ourselves: false,
            };
        }
        let groups = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw);
        let gids = groups.chain([getegid().as_raw()]).collect();
        Self { uid: geteuid().as_raw(), gids, ourselves: false }
    }

    /// Somebody with this number and no group of ours.
    #[cfg(test)]
    pub(super) fn stranger(uid: u32) -> Self {
        Self { uid, gids: vec![uid], ourselves: false }
    }

    /// Can he neither read nor enter it, and not change that? What cannot be looked at counts as open.
    pub(super) fn is_kept_out_of(&self, path: &Path) -> bool {
        self.is_kept_out_by_modes(path) && !(self.ourselves && kernel_lets_in(path))
    }

    fn is_kept_out_by_modes(&self, path: &Path) -> bool {
        let mut steps: Vec<&Path> = path.ancestors().collect();
        steps.reverse();
        for step in steps {
            let Ok(found) = fs::metadata(step) else { return false };
            let wanted = match (step == path, found.is_dir()) {
                (false, _) => 0o1,
                (true, true) => 0o5,
                (true, false) => 0o7,
            };
            if self.bits(&found) & wanted == 0 {
                return true;
            }
        }
        false
    }

    /// What he may: read 4, write 2, execute or enter 1.
    fn bits(&self, found: &Metadata) -> u32 {
        match (found.uid() == self.uid, self.gids.contains(&found.gid())) {
            // Whatever they say now.
            (true, _) => 0o7,
            (false, true) => (found.mode() >> 3) & 0o7,
            (false, false) => found.mode() & 0o7,
        }
    }
}

fn kernel_lets_in(path: &Path) -> bool {
    [AccessFlags::R_OK, AccessFlags::W_OK, AccessFlags::X_OK]
        .into_iter()
        .any(|wanted| access(path, wanted) != Err(Errno::EACCES))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn modes_keep_out_who_is_neither_owner_nor_of_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(top.join("in")).unwrap();
        fs::write(top.join("in/file"), "").unwrap();
        let found = fs::metadata(top.join("in")).unwrap();
        let visitor = |uid, gid| Visitor { uid, gids: vec![gid], ourselves: false };
        let (owner, stranger) = (visitor(found.uid(), 4_000_001), visitor(4_000_001, 4_000_001));
        let member = visitor(4_000_001, found.gid());
        for (directory, file, visitor, kept_out) in [
            (0o750, 0o644, &stranger, true),
            (0o750, 0o644, &member, false),
            (0o750, 0o640, &member, false),
            (0o755, 0o600, &stranger, true),
            (0o755, 0o600, &member, true),
            (0o755, 0o604, &stranger, false),
            (0o711, 0o644, &stranger, false),
            // Group and others may, but the group's bits are the ones that count for its members.
            (0o705, 0o644, &member, true),
            // His own: he may change it.
            (0o000, 0o000, &owner, false),
        ] {
            fs::set_permissions(top.join("in/file"), fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(top.join("in"), fs::Permissions::from_mode(directory)).unwrap();
            let got = visitor.is_kept_out_of(&top.join("in/file"));
            // Who is not root cannot look into what is shut to everybody, which counts as open.
            assert_eq!(got, kept_out, "{directory:o} {file:o} {visitor:?}");
        }
        fs::set_permissions(top.join("in"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(stranger.is_kept_out_of(&top.join("in")) && !owner.is_kept_out_of(&top.join("in")));
        assert!(!stranger.is_kept_out_of(&top.join("gone")));
    }

    #[test]
    fn the_kernel_has_the_last_word_about_ourselves() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Visitor::ourselves().is_kept_out_of(dir.path()));
        assert!(kernel_lets_in(dir.path()) && kernel_lets_in(&dir.path().join("gone")));
    }
}
