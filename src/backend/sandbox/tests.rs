//! The sandbox's lists, by themselves: what the kernel makes of them is in `tests/gateway/sandbox.rs`.

use super::*;

#[test]
fn a_sandbox_is_what_was_asked_for_where_the_kernel_can() {
    for kernels in [Sandbox::On, Sandbox::Partial, Sandbox::Unsupported] {
        assert_eq!(Sandbox::of(true, kernels), kernels);
        assert_eq!(Sandbox::of(false, kernels), Sandbox::Off);
    }
}

#[test]
fn hidden_things_are_left_out_and_no_link_leads_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["app/src", "app/state/tls", "app/state/run/own", "elsewhere"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    for (link, target) in [("way-in", "state/tls"), ("circle", "."), ("out", "../elsewhere")] {
        std::os::unix::fs::symlink(target, top.join("app").join(link)).unwrap();
    }
    fs::write(top.join("app/package.json"), "{}").unwrap();
    let hidden = [top.join("app/state")];
    let check = |path: &str, expected: &[&str]| {
        let mut got = around(&top.join(path), &hidden);
        got.sort();
        assert_eq!(got, expected.iter().map(|name| top.join(name)).collect::<Vec<_>>(), "{path}");
    };
    check("app", &["app/package.json", "app/src", "elsewhere"]);
    check("app/src", &["app/src"]);
    check("app/state", &[]);
    check("app/state/run/own", &["app/state/run/own"]);
    check("gone", &[]);
    assert_eq!(detours(&top.join("app"), &hidden), Vec::<PathBuf>::new(), "names in it would be shown");
}

#[test]
fn directories_around_hidden_files_are_listed_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["app/config/state", "app/src"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    for name in ["app/.env", "app/src/key.pem"] {
        fs::write(top.join(name), "").unwrap();
    }
    let check = |hidden: &[&str], expected: &[&str]| {
        let hidden: Vec<_> = hidden.iter().map(|name| top.join(name)).collect();
        let mut got = detours(&top.join("app"), &hidden);
        got.sort();
        assert_eq!(got, expected.iter().map(|name| top.join(name)).collect::<Vec<_>>(), "{hidden:?}");
    };
    check(&[], &[]);
    check(&["app/.env"], &["app"]);
    check(&["app/.env", "app/src/key.pem"], &["app", "app/src"]);
    check(&["app/src/key.pem", "app/config/state"], &["app/src"]);
    check(&["app"], &[]);
}

#[test]
fn what_may_be_written_is_executed_only_if_it_is_the_program_itself() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["app/uploads", "app/bin"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    fs::write(top.join("app/bin/next"), "").unwrap();
    let executable = |allow_write: &str| {
        let rules = Rules {
            read: vec![top.join("app"), top.join("app/bin")],
            programs: vec![top.join("app/bin/next")],
            allow_write: vec![top.join(allow_write)],
            ..Rules::default()
        };
        let mut got = rules.executable(&[]);
        got.retain(|path| path.starts_with(&top));
        got.sort();
        got.dedup();
        got
    };
    assert_eq!(executable("app/uploads"), ["app/bin", "app/bin/next"].map(|name| top.join(name)));
    for all in ["app", "."] {
        assert_eq!(executable(all), [top.join("app/bin/next")], "{all}");
    }
}

#[test]
fn no_rule_leads_to_run_home_or_the_root() {
    let rules = Rules::default();
    for path in rules.readable(&[]).iter().chain(&rules.writable()).chain(&rules.executable(&[])) {
        let names = ["/usr", "/lib", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run/"];
        assert!(names.iter().any(|name| path.to_string_lossy().starts_with(name)), "{}", path.display());
        assert_ne!(path, Path::new("/dev"));
    }
}

#[test]
fn an_installation_is_its_program_and_the_libraries_beside_it() {
    let paths = installation(Path::new("/home/me/bin/node"));
    assert!(!paths.contains(&PathBuf::from("/home/me")) && paths.contains(&"/home/me/lib".into()));
    assert_eq!(installation(Path::new("/opt/tool/run")), [PathBuf::from("/opt/tool")]);
    for alone in ["/node", "/opt/node", "/home/me/node"] {
        assert_eq!(installation(Path::new(alone)), [PathBuf::from(alone)], "not all that lies beside it");
    }
}

#[test]
fn an_application_is_its_directory_hoisted_packages_and_the_script_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    for name in ["repo/node_modules", "repo/apps/api", "tools"] {
        fs::create_dir_all(top.join(name)).unwrap();
    }
    fs::write(top.join("tools/start.js"), "").unwrap();
    let script = top.join("tools/start.js").display().to_string();
    let tools = top.join("tools").display().to_string();
    let words =
        ["node", "--import=/x/y", "./server.js", &script, "/", "..", "/srv", "/etc", &tools, "/gone/x"];
    let got = application(&top.join("repo/apps/api"), &words.map(str::to_owned));
    assert_eq!(got, ["repo/apps/api", "repo/node_modules", "tools"].map(|name| top.join(name)));
    for (directory, expected) in [("/srv", false), ("/", false), ("/home/me", false), ("/srv/tools", true)] {
        assert_eq!(belongs_together(Path::new(directory)), expected, "{directory}");
    }
}
