//! What `--undo` must know of the registry: whether it names tenants, whose databases may lie anywhere and whose secrets
//! nobody can make again without it and its key.

use crate::{
    cli::{Settings, reach},
    config::{self, Loaded},
    tenant::{self, TenantPaths},
};

/// Why the registry and its sealing key must stay, if they must.
pub(super) fn needed(settings: &Settings) -> Option<String> {
    let Ok(Loaded { config, .. }) = config::load_to_set_up(&settings.flags()) else {
        let why = "the configuration is not good (`gateway check`), so nothing shows where the registry lies";
        return Some(why.to_owned());
    };
    let path = TenantPaths::below(&config.state_dir, &config.registry, None).registry_db;
    if !path.exists() {
        return None;
    }
    let shown = path.display();
    let count = reach::runtime().map_err(|failure| failure.message);
    match count.and_then(|runtime| runtime.block_on(tenant::count(&path))) {
        Ok(0) => None,
        Ok(1) => Some(format!("the registry `{shown}` names a tenant (`gateway tenant remove` first)")),
        Ok(count) => {
            Some(format!("the registry `{shown}` names {count} tenants (`gateway tenant remove` first)"))
        }
        Err(why) => Some(format!("the registry `{shown}` cannot be read: {why}")),
    }
}
