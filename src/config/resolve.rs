//! Makes what was read fit for use: paths absolute, hosts canonical. It must never touch the disk: what is not
//! there is the check's to say.

use std::path::{Component, Path, PathBuf};

use super::Config;
use crate::{backend::NodeWish, tenant::HostName};

/// Relative paths start at `directory`, which is absolute and real.
pub(super) fn resolve(config: &mut Config, directory: &Path) {
    let absolute = |path: &mut PathBuf| {
        if !path.as_os_str().is_empty() {
            *path = plain(&directory.join(&*path));
        }
    };
    absolute(&mut config.state_dir);
    absolute(&mut config.runtime_dir);
    config.registry.path.iter_mut().for_each(absolute);
    config.registry.seal_key_file.iter_mut().for_each(absolute);
    config.admin.socket.iter_mut().for_each(absolute);
    config.edge.access_log.path.iter_mut().for_each(absolute);
    config.tls.acme.ca_file.iter_mut().for_each(absolute);
    config.tls.acme.external_account_key_file.iter_mut().for_each(absolute);
    for site in &mut config.edge.site {
        site.root.iter_mut().for_each(absolute);
    }
    for certificate in &mut config.tls.certificate {
        absolute(&mut certificate.cert);
        absolute(&mut certificate.key);
    }
    config.node.path.iter_mut().chain(&mut config.node.ca_file).for_each(absolute);
    for backend in config.backend.values_mut() {
        // Each has its own word, or the one for all.
        if backend.node.is_empty() && backend.upstream.is_none() {
            backend.node = NodeWish { version: config.node.version.clone(), path: config.node.path.clone() };
        }
        backend.node.path.iter_mut().for_each(absolute);
        absolute(backend.directory.get_or_insert_with(|| directory.to_owned()));
        backend.env_file.iter_mut().chain(&mut backend.log.directory).for_each(absolute);
        backend.allow_read.iter_mut().chain(&mut backend.allow_write).for_each(absolute);
        for host in &mut backend.hosts {
            if let Ok(name) = host.parse::<HostName>() {
                name.as_str().clone_into(host);
            }
        }
    }
    for tenant in &mut config.tenant {
        tenant.database_file.iter_mut().for_each(absolute);
    }
}

/// Without `.` and `..`: socket paths have 107 bytes, and messages are easier to read. The configuration's
/// directory is canonical, so only links below it could make `..` mean something else.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}
