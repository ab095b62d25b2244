//! Student's t, the normal and the binomial distribution, as far as intervals need them.

use libm::{erfc, exp, fabs, lgamma, log, log1p};

/// Above so many degrees of freedom t is the normal quantile and one term of correction, which is
/// right to ten digits.
const DF_LARGE: f64 = 1e5;

/// The value that Student's t with `df` degrees of freedom stays below with probability `p`. `df`
/// may be infinite: the normal distribution. `None` unless 0 < p < 1 and df >= 1.
pub fn t_quantile(p: f64, df: f64) -> Option<f64> {
    if !(p > 0.0 && p < 1.0 && df >= 1.0) {
        return None;
    }
    let tail = p.min(1.0 - p);
    let size = if df > DF_LARGE {
        let z = decreasing_root(|z| normal_tail(z) - tail);
        z + (z * z * z + z) / (4.0 * df)
    } else {
        decreasing_root(|t| t_tail(t, df) - tail)
    };
    Some(if p < 0.5 { -size } else { size })
}

/// How likely Student's t with `df` degrees of freedom is above `t`, for t >= 0.
pub fn t_tail(t: f64, df: f64) -> f64 {
    if df > DF_LARGE {
        return normal_tail(t);
    }
    0.5 * beta_share(df / 2.0, 0.5, df / (df + t * t))
}

/// How likely a standard normal value is above `z`.
pub fn normal_tail(z: f64) -> f64 {
    0.5 * erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// How likely fewer than `k` of `n` fair coins show heads.
pub fn coins_below(k: usize, n: usize) -> f64 {
    match k {
        0 => 0.0,
        k if k > n => 1.0,
        k => beta_share((n - k + 1) as f64, k as f64, 0.5),
    }
}

/// Where `f`, which decreases, is zero above zero.
fn decreasing_root(f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while f(high) > 0.0 && high < 1e300 {
        (low, high) = (high, high * 2.0);
    }
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if f(middle) > 0.0 { low = middle } else { high = middle }
    }
}

/// The regularized incomplete beta function (DLMF 8.17).
fn beta_share(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let away_from_zero = |v: f64| if fabs(v) < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // It takes a few times the root of the greater parameter.
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change = c * d;
            value *= change;
        }
        if fabs(change - 1.0) < 1e-15 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables of t at 97.5 %, as in any textbook: df 1 to 30.
    const T_975: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    /// Further (p, df, t) of such tables.
    const T_MORE: [(f64, f64, f64); 14] = [
        (0.975, 40.0, 2.021),
        (0.975, 50.0, 2.009),
        (0.975, 60.0, 2.000),
        (0.975, 80.0, 1.990),
        (0.975, 100.0, 1.984),
        (0.975, f64::INFINITY, 1.960),
        (0.95, 1.0, 6.314),
        (0.95, 10.0, 1.812),
        (0.995, 1.0, 63.657),
        (0.995, 5.0, 4.032),
        (0.995, 100.0, 2.626),
        (0.995, f64::INFINITY, 2.576),
        (0.9995, 2.0, 31.599),
        (0.9995, 30.0, 3.646),
    ];

    fn t(p: f64, df: f64) -> f64 {
        t_quantile(p, df).unwrap()
    }

    #[test]
    fn t_is_as_in_the_tables() {
        for (n, known) in (1..).zip(T_975) {
            assert!((t(0.975, f64::from(n)) - known).abs() <= 0.0005, "df {n}");
        }
        for (p, df, known) in T_MORE {
            assert!((t(p, df) - known).abs() <= 0.0005, "p {p}, df {df}: {}", t(p, df));
        }
    }

    #[test]
    fn t_of_one_and_two_degrees_is_as_in_closed_form() {
        for p in [0.6, 0.75, 0.9, 0.975, 0.9995] {
            let cauchy = libm::tan(std::f64::consts::PI * (p - 0.5));
            assert!((t(p, 1.0) / cauchy - 1.0).abs() < 1e-10, "p {p}");
            let two = (2.0 * p - 1.0) * (1.0 / (2.0 * p * (1.0 - p))).sqrt();
            assert!((t(p, 2.0) / two - 1.0).abs() < 1e-10, "p {p}");
        }
    }

    #[test]
    fn t_falls_to_the_normal_quantile_without_a_step() {
        let normal = 1.959_963_984_540_054;
        assert!((t(0.975, f64::INFINITY) - normal).abs() < 1e-12);
        let mut before = f64::INFINITY;
        for df in (1..=100).chain([1_000, 50_000, 99_999, 100_001, 1_000_000]) {
            let here = t(0.975, f64::from(df));
            assert!(here < before && here > normal, "df {df}");
            before = here;
        }
        assert!((t(0.975, 99_999.0) - t(0.975, 100_001.0)).abs() < 1e-9);
    }

    #[test]
    fn t_is_symmetric_and_knows_where_it_is_not_defined() {
        assert!((t(0.025, 7.0) + t(0.975, 7.0)).abs() < 1e-12);
        assert!(t(0.5, 7.0).abs() < 1e-12);
        for (p, df) in [(0.0, 5.0), (1.0, 5.0), (f64::NAN, 5.0), (0.9, 0.0), (0.9, f64::NAN)] {
            assert_eq!(t_quantile(p, df), None);
        }
    }

    #[test]
    fn coins_are_counted() {
        assert!((coins_below(1, 6) - 1.0 / 64.0).abs() < 1e-14);
        assert!((coins_below(3, 5) - 0.5).abs() < 1e-14);
        assert_eq!((coins_below(0, 5), coins_below(6, 5)), (0.0, 1.0));
        assert!((coins_below(2, 10) - 11.0 / 1024.0).abs() < 1e-14);
        assert!((coins_below(5_000, 10_001) - 0.492_021).abs() < 1e-5);
    }
}
