//! Adversaries before a key, and anywhere.

use sim::scenario::{EclipseReport, EclipseScenario};

fn run(nodes: u32, sybils: u32, aimed: bool, items: u32) -> EclipseReport {
    let scenario = EclipseScenario { nodes, sybils, aimed, items, ..EclipseScenario::default() };
    scenario.run(1, 1, |_| {})
}

#[test]
fn a_surrounded_key_is_written_and_read_all_the_same() {
    let report = run(500, 20, true, 60);
    assert!(report.stored >= 57 && report.found >= 57, "{report:?}");
    assert!(report.surrounded > 60, "{report:?}");
}

#[test]
fn nobody_is_suspected_where_all_are_honest() {
    let report = run(500, 0, true, 60);
    assert_eq!((report.stored, report.found), (60, 60));
    assert!(report.surrounded <= 10, "{report:?}");
}

#[test]
fn three_adversaries_of_ten_hide_little() {
    let report = run(500, 214, false, 60);
    assert!(report.stored >= 59 && report.found >= 59, "{report:?}");
}

#[test]
#[ignore = "tier 2"]
fn a_thousand_adversaries_before_one_key_hide_little() {
    let report = run(1_000, 1_000, true, 60);
    println!("{report:?}");
    assert!(report.stored >= 57 && report.found >= 57, "{report:?}");
}

#[test]
#[ignore = "tier 2"]
fn three_adversaries_of_ten_hide_two_items_of_two_hundred() {
    let report = run(1_000, 429, false, 200);
    println!("{report:?}");
    assert!(report.stored >= 198 && report.found >= 198, "{report:?}");
}
