//! Which socket serves which address, whoever made it.

use super::*;

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn config(https: &[SocketAddr], http: &[SocketAddr]) -> Config {
    Config { https: https.to_vec(), http: http.to_vec(), ..Config::default() }
}

fn of_unit(listener: TcpListener) -> Inherited {
    Inherited { name: "gateway.socket".to_owned(), listener }
}

fn v6(only: bool) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_only_v6(only).unwrap();
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
    listening(socket).unwrap()
}

#[test]
fn all_threads_share_the_port_the_kernel_chose_and_nobody_else_can_take_it() {
    let bound = bind("https", loopback(), false, 3).unwrap();
    assert_eq!(bound.listeners.len(), 3);
    assert!(bound.address.port() != 0);
    assert!(bound.listeners.iter().all(|listener| listener.local_addr().unwrap() == bound.address));
    assert!(matches!(bind("https", bound.address, false, 1), Err(EdgeError::Bind { .. })));
}

#[test]
fn every_socket_is_served_and_every_thread_serves_one() {
    for (sockets, threads) in [(1, 1), (1, 3), (2, 3), (3, 3), (3, 2), (5, 2), (4, 1)] {
        let bound = bind("https", loopback(), false, sockets).unwrap();
        let shares = bound.shares(threads).unwrap();
        assert_eq!(shares.len(), threads);
        assert!(shares.iter().all(|own| !own.is_empty()), "{sockets} sockets, {threads} threads: one idles");
        // As many duplicates as the larger of the two, and no socket left out: a connection to each is accepted.
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), sockets.max(threads));
        let inode = |listener: &TcpListener| nix::sys::stat::fstat(listener).unwrap().st_ino;
        let mut served: Vec<_> = shares.iter().flatten().map(inode).collect();
        served.sort_unstable();
        served.dedup();
        assert_eq!(served.len(), sockets, "{sockets} sockets, {threads} threads: one is not served");
    }
}

#[test]
fn a_life_takes_over_what_the_one_before_had_with_port_0_too() {
    let before = config(&[loopback()], &[loopback(), loopback()]);
    let (bound, left) = claim(&before, Vec::new(), 2).unwrap();
    assert!(left.is_empty());
    let addresses: Vec<_> = bound.iter().map(|bound| (bound.kind, bound.address)).collect();
    let handed_over = bound.into_iter().flat_map(Bound::into_inherited).collect();
    let (again, left) = claim(&before, handed_over, 4).unwrap();
    assert!(left.is_empty());
    assert_eq!(again.iter().map(|bound| (bound.kind, bound.address)).collect::<Vec<_>>(), addresses);
    assert!(again.iter().all(|bound| bound.listeners.len() == 2 && bound.is_ours()));
    // What is listed no longer is given back, to be served out.
    let handed_over = again.into_iter().flat_map(Bound::into_inherited).collect();
    let (fewer, left) = claim(&config(&[loopback()], &[]), handed_over, 2).unwrap();
    assert_eq!((fewer.len(), left.len()), (1, 4));
}

#[test]
fn sockets_of_a_unit_serve_what_is_listed_at_their_address() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let (bound, _) = claim(&config(&[], &[address]), vec![of_unit(listener)], 2).unwrap();
    assert_eq!((bound[0].kind, bound[0].address, bound[0].is_ours()), ("http", address, false));
    // Also after a swap.
    let handed_over = bound.into_iter().flat_map(Bound::into_inherited).collect();
    let (bound, _) = claim(&config(&[address], &[]), handed_over, 2).unwrap();
    assert_eq!((bound[0].kind, bound[0].is_ours()), ("https", false));
}

#[test]
fn a_units_socket_that_nobody_lists_and_one_that_is_none_are_told() {
    let stray = TcpListener::bind(loopback()).unwrap();
    let error = claim(&config(&[], &[]), vec![of_unit(stray)], 1).unwrap_err().to_string();
    assert!(error.contains("gateway.socket") && error.contains("edge.https"), "{error}");
    let datagrams = std::net::UdpSocket::bind(loopback()).unwrap();
    let no_listener = TcpListener::from(std::os::fd::OwnedFd::from(datagrams));
    let error = claim(&config(&[], &[]), vec![of_unit(no_listener)], 1).unwrap_err().to_string();
    assert!(error.contains("does not listen for TCP"), "{error}");
}

#[test]
fn both_worlds_take_one_socket_for_both_or_one_for_each() {
    let listed = |listener: &TcpListener| {
        let port = listener.local_addr().unwrap().port();
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
    };
    let both = v6(false);
    let address = listed(&both);
    let (bound, _) = claim(&config(&[address], &[]), vec![of_unit(both)], 1).unwrap();
    assert_eq!(bound[0].listeners.len(), 1);

    let half = v6(true);
    let address = listed(&half);
    let error = claim(&config(&[address], &[]), vec![of_unit(half)], 1).unwrap_err().to_string();
    assert!(error.contains("BindIPv6Only=both") && error.contains("0.0.0.0"), "{error}");

    let half = v6(true);
    let address = listed(&half);
    let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).unwrap();
    let (bound, _) = claim(&config(&[address], &[]), vec![of_unit(v4), of_unit(half)], 1).unwrap();
    assert_eq!((bound.len(), bound[0].listeners.len(), bound[0].address), (1, 2, address));
}

/// The configuration says one world and the unit's socket is both, or the other way round: no address is in use then.
#[test]
fn a_family_of_the_unit_that_is_not_the_listed_one_keeps_nobody_from_starting() {
    let listening = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let reached = |port: u16| {
        ["127.0.0.1", "::1"]
            .map(|ip| std::net::TcpStream::connect((ip.parse::<IpAddr>().unwrap(), port)).is_ok())
    };
    let both = v6(false);
    let port = listening(&both);
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let (bound, _) = claim(&config(&[v4], &[]), vec![of_unit(both)], 2).unwrap();
    assert_eq!((bound[0].listeners.len(), bound[0].is_ours(), bound[0].address.is_ipv6()), (1, false, true));
    // After a swap too.
    let handed_over = bound.into_iter().flat_map(Bound::into_inherited).collect();
    let (bound, left) = claim(&config(&[v4], &[]), handed_over, 2).unwrap();
    assert_eq!((bound.len(), left.len()), (1, 0));

    let half = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listening(&half);
    let v6_listed = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (bound, _) = claim(&config(&[v6_listed], &[]), vec![of_unit(half)], 2).unwrap();
    assert_eq!((bound[0].listeners.len(), bound[0].address), (3, v6_listed));
    assert_eq!(reached(port), [true; 2]);
    let handed_over = bound.into_iter().flat_map(Bound::into_inherited).collect();
    let (bound, left) = claim(&config(&[v6_listed], &[]), handed_over, 2).unwrap();
    assert_eq!((bound[0].listeners.len(), left.len()), (3, 0));
}

#[test]
fn each_world_for_itself_has_sockets_of_its_own_and_none_that_is_both() {
    let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
    let [v4, v6_listed]: [SocketAddr; 2] =
        [(Ipv4Addr::UNSPECIFIED, free).into(), (Ipv6Addr::UNSPECIFIED, free).into()];
    for listed in [[v4, v6_listed], [v6_listed, v4]] {
        let (bound, _) = claim(&config(&listed, &[]), Vec::new(), 1).unwrap();
        assert_eq!(bound.iter().map(|bound| bound.address).collect::<Vec<_>>(), listed);
        let both = v6(false);
        let port = both.local_addr().unwrap().port();
        let listed = listed.map(|address| SocketAddr::from((address.ip(), port)));
        let error = claim(&config(&listed, &[]), vec![of_unit(both)], 1).unwrap_err().to_string();
        assert!(error.contains("takes IPv4 too") && error.contains("ipv6-only"), "{error}");
    }
}
