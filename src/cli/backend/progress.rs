//! What happens while an order is carried out: a plain line on standard error for each worker that changes, on a
//! terminal as in a CI log. It must never decide how the order ended: its answer does.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{Client, Failure, out, path_of};
use crate::admin::BackendStatus;

/// How often is looked: quick enough for a person, and next to nothing for the gateway.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Give the order and tell what happens until it has been carried out; how the backend is then.
pub(super) async fn order(
    client: &Client,
    name: &str,
    verb: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Result<BackendStatus, Failure> {
    let path = path_of(name, verb);
    watched(client, name, client.order::<serde_json::Value>(Method::POST, &path, body)).await?;
    client.show(&path_of(name, "")).await
}

/// Tell what happens while somebody waits for this.
pub(super) async fn watched<T: DeserializeOwned>(
    client: &Client,
    name: &str,
    order: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let path = path_of(name, "");
    let mut order = std::pin::pin!(order);
    // How it was before is no news.
    let mut seen = Seen::default();
    if let Ok(status) = client.show::<BackendStatus>(&path).await {
        seen.news(&status);
    }
    let mut outcome = None;
    while outcome.is_none() {
        tokio::select! {
            biased;
            done = &mut order => outcome = Some(done),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Ok(status) = client.show::<BackendStatus>(&path).await {
            seen.news(&status).iter().for_each(out::remark);
        }
    }
    outcome.unwrap_or_else(|| Err(Failure::told()))
}

/// What has been told already.
#[derive(Debug, Default)]
struct Seen {
    /// The state of each worker's processes.
    workers: BTreeMap<(String, Option<u32>), String>,
    deploy: Option<String>,
}

impl Seen {
    fn news(&mut self, status: &BackendStatus) -> Vec<String> {
        let mut news = Vec::new();
        let step = status.deploy.as_ref().map(|deploy| deploy.step.clone());
        if let Some(step) = step.as_ref().filter(|step| self.deploy.as_ref() != Some(step)) {
            news.push(format!("deploy: {step}"));
        }
        self.deploy = step;
        let mut workers = BTreeMap::new();
        for worker in &status.workers {
            let key = (worker.name.clone(), worker.pid);
            if self.workers.get(&key) != Some(&worker.state) {
                let pid = worker.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                news.push(format!("{} {}{pid}", worker.name, worker.state));
            }
            workers.insert(key, worker.state.clone());
        }
        for ((name, pid), _) in self.workers.iter().filter(|(key, _)| !workers.contains_key(*key)) {
            if let Some(pid) = pid {
                news.push(format!("{name} ended (pid {pid})"));
            }
        }
        self.workers = workers;
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(workers: &[(&str, u32, &str)]) -> BackendStatus {
        let worker = |(name, pid, state): &(&str, u32, &str)| {
            json!({"name": name, "pid": pid, "state": state, "since": "2026-01-01T00:00:05Z", "restarts": 0,
                "in_flight": 0, "last_error": null, "last_lines": []})
        };
        let workers: Vec<_> = workers.iter().map(worker).collect();
        serde_json::from_value(json!({"name": "api", "kind": "command", "workers": workers})).unwrap()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut seen = Seen::default();
        seen.news(&status(&[("api/0", 17, "ready")]));
        assert_eq!(seen.news(&status(&[("api/0", 17, "ready")])), Vec::<String>::new());
        let rolling = status(&[("api/0", 17, "ready"), ("api/0", 18, "starting")]);
        assert_eq!(seen.news(&rolling), ["api/0 starting (pid 18)"]);
        let swapped = status(&[("api/0", 18, "ready"), ("api/0", 17, "draining")]);
        assert_eq!(seen.news(&swapped), ["api/0 ready (pid 18)", "api/0 draining (pid 17)"]);
        assert_eq!(seen.news(&status(&[("api/0", 18, "ready")])), ["api/0 ended (pid 17)"]);
    }
}
