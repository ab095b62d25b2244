//! What a researcher gets from runs: figures with intervals over seeds, tables, JSON and charts.
//!
//! A run gives an [`Outcome`]; [`Results::of`] puts runs together by setting and computes what the
//! seeds say. All texts follow from that alone, byte by byte; the caller writes them to files.
//! Seeds are taken as independent draws of a world, so intervals are about the mean over all seeds
//! that there could be, and not about a network that the model does not know.

mod axis;
mod chart;
mod compare;
mod csv;
mod distribution;
mod estimate;
#[cfg(test)]
mod examples;
mod json;
mod manifest;
pub mod numbers;
mod outcome;
mod plots;
mod pooled;
mod runs;
pub mod student;
mod svg;
mod table;

pub use chart::{Chart, LINE_POINTS_MAX, LINES_MAX, Line, Point, Shape};
pub use compare::{Comparison, Ratio, Reading};
pub use distribution::{Distribution, POINTS_MAX, QUANTILES, Step, quantile_name};
pub use estimate::{Estimate, Interval, MedianInterval};
pub use manifest::{Machine, Manifest};
pub use outcome::{Better, Figure, Name, Outcome, RunCounters, Series};
pub use plots::NamedChart;
pub use pooled::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEEDS_MIN, Pooled, PooledQuantile};
pub use runs::{FigureEstimate, Results, Run, Setting};
