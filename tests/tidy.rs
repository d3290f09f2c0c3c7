//! The house rules as tests: who may import whom, how files and names look, what no tracked file may hold.
//!
//! Each rule says why when it fails, and each is itself tested against a sample that breaks it. It must never
//! need a build of the product: it reads text.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/units.rs"]
mod units;

use source::Source;

/// Fails with every problem at once.
fn check(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n{} house rule(s) broken", problems.join("\n"), problems.len());
}

/// Runs `rule` over our Rust files.
fn check_rust(rule: fn(&Source) -> Vec<String>) {
    let sources = source::rust_files();
    assert!(sources.len() > 20, "only {} Rust files were found: the walk is broken", sources.len());
    check(sources.into_iter().flat_map(rule).collect());
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let rooms = imports::Rooms::read();
    check(
        source::rust_files().into_iter().flat_map(|source| imports::wrong_imports(source, &rooms)).collect(),
    );
}

#[test]
fn files_stay_below_four_hundred_lines() {
    check_rust(rules::too_long);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    check_rust(rules::header_missing);
}

#[test]
fn modules_are_nouns_in_files_of_their_name() {
    check_rust(rules::bad_module_name);
}

#[test]
fn tests_come_last_and_their_names_are_facts() {
    check_rust(rules::tests_not_last);
    check_rust(rules::name_is_no_fact);
}

#[test]
fn getters_have_no_prefix() {
    check_rust(rules::getter_prefix);
}

#[test]
fn nothing_is_silenced_skipped_or_left_to_do() {
    check_rust(rules::silenced);
    check_rust(rules::left_to_do);
}

#[test]
fn only_the_command_line_prints() {
    check_rust(rules::prints);
}

#[test]
fn every_task_is_one_the_drain_waits_for() {
    check_rust(rules::loose_task);
}

#[test]
fn queues_have_bounds() {
    check_rust(rules::unbounded);
}

#[test]
fn processes_are_started_in_one_place() {
    check_rust(rules::starts_a_process);
}

#[test]
fn only_the_store_speaks_sql_to_our_own_tables() {
    let tables = rules::own_tables();
    check(source::rust_files().into_iter().flat_map(|source| rules::foreign_sql(source, &tables)).collect());
}

#[test]
fn no_tracked_file_knows_this_machine() {
    check(source::tracked_texts().iter().flat_map(rules::machine_known).collect());
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    check(source::tracked_texts().iter().flat_map(links::dead_links).collect());
}

#[test]
fn every_directive_of_a_unit_is_explained() {
    let (units, page) = units::shipped();
    assert!(units.len() > 2, "only {} units were found: the walk is broken", units.len());
    check(units.iter().flat_map(|unit| units::unexplained(unit, &page)).collect());
}
