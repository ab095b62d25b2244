//! Tables for other programs: RFC 4180 with a head, lines ended by a line feed. Empty is what there
//! is not.

use std::collections::BTreeSet;

use super::compare::Comparison;
use super::distribution::{QUANTILES, quantile_name};
use super::estimate::{Estimate, Interval};
use super::numbers::{exact, exact_or_empty};
use super::runs::{Results, Setting};

/// A table under way.
struct Csv {
    out: String,
    columns: usize,
}

impl Csv {
    /// A table with these columns. One whose name was there already gets a number.
    fn new(head: impl IntoIterator<Item = String>) -> Csv {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for name in head {
            let numbered = (2..).map(|n| format!("{name}_{n}"));
            let mut tries = std::iter::once(name.clone()).chain(numbered);
            names.extend(tries.find(|name| seen.insert(name.clone())));
        }
        let mut csv = Csv { out: String::new(), columns: names.len() };
        csv.row(names);
        csv
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| quoted(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns);
        self.out += &cells.join(",");
        self.out.push('\n');
    }
}

/// A field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) || field.trim() != field {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn owned<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

fn ends(interval: Option<Interval>) -> [String; 2] {
    [exact_or_empty(interval.map(|i| i.lo)), exact_or_empty(interval.map(|i| i.hi))]
}

impl Results {
    fn head(&self, more: &[&str]) -> Vec<String> {
        self.swept.iter().cloned().chain(owned(more.iter().copied())).collect()
    }

    /// `runs.csv`: a row a run, with the swept options, the seed, whether it held what it promised
    /// and why not, what it took, and all figures.
    pub fn runs_csv(&self) -> String {
        let names = self.figure_names();
        let fixed = ["seed", "held", "why_not", "trace_hash", "events", "packets", "virtual_s"];
        let figures = names.iter().map(|name| name.to_string());
        let mut csv = Csv::new(self.head(&fixed).into_iter().chain(figures));
        for (setting, run) in self.runs() {
            let (outcome, counters) = (&run.outcome, &run.outcome.counters);
            let mut row = setting.values.clone();
            row.extend([
                run.seed.to_string(),
                outcome.verdict.is_ok().to_string(),
                outcome.verdict.clone().err().unwrap_or_default(),
                outcome.trace_hash.clone(),
                counters.events.to_string(),
                counters.packets.to_string(),
                exact(counters.virtual_s),
            ]);
            row.extend(names.iter().map(|name| exact_or_empty(outcome.value(name))));
            csv.row(row);
        }
        csv.out
    }

    /// `summary.csv`: a row a setting and figure.
    pub fn summary_csv(&self) -> String {
        const HEAD: [&str; 15] = [
            "figure",
            "unit",
            "better",
            "n",
            "mean",
            "sd",
            "ci95_lo",
            "ci95_hi",
            "median",
            "median_lo",
            "median_hi",
            "median_coverage",
            "min",
            "max",
            "held",
        ];
        let mut csv = Csv::new(self.head(&HEAD));
        for setting in &self.settings {
            for figure in &setting.figures {
                let mut row = setting.values.clone();
                row.extend([figure.name.to_string(), figure.unit.to_string()]);
                row.push(figure.better.as_str().to_owned());
                row.extend(estimate_cells(figure.estimate.as_ref()));
                row.push(setting.held().to_string());
                csv.row(row);
            }
        }
        csv.out
    }

    /// `comparisons.csv`: a row a setting but the first, and figure: how it differs from the first
    /// setting over the same seeds.
    pub fn comparisons_csv(&self) -> String {
        const HEAD: [&str; 13] = [
            "base",
            "figure",
            "unit",
            "pairs",
            "unpaired",
            "difference",
            "difference_sd",
            "difference_lo",
            "difference_hi",
            "ratio",
            "ratio_lo",
            "ratio_hi",
            "reading",
        ];
        let mut csv = Csv::new(self.head(&HEAD));
        for (setting, comparison) in self.comparisons() {
            let Comparison { difference, ratio, .. } = &comparison;
            let mut row = setting.values.clone();
            row.push(self.label(&self.settings[0]));
            row.extend([comparison.figure.to_string(), comparison.unit.to_string()]);
            row.extend([difference.n.to_string(), comparison.unpaired.to_string()]);
            row.extend([exact(difference.mean), exact_or_empty(difference.sd)]);
            row.extend(ends(difference.ci95));
            row.push(exact_or_empty(ratio.map(|ratio| ratio.mean)));
            row.extend(ends(ratio.and_then(|ratio| ratio.ci95)));
            row.push(comparison.reading().as_str().to_owned());
            csv.row(row);
        }
        csv.out
    }

    /// `distributions.csv`: a row a setting, distribution and seed, and one with the seed "all" for
    /// the samples of all seeds together, which alone has intervals.
    pub fn distributions_csv(&self) -> String {
        let names = QUANTILES.map(quantile_name);
        let fixed = ["seed", "distribution", "unit", "seeds", "count", "left_out", "mean", "min"];
        let mut head = self.head(&fixed);
        head.extend(names.iter().cloned().chain(["max".to_owned()]));
        head.extend(names.iter().flat_map(|name| [format!("{name}_lo"), format!("{name}_hi")]));
        let mut csv = Csv::new(head);
        for setting in &self.settings {
            for run in &setting.runs {
                for d in &run.outcome.distributions {
                    let mut row = setting.values.clone();
                    row.extend([run.seed.to_string(), d.name.to_string(), d.unit.to_string()]);
                    row.extend(["1".to_owned(), d.count.to_string(), d.left_out.to_string()]);
                    row.extend([exact_or_empty(d.min().map(|_| d.mean)), exact_or_empty(d.min())]);
                    row.extend(QUANTILES.map(|permille| exact_or_empty(d.quantile(permille))));
                    row.push(exact_or_empty(d.max()));
                    row.extend(vec![String::new(); 2 * QUANTILES.len()]);
                    csv.row(row);
                }
            }
            pooled_rows(&mut csv, setting);
        }
        csv.out
    }

    /// `cdf.csv`: the steps of the cumulative distributions over all seeds: so many samples are at
    /// most so much.
    pub fn cdf_csv(&self) -> String {
        let mut csv = Csv::new(self.head(&["distribution", "unit", "value", "rank", "share"]));
        for setting in &self.settings {
            for d in &setting.distributions {
                for step in d.steps() {
                    let mut row = setting.values.clone();
                    row.extend([d.name.to_string(), d.unit.to_string(), exact(step.value)]);
                    row.push(step.rank.to_string());
                    row.push(exact(step.rank as f64 / d.count.max(1) as f64));
                    csv.row(row);
                }
            }
        }
        csv.out
    }

    /// `series.csv`: a row a point.
    pub fn series_csv(&self) -> String {
        let mut csv = Csv::new(self.head(&["seed", "series", "x_unit", "y_unit", "x", "y"]));
        for (setting, run) in self.runs() {
            for series in &run.outcome.series {
                for &(x, y) in &series.points {
                    let mut row = setting.values.clone();
                    row.extend([run.seed.to_string(), series.name.to_string()]);
                    row.extend([series.x_unit.to_string(), series.y_unit.to_string()]);
                    row.extend([exact(x), exact(y)]);
                    csv.row(row);
                }
            }
        }
        csv.out
    }
}

/// The cells from `n` to `max`.
fn estimate_cells(estimate: Option<&Estimate>) -> Vec<String> {
    let Some(e) = estimate else {
        let mut cells = vec![String::new(); 11];
        cells[0] = "0".to_owned();
        return cells;
    };
    let mut cells = vec![e.n.to_string(), exact(e.mean), exact_or_empty(e.sd)];
    cells.extend(ends(e.ci95));
    cells.push(exact(e.median));
    cells.extend(ends(e.median_interval.map(|m| m.interval)));
    cells.push(exact_or_empty(e.median_interval.map(|m| m.coverage)));
    cells.extend([exact(e.min), exact(e.max)]);
    cells
}

fn pooled_rows(csv: &mut Csv, setting: &Setting) {
    for d in &setting.distributions {
        let mut row = setting.values.clone();
        row.extend(["all".to_owned(), d.name.to_string(), d.unit.to_string()]);
        row.extend([d.seeds.to_string(), d.count.to_string(), d.left_out.to_string()]);
        row.extend([exact_or_empty(d.min().map(|_| d.mean)), exact_or_empty(d.min())]);
        let at = |n: usize| d.quantiles.get(n);
        row.extend((0..QUANTILES.len()).map(|n| exact_or_empty(at(n).map(|q| q.value))));
        row.push(exact_or_empty(d.max()));
        row.extend((0..QUANTILES.len()).flat_map(|n| ends(at(n).and_then(|q| q.interval))));
        csv.row(row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::examples::results;
    use super::super::{Manifest, Run};
    use super::*;

    /// Reads RFC 4180, and panics at what is none.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
        let (mut inside, mut closed) = (false, false);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if inside && chars.next_if_eq(&'"').is_some() => field.push('"'),
                '"' if inside => (inside, closed) = (false, true),
                c if inside => field.push(c),
                '"' => {
                    assert!(field.is_empty() && !closed, "a quote within a field");
                    inside = true;
                }
                ',' | '\n' => {
                    row.push(std::mem::take(&mut field));
                    closed = false;
                    if c == '\n' {
                        rows.push(std::mem::take(&mut row));
                    }
                }
                c => {
                    assert!(!closed, "text behind a quote");
                    field.push(c);
                }
            }
        }
        assert!(!inside && row.is_empty() && field.is_empty(), "it ends with a line");
        rows
    }

    fn column<'a>(rows: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
        let at = rows[0].iter().position(|head| head == name).unwrap();
        rows[1..].iter().map(|row| row[at].as_str()).collect()
    }

    #[test]
    fn all_tables_have_as_many_cells_in_each_row_and_no_non_number() {
        let results = results();
        let tables = [
            (results.runs_csv(), 48),
            (results.summary_csv(), 18),
            (results.comparisons_csv(), 10),
            (results.distributions_csv(), 54),
            (results.series_csv(), 48 * 20),
        ];
        for (text, count) in tables {
            let rows = parse(&text);
            assert_eq!(rows.len(), count + 1, "{}", rows[0].join(","));
            assert!(rows.iter().all(|row| row.len() == rows[0].len()));
            assert!(!text.contains("NaN") && !text.contains("inf"));
        }
        assert!(parse(&results.cdf_csv()).len() > 100);
    }

    #[test]
    fn a_summary_reads_back_as_it_was() {
        let results = results();
        let rows = parse(&results.summary_csv());
        let e = results.settings[0].figures[0].estimate.as_ref().unwrap();
        let cell = |name| column(&rows, name)[0].parse::<f64>().unwrap();
        assert_eq!((cell("mean"), cell("sd")), (e.mean, e.sd.unwrap()));
        assert_eq!((cell("ci95_lo"), cell("ci95_hi")), {
            let ci = e.ci95.unwrap();
            (ci.lo, ci.hi)
        });
        assert_eq!(cell("median_coverage"), e.median_interval.unwrap().coverage);
        assert_eq!(column(&rows, "figure")[2], "missing");
        assert_eq!((column(&rows, "n")[2], column(&rows, "mean")[2]), ("0", ""));
    }

    #[test]
    fn one_seed_has_empty_cells_and_not_zero() {
        let run = Run { seed: 1, outcome: super::super::examples::outcome(5e6) };
        let results = Results::of(Manifest::new("dht"), Vec::new(), [(Vec::new(), run)]);
        let rows = parse(&results.summary_csv());
        assert_eq!((column(&rows, "mean")[0], column(&rows, "sd")[0]), ("5000000", ""));
        assert_eq!(column(&rows, "ci95_lo")[0], "");
        let rows = parse(&results.runs_csv());
        assert_eq!(column(&rows, "why_not"), ["too \"late\", by far"]);
        assert_eq!(column(&rows, "held"), ["false"]);
    }

    #[test]
    fn an_option_called_like_a_figure_keeps_its_column() {
        let run = Run { seed: 1, outcome: super::super::examples::outcome(5.0) };
        let runs = [(vec!["0.5".to_owned()], run)];
        let results = Results::of(Manifest::new("dht"), vec!["found".to_owned()], runs);
        let rows = parse(&results.runs_csv());
        assert_eq!((column(&rows, "found"), column(&rows, "found_2")), (vec!["0.5"], vec!["1"]));
    }

    proptest! {
        #[test]
        fn any_text_reads_back(rows in prop::collection::vec(prop::collection::vec("[a\",\r\n é]{0,6}|\\PC*", 3), 1..6)) {
            let mut csv = Csv { out: String::new(), columns: 3 };
            for row in &rows {
                csv.row(row.clone());
            }
            prop_assert_eq!(parse(&csv.out), rows);
        }
    }
}
