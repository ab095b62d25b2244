//! The scenarios that come with the program: that each can be read and explained, and at a small size
//! that it holds what it promises, and is the same for any number of workers.

use sim::results::Outcome;
use sim::scenario::{SHIPPED, Scenario, Template, explain};

fn no_file(_: &str) -> Result<String, String> {
    Err("no such file".to_owned())
}

fn template(name: &str) -> Template {
    Template::shipped(name).expect("it comes with the program").expect("it can be read")
}

fn scenario(name: &str, sets: &[(&str, &str)]) -> Scenario {
    let mut template = template(name);
    for (path, value) in sets {
        template.set(path, value).expect("there is such an option");
    }
    template.scenario(&no_file).unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

/// Runs it by one and by two workers, and gives what both gave.
fn replayed(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = scenario.run(seed, 1, |_| {});
    assert_eq!(outcome, scenario.run(seed, 2, |_| {}), "two workers give something else");
    outcome
}

fn holds(name: &str, sets: &[(&str, &str)]) -> Outcome {
    let outcome = replayed(&scenario(name, sets), 1);
    assert_eq!(outcome.verdict, Ok(()), "{name}: {:#?}", outcome.figures);
    assert!(outcome.counters.packets > 0 && outcome.counters.virtual_s > 1.0);
    outcome
}

fn value(outcome: &Outcome, figure: &str) -> f64 {
    outcome.value(figure).unwrap_or_else(|| panic!("no {figure} in {:?}", outcome.figures))
}

#[test]
fn every_scenario_is_read_explained_and_told_in_a_line() {
    assert!(SHIPPED.len() >= 12);
    for (name, text) in SHIPPED {
        let template = template(name);
        assert!((10..100).contains(&template.about.len()), "{name}: {}", template.about);
        assert!(text.starts_with('#'), "{name} says nothing of itself");
        assert!(text.contains("arger") || name.contains("million"), "{name} names no larger size");
        let scenario = scenario(name, &[]);
        let told = explain(&template, &scenario);
        for entry in scenario.entries() {
            assert!(told.contains(&entry.path), "{name}: {}", entry.path);
            assert!(entry.about.len() >= 8, "{name}: {} is not explained", entry.path);
            assert!(entry.about.ends_with('.'), "{name}: {}", entry.about);
        }
        // What its comments tell to try can be tried.
        let mut words = text.split_whitespace().map(|word| word.trim_start_matches("# "));
        while let Some(word) = words.next() {
            if matches!(word, "--set" | "--sweep") {
                let option = words.find(|word| *word != "#").unwrap_or_default();
                let option = option.trim_end_matches(['.', ':', ';', ')', ',']);
                let (path, values) = option.split_once('=').expect("an option and its value");
                for value in values.split(',').filter(|value| *value != "FILE") {
                    let mut template = template.clone();
                    template.set(path, value).unwrap();
                    let made = template.scenario(&|_| Ok("0 9\n9 0\n".to_owned()));
                    let is_half = value == "matrix";
                    assert!(made.is_ok() || is_half, "{name}: {option}: {made:?}");
                }
            }
        }
    }
}

#[test]
fn every_value_that_is_told_can_be_set() {
    for (name, _) in SHIPPED {
        let whole = scenario(name, &[]);
        for entry in whole.entries().into_iter().filter(|entry| entry.is_option()) {
            if entry.is_example || entry.value == "none" && entry.takes == "the name of a file" {
                continue;
            }
            let again = scenario(name, &[(&entry.path, &entry.value)]);
            assert_eq!(again, whole, "{name}: {}={}", entry.path, entry.value);
        }
    }
}

#[test]
fn dht() {
    let outcome = holds("dht", &[("nodes", "100"), ("lookups", "50")]);
    assert_eq!(value(&outcome, "found_share"), 1.0);
    assert!(outcome.distributions.iter().all(|spread| spread.count == 50));
}

#[test]
fn dht_chaos() {
    holds("dht-chaos", &[]);
}

#[test]
fn dht_churn() {
    let small = [("nodes", "120"), ("lookups", "60"), ("churn.before_min", "60")];
    let outcome = holds("dht-churn", &small);
    assert!(value(&outcome, "dead_contacts_share") > 0.05, "{:?}", outcome.figures);
    assert!(value(&outcome, "left") > 0.0);
}

/// Sessions of minutes, so that many come back within the run.
#[test]
fn who_comes_back_knows_whom_it_knew() {
    let sets = |saves| {
        [
            ("nodes", "120"),
            ("lookups", "60"),
            ("churn.before_min", "40"),
            ("churn.on_scale_min", "12"),
            ("churn.on_shape", "1"),
            ("churn.off_scale_min", "6"),
            ("churn.off_shape", "1"),
            ("churn.saves_contacts", saves),
            ("promise.found", "0.6"),
        ]
    };
    let saved = holds("dht-churn", &sets("true"));
    let fresh = holds("dht-churn", &sets("false"));
    assert!(value(&saved, "left") > 100.0, "{:?}", saved.figures);
    assert_ne!(saved.trace_hash, fresh.trace_hash);
    // Where some contacts are gone, others answer.
    assert!(value(&saved, "closest_found") > 6.0, "{:?}", saved.figures);
}

#[test]
fn dht_king() {
    let outcome = holds("dht-king", &[("nodes", "200"), ("lookups", "100")]);
    assert!((0.3..0.5).contains(&value(&outcome, "dead_contacts_share")));
}

#[test]
fn dht_nat() {
    let outcome = holds("dht-nat", &[("nodes", "150"), ("lookups", "100")]);
    for figure in ["nat_found_from_inside", "nat_found_of_inside", "nat_know_address"] {
        assert!(value(&outcome, figure) >= 0.9, "{:?}", outcome.figures);
    }
    assert!(value(&outcome, "timeout_share") > 0.0, "strangers cannot reach those inside");
}

#[test]
fn dht_partition() {
    let small = [("nodes", "120"), ("lookups", "100"), ("rest_s", "609")];
    let outcome = holds("dht-partition", &small);
    let closest = outcome.series.iter().find(|series| series.name == "closest_found").unwrap();
    let last = closest.points.last().unwrap();
    assert!(last.1 > 7.0, "the halves have not found together: {:?}", closest.points);
}

#[test]
fn dht_million_at_a_small_size() {
    holds("dht-million", &[("nodes", "150"), ("lookups", "50")]);
}

#[test]
#[ignore = "tier 2: a large machine"]
fn dht_million_whole() {
    let outcome = scenario("dht-million", &[]).run(1, 2, |_| {});
    assert_eq!(outcome.verdict, Ok(()), "{:#?}", outcome.figures);
}

#[test]
fn eclipse() {
    holds("eclipse", &[("nodes", "150"), ("sybils", "10"), ("items", "20")]);
}

#[test]
fn swarm() {
    let outcome = holds("swarm", &[("peers", "12"), ("pieces", "40")]);
    assert!(value(&outcome, "bound_times") >= 1.0);
    assert_eq!(outcome.series[0].points.last().unwrap().1, 11.0);
}

#[test]
fn swarm_classes() {
    let outcome = holds("swarm-classes", &[("peers", "21"), ("pieces", "20")]);
    let mean = |class: &str| {
        let spread = outcome.distributions.iter().find(|spread| spread.name == class);
        spread.map_or(0.0, |spread| spread.mean)
    };
    assert!(mean("finish_class_0") > mean("finish_class_3"), "{:#?}", outcome.figures);
}

/// What waits on a slow line is not lost: it is asked of nobody else before it could have come.
#[test]
fn slow_lines_get_little_twice() {
    for seed in [1, 2] {
        let scenario = scenario("swarm-classes", &[("pieces", "200"), ("limit_s", "10000")]);
        let outcome = scenario.run(seed, 1, |_| {});
        assert_eq!(outcome.verdict, Ok(()), "{:#?}", outcome.figures);
        let wasted = value(&outcome, "wasted_share");
        assert!(wasted < 0.02, "seed {seed}: {wasted}");
        // The slowest line takes 535 s for it at least.
        let makespan = value(&outcome, "makespan_s");
        assert!(makespan < 900.0, "seed {seed}: {makespan}");
    }
}

#[test]
fn swarm_flash_crowd() {
    holds("swarm-flash-crowd", &[("peers", "20"), ("pieces", "40")]);
}

#[test]
fn swarm_churn() {
    let small = [("peers", "12"), ("pieces", "60"), ("churn.stay_median_s", "20")];
    let outcome = holds("swarm-churn", &small);
    let still = holds("swarm-churn", &[&small[..2], &[("churn.stay_median_s", "0")]].concat());
    assert!(value(&outcome, "makespan_s") > value(&still, "makespan_s"));
}

#[test]
fn swarm_nat() {
    holds("swarm-nat", &[("peers", "15"), ("pieces", "40")]);
}

#[test]
fn swarm_chaos() {
    let small = [
        ("peers", "8"),
        ("pieces", "40"),
        ("chaos.for_s", "60"),
        ("nat_restart.0.span_s", "0"),
        ("crash.times", "20"),
        ("disk.io_error", "0.1"),
    ];
    let outcome = holds("swarm-chaos", &small);
    // Those whose disk failed as well.
    assert!(value(&outcome, "ended") > 20.0, "{:?}", outcome.figures);
    // It says nothing of chaos where there is none, and takes no faults that would never end.
    let mut template = template("swarm-chaos");
    template.set("chaos.for_s", "0").unwrap();
    let problem = template.scenario(&no_file).unwrap_err().to_string();
    assert!(problem.contains("chaos.for_s must be above 0"), "{problem}");
}

#[test]
fn flow() {
    let outcome = holds("flow", &[("peers", "60"), ("pieces", "100")]);
    assert!(value(&outcome, "bound_times") >= 1.0 && value(&outcome, "mundinger_times") >= 1.0);
    assert_eq!(outcome.series[0].points.last().unwrap().1, 59.0);
}

/// Leeches go when they have all, at once or later, and come in any way.
#[test]
fn flows_of_leeches_that_come_and_go() {
    for (law, leave) in [("even", "at-once"), ("random", "dwell"), ("flash", "stay")] {
        let come_and_go = [("arrival.law", law), ("leave.law", leave), ("arrival.within_s", "30")];
        let small =
            [("peers", "60"), ("pieces", "100"), ("seeds", "2"), ("promise.bound_times", "9")];
        let outcome = holds("flow", &[&come_and_go[..], &small[..]].concat());
        assert_eq!(value(&outcome, "finished_share"), 1.0);
    }
}

#[test]
fn flow_100k_at_a_small_size() {
    let outcome = holds("flow-100k", &[("peers", "150"), ("pieces", "60")]);
    let mean = |class: &str| {
        let spread = outcome.distributions.iter().find(|spread| spread.name == class);
        spread.map_or(0.0, |spread| spread.mean)
    };
    assert!(mean("finish_class_0") > mean("finish_class_3"), "{:#?}", outcome.figures);
    let some = |n: usize| outcome.distributions[n].count;
    assert_eq!((some(0), some(1) + some(2) + some(3) + some(4)), (149, 149));
}

#[test]
#[ignore = "tier 2: minutes of one core"]
fn flow_100k_whole() {
    let outcome = scenario("flow-100k", &[]).run(1, 1, |_| {});
    assert_eq!(outcome.verdict, Ok(()), "{:#?}", outcome.figures);
}

/// Everything that can befall nodes at once: it need not find much, and is the same every time.
#[test]
fn all_that_can_happen_replays() {
    let sets = [
        ("nodes", "120"),
        ("lookups", "60"),
        ("dead", "0.1"),
        ("churn.law", "exponential"),
        ("churn.median_min", "10"),
        ("links.latency", "king"),
        ("links.burst_loss", "0.5"),
        ("links.duplicate", "0.05"),
        ("links.reorder", "0.05"),
        ("partition.0.at_s", "100"),
        ("partition.0.for_s", "60"),
        ("sleep.0.at_s", "50"),
        ("sleep.0.span_s", "100"),
        ("clock.0.by_s", "-60"),
        ("nat_restart.0.at_s", "200"),
        ("nat_restart.0.span_s", "30"),
        ("promise.found", "0.5"),
    ];
    let outcome = holds("dht-nat", &sets);
    assert!(value(&outcome, "left") > 50.0);
    let swarm = [
        ("peers", "12"),
        ("pieces", "30"),
        ("sleep.0.share", "0.2"),
        ("sleep.0.for_s", "40"),
        ("partition.0.for_s", "30"),
        ("clock.0.at_s", "5"),
        ("nat_restart.0.at_s", "10"),
    ];
    holds("swarm-nat", &swarm);
}
