//! `gateway tenant check`: a tenant proven end to end, from outside in, one line a step.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    admin::CheckFacts,
    cli::{
        Client, Failure, out,
        probe::{Reply, Target, trust},
    },
    tenant::{HostName, OriginPattern, Status, TenantId},
};

/// Prove a tenant end to end: DNS, certificate, preflight, request, worker, database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each step is one line with ✓, ✗ (and the remedy) or - (not needed here). Exit code 1 if a step failed.

Examples:
  gateway tenant check navaja
  gateway tenant check navaja --path /api/shop
  gateway tenant check navaja --json")]
pub(crate) struct Check {
    /// The tenant
    id: TenantId,
    /// The path of the request with the tenant's Origin
    #[arg(long, default_value = "/", value_parser = path)]
    path: String,
    #[command(flatten)]
    form: out::Form,
}

/// One step's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Step {
    /// What was tried.
    pub(in crate::cli) name: &'static str,
    /// How it went.
    pub(in crate::cli) verdict: Verdict,
    /// What was seen.
    pub(in crate::cli) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) remedy: Option<String>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Verdict {
    /// As it should.
    Good,
    /// Not at all.
    Bad,
    /// Not needed here.
    Skipped,
}

/// Prove a tenant, and leave the telling to the caller.
pub(in crate::cli) async fn prove(client: &Client, id: TenantId) -> Result<Vec<Step>, Failure> {
    let check = Check { id, path: "/".to_owned(), form: out::Form::default() };
    let mut steps = Vec::new();
    check.steps(client, |step| steps.push(step)).await?;
    Ok(steps)
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.parse::<http::Uri>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("write it like `/api/shop`".to_owned())
    }
}

fn good(name: &'static str, detail: impl Into<String>) -> Step {
    Step { name, verdict: Verdict::Good, detail: detail.into(), remedy: None }
}

fn skipped(name: &'static str, detail: impl Into<String>) -> Step {
    Step { name, verdict: Verdict::Skipped, detail: detail.into(), remedy: None }
}

fn bad(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Step {
    Step { name, verdict: Verdict::Bad, detail: detail.into(), remedy: Some(remedy.into()) }
}

impl Check {
    pub(crate) async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut steps = Vec::new();
        let take = |step: Step| {
            if !self.form.json {
                out::line(step.line());
            }
            steps.push(step);
        };
        self.steps(client, take).await?;
        let failed = steps.iter().any(|step| step.verdict == Verdict::Bad);
        if self.form.json {
            out::json(&json!({ "tenant": self.id, "good": !failed, "steps": steps }))?;
        }
        if failed { Err(Failure::told()) } else { Ok(()) }
    }

    async fn steps(&self, client: &Client, mut take: impl FnMut(Step)) -> Result<(), Failure> {
        let facts: CheckFacts =
            client.order(Method::POST, &format!("/tenants/{}/check", self.id), None::<&()>).await?;
        let host = facts.hosts.first();
        match host {
            Some(host) => take(dns(host).await),
            None => take(bad(
                "dns",
                "there is no host to serve it on",
                "set `edge.hosts` or the tenant's `--add-host`",
            )),
        }
        match self.target(&facts, host) {
            Ok(target) => {
                take(certificate(&target).await);
                match self.origin(&facts) {
                    Some(origin) => {
                        take(self.preflight(&target, &origin).await);
                        for step in self.request(&target, &origin, facts.status).await {
                            take(step);
                        }
                    }
                    None => take(bad(
                        "preflight",
                        "the tenant has no origin",
                        format!("gateway tenant set {} --add-origin https://…", self.id),
                    )),
                }
            }
            Err(step) => take(step),
        }
        take(self.database(&facts).await);
        Ok(())
    }

    /// Over HTTPS where it is spoken; to the listener itself, so that the check works before DNS does.
    fn target(&self, facts: &CheckFacts, host: Option<&HostName>) -> Result<Target, Step> {
        let listener = |kind: &str| facts.listeners.iter().find(|listener| listener.kind == kind);
        let host = host.map_or("localhost", HostName::as_str).trim_matches(['[', ']']).to_owned();
        let trust = |tls| if tls { trust(facts.local_ca.as_deref()).map(Some) } else { Ok(None) };
        let (listener, tls) = match (listener("https"), listener("plain").or(listener("http"))) {
            (Some(https), _) => (https, true),
            (None, Some(http)) => (http, false),
            (None, None) => {
                return Err(bad(
                    "certificate",
                    "the edge listens nowhere",
                    "set `edge.https` or `edge.http`",
                ));
            }
        };
        let tls = trust(tls).map_err(|error| bad("certificate", error.to_string(), "gateway cert list"))?;
        Ok(Target { address: reachable(listener.address), host, tls })
    }

    /// An origin as a browser sends it: an exact one, or a name below a wildcard.
    fn origin(&self, facts: &CheckFacts) -> Option<String> {
        let exact = facts.origins.iter().find(|origin| !origin.is_wildcard());
        let any = exact.or(facts.origins.first()).map(OriginPattern::as_str);
        any.map(|origin| origin.replacen("://*.", "://check.", 1))
    }

    async fn preflight(&self, target: &Target, origin: &str) -> Step {
        let request = request(target, Method::OPTIONS, &self.path)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .body(Full::default());
        match send(target, request).await {
            Ok(reply) => judge_preflight(&reply, origin),
            Err(problem) => bad("preflight", problem, "gateway status"),
        }
    }

    async fn request(&self, target: &Target, origin: &str, status: Status) -> Vec<Step> {
        let request =
            request(target, Method::GET, &self.path).header(header::ORIGIN, origin).body(Full::default());
        match send(target, request).await {
            Ok(reply) => judge_request(&reply, &self.id, &self.path, status),
            Err(problem) => vec![bad("request", problem, "gateway status")],
        }
    }

    async fn database(&self, facts: &CheckFacts) -> Step {
        let Some(url) = &facts.database_url else {
            return skipped("database", "the tenant has none");
        };
        if facts.status == Status::Suspended {
            return skipped("database", "its tickets are dead while it is suspended");
        }
        match select_one(url).await {
            Ok(()) => good("database", "SELECT 1 through the door"),
            Err(problem) => {
                bad("database", problem, format!("gateway tenant show {}; gateway status", self.id))
            }
        }
    }
}

async fn send(target: &Target, request: Result<Request<Full<Bytes>>, http::Error>) -> Result<Reply, String> {
    let request = request.map_err(|error| error.to_string())?;
    target.send(request).await.map_err(|problem| problem.to_string())
}

fn request(target: &Target, method: Method, path: &str) -> http::request::Builder {
    // The port belongs to `Host` unless it is the scheme's own.
    let default = if target.tls.is_some() { 443 } else { 80 };
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let host = match target.address.port() {
        port if port == default => host,
        port => format!("{host}:{port}"),
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("gateway-check/", env!("CARGO_PKG_VERSION")))
}

/// A listener on every address is called on loopback.
pub(in crate::cli) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn dns(host: &HostName) -> Step {
    let name = host.as_str();
    if host.is_address() || name == "localhost" || name.ends_with(".localhost") {
        return skipped("dns", format!("{host} needs none"));
    }
    let remedy = format!("make an A (and AAAA) record for {host} that leads to this machine");
    let lookup =
        tokio::time::timeout(std::time::Duration::from_secs(10), tokio::net::lookup_host((name, 443)));
    match lookup.await {
        Ok(Ok(addresses)) => {
            let addresses: std::collections::BTreeSet<_> =
                addresses.map(|address| address.ip().to_string()).collect();
            match addresses.is_empty() {
                true => bad("dns", format!("{host} has no address"), remedy),
                false => {
                    let addresses: Vec<_> = addresses.into_iter().collect();
                    good("dns", format!("{host} is {}", addresses.join(", ")))
                }
            }
        }
        Ok(Err(error)) => bad("dns", format!("{host} does not resolve: {error}"), remedy),
        Err(_) => bad("dns", format!("the resolver does not answer for {host}"), "look at /etc/resolv.conf"),
    }
}

async fn certificate(target: &Target) -> Step {
    if target.tls.is_none() {
        return skipped(
            "certificate",
            "the edge speaks plain HTTP alone: TLS is the matter of a proxy in front",
        );
    }
    match target.handshake().await {
        Ok(()) => good("certificate", format!("good for {} and trusted", target.host)),
        Err(problem) => bad("certificate", format!("{}: {problem}", target.host), "gateway cert list"),
    }
}

fn judge_preflight(reply: &Reply, origin: &str) -> Step {
    let allowed = reply.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let allowed = allowed.and_then(|value| value.to_str().ok()).unwrap_or("nobody");
    if reply.status == 204 && allowed == origin {
        return good("preflight", format!("204 for {origin}"));
    }
    bad(
        "preflight",
        format!("{} that allows {allowed}, for {origin}", reply.status.as_u16()),
        "gateway tenant refused",
    )
}

fn judge_request(reply: &Reply, id: &TenantId, path: &str, status: Status) -> Vec<Step> {
    let code = reply.status.as_u16();
    let problem = ours(reply);
    let said = problem.as_ref().map(|problem| format!("{code} {problem}")).unwrap_or(code.to_string());
    let request = match (status, &problem) {
        (Status::Active, None) => good("request", format!("GET {path} is answered with {code}")),
        (Status::Active, Some(_)) => bad("request", format!("GET {path}: {said}"), "gateway status"),
        (stopped, _) => bad(
            "request",
            format!("GET {path}: {said}, since the tenant is {}", stopped.as_str()),
            format!("gateway tenant resume {id}"),
        ),
    };
    let request_id = reply.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let worker = match (&problem, request_id) {
        (Some(_), _) if status != Status::Active => skipped("worker", "not asked"),
        (Some(_), _) => bad("worker", "no worker answered", "gateway backend list; gateway logs"),
        (None, None) => bad(
            "worker",
            "the answer has no x-request-id: something else listens there",
            "look at who has the port: ss -ltnp",
        ),
        (None, Some(_)) if code >= 500 => {
            bad("worker", format!("the application failed with {code}"), "gateway logs")
        }
        (None, Some(id)) => good("worker", format!("answered as request {id}")),
    };
    vec![request, worker]
}

/// The code of an answer that the gateway made itself.
fn ours(reply: &Reply) -> Option<String> {
    let kind = reply.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    // An application may speak problem+json too, but not with our request id in it.
    let own = kind.starts_with("application/problem+json") && body.get("request_id").is_some();
    own.then(|| body["code"].as_str().map(str::to_owned)).flatten()
}

/// `SELECT 1` as `@libsql/client` would send it, with the tenant's own ticket.
async fn select_one(database_url: &str) -> Result<(), String> {
    let wrong = |_| "the ticket's URL cannot be read".to_owned();
    let url = url::Url::parse(database_url).map_err(|error| wrong(error.to_string()))?;
    let token = url.query_pairs().find(|(key, _)| key == "authToken").map(|(_, token)| token.into_owned());
    let token = token.ok_or_else(|| wrong(String::new()))?;
    let address = url.socket_addrs(|| None).map_err(|error| error.to_string())?;
    let address = *address.first().ok_or_else(|| wrong(String::new()))?;
    let target = Target { address, host: url.host_str().unwrap_or_default().to_owned(), tls: None };
    let body = json!({ "requests": [
        { "type": "execute", "stmt": { "sql": "SELECT 1", "want_rows": true } },
        { "type": "close" },
    ]});
    let request = request(&target, Method::POST, &format!("{}v2/pipeline", url.path()))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()));
    judge_select(&send(&target, request).await?)
}

fn judge_select(reply: &Reply) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let first = &body["results"][0];
    if first["type"] == "ok" && first["response"]["result"]["rows"][0][0]["value"] == "1" {
        return Ok(());
    }
    let message = [&first["error"]["message"], &body["detail"], &body["message"], &body["error"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or("not what a database says");
    Err(format!("the door answers {}: {message}", reply.status.as_u16()))
}

impl Step {
    fn line(&self) -> String {
        let sign = match self.verdict {
            Verdict::Good => '✓',
            Verdict::Bad => '✗',
            Verdict::Skipped => '-',
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("\n  hint: {remedy}")).unwrap_or_default();
        format!("{sign} {:<12} {}{remedy}", self.name, self.detail)
    }
}

#[cfg(test)]
mod tests;
