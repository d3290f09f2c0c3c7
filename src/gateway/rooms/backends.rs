//! The backends, started with what the other rooms give them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::super::{GatewayError, Lives};
use crate::{
    backend::{Backend, Seal, Surroundings},
    config::Config,
    door,
    metrics::Metrics,
    tenant::Tenants,
};

/// Start every backend, without waiting for its workers.
pub(super) fn start(
    config: &Config,
    (config_dir, hidden): (&Path, &[PathBuf]),
    tenants: &Arc<Tenants>,
    lives: &Lives,
    metrics: &Arc<Metrics>,
) -> Result<BTreeMap<String, Arc<Backend>>, GatewayError> {
    let mut backends = BTreeMap::new();
    for (name, backend) in &config.backend {
        let office = config.runtime_dir.join(door::TICKETS_SOCKET).to_string_lossy().into_owned();
        let told = backend.background_access.then(|| ("GATEWAY_TICKETS_SOCKET".to_owned(), office));
        let surroundings = Surroundings {
            runtime_dir: config.runtime_dir.clone(),
            extra_env: told.into_iter().collect(),
            config_dir: config_dir.to_owned(),
            state_dir: config.state_dir.clone(),
            seal: Arc::new(RegistrySeal(Arc::clone(tenants))),
            hidden: hidden.to_vec(),
            // The program that runs, whatever stands at its path by now.
            own_exe: Some(PathBuf::from("/proc/self/exe")),
        };
        let started = Backend::start(name, backend.clone(), surroundings, lives.backends.clone(), metrics)?;
        backends.insert(name.clone(), Arc::new(started));
    }
    Ok(backends)
}

/// The registry's key, for what backends keep.
struct RegistrySeal(Arc<Tenants>);

impl Seal for RegistrySeal {
    fn seal(&self, what: &str, secret: &[u8]) -> Option<Vec<u8>> {
        self.0.seal_key().seal_as(what, secret)
    }

    fn open(&self, what: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.seal_key().open_as(what, sealed)
    }
}

impl fmt::Debug for RegistrySeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistrySeal(..)")
    }
}
