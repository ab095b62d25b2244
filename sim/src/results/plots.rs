//! Which charts results give.

use std::collections::BTreeSet;

use super::chart::{Chart, Line, Point, Shape};
use super::estimate::mean_interval;
use super::numbers::titled;
use super::outcome::Series;
use super::runs::{Results, Setting};
use super::student::t_quantile;

/// A chart, and what its file may be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedChart {
    /// A name of letters, digits, `_` and `-`, ending in `.svg`; no two of the same results have the
    /// same.
    pub file_name: String,
    /// The drawing.
    pub svg: String,
}

impl Results {
    /// All charts: each figure over each swept option, each distribution, each series.
    pub fn charts(&self) -> Vec<NamedChart> {
        let mut all = Vec::new();
        for option in &self.swept {
            for figure in self.figure_names() {
                let name = format!("{figure}_over_{option}");
                all.extend(self.figure_chart(figure, option).map(|chart| (name, chart)));
            }
        }
        for name in self.distribution_names() {
            all.extend(self.cdf_chart(name).map(|chart| (format!("cdf_{name}"), chart)));
        }
        for name in self.series_names() {
            all.extend(self.series_chart(name).map(|chart| (format!("series_{name}"), chart)));
        }
        let mut taken = BTreeSet::new();
        let named = |(name, chart): (String, Chart)| {
            let plain = file_name(&name);
            let numbered = (2..).map(|n| format!("{plain}_{n}"));
            let mut tries = std::iter::once(plain.clone()).chain(numbered);
            let free = tries.find(|name| taken.insert(name.clone()))?;
            Some(NamedChart { file_name: format!("{free}.svg"), svg: chart.svg() })
        };
        all.into_iter().filter_map(named).collect()
    }

    /// A figure over a swept option, a line for each combination of the others. The axis has numbers
    /// if all values of the option are numbers, else their names. `None` if the option is not swept,
    /// or no run has the figure.
    pub fn figure_chart(&self, figure: &str, option: &str) -> Option<Chart> {
        let at = self.swept.iter().position(|name| name == option)?;
        let known = self.settings.iter().find_map(|s| s.figure(figure))?;
        let names = names_unless_numbers(self.settings.iter().map(|s| s.values[at].as_str()));
        let mut lines: Vec<Line> = Vec::new();
        for setting in &self.settings {
            let Some(e) = setting.figure(figure).and_then(|f| f.estimate.as_ref()) else {
                continue;
            };
            let value = &setting.values[at];
            let x = match names.iter().position(|name| name == value) {
                Some(index) => index as f64,
                None => value.trim().parse().ok()?,
            };
            let label = self.other_values(setting, at);
            let point = Point { x, y: e.mean, band: e.ci95 };
            match lines.iter_mut().find(|line| line.label == label) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { label, points: vec![point] }),
            }
        }
        (!lines.is_empty()).then(|| Chart {
            title: format!("{figure} over {option}"),
            subtitle: format!("{}: {}", self.manifest.scenario, self.seeds_told()),
            x_label: option.to_owned(),
            y_label: titled(figure, &known.unit),
            names,
            shape: Shape::Marks,
            note: String::new(),
            lines,
        })
    }

    /// A distribution over all seeds, a line for each setting. `None` if no run has it.
    pub fn cdf_chart(&self, name: &str) -> Option<Chart> {
        let known = self.settings.iter().find_map(|s| s.distribution(name))?;
        let line = |setting: &Setting| {
            let d = setting.distribution(name)?;
            let share = |rank: u64| rank as f64 / d.count.max(1) as f64;
            let points = d.steps().iter();
            let points = points.map(|s| Point { x: s.value, y: share(s.rank), band: None });
            Some(Line { label: self.label(setting), points: points.collect() })
        };
        let seeds = self.settings.iter().map(|s| s.runs.len()).max().unwrap_or(0);
        let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("{seeds} seeds") };
        Some(Chart {
            title: format!("Distribution of {name}"),
            subtitle: format!("{}: all samples of {seeds}", self.manifest.scenario),
            x_label: titled(name, &known.unit),
            y_label: "share of samples that are at most so much".to_owned(),
            names: Vec::new(),
            shape: Shape::Steps,
            note: String::new(),
            lines: self.settings.iter().filter_map(line).collect(),
        })
    }

    /// A series: for each setting the mean of its runs, as far as all go, where they have points at the
    /// same x; else a line a run. `None` if no run has it.
    pub fn series_chart(&self, name: &str) -> Option<Chart> {
        let mut lines = Vec::new();
        let mut first: Option<&Series> = None;
        let mut cut = false;
        for setting in &self.settings {
            let mut runs: Vec<(u64, &Series)> = Vec::new();
            for run in &setting.runs {
                let found = run.outcome.series.iter().filter(|series| series.name == name);
                runs.extend(found.map(|series| (run.seed, series)));
            }
            first = first.or(runs.first().map(|(_, series)| *series));
            match mean_line(&runs) {
                Some(points) => {
                    cut |= runs.iter().any(|(_, series)| series.points.len() > points.len());
                    lines.push(Line { label: self.label(setting), points });
                }
                None => {
                    lines.extend(
                        runs.iter().map(|(seed, series)| Line {
                            label: format!("{}, seed {seed}", self.label(setting)),
                            points: series
                                .points
                                .iter()
                                .map(|&(x, y)| Point { x, y, band: None })
                                .collect(),
                        }),
                    )
                }
            }
        }
        let known = first?;
        Some(Chart {
            title: format!("{name} in the course of a run"),
            subtitle: format!("{}: {}", self.manifest.scenario, self.seeds_told()),
            x_label: titled("virtual time", &known.x_unit),
            y_label: titled(name, &known.y_unit),
            names: Vec::new(),
            shape: Shape::Plain,
            note: if cut {
                "a mean ends where the first of its runs does".to_owned()
            } else {
                String::new()
            },
            lines,
        })
    }

    /// The values of all swept options but one.
    fn other_values(&self, setting: &Setting, but: usize) -> String {
        let pairs = self.swept.iter().zip(&setting.values).enumerate();
        let others = pairs.filter(|(at, _)| *at != but);
        others.map(|(_, (name, value))| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }

    fn seeds_told(&self) -> String {
        let seeds = || self.settings.iter().map(|s| s.runs.len());
        match (seeds().min().unwrap_or(0), seeds().max().unwrap_or(0)) {
            (_, 0 | 1) => "one seed, so no interval can be claimed".to_owned(),
            (a, b) if a == b => format!("mean of {a} seeds with its 95 % interval"),
            (a, b) => format!("mean of {a} to {b} seeds with its 95 % interval"),
        }
    }
}

/// The distinct values in their order, or nothing if all are finite numbers.
fn names_unless_numbers<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for value in values {
        if !names.iter().any(|name| name == value) {
            names.push(value.to_owned());
        }
    }
    let number = |name: &String| name.trim().parse::<f64>().is_ok_and(f64::is_finite);
    if names.iter().all(number) { Vec::new() } else { names }
}

/// The mean of several series at each x that all have, with its interval; `None` for less than two,
/// or where one of them has an x that those which go on do not have.
fn mean_line(runs: &[(u64, &Series)]) -> Option<Vec<Point>> {
    let shortest = runs.iter().map(|(_, series)| series.points.len()).min()?;
    let (_, first) = runs.first()?;
    let same = |(_, other): &(u64, &Series)| {
        let mut pairs = first.points.iter().zip(&other.points).take(shortest);
        pairs.all(|(a, b)| a.0 == b.0)
    };
    if runs.len() < 2 || shortest == 0 || !runs.iter().all(same) {
        return None;
    }
    let t = t_quantile(0.975, (runs.len() - 1) as f64)?;
    let point = |at: usize| {
        let values: Vec<f64> = runs.iter().map(|(_, series)| series.points[at].1).collect();
        let x = first.points[at].0;
        if !values.iter().all(|value| value.is_finite()) {
            return Point { x, y: f64::NAN, band: None };
        }
        let (y, _, band) = mean_interval(&values, t);
        Point { x, y, band }
    };
    Some((0..shortest).map(point).collect())
}

/// `name` with all but letters, digits, `_` and `-` replaced.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(plain).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples::{outcome, results};
    use super::super::svg::check_xml;
    use super::super::{Manifest, Run};
    use super::*;

    #[test]
    fn each_figure_distribution_and_series_has_its_chart() {
        let charts = results().charts();
        let names: Vec<_> = charts.iter().map(|c| c.file_name.as_str()).collect();
        assert_eq!(
            names,
            [
                "delay_ms_over_nodes.svg",
                "found_over_nodes.svg",
                "delay_ms_over_loss.svg",
                "found_over_loss.svg",
                "cdf_delay.svg",
                "series_peers.svg"
            ]
        );
        for chart in charts {
            assert_eq!(check_xml(&chart.svg), Ok(()), "{}", chart.file_name);
        }
    }

    #[test]
    fn a_line_stands_for_each_value_of_the_other_option() {
        let chart = results().figure_chart("delay_ms", "nodes").unwrap();
        let labels: Vec<_> = chart.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["loss=0", "loss=0.1"]);
        let x: Vec<f64> = chart.lines[0].points.iter().map(|p| p.x).collect();
        assert_eq!(x, [100.0, 1000.0, 30_000.0]);
        assert!(chart.lines[0].points.iter().all(|p| p.band.is_some_and(|b| b.covers(p.y))));
        assert_eq!(chart.y_label, "delay_ms");
        assert_eq!(results().figure_chart("delay_ms", "seed"), None);
        assert_eq!(results().figure_chart("missing", "nodes"), None);
    }

    fn with_values(values: [&str; 2]) -> Results {
        let run = |value: &str| {
            (vec![value.to_owned()], Run { seed: 1, outcome: outcome(value.len() as f64) })
        };
        Results::of(Manifest::new("swarm"), vec!["pick".to_owned()], values.map(run))
    }

    #[test]
    fn what_is_no_number_is_a_name() {
        let chart = with_values(["rarest", "nan"]).figure_chart("delay_ms", "pick").unwrap();
        assert_eq!(chart.names, ["rarest", "nan"]);
        assert_eq!(chart.lines[0].points[1].x, 1.0);
        assert!(chart.subtitle.contains("one seed"), "{}", chart.subtitle);
        let chart = with_values(["2", "1e3"]).figure_chart("delay_ms", "pick").unwrap();
        assert_eq!((chart.names.len(), chart.lines[0].points[1].x), (0, 1000.0));
    }

    #[test]
    fn series_with_the_same_x_are_told_by_their_mean() {
        let chart = results().series_chart("peers").unwrap();
        assert_eq!(chart.lines.len(), 6);
        assert!(chart.lines[0].points[5].band.is_some());
    }

    /// Two runs with a series of these points.
    fn with_series(points: [&[(f64, f64)]; 2]) -> Chart {
        let run = |(seed, points): (u64, &[(f64, f64)])| {
            let mut outcome = outcome(1.0);
            outcome.series[0].points = points.to_vec();
            (Vec::new(), Run { seed, outcome })
        };
        let runs = (1..).zip(points).map(run);
        let results = Results::of(Manifest::new("dht"), Vec::new(), runs);
        results.series_chart("peers").unwrap()
    }

    #[test]
    fn a_mean_ends_with_the_first_of_its_runs() {
        let chart = with_series([&[(0.0, 1.0), (1.0, 4.0)], &[(0.0, 3.0), (1.0, 6.0), (2.0, 9.0)]]);
        let points: Vec<_> = chart.lines[0].points.iter().map(|p| (p.x, p.y)).collect();
        assert_eq!((points, chart.lines.len()), (vec![(0.0, 2.0), (1.0, 5.0)], 1));
        assert!(chart.note.contains("first of its runs"));
        let chart = with_series([&[(0.0, 1.0)], &[(0.0, f64::NAN)]]);
        assert!(chart.svg().contains("1 point without a number"));
    }

    #[test]
    fn series_with_other_x_are_a_line_a_run() {
        let chart = with_series([&[(0.0, 1.0), (1.0, 4.0)], &[(0.0, 3.0), (1.5, 6.0)]]);
        let labels: Vec<_> = chart.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["dht, seed 1", "dht, seed 2"]);
        assert_eq!(results().series_chart("no_such"), None);
    }

    #[test]
    fn files_have_plain_names() {
        assert_eq!(file_name("../a b/é%"), "___a_b___");
    }
}
