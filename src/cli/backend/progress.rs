//! What happens while an order is carried out: a plain line on standard error for each worker that changes, on a
//! terminal as in a CI log. It must never decide how the order ended: its answer does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use http::Method;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use super::{Client, Failure, out, path_of};
use crate::{admin::BackendStatus, cli::failure::Exit};

/// How often is looked: quick enough for a person, and next to nothing for the gateway.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Without news for so long, it is said what is waited for; the next time after twice as long.
const STILL_AFTER: Duration = Duration::from_secs(5);

/// The longest silence: a CI log should show that somebody is there.
const STILL_AFTER_MAX: Duration = Duration::from_secs(60);

/// Workers that are named then.
const WAITED_FOR_MAX: usize = 4;

/// Give the order and tell what happens until it has been carried out; how the backend is then.
pub(super) async fn order(
    client: &Client,
    name: &str,
    verb: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Result<BackendStatus, Failure> {
    let path = path_of(name, verb);
    watched(client, Some(name), client.order::<serde_json::Value>(Method::POST, &path, body)).await?;
    client.show(&path_of(name, "")).await
}

/// Tell what happens to this backend, or to all, while somebody waits for the order's end.
pub(in crate::cli) async fn watched<T: DeserializeOwned>(
    client: &Client,
    name: Option<&str>,
    order: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        outcome = told(client, name, order) => outcome,
        // Also while the gateway does not say how things are: that it hangs may be why.
        () = interrupt() => Err(interrupted(name)),
    }
}

async fn told<T>(
    client: &Client,
    name: Option<&str>,
    order: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut order = std::pin::pin!(order);
    // How it was before is no news.
    let mut seen = Seen::default();
    seen.news(&look(client, name).await);
    let mut silence = Silence::from(Instant::now());
    let mut outcome = None;
    while outcome.is_none() {
        tokio::select! {
            biased;
            done = &mut order => outcome = Some(done),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let backends = look(client, name).await;
        let news = seen.news(&backends);
        news.iter().for_each(out::remark);
        if silence.is_too_long(!news.is_empty(), Instant::now()) && outcome.is_none() {
            out::remark(waited_for(&backends, Timestamp::now()));
        }
    }
    outcome.unwrap_or_else(|| Err(Failure::told()))
}

/// What there is of it; nothing, if the gateway does not say just now.
async fn look(client: &Client, name: Option<&str>) -> Vec<BackendStatus> {
    match name {
        Some(name) => client.show(&path_of(name, "")).await.into_iter().collect(),
        None => client.show("/backends").await.unwrap_or_default(),
    }
}

/// Resolves at Ctrl-C.
async fn interrupt() {
    // Where it cannot be heard, it ends the process as it always did.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ctrl-C ends the command alone.
fn interrupted(name: Option<&str>) -> Failure {
    let show = name
        .map_or_else(|| "gateway backend list".to_owned(), |name| format!("gateway backend describe {name}"));
    let message = "interrupted: the gateway goes on with what it has begun";
    Failure { exit: Exit::Interrupted, ..Failure::failed(message) }.hint(format!("`{show}` shows it"))
}

/// How long nothing has been said.
#[derive(Debug)]
struct Silence {
    since: Instant,
    bearable: Duration,
}

impl Silence {
    fn from(now: Instant) -> Self {
        Self { since: now, bearable: STILL_AFTER }
    }

    /// Should something be said? That is taken to be done, then.
    fn is_too_long(&mut self, news: bool, now: Instant) -> bool {
        if news {
            *self = Self::from(now);
            return false;
        }
        let too_long = now.duration_since(self.since) >= self.bearable;
        if too_long {
            *self = Self { since: now, bearable: (self.bearable * 2).min(STILL_AFTER_MAX) };
        }
        too_long
    }
}

/// What has not come to its end yet, in one line.
fn waited_for(backends: &[BackendStatus], now: Timestamp) -> String {
    let mut waited: Vec<String> = Vec::new();
    for backend in backends {
        if let Some(deploy) = &backend.deploy {
            waited.push(format!("deploy of {}: {}", backend.name, deploy.step));
        }
        let settled = |state: &str| matches!(state, "ready" | "finished");
        waited.extend(backend.workers.iter().filter(|worker| !settled(&worker.state)).map(|worker| {
            let seconds = u64::try_from(now.as_second() - worker.since.as_second()).unwrap_or(0);
            let requests = match worker.in_flight {
                0 => String::new(),
                requests => format!(", {requests} in flight"),
            };
            format!("{} {} for {}{requests}", worker.name, worker.state, out::duration(seconds))
        }));
        if waited.is_empty()
            && let Some(order) = &backend.order
        {
            waited.push(format!("{order} of backend {}", backend.name));
        }
    }
    let more = waited.len().saturating_sub(WAITED_FOR_MAX);
    waited.truncate(WAITED_FOR_MAX);
    if more > 0 {
        waited.push(format!("{more} more"));
    }
    match waited.is_empty() {
        true => "still waiting".to_owned(),
        false => format!("still waiting: {}", waited.join("; ")),
    }
}

/// What has been told already.
#[derive(Debug, Default)]
struct Seen {
    /// The state of each worker's processes.
    workers: BTreeMap<(String, Option<u32>), String>,
    /// The step of each backend's deploy.
    deploys: BTreeMap<String, String>,
    /// Backends whose order waits before it replaces anybody.
    held_up: BTreeSet<String>,
}

impl Seen {
    fn news(&mut self, backends: &[BackendStatus]) -> Vec<String> {
        let mut news = Vec::new();
        let (mut workers, mut deploys, mut held_up) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for backend in backends {
            if let Some(deploy) = &backend.deploy {
                if self.deploys.get(&backend.name) != Some(&deploy.step) {
                    news.push(format!("deploy: {}", deploy.step));
                }
                deploys.insert(backend.name.clone(), deploy.step.clone());
            }
            if let Some(why) = &backend.held_up {
                if !self.held_up.contains(&backend.name) {
                    news.push(format!("waiting: {why}"));
                }
                held_up.insert(backend.name.clone());
            }
            for worker in &backend.workers {
                let key = (worker.name.clone(), worker.pid);
                if self.workers.get(&key) != Some(&worker.state) {
                    let pid = worker.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                    news.push(format!("{} {}{pid}", worker.name, worker.state));
                }
                workers.insert(key, worker.state.clone());
            }
        }
        // A gateway that does not answer is no end of its workers.
        if backends.is_empty() {
            return news;
        }
        for ((name, pid), _) in self.workers.iter().filter(|(key, _)| !workers.contains_key(*key)) {
            if let Some(pid) = pid {
                news.push(format!("{name} ended (pid {pid})"));
            }
        }
        (self.workers, self.deploys, self.held_up) = (workers, deploys, held_up);
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(workers: &[(&str, u32, &str)]) -> [BackendStatus; 1] {
        let worker = |(name, pid, state): &(&str, u32, &str)| {
            json!({"name": name, "pid": pid, "state": state, "since": "2026-01-01T00:00:05Z", "restarts": 0,
                "in_flight": 0, "last_error": null, "last_lines": []})
        };
        let workers: Vec<_> = workers.iter().map(worker).collect();
        [serde_json::from_value(json!({"name": "api", "kind": "command", "workers": workers})).unwrap()]
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

    #[test]
    fn what_an_order_waits_for_is_told_once() {
        let mut seen = Seen::default();
        let [mut backend] = status(&[("api/0", 17, "ready")]);
        seen.news(std::slice::from_ref(&backend));
        backend.held_up = Some("2 workers still finish".into());
        assert_eq!(seen.news(std::slice::from_ref(&backend)), ["waiting: 2 workers still finish"]);
        assert_eq!(seen.news(std::slice::from_ref(&backend)), Vec::<String>::new());
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_no_news() {
        let mut seen = Seen::default();
        seen.news(&status(&[("api/0", 17, "ready")]));
        assert_eq!(seen.news(&[]), Vec::<String>::new());
        assert_eq!(seen.news(&status(&[("api/0", 17, "ready")])), Vec::<String>::new());
    }

    #[test]
    fn silence_is_broken_ever_more_seldom_and_news_begin_anew() {
        let begun = Instant::now();
        let mut silence = Silence::from(begun);
        let told = |silence: &mut Silence, news_at: Option<u64>| -> Vec<u64> {
            let told_at = |second: &u64| {
                silence.is_too_long(news_at == Some(*second), begun + Duration::from_secs(*second))
            };
            (0..=200).filter(told_at).collect()
        };
        assert_eq!(told(&mut silence, None), [5, 15, 35, 75, 135, 195]);
        let mut silence = Silence::from(begun);
        assert_eq!(told(&mut silence, Some(7))[..3], [5, 12, 22]);
    }

    #[test]
    fn what_is_waited_for_is_named() {
        let now = "2026-01-01T00:00:15Z".parse().unwrap();
        let [mut rolling] = status(&[("api/0", 17, "ready"), ("api/0", 18, "starting")]);
        let told = |backend: &BackendStatus| waited_for(std::slice::from_ref(backend), now);
        assert_eq!(told(&rolling), "still waiting: api/0 starting for 10 s");
        rolling.workers[0].state = "draining".into();
        rolling.workers[0].in_flight = 3;
        assert_eq!(
            told(&rolling),
            "still waiting: api/0 draining for 10 s, 3 in flight; api/0 starting for 10 s"
        );
        rolling.workers.clear();
        rolling.order = Some("reload".into());
        assert_eq!(told(&rolling), "still waiting: reload of backend api");
        let [many] = status(&[("api/0", 1, "starting"); 6]);
        assert!(told(&many).ends_with("; 2 more"), "{}", told(&many));
        assert_eq!(waited_for(&[], now), "still waiting");
    }

    #[test]
    fn an_interruption_says_where_to_look() {
        let failure = interrupted(Some("api"));
        assert_eq!(
            (failure.exit as u8, failure.hint.as_deref()),
            (130, Some("`gateway backend describe api` shows it"))
        );
    }
}
