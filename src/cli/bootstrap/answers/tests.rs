//! Answers that make no sense, by themselves or beside a configuration.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    bootstrap: Bootstrap,
}

/// A whole order of words, with no configuration there.
fn answers(line: &str) -> Result<Answers, String> {
    let words = std::iter::once("bootstrap").chain(line.split_whitespace());
    let Line { bootstrap } = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    bootstrap.answers(&Settings::default()).map_err(|failure| {
        assert_eq!(failure.exit, crate::cli::failure::Exit::Usage, "{failure}");
        assert!(failure.hint.is_some(), "{failure}");
        failure.message
    })
}

#[test]
fn nonsense_is_found_out_while_the_order_is_read() {
    for (line, why) in [
        ("--domain http://api.example.com", "without a scheme"),
        ("--domain=", "is no host name"),
        ("--domain a..b", "is no host name"),
        ("--domain api.example.com:443", "without a port"),
        ("--domain *.example.com", "wildcards"),
        ("--domain 192.0.2.1", "it is an address"),
        ("--domain [2001:db8::1]", "it is an address"),
        ("--contact nomail", "no e-mail address"),
        ("--upstream foo", "no URL"),
        ("--upstream https://127.0.0.1:3000", "plain HTTP"),
        ("--app /nope", "there is no directory `/nope`"),
        ("--app / --data /nope", "`--data /nope` does not exist"),
        ("--app / --data /", "`--data /`: the application could write /etc"),
        ("--app / --data /etc", "could write /etc"),
        ("--app / --env-file /nope", "`--env-file /nope` does not exist"),
    ] {
        let refused = answers(line).unwrap_err();
        assert!(refused.contains(why), "{line}: {refused}");
    }
    let good =
        answers("--domain API.example.com --contact mailto:me@example.com --upstream http://127.0.0.1:3000")
            .unwrap();
    assert_eq!(
        (good.domains, good.contact),
        (vec!["api.example.com".to_owned()], vec!["me@example.com".to_owned()])
    );
}

/// The configuration of that text, unchecked.
fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn what_the_configuration_contradicts_is_told_with_the_line_to_write() {
    let upstream =
        config("[backend.api]\nupstream = \"http://127.0.0.1:3000\"\nhosts = [\"api.example.com\"]\n");
    let started = config(
        "[backend.api]\ncommand = [\"node\", \"a.js\"]\ndirectory = \"/\"\nsandbox = true\nhosts = [\"api.example.com\"]\n",
    );
    let check = |config: &Config, line: &str, want: Option<(&str, &str)>, left: Option<&str>| {
        let answers = answers(line).unwrap();
        let found = contradiction(&answers, config);
        assert_eq!(found.is_some(), want.is_some(), "{line}: {found:?}");
        if let (Some(found), Some(want)) = (found, want) {
            assert!(found.0.contains(want.0) && found.1.contains(want.1), "{line}: {found:?}");
        }
        let lack = left_to_write(&answers, config).map(|(_, remedy)| remedy);
        assert_eq!(lack.is_some(), left.is_some(), "{line}: {lack:?}");
        assert!(lack.unwrap_or_default().contains(left.unwrap_or_default()), "{line}");
    };
    let other = Some((
        "does not serve `other.example.com`",
        "add \"other.example.com\" to `hosts` of `[backend.api]`",
    ));
    for config in [&upstream, &started] {
        check(config, "", None, None);
        check(config, "--app / --domain api.example.com", None, None);
        check(config, "--app / --domain api.example.com --domain other.example.com", other, None);
    }
    let nothing = config("");
    check(&nothing, "--domain api.example.com", Some(("does not serve", "`hosts` of `[edge]`")), None);
    check(&upstream, "--upstream http://127.0.0.1:3000", None, None);
    check(
        &upstream,
        "--beside",
        Some(("listen on [::]:80, [::]:443", "`https` and `http` of `[edge]`")),
        None,
    );
    check(
        &upstream,
        "--upstream http://127.0.0.1:4000",
        Some(("no backend with the upstream", "upstream = ")),
        None,
    );
    check(&upstream, "--app / --data /usr/share", None, None);
    check(&started, "--app /usr", Some(("starts no application in `/usr`", "directory = \"/usr\"")), None);
    check(
        &started,
        "--app / --command node",
        Some(("starts `[backend.api]` with `node a.js`", "`command`")),
        None,
    );
    check(
        &started,
        "--app / --data /usr/share",
        None,
        Some("add \"/usr/share\" to `allow_write` of `[backend.api]`"),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = format!("--app / --env-file {}", file.path().display());
    check(&started, &line, None, Some("write `env_file = "));
}
