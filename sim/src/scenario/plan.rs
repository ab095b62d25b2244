//! Which runs a call makes.

use super::options::{Place, Problem};
use super::{Scenario, Template};
use crate::results::{Manifest, Outcome, Results, Run};

/// A scenario with what is swept, and the seeds.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    manifest: Manifest,
    swept: Vec<String>,
    settings: Vec<(Vec<String>, Scenario)>,
}

/// A run that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// What.
    pub scenario: &'a Scenario,
    /// With which seed.
    pub seed: u64,
}

impl Plan {
    /// Each product of a value of each swept option with each seed. `file` gives the text of a file that
    /// the scenario names, or says why not.
    pub fn new(
        template: &Template,
        sweeps: &[(String, Vec<String>)],
        seeds: Vec<u64>,
        file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Plan, Problem> {
        for (n, (path, values)) in sweeps.iter().enumerate() {
            let place = Place::Argument(format!("{path}={}", values.join(",")));
            if sweeps[..n].iter().any(|(other, _)| other == path) {
                return Err(Problem::new(&place, "an option can be swept once"));
            }
            let twice = values.iter().enumerate().find(|(n, value)| values[..*n].contains(value));
            if let Some((_, value)) = twice {
                return Err(Problem::new(&place, format!("{value} stands there twice")));
            }
        }
        let mut settings = vec![(Vec::new(), template.clone())];
        for (path, values) in sweeps {
            let mut next = Vec::new();
            for (taken, template) in &settings {
                for value in values {
                    let (mut taken, mut template): (Vec<String>, Template) =
                        (taken.clone(), template.clone());
                    template.set(path, value)?;
                    taken.push(value.clone());
                    next.push((taken, template));
                }
            }
            settings = next;
        }
        let settings = settings
            .into_iter()
            .map(|(values, template)| Ok((values, template.scenario(file)?)))
            .collect::<Result<Vec<_>, Problem>>()?;
        let mut manifest = Manifest::new(template.name.clone());
        if let Some((_, scenario)) = settings.first() {
            manifest.set("kind", scenario.kind());
            for entry in scenario.entries() {
                if entry.is_option() && !entry.is_example {
                    manifest.set(entry.path, entry.value);
                }
            }
        }
        for (path, values) in sweeps {
            manifest.set(path.as_str(), values.join(","));
        }
        manifest.seeds = seeds;
        let swept = sweeps.iter().map(|(path, _)| path.clone()).collect();
        Ok(Plan { manifest, swept, settings })
    }

    /// The runs, setting by setting and seed by seed.
    pub fn jobs(&self) -> Vec<Job<'_>> {
        let of = |(_, scenario)| {
            self.manifest.seeds.iter().map(move |seed| Job { scenario, seed: *seed })
        };
        self.settings.iter().map(|(values, scenario)| (values, scenario)).flat_map(of).collect()
    }

    /// What the runs give that are done: an outcome for each of [`Plan::jobs`], as far as they are there.
    pub fn results(&self, outcomes: &[Option<Outcome>]) -> Results {
        let seeds = self.manifest.seeds.len().max(1);
        let done = outcomes.iter().enumerate().filter_map(|(at, outcome)| {
            let (values, _) = self.settings.get(at / seeds)?;
            let seed = *self.manifest.seeds.get(at % seeds)?;
            Some((values.clone(), Run { seed, outcome: outcome.clone()? }))
        });
        let missing = self.settings.len() * seeds - outcomes.iter().flatten().count();
        Results { missing, ..Results::of(self.manifest.clone(), self.swept.clone(), done) }
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.manifest.scenario
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::RunCounters;

    fn no_file(_: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    fn plan(sweeps: &[(&str, &[&str])], seeds: Vec<u64>) -> Result<Plan, String> {
        let template = Template::parse("mine", "kind = \"dht\"\nnodes = 5\n").unwrap();
        let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        let sweeps: Vec<(String, Vec<String>)> =
            sweeps.iter().map(|(path, values)| ((*path).to_owned(), owned(values))).collect();
        Plan::new(&template, &sweeps, seeds, &no_file).map_err(|problem| problem.to_string())
    }

    #[test]
    fn two_sweeps_give_the_product_and_results_keep_the_order_of_the_plan() {
        let sweeps: [(&str, &[&str]); 2] = [("nodes", &["5", "6"]), ("links.loss", &["0", "0.5"])];
        let plan = plan(&sweeps, vec![3, 4]).unwrap();
        let jobs = plan.jobs();
        assert_eq!(jobs.len(), 8);
        let Scenario::Dht(scenario) = jobs[6].scenario else { panic!() };
        assert_eq!((scenario.nodes, scenario.links.loss, jobs[7].seed), (6, 0.5, 4));
        let outcome = Outcome {
            figures: Vec::new(),
            distributions: Vec::new(),
            series: Vec::new(),
            trace_hash: String::new(),
            verdict: Ok(()),
            counters: RunCounters::default(),
        };
        let mut outcomes = vec![None; 8];
        (outcomes[7], outcomes[2]) = (Some(outcome.clone()), Some(outcome));
        let results = plan.results(&outcomes);
        assert_eq!(results.missing, 6);
        assert_eq!(results.swept, ["nodes", "links.loss"]);
        let settings: Vec<_> =
            results.settings.iter().map(|s| (s.values.join(" "), s.runs[0].seed)).collect();
        assert_eq!(settings, [("5 0.5".to_owned(), 3), ("6 0.5".to_owned(), 4)]);
        let option = |name: &str| {
            let found = plan.manifest.options.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(option("nodes"), Some("5,6".to_owned()));
        assert_eq!(option("lookups"), Some("1000".to_owned()));
    }

    #[test]
    fn what_cannot_be_swept_is_told_before_anything_runs() {
        for (sweeps, want) in [
            (vec![("node", &["5"][..])], "node=5: there is no option node; did you mean nodes?"),
            (
                vec![("nodes", &["5", "1"][..])],
                "nodes=1: nodes takes a whole number from 2 to 1000000, not 1",
            ),
            (vec![("nodes", &["5", "5"][..])], "nodes=5,5: 5 stands there twice"),
            (
                vec![("nodes", &["5"][..]), ("nodes", &["6"][..])],
                "nodes=6: an option can be swept once",
            ),
            (vec![("nodes.x", &["5"][..])], "nodes.x=5: \"x\" would stand within 5"),
            (
                vec![("links.latency", &["king", "matrix"][..])],
                "links.latency is matrix, so links.matrix_file must name a file",
            ),
        ] {
            assert_eq!(plan(&sweeps, vec![1]), Err(want.to_owned()));
        }
    }
}
