//! When in a day hosts come.

use crate::Day;
use crate::scenario::options::options;

options! {
    /// How many come at which hour: a wave with one peak a day. Times count from midnight.
    pub struct DayOptions {
        /// The highest rate over the mean; 1: it is the same at any hour. Mainline has between 15 and 27
        /// million nodes each day (Wang and Kangasharju 2013): 1.29.
        peak_to_mean: f64 = 1.0, in 1..=2;
        /// The hour of the peak: 20 is usual at home (chosen).
        peak_hour: f64 = 20.0, in 0..=24, "h";
    }
}

impl DayOptions {
    pub(in crate::scenario) fn day(&self) -> Day {
        Day { peak_to_mean: self.peak_to_mean, peak_hour: self.peak_hour }
    }
}
