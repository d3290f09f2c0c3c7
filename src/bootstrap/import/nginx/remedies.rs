//! What to do about directives that are not carried. Only names of directives are looked at, and only names are told: what
//! stands behind them may be a secret.

/// What the gateway does by itself, has a default for, or needs no more.
const BY_ITSELF: [&str; 62] = [
    "absolute_redirect",
    "access_log",
    "aio",
    "charset",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_buffer_size",
    "client_header_timeout",
    "default_type",
    "directio",
    "error_log",
    "etag",
    "gzip",
    "gzip_comp_level",
    "gzip_disable",
    "gzip_http_version",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_types",
    "gzip_vary",
    "http2",
    "index",
    "keepalive_requests",
    "keepalive_timeout",
    "large_client_header_buffers",
    "limit_req_status",
    "listen",
    "log_format",
    "log_not_found",
    "open_file_cache",
    "port_in_redirect",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_cache_bypass",
    "proxy_connect_timeout",
    "proxy_http_version",
    "proxy_pass_header",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "reset_timedout_connection",
    "resolver",
    "resolver_timeout",
    "send_timeout",
    "sendfile",
    "server_name",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "server_tokens",
    "ssl",
    "tcp_nodelay",
    "tcp_nopush",
    "try_files",
    "types",
    "types_hash_bucket_size",
    "types_hash_max_size",
    "underscores_in_headers",
    "upstream",
    "variables_hash_bucket_size",
];

/// What the carrier itself reads.
const READ: [&str; 15] = [
    "add_header",
    "alias",
    "client_max_body_size",
    "error_page",
    "http",
    "if",
    "include",
    "location",
    "map",
    "proxy_pass",
    "proxy_read_timeout",
    "proxy_set_header",
    "return",
    "root",
    "server",
];

/// Headers that the gateway sets by itself.
const HEADERS: [&str; 13] = [
    "accept-encoding",
    "cf-connecting-ip",
    "connection",
    "host",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-nginx-proxy",
    "x-request-id",
];

/// Must nothing be said about it?
pub(super) fn is_silent(directive: &str) -> bool {
    BY_ITSELF.contains(&directive) || READ.contains(&directive) || directive.starts_with("ssl_")
}

/// Is it a header that the gateway sets for the application by itself?
pub(super) fn is_set(header: &str) -> bool {
    HEADERS.contains(&header.to_ascii_lowercase().as_str())
}

/// What to do about the directive.
pub(super) fn remedy(directive: &str) -> &'static str {
    match directive {
        "geo" => "`gateway firewall deny` keeps an address out; by path only the application can",
        "limit_req_zone" | "limit_conn_zone" => {
            "`[edge.admit]` limits each client and each tenant already; see docs/limits.md"
        }
        "expires" => "`cache_control` of the site",
        "rewrite" => {
            "a site with `redirect` sends callers on; a path is never changed on its way to the application"
        }
        "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "grpc_pass" | "memcached_pass" => {
            "let its own server speak HTTP, and give it a site with `upstream`"
        }
        "proxy_cache" | "proxy_cache_path" | "proxy_cache_valid" | "proxy_cache_key" => {
            "the gateway keeps no copies: `Cache-Control` lets browsers and a CDN do so"
        }
        "proxy_ssl_verify" | "proxy_ssl_server_name" | "proxy_ssl_name" => {
            "an upstream is reached over plain HTTP"
        }
        "real_ip_header" | "set_real_ip_from" | "real_ip_recursive" => "`edge.trusted_proxies`",
        "sub_filter" => "the application says what it means",
        "autoindex" => "directories are not listed",
        "stream" => "what is no HTTP needs its own way in: `gateway firewall allow PORT`",
        "brotli" | "zstd" => "`[edge.compression]`",
        "set" => "variables have nothing that stands for them",
        _ => "nothing stands for it: docs/configuration.md lists what there is",
    }
}
