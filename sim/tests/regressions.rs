//! What `sim hunt` found and was mended stays so: each file in `regressions/` says its seed.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests read files")]

use std::fs;
use std::path::Path;

use sim::hunt::run_text;

#[test]
fn what_was_found_does_not_come_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (_, seed) = text.split_once("--seed ").expect("its head says the seed");
        let seed = seed.split_whitespace().next().and_then(|seed| seed.parse().ok());
        let seed = seed.expect("a seed is a number");
        assert_eq!(run_text(&text, seed), Ok(()), "{}", path.display());
        files += 1;
    }
    assert!(files > 0);
}
