//! The domain words in which a test says what gateway it wants. Writes the configuration; starts nothing.

use std::path::Path;

use crate::{HOST, Site, TestGateway};

/// A gateway to be.
#[derive(Debug)]
pub(crate) struct Builder {
    config: toml::Table,
    programs: Vec<(String, String)>,
}

impl Builder {
    /// Loopback listeners on free ports, HTTP served like HTTPS, certificates from an own CA, no backend.
    pub(crate) fn new() -> Self {
        let config = r#"
            shutdown_grace = "5s"
            [edge]
            http = ["127.0.0.1:0"]
            https = ["127.0.0.1:0"]
            http_mode = "serve"
            threads = 2
            [edge.admit]
            # Tests call from one address, as fast as they can.
            client_requests_per_second = 1000000
            tenant_requests_per_second = 1000000
            [tls]
            mode = "local"
            [log]
            # Our own words, not those of every library.
            level = "info,gateway=debug"
        "#;
        Self { config: config.parse().unwrap(), programs: Vec::new() }
    }

    /// Lay a fragment of TOML over the configuration; `[[tenant]]` and the like are added.
    pub(crate) fn config(mut self, fragment: &str) -> Self {
        Self::lay_over(
            &mut self.config,
            fragment.parse().unwrap_or_else(|error| panic!("{error}: {fragment}")),
        );
        self
    }

    /// Declare a tenant with a SQLite database of its own.
    pub(crate) fn tenant(self, id: &str, origins: &[&str]) -> Self {
        self.config(&format!(
            "[[tenant]]\nid = {id:?}\norigins = {origins:?}\ndatabase = \"sqlite://{id}.db\""
        ))
    }

    /// The two shops of most tests.
    pub(crate) fn shops(self) -> Self {
        self.tenant("navaja", &[crate::NAVAJA]).tenant("barba", &[crate::BARBA])
    }

    /// One worker of `tests/data/workers/PROGRAM` as backend `api` on `api.example`.
    pub(crate) fn worker(self, program: &str) -> Self {
        self.backend("api", program, &[HOST])
    }

    /// A backend by name. Its programs are read where they lie and write where a test looks: the sandbox has tests
    /// of its own, in `isolation`.
    pub(crate) fn backend(mut self, name: &str, program: &str, hosts: &[&str]) -> Self {
        self.programs.push((name.to_owned(), program.to_owned()));
        self.config(&format!(
            "[backend.{name}]\nhosts = {hosts:?}\nstop_grace = \"3s\"\nallow_root = true\nsandbox = false\n[backend.{name}.health]\npath = \"/healthz\""
        ))
    }

    /// How many workers the backend `api` has.
    pub(crate) fn workers(self, count: usize) -> Self {
        self.config(&format!("backend.api.workers = {count}"))
    }

    /// Write it all down without starting it.
    pub(crate) fn site(mut self) -> Site {
        let site = Site::new();
        for (name, program) in std::mem::take(&mut self.programs) {
            let path = worker_program(&program);
            // The path of the site in the environment is how a worker left behind is recognised.
            let command = format!(
                "backend.{name}.command = [\"node\", {path:?}]\nbackend.{name}.env.TEST_SITE = {:?}",
                site.path()
            );
            Self::lay_over(&mut self.config, command.parse().unwrap());
        }
        let places = format!("state_dir = {:?}\nruntime_dir = {:?}", site.state(), site.runtime());
        Self::lay_over(&mut self.config, places.parse().unwrap());
        site.write("gateway.toml", toml::to_string(&self.config).unwrap());
        site
    }

    /// Start it and wait until it serves.
    pub(crate) fn start(self) -> TestGateway {
        self.site().start()
    }

    /// Tables are merged, lists of tables grow, everything else is replaced.
    pub(crate) fn lay_over(config: &mut toml::Table, fragment: toml::Table) {
        for (key, value) in fragment {
            match (config.get_mut(&key), value) {
                (Some(toml::Value::Table(below)), toml::Value::Table(above)) => Self::lay_over(below, above),
                (Some(toml::Value::Array(below)), toml::Value::Array(above))
                    if above.iter().all(toml::Value::is_table) && !above.is_empty() =>
                {
                    below.extend(above);
                }
                (_, value) => {
                    config.insert(key, value);
                }
            }
        }
    }
}

/// The path of a program among the test's data.
pub(crate) fn worker_program(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/workers").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_str().unwrap().to_owned()
}
