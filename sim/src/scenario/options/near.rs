//! Which known name a wrong one may have been meant to be.

/// The most that are named.
const NEAR_MAX: usize = 3;

/// The known paths nearest to `path`, nearest first: by their last word or by all of them; none if all
/// are far.
pub(super) fn nearest(path: &str, known: &[String]) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let far = |known: &String| {
        let whole = distance(path, known);
        // A word in another table is somewhat farther than the same word here.
        whole.min(distance(&last(path), &last(known)) + 1)
    };
    let most = 1 + last(path).chars().count() / 3;
    let mut near: Vec<(usize, &String)> =
        known.iter().map(|known| (far(known), known)).filter(|(far, _)| *far <= most).collect();
    near.sort();
    near.dedup();
    let least = near.first().map_or(0, |(far, _)| *far);
    near.iter()
        .filter(|(far, _)| *far <= least)
        .take(NEAR_MAX)
        .map(|(_, name)| (*name).clone())
        .collect()
}

/// Letters put in, left out, changed or swapped with their neighbour (optimal string alignment).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let change = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near() {
        assert_eq!((distance("loss", "loss"), distance("loss", "lsos")), (0, 1));
        assert_eq!((distance("", "abc"), distance("nodes", "node")), (3, 1));
        let known = ["nodes", "links.loss", "churn.law"].map(str::to_owned);
        assert_eq!(nearest("node", &known), ["nodes"]);
        assert_eq!(nearest("links.los", &known), ["links.loss"]);
        assert_eq!(nearest("loss", &known), ["links.loss"]);
        assert_eq!(nearest("something", &known), [""; 0]);
    }
}
