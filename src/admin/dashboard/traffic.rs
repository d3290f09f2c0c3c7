//! How much goes through the gateway: of its metrics, the sums over all tenants. Pure. Rates are the page's: it has the
//! sums of two moments.

use std::collections::BTreeMap;

use serde::Serialize;

/// Sums and present numbers.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Traffic {
    /// Requests answered, by class of status (`2xx`).
    requests: BTreeMap<String, u64>,
    /// Those that the gateway answered itself, by code.
    refusals: BTreeMap<String, u64>,
    /// Seconds to the first byte: how many answers took at most so long.
    first_byte: Vec<(String, u64)>,
    /// Connections open.
    connections_open: u64,
    /// WebSockets open.
    websockets_open: u64,
    /// Requests that wait for a worker.
    requests_waiting: u64,
    /// Sent again to another worker.
    retries: u64,
}

impl Traffic {
    /// Of an OpenMetrics text.
    pub(super) fn of(text: &str) -> Self {
        let mut traffic = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let count = |sums: &mut BTreeMap<String, u64>, label| {
                if let Some(word) = label_of(labels, label) {
                    *sums.entry(word.to_owned()).or_default() += value;
                }
            };
            match name {
                "gateway_requests_total" => count(&mut traffic.requests, "class"),
                "gateway_refusals_total" => count(&mut traffic.refusals, "code"),
                "gateway_first_byte_seconds_bucket" => {
                    let bound = label_of(labels, "le").map(str::to_owned);
                    traffic.first_byte.extend(bound.map(|bound| (bound, value)));
                }
                "gateway_connections_open" => traffic.connections_open = value,
                "gateway_websockets_open" => traffic.websockets_open = value,
                "gateway_requests_waiting" => traffic.requests_waiting += value,
                "gateway_retries_total" => traffic.retries += value,
                _ => {}
            }
        }
        traffic
    }
}

/// The value of a label; ours need no escapes.
fn label_of<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let pairs = labels.trim_end_matches('}').split(',');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{BackendLabels, CodeLabels, Metrics, RequestLabels};

    #[test]
    fn the_metrics_own_text_is_summed_over_tenants_and_backends() {
        let metrics = Metrics::new();
        for (tenant, class, times) in [("navaja", "2xx", 3), ("barba", "2xx", 4), ("-", "4xx", 1)] {
            let labels = RequestLabels { tenant: tenant.to_owned(), class };
            metrics.requests_total.get_or_create(&labels).inc_by(times);
        }
        metrics.refusals_total.get_or_create(&CodeLabels { code: "origin-not-listed" }).inc();
        for backend in ["api", "staging"] {
            metrics.requests_waiting.get_or_create(&BackendLabels { backend: backend.to_owned() }).set(2);
        }
        metrics.connections.set(9);
        metrics.websockets.set(5);
        metrics.first_byte_seconds.observe(0.0007);
        let traffic = Traffic::of(&metrics.text());
        let sums = |pairs: &[(&str, u64)]| pairs.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect();
        assert_eq!(traffic.requests, sums(&[("2xx", 7), ("4xx", 1)]));
        assert_eq!(traffic.refusals, sums(&[("origin-not-listed", 1)]));
        assert_eq!((traffic.connections_open, traffic.websockets_open, traffic.requests_waiting), (9, 5, 4));
        let bounds: Vec<_> =
            traffic.first_byte.iter().map(|(bound, count)| (bound.as_str(), *count)).collect();
        assert_eq!(&bounds[..2], [("0.0005", 0), ("0.001", 1)]);
        assert_eq!(bounds.last(), Some(&("+Inf", 1)));
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        assert_eq!(
            Traffic::of("# EOF\n\nx\ngateway_requests_total{class=} y\nelse{le=\"1\"} 3\n"),
            Traffic::default()
        );
    }
}
