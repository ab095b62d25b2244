//! Many numbers in few.

/// The spread of some numbers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// The spread of `values`; all zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Summary {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return Summary::default() };
        // The nearest rank: the least value that so many are at most.
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Summary {
            count: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            min: values[0],
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: values[last],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_were_there() {
        let s = Summary::of((1..=200).rev().map(f64::from));
        assert_eq!(
            (s.count, s.min, s.p50, s.p90, s.p99, s.max),
            (200, 1.0, 100.0, 180.0, 198.0, 200.0)
        );
        assert_eq!(s.mean, 100.5);
        assert_eq!(Summary::of([3.0]).p99, 3.0);
        assert_eq!(Summary::of([]), Summary::default());
    }
}
