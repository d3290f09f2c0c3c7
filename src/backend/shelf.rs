//! Earlier generations on disk, so that a rollback is possible after a new start of the gateway, a swap and a kill. What
//! `env_file` said then is part of them: the file is sealed, the gateway's alone, and written whole or not at all. One
//! that cannot be read costs the way back and nothing else; it must never keep a backend from starting.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Config,
    account::Own,
    env_file::EnvFile,
    generation::{Generation, LeadsTo},
    node::NodeStatus,
};

/// The directory's name in the state directory.
const DIRECTORY: &str = "generations";

/// Of what is written; another form gets another number.
const VERSION: u32 = 1;

/// Ten times the largest `env_file` and configuration, each character of which may take six bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What closes secrets that are written to disk, and opens them again.
pub(crate) trait Seal: fmt::Debug + Send + Sync {
    /// Close it under these words.
    fn seal(&self, what: &str, secret: &[u8]) -> Option<Vec<u8>>;
    /// Open it under the same; none if it does not open.
    fn open(&self, what: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
}

/// One backend's.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    path: PathBuf,
    /// What it is sealed as: one backend's file is no other's.
    what: String,
    seal: Arc<dyn Seal>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Book {
    version: u32,
    /// Oldest first. Each by itself: one that an older gateway cannot read costs none of the others.
    generations: Vec<serde_json::Value>,
    /// What was gone back to.
    #[serde(default)]
    held: Option<serde_json::Value>,
}

/// A generation that was gone back to, and what the configuration said then: it stays in force while that is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The generation's.
    pub(super) number: u64,
    config: Config,
    directory: PathBuf,
    env_file: BTreeMap<String, String>,
}

impl Held {
    /// This one, though the configuration says that.
    pub(super) fn of(number: u64, config: &Config, leads_to: &LeadsTo) -> Self {
        let (directory, env_file) = (leads_to.directory.clone(), leads_to.env_file.0.clone());
        Self { number, config: config.clone(), directory, env_file }
    }

    /// Does the configuration still say what it said then?
    pub(super) fn is_of(&self, config: &Config, leads_to: &LeadsTo) -> bool {
        *self == Self::of(self.number, config, leads_to)
    }
}

/// One generation. Whose its workers are is looked up anew: accounts come and go, and so does the right to become them.
#[derive(Serialize, Deserialize)]
struct Page {
    number: u64,
    made: Timestamp,
    config: Config,
    directory: PathBuf,
    env_file: BTreeMap<String, String>,
    node: Option<NodeStatus>,
}

impl Shelf {
    /// Where those of a backend are.
    pub(super) fn below(state_dir: &Path, backend: &str, seal: Arc<dyn Seal>) -> Self {
        let path = state_dir.join(DIRECTORY).join(format!("{backend}.sealed"));
        Self { path, what: format!("generations of {backend}"), seal }
    }

    /// What an earlier gateway left, oldest first, and which of it was gone back to.
    pub(super) fn read(&self) -> (Vec<Generation>, Option<Held>) {
        let (all, held) = self.pages().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = self.path.display();
                tracing::warn!(%path, %error, "earlier generations cannot be read: there is no way back to them");
            }
            (Vec::new(), None)
        });
        let own = Own::now();
        let mut generations: Vec<_> = all.into_iter().filter_map(|page| self.generation(page, own)).collect();
        generations.sort_by_key(|generation| generation.number);
        generations.dedup_by_key(|generation| generation.number);
        // One that cannot be read costs no more than that: the configuration's word is in force.
        (generations, held.and_then(|held| serde_json::from_value(held).ok()))
    }

    fn pages(&self) -> io::Result<(Vec<serde_json::Value>, Option<serde_json::Value>)> {
        let mut sealed = Vec::new();
        File::open(&self.path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut sealed)?;
        if sealed.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("the file is far too large"));
        }
        let plain = self.seal.open(&self.what, &sealed).ok_or_else(|| {
            io::Error::other("the file does not open: it was changed, or sealed with another key")
        })?;
        // Never what the parser says: it quotes what it has read.
        let book: Book = serde_json::from_slice(&plain).map_err(|_| io::Error::other("it is broken"))?;
        if book.version > VERSION {
            return Err(io::Error::other("a newer gateway has written the file"));
        }
        Ok((book.generations, book.held))
    }

    fn generation(&self, page: serde_json::Value, own: Own) -> Option<Generation> {
        let number = page.get("number").and_then(serde_json::Value::as_u64);
        let told = |reason: &str| {
            let path = self.path.display();
            tracing::warn!(%path, number, reason, "there is no way back to an earlier generation");
        };
        let page = serde_json::from_value(page).map_err(|_| told("this gateway cannot read it")).ok()?;
        let Page { number, made, config, directory, env_file, node } = page;
        let identity = config.wish().resolve(own).map_err(|reason| told(&reason)).ok()?;
        Some(Generation { number, made, config, directory, env_file: EnvFile(env_file), identity, node })
    }

    /// Put these into the place of those that are there.
    pub(super) fn write(&self, generations: &[Arc<Generation>], held: Option<&Held>) -> io::Result<()> {
        let page = |one: &Arc<Generation>| {
            serde_json::to_value(Page {
                number: one.number,
                made: one.made,
                config: one.config.clone(),
                directory: one.directory.clone(),
                env_file: one.env_file.0.clone(),
                node: one.node.clone(),
            })
        };
        let unfit = |_| io::Error::other("a path in it is no text");
        let generations = generations.iter().map(page).collect::<Result<_, _>>().map_err(unfit)?;
        let held = held.map(serde_json::to_value).transpose()?;
        let plain = Zeroizing::new(serde_json::to_vec(&Book { version: VERSION, generations, held })?);
        let sealed = self.seal.seal(&self.what, &plain);
        let sealed = sealed.ok_or_else(|| io::Error::other("they cannot be sealed"))?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let next = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        fs::rename(next, &self.path)?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Turns every bit, and says for whom it did.
    #[derive(Debug)]
    struct Turned;

    impl Seal for Turned {
        fn seal(&self, what: &str, secret: &[u8]) -> Option<Vec<u8>> {
            Some(what.bytes().chain([0]).chain(secret.iter().map(|byte| !byte)).collect())
        }

        fn open(&self, what: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
            let rest = sealed.strip_prefix(what.as_bytes())?.strip_prefix(&[0])?;
            Some(Zeroizing::new(rest.iter().map(|byte| !byte).collect()))
        }
    }

    fn shelf(state_dir: &Path) -> Shelf {
        Shelf::below(state_dir, "api", Arc::new(Turned))
    }

    fn generation(number: u64) -> Generation {
        let mut config = Config { allow_root: true, memory_max_mb: Some(7), ..Config::default() };
        config.command = vec!["node".to_owned()];
        config.max_age = Some(std::time::Duration::from_millis(1500));
        config.env.insert("LABEL".to_owned(), number.to_string());
        Generation {
            number,
            made: "2026-01-02T03:04:05Z".parse().unwrap(),
            config,
            directory: "/srv/api".into(),
            env_file: EnvFile([("PASSWORD".to_owned(), "hunter2".to_owned())].into()),
            identity: None,
            node: None,
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = shelf(directory.path());
        assert!(shelf.read().0.is_empty());
        let all: Vec<_> = [2, 4].map(generation).map(Arc::new).into();
        let held = Held::of(2, &all[1].config, &all[1].leads_to());
        shelf.write(&all, Some(&held)).unwrap();
        let (read, held) = shelf.read();
        let held = held.unwrap();
        assert!(held.number == 2 && held.is_of(&all[1].config, &all[1].leads_to()));
        assert!(!held.is_of(&all[0].config, &all[1].leads_to()));
        assert_eq!(read.len(), 2);
        for (one, was) in read.iter().zip(&all) {
            assert_eq!((one.number, one.made, &one.config), (was.number, was.made, &was.config));
            assert!(one.is_as(was));
        }
        let bytes = fs::read(&shelf.path).unwrap();
        assert!(!bytes.windows(7).any(|bytes| bytes == b"hunter2"));
        for (path, mode) in [(shelf.path.as_path(), 0o600), (shelf.path.parent().unwrap(), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        let other = Shelf { what: "generations of web".to_owned(), ..shelf };
        assert!(other.read().0.is_empty(), "another backend's file was taken");
    }

    #[test]
    fn what_is_broken_too_new_or_not_ours_is_no_way_back_and_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let shelf = shelf(directory.path());
        shelf.write(&[Arc::new(generation(1))], None).unwrap();
        let whole = fs::read(&shelf.path).unwrap();
        let book = |text: &str| Turned.seal(&shelf.what, text.as_bytes()).unwrap();
        for broken in [
            whole[..whole.len() / 2].to_vec(),
            b"{}".to_vec(),
            Vec::new(),
            book(r#"{"version": 2, "generations": [{"number": 1}]}"#),
            book(r#"{"version": 1, "generations": [{"number": 1}, 7]}"#),
        ] {
            fs::write(&shelf.path, broken).unwrap();
            assert!(shelf.read().0.is_empty());
        }
        // Root's workers, though nobody has allowed that.
        let mut one = generation(3);
        (one.config.allow_root, one.config.user) = (false, Some("root".to_owned()));
        shelf.write(&[Arc::new(one), Arc::new(generation(4))], None).unwrap();
        assert_eq!(shelf.read().0.iter().map(|one| one.number).collect::<Vec<_>>(), [4]);
    }
}
