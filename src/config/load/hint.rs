//! Where a running gateway's admin socket is, as far as a configuration that cannot be used still says it: it is
//! just then that its operator wants to see it. It must never guess: an order that reaches another gateway is
//! worse than none.

use std::{collections::BTreeMap, io, path::PathBuf};

use figment::value::{Dict, Value};

use super::{Flags, environment, file, layer::Layer, merge, resolve, sources, upper};
use crate::config::Config;

/// The admin socket's path, if the mistakes leave no doubt of it.
pub(crate) fn socket_hint(flags: &Flags) -> Option<PathBuf> {
    hint(flags, &environment())
}

/// May the caller not even look at the configuration, and is it the one by default? Members of `admin.group` may not: it may
/// name secrets.
pub(crate) fn is_closed(flags: &Flags) -> bool {
    default_is_closed(flags, &environment())
}

fn default_is_closed(flags: &Flags, environment: &BTreeMap<String, String>) -> bool {
    let named =
        flags.config.is_some() || environment.get("GATEWAY_CONFIG").is_some_and(|name| !name.is_empty());
    let denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    !named && std::fs::File::open(file::DEFAULT).is_err_and(denied)
}

fn hint(flags: &Flags, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let upper = upper(flags, environment);
    let (files, directory) = match default_is_closed(flags, environment) {
        // The place by default is one place, and its socket decides itself who may give orders.
        true => (Vec::new(), PathBuf::from("/")),
        false => sources(flags, environment, &upper).ok()?,
    };
    let (mut lower, mut lost) = (Vec::new(), Lost::default());
    for path in &files {
        let text = file::text(path).ok()?;
        let (layer, whole) = Layer::of_damaged_toml(&path.display().to_string(), &text);
        if !whole {
            lost.look_through(&text, &layer.values);
        }
        lower.push(layer);
    }
    let (values, _) = merge(lower, upper).ok()?;
    let nothing = Dict::new();
    let admin = values.get("admin").map_or(Some(&nothing), Value::as_dict)?;
    let socket = text_of(admin, SOCKET)?;
    let runtime_dir = text_of(&values, RUNTIME_DIR)?;
    if lost.socket && socket.is_none() || lost.runtime_dir && socket.is_none() && runtime_dir.is_none() {
        return None;
    }
    let mut config = Config::default();
    config.admin.socket = socket;
    config.runtime_dir = runtime_dir.unwrap_or(config.runtime_dir);
    resolve(&mut config, &directory);
    Some(config.admin.socket_in(&config.runtime_dir))
}

/// A key, and what stands in every misspelling of it that is worth a thought.
const RUNTIME_DIR: (&str, &str) = ("runtime_dir", "runtime");
const SOCKET: (&str, &str) = ("socket", "sock");

/// The path of that key: `Some(None)` when nobody wrote it, `None` when somebody wrote something else.
fn text_of(table: &Dict, (key, stem): (&str, &str)) -> Option<Option<PathBuf>> {
    match table.get(key) {
        Some(value) => Some(Some(PathBuf::from(value.as_str().filter(|text| !text.is_empty())?))),
        None if table.keys().any(|other| other.contains(stem)) => None,
        None => Some(None),
    }
}

/// What a damaged text says and its reading does not have.
#[derive(Debug, Default)]
struct Lost {
    runtime_dir: bool,
    socket: bool,
}

impl Lost {
    fn look_through(&mut self, text: &str, read: &Dict) {
        let admin = read.get("admin").and_then(Value::as_dict);
        let keys = || text.lines().map(|line| line.split(['=', '#']).next().unwrap_or_default().trim());
        let says = |stem: &str| keys().any(|key| key.contains(stem));
        self.runtime_dir |= says(RUNTIME_DIR.1) && !read.contains_key(RUNTIME_DIR.0);
        self.socket |= says(SOCKET.1) && !admin.is_some_and(|admin| admin.contains_key(SOCKET.0));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The hint of a file of that text, relative to its directory where it lies below.
    fn check(text: &str, variables: &[(&str, &str)], want: Option<&str>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), set: Vec::new() };
        let environment = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let found = hint(&flags, &environment);
        let root = directory.path().canonicalize().unwrap();
        let found = found.map(|path| path.strip_prefix(&root).map(Path::to_owned).unwrap_or(path));
        assert_eq!(found.as_deref(), want.map(Path::new), "{text}");
    }

    #[test]
    fn mistakes_elsewhere_leave_the_socket_known() {
        check("runtime_dir = \"run\"\n[edgy]\nx = 1", &[], Some("run/admin.sock"));
        check(
            "runtime_dir = \"/r\"\nstate_dir = \"unclosed\n[edge]\nthreads = = 2",
            &[],
            Some("/r/admin.sock"),
        );
        check("[edge\nhttps = [\n", &[], Some("/run/gateway/admin.sock"));
        check("runtime_dir = \"/r\"\n[admin]\nsocket = \"a.sock\"\ngroup = 7", &[], Some("a.sock"));
        check("x = ", &[("GATEWAY_RUNTIME_DIR", "/e")], Some("/e/admin.sock"));
        check("admin.socket = \"/a\"\nruntime_dir = 5", &[("GATEWAY_RUNTIME_DIR", "/e")], Some("/a"));
        check(
            "# runtime_dir is the default\n[[tenant]]\nid = \"A\"\nx",
            &[],
            Some("/run/gateway/admin.sock"),
        );
    }

    #[test]
    fn what_may_be_another_gateways_is_no_hint() {
        check("runtime_dir = 5", &[], None);
        check("runtimedir = \"/r\"", &[], None);
        check("runtime_dir \"/r\"\nx = 1", &[], None);
        check("runtime_dir = \"/r\"\n[admin\nsocket /a", &[], None);
        check("admin = 5", &[], None);
        check("[admin]\nsoket = 1\nsock = \"/a\"", &[], None);
        check("runtime_dir = \"\"", &[], None);
        let flags = Flags { config: Some(PathBuf::from("/no/such/gateway.toml")), set: Vec::new() };
        assert_eq!(hint(&flags, &BTreeMap::new()), None, "the default gateway is not the one that was named");
    }
}
