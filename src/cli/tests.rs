//! The parser itself: every example that the help shows is one that parses.

use clap::{Command as Clap, CommandFactory};

use super::*;

/// Every command with the words that lead to it.
fn commands() -> Vec<(String, Clap)> {
    fn walk(path: &str, command: &Clap, found: &mut Vec<(String, Clap)>) {
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            let path = format!("{path} {}", child.get_name());
            found.push((path.clone(), child.clone()));
            walk(&path, child, found);
        }
    }
    let mut found = Vec::new();
    walk("gateway", &Cli::command(), &mut found);
    found
}

/// The lines below `Examples:` in a command's help.
fn examples(command: &Clap) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let below = help.split("Examples:\n").nth(1).unwrap_or_default();
    below.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// The words of the gateway's part of a shell line: quotes are honoured, pipes and redirections cut off.
fn words(line: &str) -> Vec<String> {
    let part = line.rsplit(" | ").find(|part| part.starts_with("gateway ")).unwrap_or_default();
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in part.chars().chain([' ']) {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    let end = words.iter().position(|word| word == "<" || word == ">").unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn the_parser_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_a_word_of_help_and_examples_that_parse_as_that_command() {
    for (path, command) in commands() {
        assert!(command.get_about().is_some(), "`{path}` has no help");
        if command.has_subcommands() {
            continue;
        }
        let examples = examples(&command);
        assert!(!examples.is_empty(), "`{path}` has no example");
        for example in examples {
            let words = words(&example);
            let leads: Vec<_> = path.split(' ').collect();
            assert_eq!(
                words.get(..leads.len()).unwrap_or_default(),
                leads,
                "{example} does not show `{path}`"
            );
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{example}\n{error}");
            }
        }
    }
}

#[test]
fn the_examples_of_the_whole_parse_too() {
    let examples = examples(&Cli::command());
    assert!(examples.len() > 2);
    for example in examples {
        Cli::try_parse_from(words(&example)).unwrap();
    }
}

#[test]
fn help_reads_well_at_every_width() {
    let mut commands = commands();
    commands.push(("gateway".to_owned(), Cli::command()));
    for (path, mut command) in commands {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<_> = help.lines().collect();
        for two in lines.windows(2) {
            let by_hand = [two[0], two[1]].iter().all(|line| !line.is_empty() && !line.starts_with(' '));
            assert!(!by_hand || two[0].ends_with(':'), "`{path}` wraps by hand: {two:?}");
        }
        // Examples are to be pasted, so they must not be wrapped at the width that pipes get.
        let wide = lines.iter().find(|line| line.starts_with(' ') && line.len() > 100);
        assert!(wide.is_none(), "`{path}`: {wide:?}");
        let whole = command.render_long_help().to_string();
        assert!(!whole.replace("'{\"credentials\"", "").contains('\\'), "`{path}`:\n{whole}");
    }
}

#[test]
fn a_choice_that_is_missing_names_all_ways_to_make_it() {
    for line in ["gateway tenant migrate migrations", "gateway tenant exec -- true"] {
        let error = Cli::try_parse_from(line.split(' ')).map(drop).unwrap_err().to_string();
        assert!(error.contains("ID") && error.contains("--all"), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_clap_s_words() {
    for line in [
        "gateway",
        "gateway frobnicate",
        "gateway tenant",
        "gateway tenant add",
        "gateway tenant add Not_An_Id",
        "gateway tenant add acme --origin https://*.vercel.app",
        "gateway tenant add acme --origin https://acme.example/path",
        "gateway tenant add acme --database - --database-file x",
        "gateway tenant set acme --clear everything",
        "gateway tenant migrate migrations",
        "gateway tenant migrate migrations --all --tenant acme",
        "gateway tenant migrate migrations --all --parallel 0",
        "gateway tenant exec -- true",
        "gateway tenant exec --all acme -- true",
        "gateway tenant exec acme",
        "gateway tenant check acme --path shop",
        "gateway run --set novalue",
        "gateway worker-exec",
    ] {
        let error = Cli::try_parse_from(line.split(' ')).map(drop).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn verbs_that_hands_know_from_pm2_are_found_where_they_are() {
    for line in ["gateway backend ls", "gateway backend show api", "gateway node ls"] {
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
    for (word, hint) in [
        ("restart", Some("`gateway backend restart`")),
        ("ls", Some("`gateway backend list`")),
        ("monit", Some("`gateway status`, `gateway dashboard`, and `gateway logs -f`")),
        ("frobnicate", None),
    ] {
        let error = Cli::try_parse_from(["gateway", word]).map(drop).unwrap_err();
        let named = ContextValue::String(word.to_owned());
        assert_eq!(error.get(ContextKind::InvalidSubcommand), Some(&named));
        assert_eq!(elsewhere(word).as_deref(), hint, "{word}");
        assert_eq!(error.exit_code(), 2, "{word}");
    }
    for verb in ["list", "describe", "scale", "restart", "stop", "start", "signal", "rollback", "deploy"] {
        let backend = Cli::command().find_subcommand("backend").cloned().unwrap();
        assert!(backend.find_subcommand(verb).is_some() && elsewhere(verb).is_some(), "{verb}");
    }
}

#[test]
fn the_settings_may_stand_anywhere_and_reach_the_loader() {
    for line in [
        "gateway --config a.toml --set log.level=debug status",
        "gateway status --set log.level=debug -c a.toml",
    ] {
        let flags = Cli::try_parse_from(line.split(' ')).unwrap().settings.flags();
        assert_eq!(flags.config.as_deref(), Some(std::path::Path::new("a.toml")), "{line}");
        assert_eq!(flags.set, [("log.level".to_owned(), "debug".to_owned())], "{line}");
    }
}

#[test]
fn the_documented_exit_codes_are_those_of_the_code() {
    use super::failure::Exit;
    let help = Cli::command().get_after_help().unwrap().to_string();
    for (exit, words) in [
        (Exit::Failed, "failed"),
        (Exit::Usage, "wrong usage"),
        (Exit::NotRunning, "needs a running gateway"),
        (Exit::Denied, "may not give orders"),
        (Exit::NotReady, "did not get ready"),
    ] {
        let code = exit as u8;
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{code}  "))).unwrap();
        assert!(line.contains(words), "{line}");
    }
}
