//! Results for the tests of this room.

use super::*;

/// A run with the delay `value`.
pub fn outcome(value: f64) -> Outcome {
    let spread = (0..40).map(|n| value + f64::from(n * n % 23));
    Outcome {
        figures: vec![
            Figure::new("delay_ms", "ms", value, Better::Lower),
            Figure::new("found", "", 1.0, Better::Higher),
            Figure::new("missing", "s", f64::NAN, Better::Neither),
        ],
        distributions: vec![Distribution::of("delay", "ms", spread)],
        series: vec![Series {
            name: "peers".into(),
            x_unit: "s".into(),
            y_unit: "".into(),
            points: (0..20).map(|n| (f64::from(n), value * f64::from(n))).collect(),
        }],
        trace_hash: format!("{:x}", value.to_bits()),
        verdict: if value < 1e6 { Ok(()) } else { Err("too \"late\", by far".to_owned()) },
        counters: RunCounters { events: 10, packets: 5, virtual_s: 1.5 },
    }
}

/// A setting of one option with such runs.
pub fn setting(value: &str, runs: &[(u64, f64)]) -> Setting {
    let runs = runs.iter().map(|&(seed, value)| Run { seed, outcome: outcome(value) }).collect();
    Setting::new(vec![value.to_owned()], runs)
}

/// Two swept options, eight seeds.
pub fn results() -> Results {
    let mut manifest = Manifest::new("dht");
    manifest.set("nodes", "100,1000,30000");
    manifest.set("note", "a,\"b\" <&>");
    manifest.seeds = (1..=8).collect();
    let mut runs = Vec::new();
    for loss in ["0", "0.1"] {
        for nodes in ["100", "1000", "30000"] {
            for seed in 1..=8_u64 {
                let base: f64 = nodes.parse::<f64>().unwrap().sqrt();
                let noise = (seed * 37 % 11) as f64;
                let value = 50.0 + base * (1.0 + 10.0 * loss.parse::<f64>().unwrap()) + noise;
                let values = vec![nodes.to_owned(), loss.to_owned()];
                runs.push((values, Run { seed, outcome: outcome(value) }));
            }
        }
    }
    Results::of(manifest, vec!["nodes".to_owned(), "loss".to_owned()], runs)
}
