//! Packages that were brought go again, and none that anybody has come to need since: what apt would take along, or put in
//! its place, keeps a package where it is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{BootstrapError, machine};

/// Those that a plan asks for by name; apt brought the others along, and calls them automatic.
const ASKED_FOR: [&str; 2] = ["systemd-timesyncd", "unattended-upgrades"];

/// Purge those that nothing else needs; gives the reason where one must stay.
pub(super) fn take_back(names: &[String]) -> Result<Option<String>, BootstrapError> {
    let state = ["dpkg-query", "-W", "-f", "${db:Status-Status}"];
    let installed = |name: &&String| machine::hear(&[&state[..], &[name.as_str()]].concat()) == "installed";
    let ours: Vec<&String> = names.iter().filter(installed).collect();
    let mut along = BTreeMap::new();
    for name in &ours {
        let purge = ["purge", "--simulate", "-y", "-o", "APT::Get::AutomaticRemove=false", name];
        along.insert((*name).clone(), moved(&machine::order_packages(&purge)?));
    }
    let manual = machine::hear(&["apt-mark", "showmanual"]);
    let manual = manual.lines().filter(|name| !ASKED_FOR.contains(name)).collect();
    let stays = staying(&along, &manual);
    let go: Vec<&str> =
        ours.iter().map(|name| name.as_str()).filter(|name| !stays.contains_key(*name)).collect();
    if !go.is_empty() {
        let purge = ["purge", "-y", "-qq", "-o", "APT::Get::AutomaticRemove=false"];
        machine::order_packages(&[&purge[..], &go].concat())?;
    }
    let told: Vec<String> = stays.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    Ok((!told.is_empty()).then(|| format!("of them {}", told.join(", "))))
}

/// What a simulated order would remove or install: `Purg NAME [1.0]`, `Remv NAME [1.0]`, `Inst NAME (1.0 …)`.
fn moved(text: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (verb, rest) = line.split_once(' ')?;
        matches!(verb, "Purg" | "Remv" | "Inst").then(|| rest.split(' ').next().map(str::to_owned))?
    };
    text.lines().filter_map(name).collect()
}

/// Of these, with what would move along with each, those that stay and why: somebody has asked for them since, or what
/// moves along is not ours, or stays itself.
fn staying(
    along: &BTreeMap<String, BTreeSet<String>>,
    asked_for: &BTreeSet<&str>,
) -> BTreeMap<String, String> {
    let mut stays: BTreeMap<String, String> = along
        .keys()
        .filter(|name| asked_for.contains(name.as_str()))
        .map(|name| (name.clone(), "somebody has asked for it since".to_owned()))
        .collect();
    loop {
        let held = |(name, moves): (&String, &BTreeSet<String>)| {
            let holds = |other: &&String| !along.contains_key(*other) || stays.contains_key(*other);
            let holders: Vec<&str> = moves.iter().filter(holds).map(String::as_str).collect();
            (!holders.is_empty()).then(|| (name.clone(), format!("needed by {}", holders.join(", "))))
        };
        let more: Vec<_> =
            along.iter().filter(|(name, _)| !stays.contains_key(*name)).filter_map(held).collect();
        if more.is_empty() {
            return stays;
        }
        stays.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_stays_and_so_does_what_that_needs() {
        let along =
            [("u", "u"), ("apt", "apt u"), ("py", "py apt u"), ("free", "free"), ("lib", "lib theirs")];
        let along = along.map(|(name, moves)| {
            (name.to_owned(), moves.split(' ').map(str::to_owned).collect::<BTreeSet<_>>())
        });
        let along = BTreeMap::from(along);
        let told = |asked_for: &[&str]| {
            staying(&along, &asked_for.iter().copied().collect())
                .into_iter()
                .map(|(name, why)| format!("{name}: {why}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), ["lib: needed by theirs"]);
        assert_eq!(
            told(&["apt"]),
            ["apt: somebody has asked for it since", "lib: needed by theirs", "py: needed by apt"]
        );
    }

    #[test]
    fn what_a_simulation_moves_is_read() {
        let text = "Reading package lists...\nPurg py [3.11]\nRemv theirs [1.0] [other:amd64 ]\nInst b (1.0 x)\nConf b\n";
        assert_eq!(moved(text).into_iter().collect::<Vec<_>>(), ["b", "py", "theirs"]);
    }
}
