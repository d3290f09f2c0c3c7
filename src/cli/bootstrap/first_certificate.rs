//! The first order of a certificate takes seconds: the doctor who ends a set-up looks after it, not before. It waits for a
//! bounded time, and for nothing that is not on its way.

use std::time::{Duration, Instant};

use super::there;
use crate::{
    admin::HostCertificate,
    bootstrap::Answers,
    cli::{Client, Settings, out, reach},
};

/// Longest wait: an authority answers within seconds, or the order waits for its next try.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Wait until no host that was asked for has its first certificate still on its way.
pub(super) fn awaited(answers: &Answers, settings: &Settings) {
    let config = there(settings).ok().flatten().map(|loaded| loaded.config).unwrap_or_default();
    let client = Client::Running(reach::socket(&config));
    let Ok(runtime) = reach::runtime() else { return };
    let (give_up, mut told) = (Instant::now() + WAIT_MAX, false);
    loop {
        // Who does not answer is the doctor's to tell.
        let list = runtime.block_on(client.show::<Vec<HostCertificate>>("/certificates"));
        let hosts = on_their_way(&answers.domains, &list.unwrap_or_default());
        if hosts.is_empty() || Instant::now() > give_up {
            return;
        }
        if !told {
            let seconds = WAIT_MAX.as_secs();
            out::remark(format!(
                "the certificate of {} is being ordered: up to {seconds} s",
                hosts.join(", ")
            ));
            told = true;
        }
        std::thread::sleep(LOOK);
    }
}

/// Hosts that have no certificate, whose first order has neither failed nor been given up. Pure.
fn on_their_way(domains: &[String], list: &[HostCertificate]) -> Vec<String> {
    let first = |one: &&HostCertificate| {
        let fails = one.order.as_ref().is_some_and(|order| order.last_error.is_some());
        one.certificate.is_none() && !fails && matches!(one.word(), "waiting" | "ordering")
    };
    let asked = list.iter().filter(|one| domains.contains(&one.host));
    asked.filter(first).map(|one| one.host.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_first_order_that_has_not_failed_is_waited_for() {
        let check = |state: &str, error: Option<&str>, want: bool| {
            let order =
                json!({"host": "api.example.com", "state": state, "attempts": 0, "last_error": error});
            let one =
                json!({"host": "api.example.com", "state": "missing", "certificate": null, "order": order});
            let list: Vec<HostCertificate> = serde_json::from_value(json!([one])).unwrap();
            let hosts = |domain: &str| on_their_way(&[domain.to_owned()], &list);
            assert_eq!(hosts("api.example.com").len(), usize::from(want), "{state}");
            assert_eq!(hosts("other.example.com"), Vec::<String>::new(), "nobody asked for it");
        };
        check("waiting", None, true);
        check("ordering", None, true);
        check("failing", Some("refused"), false);
        check("waiting", Some("refused"), false);
        check("elsewhere", None, false);
    }
}
