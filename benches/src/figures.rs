//! Statistics of measurements.

/// Returns the median, or `None` if there are no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    Some(f64::midpoint(sorted[middle - 1], *upper))
}

/// Returns the smallest value that the given part of all values does not exceed, or `None` if there
/// are no values.
pub fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Returns the order of a round. In `count` rounds, each index is first once, and no index always
/// follows the same other one.
pub fn rotation(count: usize, round: usize) -> impl Iterator<Item = usize> {
    // Reversed in every other cycle: otherwise each index would always follow the same one.
    let backwards = count > 0 && round / count % 2 == 1;
    (0..count).map(move |place| {
        let turned = (place + round) % count;
        if backwards { count - 1 - turned } else { turned }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn no_values_have_no_median_and_no_percentile() {
        assert_eq!(median(&[]), None);
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_percentile_is_not_exceeded_by_that_part() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(500));
        assert_eq!(percentile(&sorted, 0.99), Some(990));
        assert_eq!(percentile(&sorted, 0.999), Some(999));
        assert_eq!(percentile(&[5, 9], 0.999), Some(9));
    }

    #[test]
    fn each_index_appears_once_per_round_and_is_first_once_per_cycle() {
        let rounds: Vec<Vec<_>> = (0..3).map(|round| rotation(3, round).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }

    #[test]
    fn the_next_cycle_is_reversed() {
        let rounds: Vec<Vec<_>> = (3..6).map(|round| rotation(3, round).collect()).collect();
        assert_eq!(rounds, [[2, 1, 0], [1, 0, 2], [0, 2, 1]]);
    }
}
