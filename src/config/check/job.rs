//! Checks of jobs: what to run, when, beside whose workers.

use super::Check;
use crate::{job::Config as Job, tenant::TenantId};

/// What the gateway itself tells every process of a job.
const OWN_VARIABLES: [&str; 3] = ["GATEWAY_JOB", "GATEWAY_TENANT", "GATEWAY_WORKER"];

/// More at a time are surely not meant.
const CONCURRENCY_MAX: usize = 1024;

/// Each has a verdict for every tenant, and all are written anew with each run.
const RUNS_KEPT_MAX: usize = 1000;

/// Names that jobs take away from backends: `job/nightly` would be a worker of one.
const TAKEN: &str = "job";

impl Check<'_> {
    pub(super) fn jobs(&mut self) {
        let config = self.config;
        if !config.job.is_empty() && config.backend.contains_key(TAKEN) {
            let message = "a backend cannot have this name beside jobs: `job/0` would be a worker and a job";
            self.problem(&["backend", TAKEN], message, "give the backend another name");
        }
        for (name, job) in &config.job {
            // Log lines, metrics and file names hold it.
            if name.parse::<TenantId>().is_err() {
                let message = format!("`{name}` is no name for a job");
                self.problem(&["job", name], message, "use lower-case letters, digits and hyphens");
            }
            self.beside(name, job);
            self.job_command(name, job);
            self.times_of_job(name, job);
            for variable in job.env.keys() {
                let key = ["job", name, "env", variable.as_str()];
                let own = OWN_VARIABLES.contains(&variable.as_str());
                let own = own || variable == "DATABASE_URL" && job.each.is_some();
                if self.variable_name(&key, variable) && own {
                    self.problem(&key, format!("the gateway itself sets {variable}"), "take it out");
                }
            }
            if job.concurrency > CONCURRENCY_MAX {
                let message = "that many processes at a time are surely not meant";
                self.problem(&["job", name, "concurrency"], message, "write a number up to 1024");
            }
            if job.runs_kept > RUNS_KEPT_MAX {
                let message = "that many runs are not kept";
                self.problem(
                    &["job", name, "runs_kept"],
                    message,
                    "write a number up to 1000; the log has them all",
                );
            }
        }
    }

    fn job_command(&mut self, name: &str, job: &Job) {
        let key = ["job", name, "command"];
        if !self.is_written(&key) {
            let message = "nothing says what this job runs";
            self.problem(&["job", name], message, "add `command = [\"node\", \"jobs/nightly.js\"]`");
            return;
        }
        let backends = &self.config.backend;
        let backend = match &job.backend {
            Some(backend) => backends.get(backend),
            None => backends.values().next(),
        };
        let directory = backend.and_then(|backend| backend.directory.as_deref());
        self.words(&key, &job.command, directory, &["job", name, "backend"]);
    }

    /// It needs workers of ours, as whose sibling it is started.
    fn beside(&mut self, name: &str, job: &Job) {
        let config = self.config;
        let key = ["job", name, "backend"];
        let backends = &config.backend;
        let found = match &job.backend {
            Some(backend) => backends.get_key_value(backend),
            None if backends.len() == 1 => backends.first_key_value(),
            None => {
                let message = match backends.len() {
                    0 => "a job runs beside the workers of a backend, and there is none",
                    _ => "there are several backends, and this job names none",
                };
                self.contradiction(&key, &[&["backend"]], message, "write `backend = \"NAME\"`");
                return;
            }
        };
        match found {
            None => {
                let names: Vec<_> = backends.keys().map(|name| format!("`{name}`")).collect();
                let remedy = match names.is_empty() {
                    true => "add that backend".to_owned(),
                    false => format!("name one of {}", names.join(", ")),
                };
                self.contradiction(&key, &[&["backend"]], "there is no such backend", remedy);
            }
            Some((backend, found)) if found.upstream.is_some() => {
                let message =
                    format!("backend `{backend}` is an upstream: the gateway starts nothing beside it");
                let remedy = "let what runs the upstream run the job, or give the backend a `command`";
                self.contradiction(&key, &[&["backend", backend, "upstream"]], message, remedy);
            }
            Some((backend, found)) => {
                let alone = backends.len() == 1 || !found.hosts.is_empty();
                let named = config.tenant.iter().any(|tenant| tenant.backend.as_ref() == Some(backend));
                if job.each.is_some() && !alone && !named {
                    let message = format!(
                        "there are several backends, and `{backend}` has no `hosts`: the job runs only for tenants \
                         that name it, and no declared one does"
                    );
                    let remedy =
                        format!("write `backend = \"{backend}\"` in tenants, or name another backend here");
                    self.warn(&["job", name, "each"], message, remedy);
                }
                self.twice(name, job, backend);
            }
        }
    }

    /// Two backends with hosts, as production and staging, serve a tenant that names neither: what both have as a job
    /// happens to it twice.
    fn twice(&mut self, name: &str, job: &Job, backend: &str) {
        let config = self.config;
        let serves_all = |job: &Job, backend: &str| {
            job.each.is_some() && config.backend.get(backend).is_some_and(|backend| !backend.hosts.is_empty())
        };
        // Once for the two: by the later one.
        let mut before = config.job.iter().take_while(|(other, _)| *other != name);
        let twin = before.find(|(_, other)| {
            let elsewhere = other.backend.as_deref().filter(|other| *other != backend);
            other.command == job.command && elsewhere.is_some_and(|backend| serves_all(other, backend))
        });
        let Some((other, _)) = twin.filter(|_| serves_all(job, backend)) else { return };
        let message = format!(
            "its backend and that of job `{other}` both have `hosts`, and so both serve tenants that name no backend: for \
             those the same command runs in both"
        );
        let remedy = format!(
            "write `backend = \"{backend}\"`, or the other one, in tenants that one job alone is for"
        );
        self.warn(&["job", name, "each"], message, remedy);
    }

    fn times_of_job(&mut self, name: &str, job: &Job) {
        if let Some(wrong) = job.time_problem() {
            let key = ["job", name, wrong.key];
            let other = wrong.because_of.map(|other| ["job", name, other]);
            match &other {
                Some(other) => self.contradiction(&key, &[other], wrong.message, wrong.remedy),
                None => self.problem(&key, wrong.message, wrong.remedy),
            }
        }
        for (key, reason) in job.unused() {
            let key = ["job", name, key];
            if self.is_written(&key) {
                self.warn(&key, format!("without effect: {reason}"), "take it out");
            }
        }
    }
}
