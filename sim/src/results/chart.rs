//! Lines, bands and steps between two axes, as SVG.

use std::fmt::Write;

use super::axis::{Axis, Fit, spans};
use super::estimate::Interval;
use super::svg::{Anchor, Font, Svg, fitted, px, text_width};

/// The most points of a line that are drawn. Of more, each part of the line keeps its ends and its
/// extremes.
pub const LINE_POINTS_MAX: usize = 2_000;
/// The most lines of a chart. A note says how many more there were.
pub const LINES_MAX: usize = 24;
/// What is greater is treated as no number: the span of an axis would be infinite.
const VALUE_MAX: f64 = 1e300;
/// Decades of values over which an axis is logarithmic. A series mostly grows from little, which is
/// no reason yet; the tail of a distribution hides the rest sooner.
const LOG_DECADES: f64 = 2.0;
const SERIES_LOG_DECADES: f64 = 3.0;
const STEPS_LOG_DECADES: f64 = 1.5;
/// The most lines whose intervals are areas. Those of more would be one.
const AREAS_MAX: usize = 5;

/// Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow, which a white
/// ground swallows.
const PALETTE: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];
/// Dashes for the lines behind the first seven.
const DASHES: [&str; 4] = ["", "7 3", "2 3", "8 3 2 3"];

const GROUND: &str = "#ffffff";
const INK: &str = "#1f2328";
const SOFT_INK: &str = "#59636e";
const GRID: &str = "#e4e7eb";
const FAINT_GRID: &str = "#f2f4f6";
const FRAME: &str = "#8c959f";

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const MARGIN: f64 = 20.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 76.0;
const LEGEND_ROW: f64 = 20.0;
const LEGEND_WIDTH_MAX: f64 = 240.0;
/// What a line of the legend has before its text.
const SWATCH: f64 = 34.0;
const SMALL: f64 = 12.0;

/// A point, with the interval that y may lie in.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Along the axis to the right; the index of the name where the axis has names.
    pub x: f64,
    /// Along the axis upwards.
    pub y: f64,
    /// From where to where y may be.
    pub band: Option<Interval>,
}

/// A line.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// What the legend says.
    pub label: String,
    /// Its points, in any order.
    pub points: Vec<Point>,
}

/// How lines are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A mark at each point.
    Marks,
    /// Without marks.
    Plain,
    /// From 0 up by steps to a share of 1, each at its point.
    Steps,
}

/// A chart. Points whose x or y is no finite number are left out, and a note says how many.
#[derive(Clone, PartialEq, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What has to be known to read it.
    pub subtitle: String,
    /// What lies along x, with its unit.
    pub x_label: String,
    /// What lies along y, with its unit.
    pub y_label: String,
    /// Where x is not a number: the names at 0, 1 and so on.
    pub names: Vec<String>,
    /// How lines are drawn.
    pub shape: Shape,
    /// A remark that stands below; may be empty.
    pub note: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Where things are.
struct Frame {
    left: f64,
    right: f64,
    bottom: f64,
    height: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.share(value) * (self.bottom - TOP)
    }

    fn at(&self, x: f64, y: f64) -> String {
        format!("{} {}", px(self.x(x)), px(self.y(y)))
    }
}

/// The lines as they are drawn, and what was left out.
struct Drawn {
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Chart {
    /// The drawing, the same bytes for the same chart.
    pub fn svg(&self) -> String {
        let drawn = self.drawn();
        let (x, y) = self.axes(&drawn.lines);
        let rows = if drawn.lines.len() > 1 { drawn.lines.len() } else { 0 };
        let labels = drawn.lines.iter().map(|line| text_width(&line.label, SMALL));
        let widest = labels.fold(0.0, f64::max).min(LEGEND_WIDTH_MAX);
        let legend = if rows > 0 { SWATCH + widest + 16.0 } else { 0.0 };
        let height = HEIGHT.max(TOP + rows as f64 * LEGEND_ROW + BOTTOM);
        let frame = Frame {
            left: MARGIN + text_width(y.widest(), SMALL).max(20.0) + 10.0,
            right: WIDTH - MARGIN - legend - 8.0,
            bottom: height - BOTTOM,
            height,
            x,
            y,
        };
        let mut about = vec![self.subtitle.clone()];
        about.extend(drawn.notes.iter().cloned());
        let mut svg = Svg::new(WIDTH, height, GROUND, &self.title, &about.join("; "));
        self.frame(&mut svg, &frame, &drawn.notes);
        svg.begin_clip(frame.left - 7.0, TOP - 7.0, frame.right - frame.left + 14.0, {
            frame.bottom - TOP + 14.0
        });
        // Bands first, so that none hides a line.
        for (n, line) in drawn.lines.iter().enumerate() {
            self.band(&mut svg, &frame, line, n, drawn.lines.len());
        }
        for (n, line) in drawn.lines.iter().enumerate() {
            self.line(&mut svg, &frame, line, n, drawn.lines.len());
        }
        svg.end_clip();
        if rows > 0 {
            self.legend(&mut svg, &frame, &drawn.lines);
        }
        if drawn.lines.iter().all(|line| line.points.is_empty()) {
            let middle = ((frame.left + frame.right) / 2.0, (TOP + frame.bottom) / 2.0);
            let font = Font { size: 14.0, color: SOFT_INK, bold: false, anchor: Anchor::Middle };
            svg.text(middle, font, "no values");
        }
        svg.finish()
    }

    fn drawn(&self) -> Drawn {
        let usable = |value: f64| value.is_finite() && value.abs() <= VALUE_MAX;
        let mut left_out = 0;
        let mut lines: Vec<Line> = Vec::new();
        for line in self.lines.iter().take(LINES_MAX) {
            let good = line.points.iter().copied().filter(|p| usable(p.x) && usable(p.y));
            let mut points: Vec<Point> = good
                .map(|p| Point { band: p.band.filter(|b| usable(b.lo) && usable(b.hi)), ..p })
                .collect();
            left_out += line.points.len() - points.len();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            lines.push(Line { label: line.label.clone(), points: thin(points) });
        }
        let mut notes = Vec::new();
        if !self.note.is_empty() {
            notes.push(self.note.clone());
        }
        let plural = |n: usize, one: &str, many: &str| {
            if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
        };
        if left_out > 0 {
            let which = plural(left_out, "point without a number", "points without a number");
            notes.push(format!("left out: {which}"));
        }
        if self.lines.len() > LINES_MAX {
            let which = plural(self.lines.len() - LINES_MAX, "further line", "further lines");
            notes.push(format!("left out: {which}"));
        }
        Drawn { lines, notes }
    }

    fn axes(&self, lines: &[Line]) -> (Axis, Axis) {
        let points = || lines.iter().flat_map(|line| &line.points);
        let (x_lo, x_hi) = range(points().map(|p| p.x));
        let (y_lo, y_hi) = range(points().map(|p| p.y));
        let banded = |p: &Point| p.band.map_or([p.y, p.y], |b| [b.lo.min(p.y), b.hi.max(p.y)]);
        let (low, high) = range(points().flat_map(banded));
        let (x_decades, y_decades) = match self.shape {
            Shape::Marks => (LOG_DECADES, LOG_DECADES),
            Shape::Plain => (f64::INFINITY, SERIES_LOG_DECADES),
            Shape::Steps => (STEPS_LOG_DECADES, f64::INFINITY),
        };
        let log_x = spans(x_lo, x_hi, x_decades);
        let pad = if self.shape == Shape::Marks { 0.04 } else { 0.0 };
        let x = match self.names.as_slice() {
            [] => Axis::new(x_lo, x_hi, Fit { log: log_x, round: false, pad, ticks: 7 }),
            names => Axis::names(names),
        };
        let round = Fit { log: false, round: true, pad: 0.0, ticks: 6 };
        let y = if self.shape == Shape::Steps {
            Axis::new(0.0, 1.0, round)
        } else if spans(y_lo, y_hi, y_decades) {
            Axis::new(y_lo, high, Fit { log: true, ..round })
        } else {
            // An axis that nearly reaches zero begins there.
            let near_zero = low >= 0.0 && low < high * 0.5;
            Axis::new(if near_zero { 0.0 } else { low }, high, round)
        };
        (x, y)
    }

    fn frame(&self, svg: &mut Svg, frame: &Frame, notes: &[String]) {
        let start = Font { size: SMALL, color: SOFT_INK, bold: false, anchor: Anchor::Start };
        let full = WIDTH - 2.0 * MARGIN;
        let title = Font { size: 17.0, color: INK, bold: true, ..start };
        svg.text((MARGIN, 32.0), title, &fitted(&self.title, 17.0, full));
        svg.text((MARGIN, 52.0), start, &fitted(&self.subtitle, SMALL, full));
        let named = Font { size: 13.0, color: INK, ..start };
        svg.text((MARGIN, TOP - 14.0), named, &fitted(&self.y_label, 13.0, full));
        let middle = Font { anchor: Anchor::Middle, ..named };
        let below = ((frame.left + frame.right) / 2.0, frame.bottom + 42.0);
        svg.text(below, middle, &fitted(&self.x_label, 13.0, frame.right - frame.left));
        if !notes.is_empty() {
            let text = fitted(&notes.join("; "), 11.0, full);
            svg.text((MARGIN, frame.height - 12.0), Font { size: 11.0, ..start }, &text);
        }
        self.ticks(svg, frame, start);
        let axis = [("stroke", FRAME), ("stroke-width", "1")];
        svg.line((frame.left, frame.bottom), (frame.right, frame.bottom), &axis);
    }

    fn ticks(&self, svg: &mut Svg, frame: &Frame, font: Font) {
        for tick in &frame.y.ticks {
            let y = frame.bottom - tick.at * (frame.bottom - TOP);
            let color = if tick.label.is_empty() { FAINT_GRID } else { GRID };
            svg.line((frame.left, y), (frame.right, y), &[("stroke", color)]);
            let end = Font { anchor: Anchor::End, ..font };
            if !tick.label.is_empty() {
                svg.text((frame.left - 9.0, y + 4.0), end, &tick.label);
            }
        }
        let room = match self.names.len() {
            0 => f64::INFINITY,
            n => (frame.right - frame.left) / n as f64 - 6.0,
        };
        // Labels that would touch the one before are left out; their marks stay.
        let mut free_from = f64::NEG_INFINITY;
        for tick in &frame.x.ticks {
            let x = frame.left + tick.at * (frame.right - frame.left);
            let color = if tick.label.is_empty() { FAINT_GRID } else { GRID };
            if self.names.is_empty() {
                svg.line((x, TOP), (x, frame.bottom), &[("stroke", color)]);
            }
            let text = fitted(&tick.label, SMALL, room.min(WIDTH));
            let half = text_width(&text, SMALL) / 2.0;
            if text.is_empty() || x - half < free_from {
                continue;
            }
            free_from = x + half + 6.0;
            svg.line((x, frame.bottom), (x, frame.bottom + 5.0), &[("stroke", FRAME)]);
            let middle = Font { anchor: Anchor::Middle, ..font };
            svg.text((x, frame.bottom + 20.0), middle, &text);
        }
    }

    /// How far the marks of one line stand beside the name's middle, in units of x.
    fn beside(&self, n: usize, lines: usize) -> f64 {
        if self.names.is_empty() {
            return 0.0;
        }
        (n as f64 - (lines as f64 - 1.0) / 2.0) * (0.6 / lines as f64).min(0.12)
    }

    /// The intervals: an area, or for a point that stands alone a stroke.
    fn band(&self, svg: &mut Svg, frame: &Frame, line: &Line, n: usize, lines: usize) {
        let color = PALETTE[n % PALETTE.len()];
        let beside = self.beside(n, lines);
        for run in line.points.chunk_by(|a, b| a.band.is_some() == b.band.is_some()) {
            let known: Vec<(f64, Interval)> =
                run.iter().filter_map(|p| Some((p.x + beside, p.band?))).collect();
            let areas = lines <= AREAS_MAX || self.shape != Shape::Marks;
            if areas && known.len() > 1 && self.names.is_empty() {
                let there = known.iter().map(|(x, band)| frame.at(*x, band.hi));
                let back = known.iter().rev().map(|(x, band)| frame.at(*x, band.lo));
                let path = there.chain(back).collect::<Vec<_>>().join("L");
                svg.path(&format!("M{path}Z"), &[("fill", color), ("fill-opacity", "0.16")]);
            }
            if self.shape == Shape::Marks {
                for (x, band) in &known {
                    let (x, lo, hi) = (frame.x(*x), frame.y(band.lo), frame.y(band.hi));
                    let (lo, hi) = (px(lo), px(hi));
                    let (x, a, b) = (px(x), px(x - 4.0), px(x + 4.0));
                    let path = format!("M{x} {lo}V{hi}M{a} {lo}H{b}M{a} {hi}H{b}");
                    let more = [("stroke", color), ("fill", "none"), ("stroke-opacity", "0.65")];
                    svg.path(&path, &more);
                }
            }
        }
    }

    fn line(&self, svg: &mut Svg, frame: &Frame, line: &Line, n: usize, lines: usize) {
        let beside = self.beside(n, lines);
        if self.names.is_empty() && line.points.len() > 1 || self.shape == Shape::Steps {
            let path = match self.shape {
                Shape::Steps => steps(frame, &line.points),
                _ => {
                    let all: Vec<String> = line.points.iter().map(|p| frame.at(p.x, p.y)).collect();
                    format!("M{}", all.join("L"))
                }
            };
            if !line.points.is_empty() {
                stroke(svg, &path, n);
            }
        }
        if self.shape == Shape::Marks || (line.points.len() == 1 && self.shape == Shape::Plain) {
            for p in &line.points {
                mark(svg, frame.x(p.x + beside), frame.y(p.y), n);
            }
        }
    }

    fn legend(&self, svg: &mut Svg, frame: &Frame, lines: &[Line]) {
        let font = Font { size: SMALL, color: INK, bold: false, anchor: Anchor::Start };
        let left = frame.right + 16.0;
        for (n, line) in lines.iter().enumerate() {
            let y = TOP + 8.0 + n as f64 * LEGEND_ROW;
            if self.names.is_empty() {
                stroke(svg, &format!("M{} {}H{}", px(left), px(y), px(left + 24.0)), n);
            }
            if self.shape == Shape::Marks {
                mark(svg, left + 12.0, y, n);
            }
            let text = fitted(&line.label, SMALL, LEGEND_WIDTH_MAX);
            svg.text((left + SWATCH, y + 4.0), font, &text);
        }
    }
}

/// The least and the greatest; 0 and 1 for none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
        let (lo, hi) = ends.unwrap_or((value, value));
        Some((lo.min(value), hi.max(value)))
    });
    ends.unwrap_or((0.0, 1.0))
}

/// At most [`LINE_POINTS_MAX`] points: of each of equally many in turn the first, the least, the
/// greatest and the last.
fn thin(points: Vec<Point>) -> Vec<Point> {
    if points.len() <= LINE_POINTS_MAX {
        return points;
    }
    let parts = LINE_POINTS_MAX / 4;
    let size = points.len().div_ceil(parts);
    let mut kept = Vec::new();
    for part in points.chunks(size) {
        let by_y = |a: &usize, b: &usize| part[*a].y.total_cmp(&part[*b].y);
        let all = || 0..part.len();
        let mut at = vec![0, part.len() - 1];
        at.extend(all().min_by(by_y));
        at.extend(all().max_by(by_y));
        at.sort_unstable();
        at.dedup();
        kept.extend(at.into_iter().map(|at| part[at]));
    }
    kept
}

/// From 0 up, each step at its point.
fn steps(frame: &Frame, points: &[Point]) -> String {
    let Some(first) = points.first() else { return String::new() };
    let mut path = format!("M{}", frame.at(first.x, 0.0));
    for p in points {
        // Writing to a string does not fail.
        let _ = write!(path, "H{}V{}", px(frame.x(p.x)), px(frame.y(p.y)));
    }
    // The step of the greatest ends at the edge, where nothing is more.
    let _ = write!(path, "H{}", px(frame.right));
    path
}

fn stroke(svg: &mut Svg, path: &str, n: usize) {
    let mut more = vec![
        ("fill", "none"),
        ("stroke", PALETTE[n % PALETTE.len()]),
        ("stroke-width", "2"),
        ("stroke-linejoin", "round"),
    ];
    let dash = DASHES[(n / PALETTE.len()) % DASHES.len()];
    if !dash.is_empty() {
        more.push(("stroke-dasharray", dash));
    }
    svg.path(path, &more);
}

/// A disc, a square, a diamond or a triangle with a rim of the ground's colour.
fn mark(svg: &mut Svg, x: f64, y: f64, n: usize) {
    let path = match n % 4 {
        0 => format!("M{} {}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z", px(x - 4.5), px(y)),
        1 => format!("M{} {}h8v8h-8Z", px(x - 4.0), px(y - 4.0)),
        2 => format!("M{} {}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z", px(x), px(y - 5.5)),
        _ => format!("M{} {}l5 9h-10Z", px(x), px(y - 5.5)),
    };
    let color = PALETTE[n % PALETTE.len()];
    svg.path(&path, &[("fill", color), ("stroke", GROUND), ("stroke-width", "1")]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::svg::check_xml;
    use super::*;

    fn point(x: f64, y: f64) -> Point {
        Point { x, y, band: None }
    }

    fn chart(shape: Shape, lines: Vec<Vec<Point>>) -> Chart {
        let line = |(n, points)| Line { label: format!("<line> {n}"), points };
        Chart {
            title: "A & B".to_owned(),
            subtitle: "\"quoted\"".to_owned(),
            x_label: "nodes".to_owned(),
            y_label: "ms".to_owned(),
            names: Vec::new(),
            shape,
            note: String::new(),
            lines: lines.into_iter().enumerate().map(line).collect(),
        }
    }

    fn checked(chart: &Chart) -> String {
        let svg = chart.svg();
        assert_eq!(check_xml(&svg), Ok(()));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg, chart.svg());
        svg
    }

    #[test]
    fn what_is_no_number_is_left_out_and_counted() {
        let points = vec![point(1.0, 2.0), point(f64::NAN, 1.0), point(2.0, f64::INFINITY)];
        let svg = checked(&chart(Shape::Plain, vec![points, vec![point(3.0, 1e305)]]));
        assert!(svg.contains("left out: 3 points without a number"), "{svg}");
        assert!(checked(&chart(Shape::Marks, Vec::new())).contains("no values"));
        assert!(checked(&chart(Shape::Steps, vec![vec![]])).contains("no values"));
    }

    #[test]
    fn too_many_lines_are_counted() {
        let lines = (0..30).map(|n| vec![point(0.0, f64::from(n)), point(1.0, 0.0)]).collect();
        let svg = checked(&chart(Shape::Plain, lines));
        assert!(svg.contains("6 further lines") && svg.contains("&lt;line&gt; 23"));
        assert!(!svg.contains("&lt;line&gt; 24"));
    }

    #[test]
    fn a_long_line_keeps_its_extremes() {
        let wave = |n: u32| if n == 33_333 { 99.0 } else { f64::from(n * 7 % 13) };
        let points: Vec<Point> = (0..100_000).map(|n| point(f64::from(n), wave(n))).collect();
        let kept = thin(points.clone());
        assert!(kept.len() <= LINE_POINTS_MAX, "{}", kept.len());
        assert!(kept.contains(&points[33_333]));
        assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[99_999]));
        assert!(kept.is_sorted_by(|a, b| a.x < b.x));
        assert!(checked(&chart(Shape::Plain, vec![points])).len() < 60_000);
    }

    #[test]
    fn wide_sweeps_have_decades() {
        let svg = checked(&chart(Shape::Marks, vec![vec![point(10.0, 1.0), point(1e5, 2.0)]]));
        for decade in [">10<", ">100<", ">1000<", ">10,000<", ">100,000<"] {
            assert!(svg.contains(decade), "{decade}");
        }
    }

    #[test]
    fn names_have_marks_and_no_line_between() {
        let band = Some(Interval { lo: 0.5, hi: 1.5 });
        let lines =
            vec![vec![Point { x: 0.0, y: 1.0, band }, Point { x: 1.0, y: 2.0, band: None }]];
        let mut chart = chart(Shape::Marks, lines);
        chart.names = vec!["rarest".to_owned(), "random".to_owned()];
        let svg = checked(&chart);
        assert!(svg.contains(">rarest<") && svg.contains(">random<"));
        assert!(!svg.contains("stroke-linejoin"), "{svg}");
    }

    proptest! {
        #[test]
        fn any_chart_is_well_formed_and_finite(
            title in "\\PC*",
            points in prop::collection::vec((any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>()), 0..30),
            small in prop::collection::vec((-1e3..1e3_f64, 0.0..1e6_f64), 0..30),
        ) {
            let banded = |&(x, y, lo, hi): &(f64, f64, f64, f64)| {
                Point { x, y, band: Some(Interval { lo, hi }) }
            };
            for shape in [Shape::Marks, Shape::Plain, Shape::Steps] {
                let small = small.iter().map(|&(x, y)| point(x, y)).collect();
                let mut chart = chart(shape, vec![points.iter().map(banded).collect(), small]);
                chart.title = title.clone();
                let svg = chart.svg();
                prop_assert_eq!(check_xml(&svg), Ok(()));
                let drawn = svg.split_once("<rect").map_or("", |(_, drawn)| drawn);
                prop_assert!(!drawn.contains("\"NaN") && !drawn.contains("inf "), "{}", svg);
            }
        }
    }
}
