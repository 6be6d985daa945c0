//! Formats figures.

/// Formats a time in nanoseconds.
pub(super) fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    scaled(nanoseconds, &units)
}

/// Formats operations per second, from nanoseconds per operation.
pub(super) fn rate(nanoseconds: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    scaled(1e9 / nanoseconds, &units)
}

/// Formats a number of bytes.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        1e4.. => scaled(bytes, &[(1e6, "MB"), (1e3, "kB")]),
        _ => format!("{bytes:.0} B"),
    }
}

/// Formats an average count.
pub(super) fn count(count: f64) -> String {
    let text = format!("{count:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats a multiple.
pub(super) fn multiple(times: f64) -> String {
    let decimals = match times {
        9.95.. => 0,
        0.95.. => 1,
        0.095.. => 2,
        _ => 3,
    };
    format!("{times:.decimals$}x")
}

/// Formats the ratio of the highest to the lowest count.
pub(super) fn ratio(ratio: f64) -> String {
    match ratio {
        ..100.0 => format!("{ratio:.2}"),
        _ => scaled(ratio, &[(1e6, "M"), (1e3, "k"), (1.0, "")]),
    }
}

/// Formats three digits in the largest unit not above the value.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fitting = units.iter().find(|(size, _)| value >= *size);
    let (size, unit) = fitting.or(units.last()).unwrap_or(&(1.0, ""));
    let value = value / size;
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits() {
        assert_eq!(time(6.789), "6.79 ns");
        assert_eq!(time(139.9), "140 ns");
        assert_eq!(time(5_571.0), "5.57 µs");
        assert_eq!(time(1.115e6), "1.11 ms");
        assert_eq!(time(0.25), "0.25 ns");
        assert_eq!(rate(139.9), "7.15 M");
        assert_eq!(rate(2e9), "0.50");
    }

    #[test]
    fn small_sizes_are_exact_and_large_ones_rounded() {
        assert_eq!(bytes(128.0), "128 B");
        assert_eq!(bytes(2_048.0), "2048 B");
        assert_eq!(bytes(12_345.0), "12.3 kB");
    }

    #[test]
    fn a_multiple_has_two_digits() {
        assert_eq!(multiple(0.0321), "0.032x");
        assert_eq!(multiple(0.214), "0.21x");
        assert_eq!(multiple(1.0), "1.0x");
        assert_eq!(multiple(4.24), "4.2x");
        assert_eq!(multiple(9.97), "10x");
        assert_eq!(multiple(123.4), "123x");
    }
}
