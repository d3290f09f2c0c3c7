//! Does this session come through a tunnel that ends on this machine? Then what carries the tunnel must stay open too, though
//! nothing of SSH shows it.

use std::{net::IpAddr, path::Path};

use serde::Serialize;
use serde_json::Value;

use crate::bootstrap::machine;

/// Kinds of interfaces that carry packets in other packets (include/uapi/linux/if_arp.h): PPP, the tunnels of IPv4 and IPv6 in
/// each other, GRE of both, and those without a link of their own, which WireGuard's and tun's are.
const KINDS: [&str; 7] = ["512", "768", "769", "776", "778", "823", "65534"];

/// The tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tunnel {
    /// Its interface.
    pub(crate) device: String,
    /// The UDP port that WireGuard says it listens on.
    pub(crate) port: Option<u16>,
    /// Does a program carry it, and not the kernel?
    pub(crate) of_program: bool,
}

impl super::Ssh {
    /// The tunnel that this session comes through; where nothing shows whose it is, one that anybody's does.
    pub(super) fn through(&self) -> Option<Tunnel> {
        match &self.session {
            super::Session::Ssh { peer: Some(peer), .. } => through([peer]),
            super::Session::Ssh { peer: None, .. } => through(&self.peers),
            super::Session::Local => None,
        }
    }
}

/// The one that packets to one of these leave by.
fn through<'a>(peers: impl IntoIterator<Item = &'a IpAddr>) -> Option<Tunnel> {
    peers.into_iter().find_map(|peer| {
        let device = device(&machine::hear(&["ip", "-j", "route", "get", &peer.to_string()]))?;
        let shown = Path::new("/sys/class/net").join(&device);
        let of_program = shown.join("tun_flags").exists();
        let kind = machine::text(shown.join("type"));
        (of_program || KINDS.contains(&kind.trim())).then(|| {
            let port = machine::hear(&["wg", "show", &device, "listen-port"]).trim().parse().ok();
            Tunnel { device, port, of_program }
        })
    })
}

/// `[{"dst":"10.8.0.2","dev":"wg0",…}]`.
fn device(json: &str) -> Option<String> {
    let routes: Value = serde_json::from_str(json).ok()?;
    let device = routes[0]["dev"].as_str()?;
    // It becomes part of a path.
    (!device.contains('/') && device != "..").then(|| device.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_that_of_the_route() {
        let json = r#"[{"dst":"10.8.0.2","dev":"wg0","prefsrc":"10.8.0.1","flags":[],"uid":0,"cache":[]}]"#;
        assert_eq!(device(json).as_deref(), Some("wg0"));
        assert_eq!(device("RTNETLINK answers: Network is unreachable"), None);
        assert_eq!(device("[]"), None);
    }

    #[test]
    fn what_comes_from_this_machine_comes_through_no_tunnel() {
        assert_eq!(through(&[IpAddr::from([127, 0, 0, 1])]), None);
    }
}
