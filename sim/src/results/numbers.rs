//! Numbers as text: exact for machines, rounded for people.

use libm::{floor, log10};

/// The shortest decimal that reads back as the same `f64`; empty for what is no finite number.
pub fn exact(value: f64) -> String {
    let value = value + 0.0;
    match value.abs() {
        size if !size.is_finite() => String::new(),
        size if size == 0.0 || (1e-5..1e16).contains(&size) => format!("{value}"),
        _ => format!("{value:e}"),
    }
}

/// [`exact`] of what there may be; empty for nothing.
pub fn exact_or_empty(value: Option<f64>) -> String {
    value.map_or_else(String::new, exact)
}

/// `value` with four significant digits, or more if they stand before the point; "-" for what is no
/// finite number.
pub fn short(value: f64) -> String {
    if value.is_finite() && value == libm::rint(value) && value.abs() < 1e9 {
        return format!("{}", value + 0.0);
    }
    fixed(value, 3 - magnitude(value))
}

/// `value` and how far it may be off, with two significant digits of the latter: "553.1 ± 4.2".
pub fn with_error(value: f64, half: f64) -> String {
    // What is only the rounding of sums is no spread.
    if !half.is_finite() || half <= value.abs() * 1e-12 {
        return short(value);
    }
    let decimals = 1 - magnitude(half);
    format!("{} ± {}", rounded(value, decimals), rounded(half, decimals))
}

/// `value` followed by a unit, if there is one.
pub fn with_unit(text: String, unit: &str) -> String {
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

/// A name with its unit, unless it ends with that.
pub fn titled(name: &str, unit: &str) -> String {
    if unit.is_empty() || name.ends_with(&format!("_{unit}")) {
        name.to_owned()
    } else {
        format!("{name} ({unit})")
    }
}

/// [`fixed`], with zeros for the digits before the point that mean nothing if `decimals` is negative.
fn rounded(value: f64, decimals: i32) -> String {
    if decimals >= 0 || !value.is_finite() || value.abs() >= 1e12 {
        return fixed(value, decimals);
    }
    let unit = libm::exp10(f64::from(-decimals));
    fixed(libm::rint(value / unit) * unit, 0)
}

/// The power of ten of the first digit; 0 for zero and for what is no finite number.
pub(super) fn magnitude(value: f64) -> i32 {
    if value == 0.0 || !value.is_finite() { 0 } else { floor(log10(value.abs())) as i32 }
}

/// `value` with so many digits behind the point (none if negative), and with an exponent where that
/// would be unreadable.
fn fixed(value: f64, decimals: i32) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if decimals > 9 || value.abs() >= 1e12 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.0$}", decimals.max(0) as usize);
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    if is_zero { text.trim_start_matches('-').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_get_as_many_digits_as_mean_something() {
        assert_eq!(with_error(553.123, 4.234), "553.1 ± 4.2");
        assert_eq!(with_error(553.123, 42.34), "553 ± 42");
        assert_eq!(with_error(553.123, 0.0042), "553.1230 ± 0.0042");
        assert_eq!(with_error(0.5, 9.96), "0.5 ± 10.0");
        assert_eq!(with_error(167_403_450.0, 6_305_328.0), "167400000 ± 6300000");
        assert_eq!(with_error(551_988.0, 230.4), "551990 ± 230");
        assert_eq!(with_error(19.2, 1e-14), "19.20");
        assert_eq!((titled("x_ms", "ms"), titled("x", "ms")), ("x_ms".into(), "x (ms)".into()));
        assert_eq!(with_error(7.0, 0.0), "7");
        assert_eq!(short(1.0), "1");
        assert_eq!(short(123456.789), "123457");
        assert_eq!(short(0.000123456), "0.0001235");
        assert_eq!(short(1e-12), "1.000e-12");
        assert_eq!(short(f64::NAN), "-");
        assert_eq!(with_error(-0.001, 1.0), "0.0 ± 1.0");
        assert_eq!(short(-0.0), "0");
    }

    #[test]
    fn what_is_no_number_is_empty() {
        assert_eq!(exact(f64::NAN) + &exact(f64::INFINITY), "");
        assert_eq!(exact(-0.0), "0");
        assert_eq!(exact(1e300), "1e300");
        assert_eq!(exact(0.1), "0.1");
    }

    proptest! {
        #[test]
        fn exact_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(exact(value).parse::<f64>(), Ok(value));
            prop_assert!(exact(value).len() <= 25);
        }

        #[test]
        fn no_text_is_a_non_number(value: f64, half: f64) {
            let text = short(value) + &with_error(value, half);
            prop_assert!(!text.contains("NaN") && !text.contains("inf"));
        }
    }
}
