//! A version of Node, brought by the gateway's own installer: as the gateway's user, into its state directory, for
//! everybody to read. It must never be anybody else's to write.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::{
    BootstrapError,
    journal::{Journal, Made},
    machine, places,
    plan::GATEWAY,
};
use super::Watch;

/// Longest installation: the installer gives a download ten minutes unless the configuration says otherwise.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(3600);

/// What a program of ours begins its complaint and its remedy with.
const COMPLAINT: [&str; 2] = ["error: ", "hint: "];

/// What shall be there.
pub(super) struct Installation<'a> {
    pub(super) version: &'a str,
    pub(super) mirror: Option<&'a str>,
    pub(super) backend: Option<&'a str>,
}

impl Installation<'_> {
    pub(super) fn carry_out(
        &self,
        journal: &mut Journal,
        watch: &mut Watch<'_>,
    ) -> Result<(), BootstrapError> {
        state_directory(journal)?;
        let place = Path::new(places::NODES).join(self.version);
        if !place.exists() {
            journal.record(Made::Node(place.clone()))?;
        }
        let mut command = vec![places::PROGRAM, "node", "install", self.version];
        command.extend(self.mirror.iter().flat_map(|mirror| ["--mirror", mirror]));
        let mut progress = |line: &str| {
            // What is wrong is said at the end, once.
            if !COMPLAINT.iter().any(|word| line.starts_with(word)) {
                (watch.words)(line);
            }
        };
        // A download may be ended at any time: the installer begins it anew, and clears away what is half there.
        machine::order_telling(&command, INSTALL_TIMEOUT, watch.stop, &mut progress)
            .map_err(in_its_own_words)?;
        self.prove(&place)
    }

    /// The gateway's own, everybody's to run, and what the application's workers get when they say `node`.
    fn prove(&self, place: &Path) -> Result<(), BootstrapError> {
        let program = place.join("bin/node");
        let metadata = program.metadata().map_err(BootstrapError::file("look at", &program))?;
        let (owner, group) = owner()?;
        if (metadata.uid(), metadata.gid(), metadata.mode() & 0o777) != (owner, group, 0o755) {
            let program = program.display();
            return Err(BootstrapError::Unproven(format!(
                "`{program}` is not the gateway's, for all to run"
            )));
        }
        let Some(backend) = self.backend else { return Ok(()) };
        let order = [places::PROGRAM, "node", "exec", "--backend", backend, "--", "node", "--version"];
        let says = machine::order(&order).map_err(in_its_own_words)?;
        if says.trim() == self.version {
            return Ok(());
        }
        let says = says.trim();
        Err(BootstrapError::Unproven(format!("workers of `{backend}` get Node {says}, not {}", self.version)))
    }
}

/// As systemd makes it at the first start of the service.
fn state_directory(journal: &mut Journal) -> Result<(), BootstrapError> {
    let path = Path::new(places::STATE);
    if path.exists() {
        return Ok(());
    }
    let (uid, gid) = owner()?;
    journal.record(Made::Directories(vec![PathBuf::from(path)]))?;
    machine::make_directories(path, 0o700)?;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(BootstrapError::file("give away", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(BootstrapError::file("close", path))
}

fn owner() -> Result<(u32, u32), BootstrapError> {
    let passwd = machine::order(&["getent", "passwd", GATEWAY])?;
    let ids = || {
        let mut fields = passwd.trim().split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids().ok_or_else(|| BootstrapError::Unproven(format!("there is no user `{GATEWAY}`")))
}

/// `error: WHAT`, `hint: REMEDY`, as our own programs end.
fn in_its_own_words(error: BootstrapError) -> BootstrapError {
    let BootstrapError::Program { problem, .. } = &error else { return error };
    let after = |word: &str| problem.lines().find_map(|line| Some(line.split_once(word)?.1.to_owned()));
    match (after(COMPLAINT[0]), after(COMPLAINT[1])) {
        (Some(what), Some(remedy)) => BootstrapError::refused(what, remedy),
        _ => error,
    }
}
