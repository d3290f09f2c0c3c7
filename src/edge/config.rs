//! The edge's part of the configuration: listeners, TLS, whitelist rules, limits.

use std::{net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::tenant::HostName;

pub(crate) use super::{
    acme::{AcmeConfig, authorities, mac_key},
    admit::AdmitConfig as Admit,
    compress::CompressionConfig,
    forwarded::ForwardingHeader,
    proxy_protocol::ProxyProtocol,
    site::{Does, SiteConfig, SiteProblem},
    terms::PathRule,
};

use super::tls::{Hsts, MinVersion};

/// `[edge]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Addresses that speak HTTPS (plain HTTP when `tls.mode = "off"`).
    pub(crate) https: Vec<SocketAddr>,
    /// Addresses that speak plain HTTP.
    pub(crate) http: Vec<SocketAddr>,
    /// What plain HTTP is for.
    pub(crate) http_mode: HttpMode,
    /// Hosts served besides those of backends and tenants.
    pub(crate) hosts: Vec<HostName>,
    /// Addresses that lead to this machine though none of its interfaces has them: NAT, a network in front.
    pub(crate) public_addresses: Vec<IpAddr>,
    /// Networks whose forwarding headers are believed, as address or address/prefix.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The header in which they name the client.
    pub(crate) forwarding_header: ForwardingHeader,
    /// Do trusted proxies say who is behind them before the first byte?
    pub(crate) proxy_protocol: ProxyProtocol,
    /// What a request without Origin on a shared host is.
    pub(crate) no_origin: NoOrigin,
    /// Threads of the request path; 0 is one per core.
    pub(crate) threads: usize,
    /// Paths where Origin is neither required nor judged.
    pub(crate) open: Vec<OpenPath>,
    /// Rules for paths.
    pub(crate) path: Vec<PathRule>,
    /// What else lives here: files, another application, a redirect.
    pub(crate) site: Vec<SiteConfig>,
    /// Compression.
    pub(crate) compression: CompressionConfig,
    /// Limits of connections and requests.
    pub(crate) limits: Limits,
    /// Limits per tenant and client.
    pub(crate) admit: Admit,
    /// Access log.
    pub(crate) access_log: AccessLog,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            https: vec![SocketAddr::from(([0; 16], 443))],
            http: vec![SocketAddr::from(([0; 16], 80))],
            http_mode: HttpMode::Redirect,
            hosts: Vec::new(),
            public_addresses: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarding_header: ForwardingHeader::XForwardedFor,
            proxy_protocol: ProxyProtocol::Off,
            no_origin: NoOrigin::Anonymous,
            threads: 0,
            open: Vec::new(),
            path: Vec::new(),
            site: Vec::new(),
            compression: CompressionConfig::default(),
            limits: Limits::default(),
            admit: Admit::default(),
            access_log: AccessLog::default(),
        }
    }
}

/// What plain HTTP is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpMode {
    /// Known hosts are sent to https; everything else is refused.
    Redirect,
    /// Served like HTTPS: for development.
    Serve,
}

/// What a request without Origin on a host shared by tenants is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoOrigin {
    /// Forwarded without tenant, and so without database.
    Anonymous,
    /// 403.
    Refuse,
}

/// An address or a network, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Is `address` in this network? IPv4-mapped IPv6 addresses count as IPv4.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((ours, our_family), (theirs, their_family)) =
            (bits(self.address.to_canonical()), bits(address.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        our_family == their_family && ours & mask == theirs & mask
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no network: write it like `10.0.0.0/8` or `192.0.2.7`");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |p| p.parse().map_err(|_| wrong()))?;
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `[[edge.open]]`: a path where Origin is neither required nor judged and no CORS headers are added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenPath {
    /// Exact, or a prefix that ends in `/*`.
    pub(crate) path: String,
    /// Methods it holds for; empty is all.
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    /// How the caller names the tenant, without proof: `path:N` (N-th segment after the prefix, from 1),
    /// `header:NAME`, `host` or `none`.
    #[serde(default = "OpenPath::tenant_default")]
    pub(crate) tenant: String,
}

impl OpenPath {
    fn tenant_default() -> String {
        "none".to_owned()
    }
}

/// May caches share an answer between tenants?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CacheRule {
    /// Public answers to a tenant found by Origin are made private.
    #[default]
    Private,
    /// The backend's `Cache-Control` stays.
    Shared,
}

/// `[edge.limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Open connections in all; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
    /// Open connections of one client address (v4 /32, v6 /64); further ones are closed at once.
    pub(crate) connections_per_client_max: usize,
    /// Time for the TLS handshake.
    #[serde(with = "humantime_serde")]
    pub(crate) handshake_timeout: Duration,
    /// Time from a connection's (or the last answer's) end to a complete request head.
    #[serde(with = "humantime_serde")]
    pub(crate) header_timeout: Duration,
    /// Keep-alive connections without a request are closed after this.
    #[serde(with = "humantime_serde")]
    pub(crate) idle_timeout: Duration,
    /// While the gateway drains, a kept HTTP/1 connection is open for this long, for one last request.
    #[serde(with = "humantime_serde")]
    pub(crate) last_request_timeout: Duration,
    /// A body, either way, that makes no progress for this long is cut.
    #[serde(with = "humantime_serde")]
    pub(crate) body_idle_timeout: Duration,
    /// Bytes of a request's body a second, at the least, on an average over `body_idle_timeout`; 0 is no limit.
    pub(crate) body_bytes_per_second_min: u32,
    /// Bytes of its answers that a client takes a second, at the least, on an average over `body_idle_timeout` in which it
    /// is waited for; an HTTP/2 stream, its part of that. 0 is no limit.
    pub(crate) answer_bytes_per_second_min: u32,
    /// An upgraded connection (WebSocket) on which nothing moves for this long is closed.
    #[serde(with = "humantime_serde")]
    pub(crate) upgrade_idle_timeout: Duration,
    /// Once one side of an upgraded connection has ended, the other may be silent for this long.
    #[serde(with = "humantime_serde")]
    pub(crate) upgrade_close_timeout: Duration,
    /// Time for a worker to begin its answer.
    #[serde(with = "humantime_serde")]
    pub(crate) first_byte_timeout: Duration,
    /// Time to connect to a worker.
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    /// How often an idempotent request, its body small or none, that its worker took and died of is given to
    /// another; 0 is never. A kept connection that has closed meanwhile is no such death: another is opened.
    pub(crate) retries_max: u32,
    /// Idle connections kept per worker and thread.
    pub(crate) upstream_idle_max: usize,
    /// Request headers, number.
    pub(crate) headers_max: usize,
    /// Request line and headers, bytes.
    pub(crate) header_bytes_max: usize,
    /// Status line and headers of a worker's answer, bytes.
    pub(crate) answer_header_bytes_max: usize,
    /// Request body, bytes.
    pub(crate) body_bytes_max: u64,
    /// Concurrent HTTP/2 streams per connection.
    pub(crate) h2_streams_max: u32,
    /// HTTP/2 streams reset before we saw them, or reset by us for protocol errors, per connection.
    pub(crate) h2_resets_max: usize,
    /// Request body bytes that a client may send on one HTTP/2 stream before a worker has taken them.
    pub(crate) h2_stream_window_bytes: u32,
    /// The same for all streams of a connection.
    pub(crate) h2_connection_window_bytes: u32,
    /// Answer bytes buffered per HTTP/2 stream.
    pub(crate) h2_send_buffer_bytes_max: usize,
    /// Reads of sites' files that wait for a disk at a time.
    pub(crate) file_reads_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Two descriptors a proxied request: 20,000 connections stay below systemd's usual 65,536.
            connections_max: 20_000,
            // A browser has six at most; an office, a school or a street behind one address some hundreds.
            connections_per_client_max: 512,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            // The longest way that a request may already be on, with a retransmission.
            last_request_timeout: Duration::from_millis(500),
            body_idle_timeout: Duration::from_secs(30),
            // The slowest phone sends four times as much.
            body_bytes_per_second_min: 500,
            answer_bytes_per_second_min: 500,
            upgrade_idle_timeout: Duration::from_secs(600),
            // A goodbye takes one round trip; browsers and `ws` hang up then.
            upgrade_close_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(2),
            // Once: a request that kills every worker it meets must not meet them all.
            retries_max: 1,
            // What one thread can have in flight at one worker without opening a connection anew.
            upstream_idle_max: 256,
            headers_max: 100,
            header_bytes_max: 32 * 1024,
            // Four times what a browser takes of cookies for one site.
            answer_header_bytes_max: 64 * 1024,
            body_bytes_max: 10 * 1024 * 1024,
            h2_streams_max: 128,
            // Browsers cancel a page's worth of images at once, no more.
            h2_resets_max: 64,
            // 256 KiB in a round trip of 100 ms are 2.5 MB/s for one upload, 10 MB/s for all of a connection.
            h2_stream_window_bytes: 256 * 1024,
            h2_connection_window_bytes: 1024 * 1024,
            // With 128 streams, 8 MB a connection at the very worst.
            h2_send_buffer_bytes_max: 64 * 1024,
            // Disks are fastest with a queue of a few dozen; each takes a thread.
            file_reads_max: 64,
        }
    }
}

/// `[edge.access_log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccessLog {
    /// Write one JSON line a request?
    pub(crate) enabled: bool,
    /// A file; none is standard output.
    pub(crate) path: Option<PathBuf>,
    /// Lines waiting for a slow disk, bytes; what does not fit is dropped and counted.
    pub(crate) buffer_bytes_max: usize,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true, path: None, buffer_bytes_max: 4 * 1024 * 1024 }
    }
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsConfig {
    /// Where certificates come from.
    pub(crate) mode: TlsMode,
    /// `files`: certificate chains with their keys.
    pub(crate) certificate: Vec<CertificateFiles>,
    /// `acme`: the certificate authority.
    pub(crate) acme: AcmeConfig,
    /// The oldest TLS that is spoken.
    pub(crate) min_version: MinVersion,
    /// A certificate that ends within this time is warned of, and an imported one gives way to a longer-living one.
    #[serde(with = "humantime_serde")]
    pub(crate) expiry_warning: Duration,
    /// What browsers are told to remember.
    pub(crate) hsts: Hsts,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            mode: TlsMode::default(),
            certificate: Vec::new(),
            acme: AcmeConfig::default(),
            min_version: MinVersion::default(),
            // ACME renews certificates of 90 days 30 days before their end: it has failed for two weeks by then.
            expiry_warning: Duration::from_secs(14 * 24 * 3600),
            hsts: Hsts::default(),
        }
    }
}

/// Where certificates come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    /// An own CA in the state directory, for development.
    #[default]
    Local,
    /// `[[tls.certificate]]`, reloaded when the files change.
    Files,
    /// Ordered for every host, as `[tls.acme]` says.
    Acme,
    /// No TLS: plain HTTP behind another proxy.
    Off,
}

/// `[[tls.certificate]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    /// PEM chain, leaf first; its names decide for which hosts it is served.
    pub(crate) cert: PathBuf,
    /// PEM private key.
    pub(crate) key: PathBuf,
}
