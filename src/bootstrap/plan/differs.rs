//! What differs between a file that is there and the one that will be, as a few lines for people. Pure. It must never show what
//! may be secret: it goes to terminals and, with `--json`, into logs.

/// Lines shown; of more, how many.
const LINES_MAX: usize = 12;
/// Longest line shown.
const LINE_CHARS_MAX: usize = 120;
/// Lines of both files compared with each other; beyond that the comparison would take long, and nobody would read it.
const COMPARED_MAX: usize = 2000;

/// Permissions of a file that everybody reads: only what such a file holds is shown.
const EVERYBODY_READS: u32 = 0o004;

/// Settings of systemd's that are used to hand over secrets, though everybody reads them there: their values are left out.
const MAY_BE_SECRET: [&str; 3] = ["Environment=", "SetCredential=", "SetCredentialEncrypted="];

/// Lines that go with `-` and those that come with `+`, in their order. Only plans that write units, sysusers, tmpfiles, sysctl and
/// the like come here: the configuration, environment files and keys are never written over, and so never shown.
pub(super) fn differs(mode: u32, is: &str, will: &str) -> Vec<String> {
    if mode & EVERYBODY_READS == 0 {
        return vec!["(not everybody may read it, so what it holds is not shown)".to_owned()];
    }
    let (is, will): (Vec<&str>, Vec<&str>) = (is.lines().collect(), will.lines().collect());
    if is.len() > COMPARED_MAX || will.len() > COMPARED_MAX {
        return vec![format!("({} lines instead of {})", will.len(), is.len())];
    }
    let mut lines = changes(&is, &will);
    if lines.is_empty() {
        return vec!["(only the ends of lines)".to_owned()];
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.truncate(LINES_MAX);
        lines.push(format!("(and {more} lines more)"));
    }
    lines
}

/// By the longest common subsequence of their lines.
fn changes(is: &[&str], will: &[&str]) -> Vec<String> {
    let width = will.len() + 1;
    // How many lines the rests of both have in common.
    let mut common = vec![0_u16; (is.len() + 1) * width];
    for (i, old) in is.iter().enumerate().rev() {
        for (j, new) in will.iter().enumerate().rev() {
            common[i * width + j] = match old == new {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < is.len() || j < will.len() {
        if i < is.len() && j < will.len() && is[i] == will[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < is.len()
            && (j == will.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(shown('-', is[i]));
            i += 1;
        } else {
            lines.push(shown('+', will[j]));
            j += 1;
        }
    }
    lines
}

fn shown(sign: char, line: &str) -> String {
    if let Some(name) = MAY_BE_SECRET.iter().find(|name| line.trim_start().starts_with(**name)) {
        return format!("{sign} {name}…");
    }
    let mut chars = line.chars();
    let start: String = chars.by_ref().take(LINE_CHARS_MAX).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("{sign} {start}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is: &str, will: &str, want: &[&str]) {
        assert_eq!(differs(0o644, is, will), want, "{is:?} {will:?}");
    }

    #[test]
    fn what_goes_and_what_comes_is_shown_in_its_order_and_nothing_else() {
        check("a\nb\nc\n", "a\nB\nc\nd\n", &["- b", "+ B", "+ d"]);
        check("", "a\n", &["+ a"]);
        check("a\nb\n", "", &["- a", "- b"]);
        check("x\na\nb\n", "a\nb\n", &["- x"]);
        check("a\n", "a", &["(only the ends of lines)"]);
    }

    #[test]
    fn a_long_difference_is_cut_off() {
        let many: String = (0..40).map(|n| format!("line {n}\n")).collect();
        let lines = differs(0o644, "", &many);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (13, "(and 28 lines more)"));
        assert_eq!(differs(0o644, &"é".repeat(500), "")[0].chars().count(), 2 + 120 + 1);
        assert_eq!(differs(0o644, &"x\n".repeat(9000), "a"), ["(1 lines instead of 9000)"]);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let unit = "[Service]\nEnvironment=DATABASE_URL=postgres://app:hunter2@db\nSetCredential=a:hunter2\n";
        check(unit, "[Service]\n", &["- Environment=…", "- SetCredential=…"]);
        assert!(!differs(0o640, unit, "").concat().contains("hunter2"));
    }
}
