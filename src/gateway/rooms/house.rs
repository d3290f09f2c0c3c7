//! What the admin room may ask of a running house. Each answer comes from a room; nothing is decided here.

use std::{collections::BTreeMap, sync::Arc};

use super::{super::defaults::host_names, House};
use crate::{
    admin::{self, DoorView, Listening, SiteView},
    backend::{self, Backend},
    door::DoorStatus,
    edge::{self, Certificates, HostCertificate},
    job::Jobs,
    tenant::HostName,
};

impl admin::House for House {
    fn backends(&self) -> BTreeMap<String, Arc<Backend>> {
        self.backends.clone()
    }

    fn jobs(&self) -> Arc<Jobs> {
        self.jobs.clone()
    }

    fn listeners(&self) -> Vec<Listening> {
        let spoken = self.spoken().into_iter();
        spoken.map(|(kind, address)| Listening { kind: kind.to_owned(), address }).collect()
    }

    fn sites(&self) -> Vec<SiteView> {
        let view = |site: &edge::SiteConfig| SiteView { site: site.name(), does: site.to_string() };
        self.config.load().edge.site.iter().map(view).collect()
    }

    fn doors(&self) -> Vec<DoorView> {
        let DoorStatus { door, address, connections, streams } = self.door.status();
        vec![DoorView { door: door.to_owned(), address, connections, streams }]
    }

    fn certificates(&self) -> Vec<HostCertificate> {
        self.edge.certificates()
    }

    fn renew(&self, host: &str) -> Result<Option<edge::RenewWait>, edge::RenewProblem> {
        self.edge.renew(host)
    }

    fn certificate_store(&self) -> Arc<Certificates> {
        self.edge.certificate_store().clone()
    }

    fn shared_hosts(&self, backend: Option<&str>) -> Vec<HostName> {
        let config = self.config.load();
        let of_backend = |(name, each): (&String, &backend::Config)| {
            let asked = backend.is_none_or(|backend| backend == name);
            if asked { host_names(&each.hosts) } else { Vec::new() }
        };
        let mut hosts = config.edge.hosts.clone();
        hosts.extend(config.backend.iter().flat_map(of_backend));
        hosts
    }
}
