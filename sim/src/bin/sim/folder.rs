//! The folder that results are written into.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sim::results::{Machine, Results};

/// The file by which a folder of results is known.
const RESULTS: &str = "results.json";
/// What stands at the head of it.
const MARK: &str = "\"program\":\"sim\"";
const TABLES: [&str; 6] =
    ["runs.csv", "summary.csv", "comparisons.csv", "distributions.csv", "cdf.csv", "series.csv"];
const FIGURES: &str = "figures";

/// A folder for results.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, or takes one that is empty or holds earlier results, which go.
    pub fn take(path: &Path) -> Result<Folder, String> {
        let told = |error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(path).map_err(told)?;
        let is_empty = fs::read_dir(path).map_err(told)?.next().is_none();
        let holds_results =
            || fs::read_to_string(path.join(RESULTS)).is_ok_and(|text| text.contains(MARK));
        if !is_empty && !holds_results() {
            let path = path.display();
            return Err(format!(
                "{path} is not empty and holds no earlier results: name another folder, or empty it"
            ));
        }
        let folder = Folder { path: path.to_owned() };
        folder.empty().map_err(told)?;
        Ok(folder)
    }

    /// Removes what an earlier call wrote, and nothing else.
    fn empty(&self) -> io::Result<()> {
        let figures = self.path.join(FIGURES);
        let mut old: Vec<PathBuf> = TABLES.iter().map(|name| self.path.join(name)).collect();
        if let Ok(entries) = fs::read_dir(&figures) {
            let svg = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "svg");
            old.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(svg));
        }
        for path in old {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the tables and `results.json`, which replace those of fewer runs, each as a whole.
    pub fn write(&self, results: &Results, machine: &Machine) -> Result<(), String> {
        let texts = [
            results.runs_csv(),
            results.summary_csv(),
            results.comparisons_csv(),
            results.distributions_csv(),
            results.cdf_csv(),
            results.series_csv(),
        ];
        for (name, text) in TABLES.iter().zip(texts) {
            self.replace(Path::new(name), &text)?;
        }
        self.replace(Path::new(RESULTS), &results.to_json(Some(machine)))
    }

    /// Draws all figures.
    pub fn draw(&self, results: &Results) -> Result<(), String> {
        let figures = self.path.join(FIGURES);
        fs::create_dir_all(&figures).map_err(|error| format!("{}: {error}", figures.display()))?;
        for chart in results.charts() {
            self.replace(&Path::new(FIGURES).join(chart.file_name), &chart.svg)?;
        }
        Ok(())
    }

    fn replace(&self, name: &Path, text: &str) -> Result<(), String> {
        let path = self.path.join(name);
        let new = path.with_extension("new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}
