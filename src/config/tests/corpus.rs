//! `tests/data/config/NAME.toml` with `NAME.txt` beside it: all that `gateway check` says about that file.
//! `NAME.env` holds variables, one a line. `CORPUS_BLESS=1` writes the texts anew, to be read and committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::load_file;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config")
}

/// What a person reads about that file, with the directory left out.
fn said(file: &Path) -> String {
    let variables = fs::read_to_string(file.with_extension("env")).unwrap_or_default();
    let variables: Vec<_> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    let text = match load_file(file, &variables, &[]) {
        Ok(loaded) => {
            let lines = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            format!("{}the configuration is fine\n", lines.collect::<String>())
        }
        Err(problems) => format!("{problems}\n"),
    };
    text.replace(&format!("{}/", data().display()), "")
}

#[test]
fn every_problem_of_a_file_is_told_at_once_with_place_key_value_and_remedy() {
    let mut files: Vec<PathBuf> = fs::read_dir(data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(files.len() >= 12, "the corpus is not where it was: {files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let (said, want) = (said(&file), file.with_extension("txt"));
        if std::env::var_os("CORPUS_BLESS").is_some() {
            fs::write(&want, &said).unwrap();
        }
        if fs::read_to_string(&want).unwrap_or_default() != said {
            wrong.push(format!("--- {}\n{said}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "said otherwise:\n{}", wrong.join("\n"));
}

#[test]
fn no_problem_repeats_a_secret() {
    for entry in fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            assert!(!said(&path).contains("hunter2"), "{} gives a secret away", path.display());
        }
    }
    // The corpus must hold some, or the lines above prove nothing.
    let secrets = fs::read_to_string(data().join("secrets.toml")).unwrap();
    assert!(secrets.matches("hunter2").count() >= 5);
}
