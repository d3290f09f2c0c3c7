//! What the configuration says, in the words of the rooms that need it whole.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    admin::key_beside,
    config::{self, Config},
    tenant::{Defaults, HostName},
};

/// The default policy, the backends' names, and the hosts that are every tenant's.
pub(crate) fn tenant_defaults(config: &Config) -> Defaults {
    let of_edge = config.edge.hosts.iter().map(|host| (host.clone(), "`edge.hosts`".to_owned()));
    let of_backends = config.backend.iter().flat_map(|(name, backend)| {
        let hosts = host_names(&backend.hosts).into_iter();
        hosts.map(move |host| (host, format!("backend `{name}`")))
    });
    let shared_hosts: BTreeMap<_, _> = of_edge.chain(of_backends).collect();
    // One that has a path only leaves the rest of its host to others.
    let whole = config.edge.site.iter().filter(|site| site.prefix().is_empty());
    let site_hosts = whole.filter_map(|site| site.host.clone()).collect();
    let backends = config.backend.keys().cloned().collect();
    Defaults { cors: config.cors.clone(), backends, shared_hosts, site_hosts }
}

/// The files of `[[tls.certificate]]`, for a backup.
pub(crate) fn certificate_files(config: &Config) -> Vec<PathBuf> {
    config.tls.certificate.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect()
}

/// What no worker's sandbox may show: our data, keys, certificates and configuration, wherever they are.
pub(super) fn own_files(loaded: &config::Loaded) -> Vec<PathBuf> {
    [own_files_of(&loaded.config), loaded.files.clone()].concat()
}

/// The same but for the configuration's own files.
pub(super) fn own_files_of(config: &Config) -> Vec<PathBuf> {
    let mut own = vec![config.state_dir.clone(), config.runtime_dir.clone(), "/etc/gateway".into()];
    own.push(key_beside(&config.admin.socket_in(&config.runtime_dir)));
    own.extend(certificate_files(config));
    own.extend([&config.registry.path, &config.registry.seal_key_file].into_iter().flatten().cloned());
    own.extend(
        [&config.tls.acme.ca_file, &config.tls.acme.external_account_key_file].into_iter().flatten().cloned(),
    );
    own.extend(config.tenant.iter().filter_map(|tenant| tenant.database_file.clone()));
    own.extend(config.backend.values().filter_map(|backend| backend.env_file.clone()));
    own.extend(config.backend.values().filter_map(|backend| backend.log.directory.clone()));
    own
}

/// The configuration's check has parsed them once: what fails here was refused there.
pub(super) fn host_names(hosts: &[String]) -> Vec<HostName> {
    hosts.iter().filter_map(|host| host.parse().ok()).collect()
}
