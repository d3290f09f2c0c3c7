//! Behind a load balancer that passes bytes: who is behind it is believed of trusted ones alone, and holds for logs,
//! limits and forwarding headers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{Answer, HOST, NAVAJA, TestGateway, Wire, client::Request, eventually, wire::dial_from};

/// The balancer of these tests.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Somebody else.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.2 4711 443\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: `client` called; with a field that is skipped.
fn v2(client: SocketAddr) -> Vec<u8> {
    let (family, mut body) = match client.ip() {
        IpAddr::V4(address) => (0x11, [address.octets(), [198, 51, 100, 2]].concat()),
        IpAddr::V6(address) => (0x21, [address.octets(), [0; 16]].concat()),
    };
    body.extend([client.port().to_be_bytes(), [1, 187]].concat());
    body.extend(b"\x04\x00\x03xyz");
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &body].concat()
}

/// A balancer's health check.
fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

fn behind(mode: &str, more: &str) -> TestGateway {
    let config =
        format!("edge.proxy_protocol = {mode:?}\nedge.trusted_proxies = [\"127.0.0.1\", \"203.0.113.80\"]");
    TestGateway::builder().shops().worker("echo.mjs").config(&config).config(more).start()
}

/// Send a request behind these bytes, from the balancer's address.
#[track_caller]
fn send(gateway: &TestGateway, header: &[u8], request: &Request) -> Answer {
    let mut wire = gateway.wire();
    wire.send([header, &request.bytes()].concat());
    wire.answer()
}

/// What the access log says about the client of this answer's request.
fn logged(gateway: &TestGateway, answer: &Answer) -> String {
    gateway.access_line(answer.header("x-request-id").unwrap())["client"].as_str().unwrap().to_owned()
}

#[test]
fn the_announced_client_stands_in_logs_and_forwarding_headers() {
    let gateway = behind("require", "");
    for (header, client) in [
        (V1.to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::2 4711 443\r\n".to_vec(), "2001:db8::9"),
        (v2("203.0.113.9:4711".parse().unwrap()), "203.0.113.9"),
        (v2("[2001:db8::9]:4711".parse().unwrap()), "2001:db8::9"),
        (v2("[::ffff:203.0.113.9]:4711".parse().unwrap()), "203.0.113.9"),
    ] {
        let answer = send(&gateway, &header, &gateway.get("/x").origin(NAVAJA)).is(200);
        assert_eq!(answer.seen_header("x-forwarded-for").as_deref(), Some(client));
        assert!(answer.seen_header("forwarded").unwrap().contains(client));
        assert_eq!(logged(&gateway, &answer), client);
    }
}

#[test]
fn tls_begins_right_behind_the_header_however_the_bytes_arrive() {
    let gateway = behind("require", "");
    let v2 = v2("203.0.113.9:4711".parse().unwrap());
    let single: Vec<&[u8]> = V1.chunks(1).collect();
    for pieces in [&[V1][..], &[&v2], &[&v2[..5], &v2[5..20], &v2[20..], b""], &single] {
        let tcp = dial_from(BALANCER, gateway.https());
        tcp.set_nodelay(true).unwrap();
        let mut wire = Wire::try_tls_behind(pieces, tcp, HOST, gateway.tls(&["http/1.1"])).unwrap();
        wire.send(gateway.get("/x").origin(NAVAJA).bytes());
        let answer = wire.answer().is(200);
        assert_eq!(answer.seen_header("x-forwarded-for").as_deref(), Some("203.0.113.9"));
        assert_eq!(answer.seen_header("x-forwarded-proto").as_deref(), Some("https"));
    }
}

#[test]
fn a_strangers_header_is_garbage() {
    for mode in ["accept", "require"] {
        let gateway = behind(mode, "");
        let request = gateway.get("/x").origin(NAVAJA);
        let mut wire = Wire::tcp_from(STRANGER, gateway.http());
        wire.send([V1, &request.bytes()].concat());
        wire.answer().is(400);
        assert!(wire.is_closed());
        let tcp = dial_from(STRANGER, gateway.https());
        assert!(Wire::try_tls_behind(&[V1], tcp, HOST, gateway.tls(&["http/1.1"])).is_err());
        // Without one it is served, as who it is.
        let mut wire = Wire::tcp_from(STRANGER, gateway.http());
        wire.send(request.bytes());
        assert_eq!(wire.answer().is(200).seen_header("x-forwarded-for").as_deref(), Some("127.0.0.2"));
    }
}

#[test]
fn nobodys_header_is_read_when_it_is_off() {
    let gateway = behind("off", "");
    send(&gateway, V1, &gateway.get("/x").origin(NAVAJA)).is(400);
    gateway.get("/x").origin(NAVAJA).send().is(200);
}

#[test]
fn require_closes_what_has_none_and_accept_serves_it() {
    let gateway = behind("require", "");
    let request = gateway.get("/x").origin(NAVAJA);
    for garbage in [&b""[..], b"PROXY TCP4 nonsense\r\n", &[SIGNATURE, &[0x31, 0, 0, 0]].concat()] {
        let mut wire = gateway.wire();
        wire.send([garbage, &request.bytes()].concat());
        assert!(wire.try_head().is_err(), "answered: {garbage:?}");
    }
    let text = eventually("the refusals are counted", || {
        let text = gateway.admin("GET", "/metrics")?.text();
        text.contains("gateway_proxy_headers_refused_total{code=\"invalid\"} 2").then_some(text)
    });
    assert!(text.contains("gateway_proxy_headers_refused_total{code=\"absent\"} 1"), "{text}");
    gateway.has_logged("edge.proxy_protocol");
    drop(gateway);
    let gateway = behind("accept", "");
    let answer = gateway.get("/x").origin(NAVAJA).send().is(200);
    assert_eq!(logged(&gateway, &answer), "127.0.0.1");
    let answer = send(&gateway, V1, &gateway.get("/x").origin(NAVAJA)).is(200);
    assert_eq!(logged(&gateway, &answer), "203.0.113.9");
}

#[test]
fn health_checks_of_the_balancer_pass() {
    let gateway = behind("require", "");
    let answer = send(&gateway, &local(), &gateway.get("/x").origin(NAVAJA)).is(200);
    assert_eq!(logged(&gateway, &answer), "127.0.0.1");
    // Some only look whether the port is open: no reason to say anything.
    drop(gateway.wire());
    send(&gateway, &local(), &gateway.get("/x").origin(NAVAJA)).is(200);
    assert!(!gateway.log().contains("PROXY header"), "{}", gateway.log());
}

#[test]
fn forwarding_headers_are_believed_of_an_announced_proxy_and_of_nobody_else() {
    let gateway = behind("require", "");
    let request = gateway.get("/x").origin(NAVAJA).header("x-forwarded-for", "198.51.100.77");
    for (header, client) in [
        (V1.to_vec(), "203.0.113.9"),
        // A CDN before the balancer, trusted as well.
        (v2("203.0.113.80:1".parse().unwrap()), "198.51.100.77"),
        (local(), "198.51.100.77"),
        // Anyone may be behind it.
        (UNKNOWN.to_vec(), "127.0.0.1"),
    ] {
        let answer = send(&gateway, &header, &request).is(200);
        assert_eq!(logged(&gateway, &answer), client, "{header:?}");
        let chain = answer.seen_header("x-forwarded-for").unwrap();
        assert_eq!(chain.starts_with("198.51.100.77"), client == "198.51.100.77", "{chain}");
    }
}

#[test]
fn limits_per_client_count_the_announced_clients() {
    let gateway = behind("require", "edge.admit.client_requests_per_second = 1");
    let call = |client: &str| {
        let header = v2(format!("{client}:4711").parse().unwrap());
        send(&gateway, &header, &gateway.get("/x").origin(NAVAJA)).status
    };
    let greedy: Vec<u16> = (0..8).map(|_| call("203.0.113.9")).collect();
    assert!(greedy.contains(&429), "{greedy:?}");
    assert_eq!(call("203.0.113.10"), 200);
}

#[test]
fn the_redirecting_port_reads_headers_too() {
    let gateway = behind("require", "edge.http_mode = \"redirect\"");
    let answer = send(&gateway, V1, &gateway.get("/x")).is(308);
    assert_eq!(logged(&gateway, &answer), "203.0.113.9");
}

#[test]
fn silent_connections_hold_up_nobody_and_end_with_the_handshakes_time() {
    let gateway = behind("require", "edge.limits.handshake_timeout = \"1s\"");
    let mut silent: Vec<Wire> = (0..50).map(|_| gateway.wire()).collect();
    for wire in silent.iter_mut().step_by(2) {
        wire.send(&V1[..20]);
    }
    send(&gateway, V1, &gateway.get("/x").origin(NAVAJA)).is(200);
    for mut wire in silent {
        assert!(wire.is_closed());
    }
}

#[test]
fn clients_behind_a_balancer_have_their_share_of_connections_each() {
    let gateway = behind("require", "edge.limits.connections_per_client_max = 2");
    let request = gateway.get("/x").origin(NAVAJA).bytes();
    let connect = |client: &str| {
        let mut wire = gateway.wire();
        wire.send([&v2(client.parse().unwrap()), &request[..]].concat());
        wire
    };
    let mut held: Vec<Wire> = (1..=2).map(|port| connect(&format!("203.0.113.9:{port}"))).collect();
    held.iter_mut().for_each(|wire| drop(wire.answer().is(200)));
    assert!(connect("203.0.113.9:3").is_closed(), "a third connection was served");
    connect("203.0.113.10:1").answer().is(200);
    let cut = crate::memory::metric(&gateway, "gateway_cuts_total{code=\"client-connections\"}");
    assert_eq!(cut, 1);
    held.pop();
    eventually("a place that was given back is given out", || {
        let mut wire = gateway.wire();
        wire.try_send([&v2("203.0.113.9:4".parse().unwrap()), &request[..]].concat()).ok()?;
        wire.try_head().ok().filter(|answer| answer.status == 200)
    });
}
