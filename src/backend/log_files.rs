//! Where a backend's output goes besides its rings: who follows, and the files of its configuration.

use std::path::Path;

use super::{BackendError, Config, output::Outlets};
use crate::metrics::{BackendLabels, Metrics};

/// Where the output goes, with no file yet.
pub(super) fn outlets(backend: &str, follow_lines_max: usize, metrics: &Metrics) -> Outlets {
    let labels = BackendLabels { backend: backend.to_owned() };
    let dropped = metrics.output_lines_dropped_total.get_or_create(&labels).clone();
    let unwritten = metrics.output_lines_unwritten_total.get_or_create(&labels).clone();
    Outlets::new(backend, follow_lines_max, (dropped, unwritten))
}

/// Write the files that the configuration wants, and no others.
pub(super) fn write(
    outlets: &Outlets,
    backend: &str,
    config: &Config,
    config_dir: &Path,
) -> Result<(), BackendError> {
    let path = config.log.path(backend).unwrap_or_default();
    outlets.write_to(config.log.rules(backend, config_dir)).map_err(|source| BackendError::LogFile {
        backend: backend.to_owned(),
        path,
        source,
    })
}
