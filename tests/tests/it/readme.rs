//! What the README names is there, and what is there it names.

use std::collections::BTreeSet;

use shardmill_tests::prove::PROOFS;

use crate::architecture::{none, root};

/// What stands between backticks on one line, and the targets of links.
fn spans(text: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        spans.extend(line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    spans
}

#[test]
fn paths_in_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let tops = ["node/", "actors/", "connectors/", "cluster/", "tests/", "deploy/", ".ci/"];
    let path = |span: &String| {
        let whole = !span.contains([' ', '*', '<', '…']);
        whole
            && (tops.iter().any(|top| span.starts_with(top))
                || ["LICENSE", ".deny.toml"].contains(&span.as_str()))
    };
    let named: Vec<String> = spans(&readme).into_iter().filter(path).collect();
    assert!(named.len() > 5, "the README names hardly any path: {named:?}");
    let wrong: Vec<String> = named.into_iter().filter(|name| !root().join(name).exists()).collect();
    none(&wrong, "the README names paths that do not exist:");
}

#[test]
fn the_readme_names_every_proof() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let proof = |span: String| {
        span.strip_prefix("prove ").map(|name| name.split(' ').next().unwrap_or("").to_owned())
    };
    let named: BTreeSet<String> =
        spans(&readme).into_iter().filter_map(proof).filter(|name| !name.starts_with("--")).collect();
    let there: BTreeSet<String> = PROOFS.iter().map(|proof| proof.name.to_owned()).collect();
    assert_eq!(named, there, "left: `prove NAME` in the README; right: the proofs there are");
}
