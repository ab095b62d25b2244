//! Measured delays of a file.

use std::collections::BTreeSet;
use std::fmt;

/// The most rows of a matrix: 12.5 million pairs, 50 MB.
const ROWS_MAX: usize = 5_000;

/// The longest round trip that is believed, in ms. More stands for another unit: King's data set
/// also goes round in microseconds.
const ROUND_TRIP_MAX_MS: f64 = 60_000.0;

/// One-way delays between all pairs of some hosts, half of the round trips that were measured.
#[derive(Clone, PartialEq)]
pub struct Matrix {
    rows: u32,
    /// The rows below the diagonal, one after the other, in microseconds.
    pairs: Vec<u32>,
    min_us: u32,
    filled: usize,
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} rows, from {} us)", self.rows, self.min_us)
    }
}

/// Why a text is no matrix of delays, with a way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MatrixError {
    /// The line where that shows, from 1; 0 for the whole text.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "latencies: {}", self.what),
            line => write!(f, "latencies, line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for MatrixError {}

fn wrong<T>(line: usize, what: impl Into<String>) -> Result<T, MatrixError> {
    Err(MatrixError { line, what: what.into() })
}

impl Matrix {
    /// Reads round trips in milliseconds: either a square, one row a line, or a line `i j ms` for
    /// each pair, as p2psim has them, with any numbers as names. White space or commas part the
    /// numbers; what follows a `#` is a comment.
    ///
    /// What stands there for both directions, or twice, is averaged. A pair without a number, or with
    /// one that is not above 0, gets the median of all; two hosts on one row are as far from each other as
    /// the closest pair.
    pub fn parse(text: &str) -> Result<Matrix, MatrixError> {
        let lines = text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.split('#').next().unwrap_or_default()))
            .filter(|(_, line)| fields(line).next().is_some());
        if is_square(lines.clone())? { square(lines) } else { triples(lines) }
    }

    /// How many rows there are.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The shortest one-way delay, in microseconds; at least 1.
    pub fn min_us(&self) -> u32 {
        self.min_us
    }

    /// The greatest.
    pub fn max_us(&self) -> u32 {
        self.pairs.iter().copied().max().unwrap_or(self.min_us)
    }

    /// How many pairs had no number and have the median.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The one-way delay between two rows, in microseconds; panics beyond [`Matrix::rows`].
    pub fn one_way_us(&self, a: u32, b: u32) -> u32 {
        if a == b { self.min_us } else { self.pairs[index(a as usize, b as usize)] }
    }
}

/// Where the pair of two different rows stands.
fn index(a: usize, b: usize) -> usize {
    let (low, high) = (a.min(b), a.max(b));
    high * (high - 1) / 2 + low
}

fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || c == ',').filter(|field| !field.is_empty())
}

/// Tells the forms apart: three numbers in each line are triples, unless there are three lines with
/// zeros on the diagonal.
fn is_square<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<bool, MatrixError> {
    let (mut count, mut zeros, mut three) = (0, true, true);
    for (_, line) in lines {
        three &= fields(line).take(4).count() == 3;
        if count < 3 {
            zeros &= fields(line).nth(count).is_some_and(|field| field.parse() == Ok(0.0));
        }
        count += 1;
        if !three {
            return Ok(true);
        }
    }
    match count {
        0 => wrong(0, "there is no line with numbers; give round trips in ms"),
        _ => Ok(count == 3 && zeros),
    }
}

/// A round trip in ms as a one-way delay in microseconds; 0 if it is none.
fn one_way(line: usize, field: &str) -> Result<u32, MatrixError> {
    let Ok(ms) = field.parse::<f64>() else {
        return wrong(line, format!("\"{field}\" is not a number; put a # before words"));
    };
    if ms > ROUND_TRIP_MAX_MS {
        let what = format!("{field} ms is more than a minute; divide by 1,000 if it is in us");
        return wrong(line, what);
    }
    // A number that is none fails this comparison as well.
    Ok(if ms > 0.0 { ((ms * 500.0).round() as u32).max(1) } else { 0 })
}

/// A matrix that is being filled; 0 stands for no number.
struct Cells {
    rows: usize,
    pairs: Vec<u32>,
}

impl Cells {
    fn new(line: usize, rows: usize) -> Result<Cells, MatrixError> {
        if rows < 2 {
            return wrong(line, "one host has no pairs; give at least two");
        }
        if rows > ROWS_MAX {
            let what = format!("more than {ROWS_MAX} hosts; take a part of them, hosts share rows");
            return wrong(line, what);
        }
        Ok(Cells { rows, pairs: vec![0; rows * (rows - 1) / 2] })
    }

    fn put(&mut self, a: usize, b: usize, us: u32) {
        if a == b || us == 0 {
            return;
        }
        let cell = &mut self.pairs[index(a, b)];
        *cell = if *cell == 0 { us } else { u32::midpoint(*cell, us) };
    }

    fn finish(mut self) -> Result<Matrix, MatrixError> {
        let mut known: Vec<u32> = self.pairs.iter().copied().filter(|&us| us > 0).collect();
        if known.is_empty() {
            return wrong(0, "no pair has a round trip above 0 ms; is it in another unit?");
        }
        let filled = self.pairs.len() - known.len();
        let middle = known.len() / 2;
        let median = *known.select_nth_unstable(middle).1;
        for cell in self.pairs.iter_mut().filter(|cell| **cell == 0) {
            *cell = median;
        }
        let min_us = self.pairs.iter().copied().min().unwrap_or(1);
        Ok(Matrix { rows: self.rows as u32, pairs: self.pairs, min_us, filled })
    }
}

fn square<'a>(
    lines: impl Iterator<Item = (usize, &'a str)> + Clone,
) -> Result<Matrix, MatrixError> {
    let Some((first, line)) = lines.clone().next() else { return wrong(0, "no lines") };
    let rows = fields(line).count();
    let mut cells = Cells::new(first, rows)?;
    let mut last = (0, 0);
    for (row, (at, line)) in lines.enumerate() {
        if row == rows {
            return wrong(at, format!("a row too many: the first row has {rows} numbers"));
        }
        let mut columns = 0;
        for field in fields(line) {
            if columns < rows {
                cells.put(row, columns, one_way(at, field)?);
            }
            columns += 1;
        }
        if columns != rows {
            let what = format!("{columns} numbers, but {rows} in the first row; give a square");
            return wrong(at, what);
        }
        last = (at, row + 1);
    }
    let (at, have) = last;
    if have < rows {
        return wrong(at, format!("the last of {have} rows, but {rows} columns; give a square"));
    }
    cells.finish()
}

fn triples<'a>(
    lines: impl Iterator<Item = (usize, &'a str)> + Clone,
) -> Result<Matrix, MatrixError> {
    let name = |at: usize, field: &str| match field.parse::<u32>() {
        Ok(name) => Ok(name),
        Err(_) => wrong(at, format!("\"{field}\" is no host number; give lines \"i j ms\"")),
    };
    let mut names = BTreeSet::new();
    let mut at = 0;
    for (line, text) in lines.clone() {
        at = line;
        for field in fields(text).take(2) {
            names.insert(name(line, field)?);
        }
        if names.len() > ROWS_MAX {
            break;
        }
    }
    let names: Vec<u32> = names.into_iter().collect();
    let mut cells = Cells::new(at, names.len())?;
    for (line, text) in lines {
        let mut parts = fields(text);
        let mut next = || parts.next().unwrap_or_default();
        let mut row = || name(line, next()).map(|name| names.partition_point(|&n| n < name));
        let (a, b) = (row()?, row()?);
        cells.put(a, b, one_way(line, next())?);
    }
    cells.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Matrix::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_square_is_read() {
        let text = "# King\n 0 100 30.5 \n\n100 0 7 # here\n30.5 9 0\n";
        let matrix = Matrix::parse(text).unwrap();
        assert_eq!((matrix.rows(), matrix.filled()), (3, 0));
        assert_eq!(matrix.one_way_us(0, 1), 50_000);
        assert_eq!(matrix.one_way_us(2, 0), 15_250);
        // The mean of both directions, 7 and 9 ms.
        assert_eq!(matrix.one_way_us(1, 2), 4_000);
        assert_eq!((matrix.min_us(), matrix.one_way_us(1, 1)), (4_000, 4_000));
    }

    #[test]
    fn lines_of_pairs_are_read_and_gaps_filled() {
        let matrix = Matrix::parse("10 20 100\n10 30,40\n20 40 60\n30 40 -1\n").unwrap();
        assert_eq!((matrix.rows(), matrix.filled()), (4, 3));
        assert_eq!(matrix.one_way_us(0, 1), 50_000);
        assert_eq!(matrix.one_way_us(0, 2), 20_000);
        assert_eq!(matrix.one_way_us(3, 1), 30_000);
        assert_eq!(matrix.one_way_us(2, 3), 30_000, "the median");
        let three = Matrix::parse("1 2 10\n1 3 20\n2 3 30\n").unwrap();
        assert_eq!((three.rows(), three.one_way_us(1, 2)), (3, 15_000));
        assert_eq!(Matrix::parse("0 1 8\n").unwrap().min_us(), 4_000);
        assert_eq!(Matrix::parse("0 1 1e-9\n").unwrap().min_us(), 1);
    }

    #[test]
    fn both_directions_are_averaged_without_losing_a_microsecond() {
        let matrix = Matrix::parse("0 0.006\n0.010 0").unwrap();
        assert_eq!(matrix.min_us(), 4);
        assert_eq!(Matrix::parse("0 0.002\n0.002 0").unwrap().min_us(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("# nothing\n", "latencies: there is no line with numbers"),
            ("0 1\n1 0\n2 2\n", "line 3: a row too many"),
            ("0 1 2 3\n1 0 2 3\n", "line 2: the last of 2 rows, but 4 columns"),
            ("0 1 2 3\n1 0 2\n", "line 2: 3 numbers, but 4 in the first row"),
            ("0 5\n\n5 x\n", "line 3: \"x\" is not a number"),
            ("1 2 5\n1.5 2 5\n", "line 2: \"1.5\" is no host number"),
            ("1 2 75000\n", "line 1: 75000 ms is more than a minute"),
            ("7 7 5\n", "line 1: one host has no pairs"),
            ("1 2 0\n", "no pair has a round trip above 0 ms"),
            ("1 2 nan\n", "no pair has a round trip above 0 ms"),
            ("1 2 inf\n", "more than a minute"),
        ];
        for (text, words) in cases {
            assert!(error(text).contains(words), "{text:?}: {}", error(text));
        }
    }

    #[test]
    fn its_size_is_bounded() {
        let triples: String = (0..6_000).map(|i| format!("{i} {} 5\n", i + 1)).collect();
        assert!(error(&triples).contains("more than 5000 hosts"), "{}", error(&triples));
        let row = "1 ".repeat(5_001);
        assert!(error(&row).contains("line 1: more than 5000 hosts"), "{}", error(&row));
    }
}
