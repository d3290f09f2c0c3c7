//! Every metric of the process in one place, so that names and labels stay of one kind.
//!
//! Labels are bounded: tenants and workers that exist, fixed words; never a path, an origin or an address.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// `tenant` and the status class (`2xx`…), for requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The tenant's id, or `-`.
    pub(crate) tenant: String,
    /// `2xx`, `3xx`, `4xx`, `5xx`, `1xx`.
    pub(crate) class: &'static str,
}

/// A fixed word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CodeLabels {
    /// The error's stable code.
    pub(crate) code: &'static str,
}

/// Why something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    /// A fixed word.
    pub(crate) reason: &'static str,
}

/// How a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabels {
    /// A fixed word.
    pub(crate) state: &'static str,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    /// A fixed word.
    pub(crate) outcome: &'static str,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TenantLabels {
    /// The tenant's id.
    pub(crate) tenant: String,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BackendLabels {
    /// The backend's name.
    pub(crate) backend: String,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    /// The job's name.
    pub(crate) job: String,
}

/// A job, and how a run of it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobRunLabels {
    /// The job's name.
    pub(crate) job: String,
    /// A fixed word.
    pub(crate) outcome: &'static str,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabels {
    /// `imported`, `acme`, `file` or `local`.
    pub(crate) source: &'static str,
}

/// Why a WebSocket ended that the gateway's own drain has ended.
pub(crate) const DRAINING: &str = "draining";

/// Counters and gauges, cheap to clone and to touch from any thread.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Connections accepted.
    pub(crate) connections_total: Counter,
    /// Connections open.
    pub(crate) connections: Gauge,
    /// Handshakes that failed.
    pub(crate) handshakes_failed_total: Counter,
    /// Connections and streams cut short, by code.
    pub(crate) cuts_total: Family<CodeLabels, Counter>,
    /// Connections of trusted proxies closed for want of a PROXY header.
    pub(crate) proxy_headers_refused_total: Family<CodeLabels, Counter>,
    /// Requests answered.
    pub(crate) requests_total: Family<RequestLabels, Counter>,
    /// Answers that the gateway made itself, by code.
    pub(crate) refusals_total: Family<CodeLabels, Counter>,
    /// Answers that did not pass whole, by code.
    pub(crate) answers_broken_total: Family<CodeLabels, Counter>,
    /// WebSockets open.
    pub(crate) websockets: Gauge,
    /// WebSockets ended, by reason.
    pub(crate) websockets_closed_total: Family<ReasonLabels, Counter>,
    /// Seconds from request head to the answer's first byte.
    pub(crate) first_byte_seconds: Histogram,
    /// Access log lines dropped because the disk was slow.
    pub(crate) access_log_dropped_total: Counter,
    /// Requests sent again to another worker.
    pub(crate) retries_total: Family<BackendLabels, Counter>,
    /// Requests that wait for a worker.
    pub(crate) requests_waiting: Family<BackendLabels, Gauge>,
    /// Seconds that requests waited for a worker, of those that had to.
    pub(crate) waited_seconds: Histogram,
    /// Workers that take traffic.
    pub(crate) workers_ready: Family<BackendLabels, Gauge>,
    /// Workers started again after a crash.
    pub(crate) worker_restarts_total: Family<BackendLabels, Counter>,
    /// Workers replaced while they ran: unwell, too large, too old.
    pub(crate) worker_replacements_total: Family<BackendLabels, Counter>,
    /// Lines of output dropped because a worker wrote too many at a time.
    pub(crate) output_lines_dropped_total: Family<BackendLabels, Counter>,
    /// Lines of output that are missing in the log files: the disk was full or slow.
    pub(crate) output_lines_unwritten_total: Family<BackendLabels, Counter>,
    /// Runs of jobs, by how they ended.
    pub(crate) job_runs_total: Family<JobRunLabels, Counter>,
    /// Runs that were due while another was under way, and so were left out.
    pub(crate) job_overlaps_total: Family<JobLabels, Counter>,
    /// Runs under way: 0 or 1.
    pub(crate) jobs_under_way: Family<JobLabels, Gauge>,
    /// When a run ended well last, in seconds since 1970.
    pub(crate) job_last_success_seconds: Family<JobLabels, Gauge>,
    /// Programs that run always started again after they had ended.
    pub(crate) job_restarts_total: Family<JobLabels, Counter>,
    /// Database connections open.
    pub(crate) pool_connections: Family<TenantLabels, Gauge>,
    /// Statements run at the doors.
    pub(crate) statements_total: Family<TenantLabels, Counter>,
    /// Waits for a database connection that ended in an error.
    pub(crate) lease_timeouts_total: Family<TenantLabels, Counter>,
    /// Knocks refused at the doors.
    pub(crate) knocks_refused_total: Counter,
    /// When the first certificate in use ends, by source.
    pub(crate) certificate_not_after_seconds: Family<SourceLabels, Gauge>,
    /// Hosts whose certificate ends soon, has ended or is missing.
    pub(crate) certificate_hosts_in_need: Family<StateLabels, Gauge>,
    /// Hosts that certificates are ordered for, by how they stand.
    pub(crate) certificates: Family<StateLabels, Gauge>,
    /// Seconds to the end of the certificate that ends first.
    pub(crate) certificate_expiry_seconds: Gauge,
    /// Orders made, by outcome.
    pub(crate) certificate_orders_total: Family<OutcomeLabels, Counter>,
}

impl Metrics {
    /// All metrics at zero.
    pub(crate) fn new() -> Arc<Self> {
        // 0.5 ms to 16 s in powers of two: sixteen buckets that keep a proxy and a slow report apart.
        let buckets = || prometheus_client::metrics::histogram::exponential_buckets(0.0005, 2.0, 16);
        let seconds = || Histogram::new(buckets());
        let mut metrics = Self {
            registry: Registry::with_prefix("gateway"),
            connections_total: Counter::default(),
            connections: Gauge::default(),
            handshakes_failed_total: Counter::default(),
            cuts_total: Family::default(),
            proxy_headers_refused_total: Family::default(),
            requests_total: Family::default(),
            refusals_total: Family::default(),
            answers_broken_total: Family::default(),
            websockets: Gauge::default(),
            websockets_closed_total: Family::default(),
            first_byte_seconds: seconds(),
            access_log_dropped_total: Counter::default(),
            retries_total: Family::default(),
            requests_waiting: Family::default(),
            waited_seconds: seconds(),
            workers_ready: Family::default(),
            worker_restarts_total: Family::default(),
            worker_replacements_total: Family::default(),
            output_lines_dropped_total: Family::default(),
            output_lines_unwritten_total: Family::default(),
            job_runs_total: Family::default(),
            job_overlaps_total: Family::default(),
            jobs_under_way: Family::default(),
            job_last_success_seconds: Family::default(),
            job_restarts_total: Family::default(),
            pool_connections: Family::default(),
            statements_total: Family::default(),
            lease_timeouts_total: Family::default(),
            knocks_refused_total: Counter::default(),
            certificate_not_after_seconds: Family::default(),
            certificate_hosts_in_need: Family::default(),
            certificates: Family::default(),
            certificate_expiry_seconds: Gauge::default(),
            certificate_orders_total: Family::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        // The encoder appends `_total` to counters.
        r.register("connections", "Connections accepted", self.connections_total.clone());
        r.register("connections_open", "Connections open", self.connections.clone());
        r.register("handshakes_failed", "TLS handshakes that failed", self.handshakes_failed_total.clone());
        r.register("cuts", "Connections and streams cut short", self.cuts_total.clone());
        let refused = self.proxy_headers_refused_total.clone();
        r.register("proxy_headers_refused", "Proxies' connections closed over their PROXY header", refused);
        r.register("requests", "Requests answered", self.requests_total.clone());
        r.register("refusals", "Answers made by the gateway itself", self.refusals_total.clone());
        r.register("answers_broken", "Answers that did not pass whole", self.answers_broken_total.clone());
        r.register("websockets_open", "WebSockets open", self.websockets.clone());
        r.register("websockets_closed", "WebSockets ended", self.websockets_closed_total.clone());
        r.register("first_byte_seconds", "Request head to first byte", self.first_byte_seconds.clone());
        r.register("access_log_dropped", "Access log lines dropped", self.access_log_dropped_total.clone());
        r.register("retries", "Requests sent again to another worker", self.retries_total.clone());
        r.register("requests_waiting", "Requests that wait for a worker", self.requests_waiting.clone());
        r.register("waited_seconds", "Waits of requests for a worker", self.waited_seconds.clone());
        r.register("workers_ready", "Workers that take traffic", self.workers_ready.clone());
        r.register("worker_restarts", "Workers started again", self.worker_restarts_total.clone());
        r.register(
            "worker_replacements",
            "Workers replaced while they ran: unwell, too large, too old",
            self.worker_replacements_total.clone(),
        );
        let dropped = self.output_lines_dropped_total.clone();
        r.register("output_lines_dropped", "Lines dropped because a worker wrote too many", dropped);
        let unwritten = self.output_lines_unwritten_total.clone();
        r.register("output_lines_unwritten", "Lines missing in the workers' log files", unwritten);
        r.register("job_runs", "Runs of jobs, by how they ended", self.job_runs_total.clone());
        let overlaps = "Runs left out because another of the job was under way";
        r.register("job_overlaps", overlaps, self.job_overlaps_total.clone());
        r.register("jobs_under_way", "Runs under way", self.jobs_under_way.clone());
        let success = "When a run of the job ended well last, in seconds since 1970";
        r.register("job_last_success_seconds", success, self.job_last_success_seconds.clone());
        r.register("job_restarts", "Programs that run always started again", self.job_restarts_total.clone());
        r.register("pool_connections", "Database connections open", self.pool_connections.clone());
        r.register("statements", "Statements run at the doors", self.statements_total.clone());
        r.register("lease_timeouts", "Waits for a connection that failed", self.lease_timeouts_total.clone());
        r.register("knocks_refused", "Knocks refused at the doors", self.knocks_refused_total.clone());
        r.register(
            "certificate_not_after_seconds",
            "When the first certificate in use ends, in seconds since 1970",
            self.certificate_not_after_seconds.clone(),
        );
        r.register(
            "certificate_hosts_in_need",
            "Hosts whose certificate ends soon, has ended or is missing",
            self.certificate_hosts_in_need.clone(),
        );
        let hosts = "Hosts that certificates are ordered for, by how they stand";
        r.register("certificates", hosts, self.certificates.clone());
        let end = "Seconds to the end of the certificate that ends first";
        r.register("certificate_expiry_seconds", end, self.certificate_expiry_seconds.clone());
        r.register("certificate_orders", "Orders made", self.certificate_orders_total.clone());
    }

    /// WebSockets that ended because the gateway drained; counted on over swaps.
    pub(crate) fn websockets_drained(&self) -> Counter {
        self.websockets_closed_total.get_or_create(&ReasonLabels { reason: DRAINING }).clone()
    }

    /// The OpenMetrics text of all metrics.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String cannot fail; an empty page would hide it if it did.
            Err(error) => format!("# {error}\n"),
        }
    }
}
