//! What clients hold open (connections, answers being compressed), counted by address (IPv4 /32, IPv6 /64), so that one
//! address cannot take all there are. Only addresses that hold something are in it, so what bounds the whole bounds it
//! too; it must never remember more.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::admit::network;

/// What all threads have open, by address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    clients: Clients,
    network: IpAddr,
}

impl Clients {
    /// A place for one more of this address, if it has fewer than that many.
    pub(crate) fn enter(&self, address: IpAddr, places_max: usize) -> Option<ClientPlace> {
        let network = network(address.to_canonical());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.entry(network) {
            Entry::Occupied(count) if *count.get() >= places_max => return None,
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(count) => drop(count.insert(1)),
        }
        Some(ClientPlace { clients: self.clone(), network })
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_as_many_places_as_allowed_and_gives_them_back() {
        let clients = Clients::default();
        let first = clients.enter(address("192.0.2.1"), 2).unwrap();
        let _second = clients.enter(address("::ffff:192.0.2.1"), 2).unwrap();
        assert!(clients.enter(address("192.0.2.1"), 2).is_none());
        let _other = clients.enter(address("192.0.2.2"), 2).unwrap();
        drop(first);
        drop(clients.enter(address("192.0.2.1"), 2).unwrap());
    }

    #[test]
    fn a_household_has_one_ipv6_network_and_nobody_is_remembered_who_has_gone() {
        let clients = Clients::default();
        let first = clients.enter(address("2001:db8::1"), 1).unwrap();
        assert!(clients.enter(address("2001:db8::2:3"), 1).is_none());
        let second = clients.enter(address("2001:db8:0:1::1"), 1).unwrap();
        drop((first, second));
        assert_eq!(clients.0.lock().unwrap().len(), 0);
    }
}
