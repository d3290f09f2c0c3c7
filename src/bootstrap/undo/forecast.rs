//! What taking back would do, told before anything is taken: reading only.

use std::path::Path;

use super::{
    BootstrapError, Journal, Made, Taken, accounts_stay, changed, directory_stays, in_order, machine, needed,
    places, written,
};

/// Each thing in its order, and why it will stay, if it will. What is in a directory by then, and what packages are needed
/// for, shows only in the doing.
pub(crate) fn to_take_back(registry: Option<&str>) -> Result<Vec<Taken>, BootstrapError> {
    let journal = written()?;
    let forecast = |made: &Made| Taken { what: made.shown(), stays: made.will_stay(registry) };
    Ok(in_order(&journal).iter().map(forecast).collect())
}

impl Made {
    fn will_stay(&self, registry: Option<&str>) -> Option<String> {
        match self {
            Self::File { path, content, .. } => changed(path, content),
            Self::SealKey(_) => needed(registry),
            Self::Directories(list) => {
                let stay = list.iter().rev().filter(|path| path.is_dir());
                let stay: Vec<String> = stay.filter_map(|path| directory_stays(path, registry)).collect();
                (!stay.is_empty()).then(|| stay.join(", "))
            }
            Self::Accounts(_) => accounts_stay(registry),
            _ => None,
        }
    }
}

/// Is the configuration gone, or still what was written here, with nothing beside it? Neither names a state directory of its own.
pub(crate) fn leaves_state_where_it_is() -> bool {
    let path = Path::new(places::CONFIG);
    let written = Journal::read().unwrap_or_default().made;
    let ours = |made: &Made| matches!(made, Made::File { path: of, content, .. } if of == path && *content == machine::text(path));
    let beside = std::fs::read_dir(path.with_file_name("conf.d")).into_iter().flatten().next();
    beside.is_none() && (!path.exists() || written.iter().any(ours))
}
