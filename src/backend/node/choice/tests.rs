//! Who wins among what is there, as a table.

use std::fs;

use super::{super::store::tests::stub, *};

/// Versions of the gateway's own, of nvm's, and in PATH; and an application.
struct House {
    directory: tempfile::TempDir,
    system: Option<&'static str>,
}

impl House {
    fn of(own: &[&str], nvm: &[&str], system: Option<&'static str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let house = Self { directory, system };
        for version in own {
            stub(&house.store().directory().join(version));
        }
        for version in nvm {
            stub(&house.home().join(".nvm/versions/node").join(version));
        }
        fs::create_dir(house.app()).unwrap();
        house
    }

    fn top(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn store(&self) -> Store {
        Store::below(&self.top().join("state"))
    }

    fn home(&self) -> PathBuf {
        self.top().join("home")
    }

    fn app(&self) -> PathBuf {
        self.top().join("app")
    }

    fn answer(&self, wish: &NodeWish) -> Result<Option<NodeStatus>, String> {
        let system = self.system;
        Asking {
            backend: "api",
            wish,
            directory: &self.app(),
            identity: None,
            store: &self.store(),
            nvms: &[self.home().join(".nvm")],
            system: system.map(|_| "/usr/bin/node".into()),
            probe: &|_| system.and_then(version),
        }
        .answer()
    }

    /// The version and its source, or the error.
    fn says(&self, wanted: Option<&str>) -> String {
        let wish = NodeWish { version: wanted.map(str::to_owned), path: None };
        match self.answer(&wish) {
            Ok(Some(node)) => format!("{} {}", node.version.unwrap(), node.source.word()),
            Ok(None) => "none".to_owned(),
            Err(problem) => problem,
        }
    }
}

#[test]
fn own_versions_win_over_nvms_and_those_over_path() {
    let house = House::of(&["v20.1.0", "v20.9.0"], &["v20.19.0", "v22.11.0"], Some("v24.11.0"));
    for (wanted, want) in [
        ("20", "v20.9.0 gateway"),
        ("20.1", "v20.1.0 gateway"),
        ("22", "v22.11.0 nvm"),
        ("24", "v24.11.0 PATH"),
        (">=22", "v22.11.0 nvm"),
        ("lts", "v20.9.0 gateway"),
        ("lts/jod", "v22.11.0 nvm"),
        ("lts/krypton", "v24.11.0 PATH"),
    ] {
        assert_eq!(house.says(Some(wanted)), want, "{wanted}");
    }
}

#[test]
fn a_version_that_is_not_there_comes_with_the_order_that_installs_it() {
    let house = House::of(&["v20.9.0"], &[], Some("v18.20.0"));
    let said = house.says(Some("22"));
    for word in [
        "node.version (22) wants a Node",
        "only v20.9.0 (gateway), v18.20.0 (PATH)",
        "\nhint: `gateway node install 22`",
    ] {
        assert!(said.contains(word), "{said}");
    }
    assert!(house.says(Some(">=22 <24")).ends_with("`gateway node install '>=22 <24'`"));
    assert!(House::of(&[], &[], None).says(Some("22")).contains("none is"));
}

#[test]
fn auto_asks_the_applications_files_anew_each_time() {
    let house = House::of(&["v20.9.0", "v22.11.0"], &[], None);
    assert!(house.says(Some("auto")).contains("has no .nvmrc"));
    fs::write(house.app().join("package.json"), r#"{"engines": {"node": "^20"}}"#).unwrap();
    assert_eq!(house.says(Some("auto")), "v20.9.0 gateway");
    fs::write(house.app().join(".nvmrc"), "lts/jod\n").unwrap();
    assert_eq!(house.says(Some("auto")), "v22.11.0 gateway");
    let wish = NodeWish { version: Some("auto".to_owned()), path: None };
    assert_eq!(house.answer(&wish).unwrap().unwrap().by, ".nvmrc (lts/jod)");
}

#[test]
fn without_a_word_it_is_what_was_chosen_then_path_then_what_is_there() {
    assert_eq!(House::of(&[], &[], None).says(None), "none");
    assert_eq!(House::of(&[], &["v20.19.0"], None).says(None), "v20.19.0 nvm");
    assert_eq!(House::of(&["v22.11.0"], &["v24.11.0"], Some("v18.1.0")).says(None), "v18.1.0 PATH");
    let house = House::of(&["v20.9.0", "v22.11.0"], &["v24.11.0"], Some("v18.1.0"));
    house.store().choose(None, &house.store().directory().join("v20.9.0")).unwrap();
    assert_eq!(house.says(None), "v20.9.0 gateway");
    house.store().choose(Some("api"), &house.home().join(".nvm/versions/node/v24.11.0")).unwrap();
    assert_eq!(house.says(None), "v24.11.0 nvm");
    assert_eq!(house.says(Some("22")), "v22.11.0 gateway", "the configuration's word comes first");
    fs::remove_dir_all(house.home()).unwrap();
    assert!(house.says(None).contains("is not there any more\nhint: "));
}

#[test]
fn where_only_nvm_has_versions_its_default_is_the_one_that_its_user_knows() {
    let house = House::of(&[], &["v20.19.0", "v22.11.0", "v24.11.0"], None);
    let alias = |said: &str| {
        let aliases = house.home().join(".nvm/alias");
        fs::create_dir_all(&aliases).unwrap();
        fs::write(aliases.join("default"), said).unwrap();
    };
    assert_eq!(house.says(None), "v24.11.0 nvm");
    for (said, want) in [("lts/iron", "v20.19.0 nvm"), ("22", "v22.11.0 nvm"), ("18", "v24.11.0 nvm")] {
        alias(said);
        assert_eq!(house.says(None), want, "{said}");
    }
    alias("20");
    let wish = NodeWish::default();
    assert_eq!(house.answer(&wish).unwrap().unwrap().by, "nvm's default");
    assert_eq!(house.says(Some("22")), "v22.11.0 nvm", "the configuration's word comes first");
    stub(&house.store().directory().join("v18.1.0"));
    assert_eq!(house.says(None), "v18.1.0 gateway");
}

#[test]
fn a_path_comes_before_every_version() {
    let house = House::of(&["v20.9.0"], &[], None);
    let wish = |path: PathBuf| NodeWish { version: Some("20".to_owned()), path: Some(path) };
    stub(&house.top().join("mine"));
    let node = house.answer(&wish(house.top().join("mine"))).unwrap().unwrap();
    assert_eq!((node.source, node.leading()), (Source::Named, Some(&*house.top().join("mine/bin"))));
    assert!(house.answer(&wish(house.top().join("gone"))).unwrap_err().starts_with("node.path: "));
}
