//! All of it for programs. Keys are in the order of the alphabet; what is no finite number, or is not
//! there, is null.

use serde_json::{Map, Value, json};

use super::compare::Comparison;
use super::distribution::{Distribution, QUANTILES, Step, quantile_name};
use super::estimate::{Estimate, Interval};
use super::manifest::{Machine, Manifest};
use super::outcome::Outcome;
use super::pooled::{BOOTSTRAP_DRAWS, Pooled};
use super::runs::{FigureEstimate, Results, Run, Setting};

impl Results {
    /// `results.json`: one object in one line. Without `machine` it is the same, byte by byte, for
    /// the same manifest.
    pub fn to_json(&self, machine: Option<&Machine>) -> String {
        let settings: Vec<Value> = self.settings.iter().map(|s| self.setting_json(s)).collect();
        let comparisons = self.comparisons();
        let comparisons: Vec<Value> =
            comparisons.iter().map(|(setting, c)| self.comparison_json(setting, c)).collect();
        let mut all = json!({
            "manifest": manifest_json(&self.manifest),
            "swept": self.swept,
            "settings": settings,
            "comparisons": comparisons,
            "missing": self.missing,
            "repeated": self.repeated,
            "diverged": self.diverged,
            "bootstrap_draws": BOOTSTRAP_DRAWS,
        });
        if let Some(machine) = machine {
            all["machine"] = json!({
                "cores": machine.cores,
                "wall_s": machine.wall_s,
                "cpu_s": machine.cpu_s,
                "peak_rss_bytes": machine.peak_rss_bytes,
            });
        }
        format!("{all}\n")
    }

    fn options_json(&self, setting: &Setting) -> Value {
        let pairs = self.swept.iter().cloned().zip(setting.values.iter().cloned().map(Value::from));
        Value::Object(pairs.collect())
    }

    fn setting_json(&self, setting: &Setting) -> Value {
        json!({
            "options": self.options_json(setting),
            "seeds": setting.runs.len(),
            "held": setting.held(),
            "figures": setting.figures.iter().map(figure_json).collect::<Vec<_>>(),
            "distributions": setting.distributions.iter().map(pooled_json).collect::<Vec<_>>(),
            "runs": setting.runs.iter().map(run_json).collect::<Vec<_>>(),
        })
    }

    fn comparison_json(&self, setting: &Setting, c: &Comparison) -> Value {
        let ratio = c.ratio.map(
            |ratio| json!({ "geometric_mean": ratio.mean, "ci95": interval_json(ratio.ci95) }),
        );
        json!({
            "base": self.settings.first().map(|base| self.options_json(base)),
            "options": self.options_json(setting),
            "figure": c.figure,
            "unit": c.unit,
            "better": c.better.as_str(),
            "unpaired": c.unpaired,
            "difference": estimate_json(&c.difference),
            "ratio": ratio,
            "reading": c.reading().as_str(),
        })
    }
}

fn manifest_json(manifest: &Manifest) -> Value {
    let options = manifest.options.iter().map(|(name, value)| format!("{name}={value}"));
    json!({
        "program": manifest.program,
        "version": manifest.version,
        "build_profile": manifest.build_profile,
        "scenario": manifest.scenario,
        "options": options.collect::<Vec<_>>(),
        "seeds": manifest.seeds,
    })
}

fn interval_json(interval: Option<Interval>) -> Value {
    interval.map_or(Value::Null, |i| json!([i.lo, i.hi]))
}

fn estimate_json(e: &Estimate) -> Value {
    json!({
        "n": e.n,
        "mean": e.mean,
        "sd": e.sd,
        "ci95": interval_json(e.ci95),
        "median": e.median,
        "median_interval": interval_json(e.median_interval.map(|m| m.interval)),
        "median_coverage": e.median_interval.map(|m| m.coverage),
        "min": e.min,
        "max": e.max,
    })
}

fn figure_json(figure: &FigureEstimate) -> Value {
    json!({
        "name": figure.name,
        "unit": figure.unit,
        "better": figure.better.as_str(),
        "estimate": figure.estimate.as_ref().map(estimate_json),
    })
}

/// Steps as pairs of a value and how many samples are at most that.
fn steps_json(steps: &[Step]) -> Value {
    steps.iter().map(|step| json!([step.value, step.rank])).collect()
}

fn pooled_json(d: &Pooled) -> Value {
    let quantiles = d.quantiles.iter().map(|q| {
        let quantile = json!({ "value": q.value, "ci95": interval_json(q.interval) });
        (quantile_name(q.permille), quantile)
    });
    json!({
        "name": d.name,
        "unit": d.unit,
        "seeds": d.seeds,
        "count": d.count,
        "left_out": d.left_out,
        "mean": d.min().map(|_| d.mean),
        "min": d.min(),
        "max": d.max(),
        "quantiles": quantiles.collect::<Map<_, _>>(),
        "steps": steps_json(d.steps()),
    })
}

fn distribution_json(d: &Distribution) -> Value {
    let quantiles =
        QUANTILES.map(|permille| (quantile_name(permille), Value::from(d.quantile(permille))));
    json!({
        "name": d.name,
        "unit": d.unit,
        "count": d.count,
        "left_out": d.left_out,
        "mean": d.min().map(|_| d.mean),
        "min": d.min(),
        "max": d.max(),
        "quantiles": quantiles.into_iter().collect::<Map<_, _>>(),
        "steps": steps_json(d.steps()),
    })
}

fn run_json(run: &Run) -> Value {
    let Outcome { figures, distributions, series, trace_hash, verdict, counters } = &run.outcome;
    let figures = figures.iter().map(|f| (f.name.to_string(), Value::from(f.value)));
    let series = series.iter().map(|s| {
        let points: Value = s.points.iter().map(|(x, y)| json!([x, y])).collect();
        json!({ "name": s.name, "x_unit": s.x_unit, "y_unit": s.y_unit, "points": points })
    });
    json!({
        "seed": run.seed,
        "held": verdict.is_ok(),
        "why_not": verdict.as_ref().err(),
        "trace_hash": trace_hash,
        "events": counters.events,
        "packets": counters.packets,
        "virtual_s": counters.virtual_s,
        "figures": figures.collect::<Map<_, _>>(),
        "distributions": distributions.iter().map(distribution_json).collect::<Vec<_>>(),
        "series": series.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::examples::{outcome, results};
    use super::*;

    #[test]
    fn all_is_in_it_and_reads_back() {
        let results = results();
        let text = results.to_json(None);
        assert_eq!(text, results.to_json(None));
        let all: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(all["manifest"]["options"][1], "note=a,\"b\" <&>");
        assert_eq!(all["machine"], Value::Null);
        let setting = &all["settings"][3];
        assert_eq!(setting["options"], json!({ "nodes": "100", "loss": "0.1" }));
        let mean = results.settings[3].figures[0].estimate.as_ref().unwrap().mean;
        assert_eq!(setting["figures"][0]["estimate"]["mean"], json!(mean));
        assert_eq!(setting["figures"][2]["estimate"], Value::Null);
        assert_eq!(setting["runs"][0]["figures"]["missing"], Value::Null);
        assert_eq!(setting["runs"].as_array().unwrap().len(), 8);
        assert_eq!(setting["runs"][0]["series"][0]["points"][2][0], json!(2.0));
        assert!(setting["distributions"][0]["quantiles"]["p99.9"]["ci95"][1].is_f64());
        assert_eq!(all["comparisons"][0]["reading"], "worse");
    }

    #[test]
    fn one_seed_has_null_for_intervals_and_the_machine_stands_apart() {
        let run = Run { seed: 1, outcome: outcome(f64::NAN) };
        let results = Results::of(Manifest::new("dht"), Vec::new(), [(Vec::new(), run)]);
        let machine = Machine { cores: 2, wall_s: 1.5, ..Machine::default() };
        let all: Value = serde_json::from_str(&results.to_json(Some(&machine))).unwrap();
        assert_eq!(all["machine"]["cores"], 2);
        assert_eq!(all["machine"]["cpu_s"], Value::Null);
        let figures = &all["settings"][0]["figures"];
        assert_eq!(figures[0]["estimate"], Value::Null);
        assert_eq!(figures[1]["estimate"]["ci95"], Value::Null);
        let distribution = &all["settings"][0]["distributions"][0];
        assert_eq!((&distribution["count"], &distribution["mean"]), (&json!(0), &Value::Null));
        assert_eq!(distribution["left_out"], 40);
    }
}
