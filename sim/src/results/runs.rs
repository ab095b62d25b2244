//! Runs, put together by setting.

use super::compare::Comparison;
use super::estimate::Estimate;
use super::manifest::Manifest;
use super::outcome::{Better, Name, Outcome};
use super::pooled::Pooled;

/// One run.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// What it gave.
    pub outcome: Outcome,
}

/// One figure over the seeds of a setting.
#[derive(Clone, PartialEq, Debug)]
pub struct FigureEstimate {
    /// The figure.
    pub name: Name,
    /// Its unit.
    pub unit: Name,
    /// Which way is better.
    pub better: Better,
    /// What the seeds say; `None` if no run has a value.
    pub estimate: Option<Estimate>,
}

/// The runs with one value of each swept option, and what they say together.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// The values of the swept options, in the order of [`Results::swept`].
    pub values: Vec<String>,
    /// The runs, one a seed.
    pub runs: Vec<Run>,
    /// Their figures.
    pub figures: Vec<FigureEstimate>,
    /// Their distributions.
    pub distributions: Vec<Pooled>,
}

impl Setting {
    /// What `runs` say together.
    pub fn new(values: Vec<String>, runs: Vec<Run>) -> Setting {
        let figures = estimates(&runs);
        let distributions = pooled(&runs);
        Setting { values, runs, figures, distributions }
    }

    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<&FigureEstimate> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// A distribution by its name.
    pub fn distribution(&self, name: &str) -> Option<&Pooled> {
        self.distributions.iter().find(|pooled| pooled.name == name)
    }

    /// How many runs did what their scenario promises.
    pub fn held(&self) -> usize {
        self.runs.iter().filter(|run| run.outcome.verdict.is_ok()).count()
    }
}

/// All runs of one call.
#[derive(Clone, PartialEq, Debug)]
pub struct Results {
    /// What was run.
    pub manifest: Manifest,
    /// The options with more than one value, in the program's order.
    pub swept: Vec<String>,
    /// The settings, in the order in which they were first seen.
    pub settings: Vec<Setting>,
    /// Runs with the same setting and seed as one before. They say nothing new and are left out.
    pub repeated: usize,
    /// Of these, the ones whose trace was another: the program is broken then.
    pub diverged: usize,
    /// Runs that were to be made and are not there, as after an interruption.
    pub missing: usize,
}

impl Results {
    /// Puts runs together: each with its values of the `swept` options. Settings and runs keep their
    /// order, so whoever runs them at once hands them over in the order of the plan. A missing value
    /// is the empty one, and one too many is left out.
    pub fn of(
        manifest: Manifest,
        swept: Vec<String>,
        runs: impl IntoIterator<Item = (Vec<String>, Run)>,
    ) -> Results {
        let mut settings: Vec<(Vec<String>, Vec<Run>)> = Vec::new();
        let (mut repeated, mut diverged) = (0, 0);
        for (mut values, run) in runs {
            values.resize(swept.len(), String::new());
            let Some((_, runs)) = settings.iter_mut().find(|(known, _)| *known == values) else {
                settings.push((values, vec![run]));
                continue;
            };
            match runs.iter().find(|known| known.seed == run.seed) {
                Some(known) => {
                    repeated += 1;
                    diverged += usize::from(known.outcome.trace_hash != run.outcome.trace_hash);
                }
                None => runs.push(run),
            }
        }
        let settings = settings.into_iter().map(|(values, runs)| Setting::new(values, runs));
        Results { manifest, swept, settings: settings.collect(), repeated, diverged, missing: 0 }
    }

    /// "nodes=1000, loss=0.1"; the scenario if nothing is swept.
    pub fn label(&self, setting: &Setting) -> String {
        if self.swept.is_empty() {
            return self.manifest.scenario.to_string();
        }
        let pairs = self.swept.iter().zip(&setting.values);
        pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }

    /// All runs, with their settings.
    pub fn runs(&self) -> impl Iterator<Item = (&Setting, &Run)> {
        self.settings.iter().flat_map(|setting| setting.runs.iter().map(move |run| (setting, run)))
    }

    /// The names of all figures, in the order in which they are first seen.
    pub fn figure_names(&self) -> Vec<&Name> {
        distinct(self.settings.iter().flat_map(|s| s.figures.iter().map(|figure| &figure.name)))
    }

    /// The names of all distributions, likewise.
    pub fn distribution_names(&self) -> Vec<&Name> {
        distinct(self.settings.iter().flat_map(|s| s.distributions.iter().map(|d| &d.name)))
    }

    /// The names of all series, likewise.
    pub fn series_names(&self) -> Vec<&Name> {
        distinct(self.runs().flat_map(|(_, run)| run.outcome.series.iter().map(|s| &s.name)))
    }

    /// How each setting but the first differs from the first, figure by figure.
    pub fn comparisons(&self) -> Vec<(&Setting, Comparison)> {
        let Some((base, others)) = self.settings.split_first() else { return Vec::new() };
        let of = |other| {
            let figures = base.figures.iter();
            figures
                .filter_map(move |figure| Some((other, Comparison::of(base, other, &figure.name)?)))
        };
        others.iter().flat_map(of).collect()
    }
}

/// Each name once, in order.
fn distinct<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<&'a Name> {
    let mut seen: Vec<&Name> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn estimates(runs: &[Run]) -> Vec<FigureEstimate> {
    let names = distinct(runs.iter().flat_map(|run| run.outcome.figures.iter().map(|f| &f.name)));
    let of = |name: &Name| {
        let mut all = runs.iter().flat_map(|run| &run.outcome.figures);
        let first = all.find(|figure| figure.name == *name)?;
        Some(FigureEstimate {
            name: name.clone(),
            unit: first.unit.clone(),
            better: first.better,
            estimate: Estimate::of(runs.iter().filter_map(|run| run.outcome.value(name))),
        })
    };
    names.into_iter().filter_map(of).collect()
}

fn pooled(runs: &[Run]) -> Vec<Pooled> {
    let all = || runs.iter().flat_map(|run| &run.outcome.distributions);
    let of = |name: &Name| Pooled::of(&all().filter(|d| d.name == *name).collect::<Vec<_>>());
    distinct(all().map(|d| &d.name)).into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples::{outcome, results};
    use super::*;

    #[test]
    fn runs_come_together_by_setting_in_their_order() {
        let run = |seed, value| Run { seed, outcome: outcome(value) };
        let manifest = Manifest::new("dht");
        let runs = [("b", 1, 1.0), ("a", 1, 2.0), ("b", 2, 3.0), ("b", 1, 9.0)];
        let runs = runs.map(|(value, seed, v)| (vec![value.to_owned()], run(seed, v)));
        let results = Results::of(manifest, vec!["x".to_owned()], runs);
        let values: Vec<_> = results.settings.iter().map(|s| s.values[0].as_str()).collect();
        assert_eq!(values, ["b", "a"]);
        let b = results.settings[0].figure("delay_ms").unwrap().estimate.as_ref().unwrap();
        assert_eq!((b.n, b.mean), (2, 2.0));
        assert_eq!((results.repeated, results.diverged), (1, 1));
        assert_eq!(results.label(&results.settings[1]), "x=a");
    }

    #[test]
    fn all_names_are_told_once() {
        let results = results();
        assert_eq!(results.figure_names(), ["delay_ms", "found", "missing"]);
        assert_eq!(results.distribution_names(), ["delay"]);
        assert_eq!(results.series_names(), ["peers"]);
        let comparisons = results.comparisons();
        assert_eq!(comparisons.len(), 2 * (results.settings.len() - 1));
    }
}
