//! Copies and checks of a SQLite file while it is in use.

use std::path::Path;

use super::PoolError;

/// Copy a database while it is open, as it was at one moment.
pub(crate) async fn online_copy(_from: &Path, _to: &Path) -> Result<(), PoolError> {
    todo!()
}

/// Open the file and look for damage.
pub(crate) async fn check(_path: &Path) -> Result<(), PoolError> {
    todo!()
}
