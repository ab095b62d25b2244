//! What the terminal shows.

use super::compare::{Comparison, Reading};
use super::estimate::{Estimate, Interval};
use super::numbers::{short, titled, with_error, with_unit};
use super::outcome::Name;
use super::pooled::{Pooled, PooledQuantile};
use super::runs::{FigureEstimate, Results, Setting};

/// The most reasons of runs that did not hold what they promise.
const REASONS_MAX: usize = 5;

impl Results {
    /// All figures with their intervals, then the distributions: a row each if nothing is swept,
    /// else a row a setting under the name of each. Ends with a line feed.
    pub fn table(&self) -> String {
        let mut out = String::new();
        match self.settings.as_slice() {
            [] => out += "no runs\n",
            [setting] => {
                out += &figure_rows(setting.figures.iter().map(|f| (f.name.to_string(), Some(f))));
                let rows = setting.distributions.iter().map(|d| (titled(&d.name, &d.unit), d));
                out += &distribution_rows(rows.collect());
            }
            _ => {
                let comparisons = self.comparisons();
                for name in self.figure_names() {
                    out += &self.figure_table(name, &comparisons);
                }
                for name in self.distribution_names() {
                    out += &self.distribution_table(name);
                }
            }
        }
        out + &self.notes()
    }

    /// A figure by setting, and how each differs from the first.
    fn figure_table(&self, name: &Name, comparisons: &[(&Setting, Comparison)]) -> String {
        let rows = self.settings.iter().map(|s| (self.label(s), s.figure(name)));
        let differences = self.settings.iter().map(|setting| {
            let known = comparisons.iter().find(|(other, c)| {
                std::ptr::eq(*other, setting)
                    && c.figure == *name
                    && c.reading() != Reading::Unclear
            });
            known.map_or_else(String::new, |(_, c)| {
                let half = c.difference.ci95.map_or(0.0, |ci| ci.half());
                let sign = if c.difference.mean > 0.0 { "+" } else { "" };
                let difference = with_error(c.difference.mean, half);
                format!("{sign}{difference}, {}", c.reading().as_str())
            })
        });
        let mut grid = figure_grid(rows);
        grid[0].push("against the first".to_owned());
        for (row, difference) in grid.iter_mut().skip(1).zip(differences) {
            row.push(difference);
        }
        grid[0][0] = name.to_string();
        aligned(&grid) + "\n"
    }

    fn distribution_table(&self, name: &Name) -> String {
        let with =
            self.settings.iter().filter_map(|s| Some((self.label(s), s.distribution(name)?)));
        let rows: Vec<(String, &Pooled)> = with.collect();
        let title = rows.first().map_or_else(String::new, |(_, d)| titled(&d.name, &d.unit));
        let mut grid = distribution_grid(rows);
        grid[0][0] = title;
        aligned(&grid) + "\n"
    }

    /// What has to be known to read the table.
    fn notes(&self) -> String {
        let seeds = self.settings.iter().map(|s| s.runs.len());
        let (least, most) = (seeds.clone().min().unwrap_or(0), seeds.max().unwrap_or(0));
        let mut out = match (least, most) {
            (0, _) => String::new(),
            (1, 1) => "one seed: no interval can be claimed\n".to_owned(),
            (a, b) if a == b => {
                format!("{a} seeds each; ± reaches the farther end of the 95 % interval\n")
            }
            (a, b) => format!("{a} to {b} seeds; ± reaches the farther end of the 95 % interval\n"),
        };
        let failed = self.runs().filter_map(|(setting, run)| {
            let why = run.outcome.verdict.as_ref().err()?;
            Some(format!("{}, seed {}: {why}\n", self.label(setting), run.seed))
        });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            let all = self.runs().count();
            out += &format!("{} of {all} runs did not hold what is promised\n", failed.len());
            out.extend(failed.iter().take(REASONS_MAX).map(|line| format!("  {line}")));
            if failed.len() > REASONS_MAX {
                out += &format!("  and {} more\n", failed.len() - REASONS_MAX);
            }
        }
        if self.diverged > 0 {
            out += &format!("{} runs gave another trace when repeated\n", self.diverged);
        }
        out
    }
}

impl Setting {
    /// A figure as one says it: "553.1 ± 4.2 ms"; "-" where no run has it.
    pub fn told(&self, figure: &str) -> String {
        self.figure(figure).map_or_else(|| "-".to_owned(), mean_text)
    }
}

fn mean_text(figure: &FigureEstimate) -> String {
    let Some(e) = &figure.estimate else { return "-".to_owned() };
    with_unit(with_error(e.mean, e.ci95.map_or(0.0, |ci| ci.half())), &figure.unit)
}

fn median_text(e: &Estimate) -> String {
    match e.median_interval {
        Some(m) => {
            let (lo, hi) = (short(m.interval.lo), short(m.interval.hi));
            format!("{} [{lo}, {hi}]", short(e.median))
        }
        None => short(e.median),
    }
}

fn figure_rows<'a>(rows: impl Iterator<Item = (String, Option<&'a FigureEstimate>)>) -> String {
    aligned(&figure_grid(rows)) + "\n"
}

fn figure_grid<'a>(
    rows: impl Iterator<Item = (String, Option<&'a FigureEstimate>)>,
) -> Vec<Vec<String>> {
    let head = ["", "mean", "sd", "median", "min", "max", "n"];
    let mut grid = vec![head.map(str::to_owned).to_vec()];
    for (label, figure) in rows {
        let mut row = vec![label, figure.map_or_else(|| "-".to_owned(), mean_text)];
        match figure.and_then(|figure| figure.estimate.as_ref()) {
            Some(e) => row.extend([
                e.sd.map_or_else(|| "-".to_owned(), short),
                median_text(e),
                short(e.min),
                short(e.max),
                e.n.to_string(),
            ]),
            None => row.extend(["-", "-", "-", "-", "0"].map(str::to_owned)),
        }
        grid.push(row);
    }
    grid
}

fn distribution_rows(rows: Vec<(String, &Pooled)>) -> String {
    if rows.is_empty() { String::new() } else { aligned(&distribution_grid(rows)) + "\n" }
}

fn distribution_grid(rows: Vec<(String, &Pooled)>) -> Vec<Vec<String>> {
    let head = ["", "count", "mean", "min", "p50", "p90", "p99", "p99.9", "max"];
    let mut grid = vec![head.map(str::to_owned).to_vec()];
    for (label, d) in rows {
        let mut row = vec![label, d.count.to_string()];
        let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        row.extend([told(d.min().map(|_| d.mean)), told(d.min())]);
        row.extend(
            (0..4).map(|n| d.quantiles.get(n).map_or_else(|| "-".to_owned(), quantile_text)),
        );
        row.push(told(d.max()));
        grid.push(row);
    }
    grid
}

fn quantile_text(q: &PooledQuantile) -> String {
    let farther = |i: Interval| (q.value - i.lo).max(i.hi - q.value);
    with_error(q.value, q.interval.map_or(0.0, farther))
}

/// Columns side by side, the first to the left, the others to the right. A column without anything
/// in it is left out.
fn aligned(grid: &[Vec<String>]) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let is_empty = |at: usize| at > 0 && grid.iter().skip(1).all(|row| cell(row, at).is_empty());
    let width = |at: usize| grid.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0);
    let widths: Vec<(usize, usize)> =
        (0..columns).filter(|&at| !is_empty(at)).map(|at| (at, width(at))).collect();
    let mut out = String::new();
    for row in grid {
        let mut line = String::new();
        for &(at, width) in &widths {
            let text = cell(row, at);
            if at == 0 {
                line += &format!("{text:width$}");
            } else {
                line += &format!("  {text:>width$}");
            }
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::examples::{outcome, results, setting};
    use super::super::{Manifest, Run};
    use super::*;

    fn one_setting(values: &[f64]) -> Results {
        let run = |(seed, value): (u64, f64)| (Vec::new(), Run { seed, outcome: outcome(value) });
        let runs = (1..).zip(values.iter().copied()).map(run);
        Results::of(Manifest::new("dht"), Vec::new(), runs)
    }

    #[test]
    fn a_figure_is_told_with_its_interval() {
        let s = setting("a", &[(1, 550.0), (2, 551.0), (3, 556.0), (4, 555.4)]);
        assert_eq!(s.told("delay_ms"), "553.1 ± 4.8 ms");
        assert_eq!((s.told("missing").as_str(), s.told("no_such").as_str()), ("-", "-"));
        assert_eq!(setting("a", &[(1, 550.0)]).told("delay_ms"), "550 ms");
    }

    #[test]
    fn one_seed_says_that_it_claims_nothing() {
        let text = one_setting(&[7.5]).table();
        assert!(text.contains("one seed: no interval can be claimed"), "{text}");
        assert!(!text.contains('±'), "{text}");
        assert_eq!(one_setting(&[]).table(), "no runs\n");
    }

    #[test]
    fn who_did_not_hold_is_named() {
        let text = one_setting(&[1.0, 2e6, 3e6, 4e6, 5e6, 6e6, 7e6]).table();
        assert!(text.contains("6 of 7 runs did not hold what is promised"), "{text}");
        assert!(text.contains("dht, seed 2: too \"late\", by far"), "{text}");
        assert!(text.contains("and 1 more"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn settings_stand_under_each_figure_and_against_the_first() {
        let text = results().table();
        let blocks: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(blocks.len(), 5, "{text}");
        let lines: Vec<&str> = blocks[0].lines().collect();
        assert!(lines[0].starts_with("delay_ms ") && lines[0].ends_with("against the first"));
        assert!(lines[1].starts_with("nodes=100, loss=0 ") && !lines[1].contains("worse"));
        assert!(lines[2].contains("+21.62, worse"), "{text}");
        // All were found in each setting: nothing to be said, and no column for it.
        assert!(!blocks[1].contains("against"), "{text}");
        assert!(
            blocks[4].starts_with("8 seeds each; ± reaches the farther end of the 95 % interval")
        );
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }
}
