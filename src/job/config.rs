//! The job room's part of the configuration: what to run, and when.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::schedule::{Schedule, Unreadable, time_zone};

/// `[job.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The backend beside whose workers it runs; the only one, if left out.
    pub(crate) backend: Option<String>,
    /// Program and arguments, such as `["node", "jobs/nightly.js"]`.
    pub(crate) command: Vec<String>,
    /// When it runs, as cron has it.
    pub(crate) schedule: Option<String>,
    /// Whose clocks the schedule means.
    pub(crate) timezone: String,
    /// Instead of `schedule`: it runs as long as the gateway, and is started again when it ends.
    pub(crate) always: bool,
    /// Once for each of these.
    pub(crate) each: Option<Each>,
    /// How many of them at a time.
    pub(crate) concurrency: usize,
    /// How long one process may take.
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    /// Its environment, besides that of the backend's workers.
    pub(crate) env: BTreeMap<String, String>,
    /// Runs whose outcome is remembered.
    pub(crate) runs_kept: usize,
}

/// What a job is run once for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Each {
    /// Every active tenant.
    Tenant,
}

/// When it runs.
#[derive(Debug, Clone)]
pub(super) enum When {
    /// By the clock, and on order.
    Scheduled(Box<Schedule>),
    /// Always.
    Always,
}

/// A key that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The key.
    pub(crate) key: &'static str,
    /// Another key that it contradicts.
    pub(crate) because_of: Option<&'static str>,
    /// What is wrong, in one sentence.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) remedy: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: None,
            command: Vec::new(),
            schedule: None,
            // A server's own zone is an accident of its installation, and UTC has no day of 23 hours.
            timezone: "UTC".to_owned(),
            always: false,
            each: None,
            // As many statements at a time as a small server takes beside its requests.
            concurrency: 4,
            // Longer than nearly all jobs take; one that hangs is over before the next day's.
            timeout: Duration::from_secs(60 * 60),
            env: BTreeMap::new(),
            // Three weeks of a nightly job.
            runs_kept: 20,
        }
    }
}

impl Config {
    /// When it runs, or what is wrong with what is said about it.
    pub(super) fn when(&self) -> Result<When, Wrong> {
        let wrong = |key, message: &str, remedy: &str| Wrong {
            key,
            because_of: None,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        };
        let of = |key| move |Unreadable { message, remedy }| Wrong { key, because_of: None, message, remedy };
        match (&self.schedule, self.always) {
            (Some(_), true) => Err(Wrong {
                because_of: Some("schedule"),
                ..wrong(
                    "always",
                    "a job runs by its `schedule` or always, not both",
                    "take one of the two out",
                )
            }),
            (None, false) => Err(wrong(
                "schedule",
                "nothing says when this job runs",
                "add `schedule = \"30 3 * * *\"`, or `always = true`",
            )),
            (None, true) if self.each.is_some() => Err(Wrong {
                because_of: Some("always"),
                ..wrong(
                    "each",
                    "what runs always runs once, and not once per tenant",
                    "take it out, and let the program ask for tickets (`background_access`)",
                )
            }),
            (None, true) => Ok(When::Always),
            (Some(text), false) => {
                let zone = time_zone(&self.timezone).map_err(of("timezone"))?;
                Schedule::parse(text, zone).map_err(of("schedule")).map(Box::new).map(When::Scheduled)
            }
        }
    }

    /// What is wrong with the times.
    pub(crate) fn time_problem(&self) -> Option<Wrong> {
        self.when().err()
    }

    /// The keys that mean nothing together with `always`, or without `each`.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let always = ["timezone", "timeout", "runs_kept"].map(|key| (key, "what runs always has no runs"));
        let alone = [("concurrency", "only a job with `each` runs more than once at a time")];
        let always = always.into_iter().filter(|_| self.always);
        always.chain(alone.into_iter().filter(|_| self.each.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_says_in_one_way_when_it_runs() {
        let nightly = || Config { schedule: Some("30 3 * * *".to_owned()), ..Config::default() };
        let always = || Config { always: true, ..Config::default() };
        for (config, key) in [
            (nightly(), None),
            (always(), None),
            (Config::default(), Some("schedule")),
            (Config { always: true, ..nightly() }, Some("always")),
            (Config { each: Some(Each::Tenant), ..always() }, Some("each")),
            (Config { each: Some(Each::Tenant), ..nightly() }, None),
            (Config { timezone: "Mars/Olympus".to_owned(), ..nightly() }, Some("timezone")),
            (Config { schedule: Some("* *".to_owned()), ..nightly() }, Some("schedule")),
        ] {
            assert_eq!(config.time_problem().map(|wrong| wrong.key), key, "{config:?}");
        }
    }
}
