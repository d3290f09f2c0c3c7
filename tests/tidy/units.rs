//! The units that are shipped: whoever runs them reads in `docs/systemd.md` what each directive is for.

use std::fs;

use crate::source::{Source, top};

/// The units, and the page about them.
pub(crate) fn shipped() -> (Vec<Source>, String) {
    let text = |path: &str| fs::read_to_string(top().join(path)).unwrap_or_default();
    let names = fs::read_dir(top().join("systemd")).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let units = names.filter(|name| name.ends_with(".service") || name.ends_with(".socket"));
    let units = units.map(|name| format!("systemd/{name}")).map(|path| Source::new(&path, &text(&path)));
    (units.collect(), text("docs/systemd.md"))
}

/// Directives of a unit that the page does not name, as code: `Type=notify` or `NoNewPrivileges`.
pub(crate) fn unexplained(unit: &Source, page: &str) -> Vec<String> {
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).map(|code| code.split('=').next().unwrap_or_default()).collect();
    let lines = unit.text.lines().enumerate().filter(|(_, line)| !line.starts_with(['#', '[']));
    let directives = lines.filter_map(|(at, line)| Some((at + 1, line.split_once('=')?.0)));
    directives
        .filter(|(_, directive)| !named.contains(directive))
        .map(|(line, directive)| {
            unit.problem(line, &format!("docs/systemd.md does not say what `{directive}` is for"))
        })
        .collect()
}
