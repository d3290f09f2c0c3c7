//! What `--undo` must know of the registry: whether it names tenants, whose databases may lie anywhere and whose secrets
//! nobody can make again without it and its key.

use crate::{
    bootstrap,
    cli::{Settings, reach},
    config::{self, Config, Loaded},
    tenant::{self, TenantPaths},
};

/// Why the registry and its sealing key must stay, if they must.
pub(super) fn needed(settings: &Settings) -> Option<String> {
    let loaded = config::load_to_set_up(&settings.flags()).ok();
    let is_good = loaded.is_some();
    let config = match loaded {
        Some(Loaded { config, .. }) => config,
        // Where there is none any more, or bootstrap's own, the registry lies where it does by default.
        None if settings.config.is_none() && bootstrap::leaves_state_where_it_is() => Config::default(),
        None => {
            let why = "the configuration is not good, so nothing shows where the registry lies (mend it, as `gateway check` \
                       says, or move it away if the registry lies in /var/lib/gateway)";
            return Some(why.to_owned());
        }
    };
    let path = TenantPaths::below(&config.state_dir, &config.registry, None).registry_db;
    if !path.exists() {
        return None;
    }
    let shown = path.display();
    let count = reach::runtime().map_err(|failure| failure.message);
    let remedy = match is_good {
        true => "`gateway tenant remove` first".to_owned(),
        // No gateway runs any more that could do it.
        false => format!("delete {}, if nobody needs it", config.state_dir.display()),
    };
    match count.and_then(|runtime| runtime.block_on(tenant::count(&path))) {
        Ok(0) => None,
        Ok(1) => Some(format!("the registry `{shown}` names a tenant ({remedy})")),
        Ok(count) => Some(format!("the registry `{shown}` names {count} tenants ({remedy})")),
        Err(why) => {
            let remedy = "mend it, or delete it if nobody needs it";
            Some(format!("the registry `{shown}` cannot be read: {why} ({remedy})"))
        }
    }
}
