//! Charts as inline SVG: bars, and lines over linear or logarithmic axes.
//!
//! Owns geometry and tick marks. Colours are classes of the style sheet, which has
//! a light and a dark set; lines differ by their dashes, too. Legends stand beside
//! the drawing, not in it, so that nothing overlaps.

mod axis;

use std::fmt::Write as _;

use super::figure::escape;
use crate::report::number;
use axis::{Axis, Scale};

pub(super) use axis::Scale as ScaleKind;

/// Width of a drawing as wide as the page; it grows and shrinks with it.
const WIDE: f64 = 880.0;

/// Width of one of two that stand side by side.
const NARROW: f64 = 440.0;

/// Dashes of the lines, in the order of the colours.
const DASHES: [&str; 7] = ["", "7 4", "2 3", "10 3 2 3", "14 4", "4 2", "1 2"];

/// One bar: its parts from left to right.
pub(super) struct Bar {
    pub(super) name: String,
    /// Lengths, each with the number of its colour.
    pub(super) parts: Vec<(f64, usize)>,
    /// Ends of a whisker.
    pub(super) interval: Option<(f64, f64)>,
    /// What stands at its end.
    pub(super) label: String,
}

/// Bars one below the other, all from zero.
pub(super) fn bars(title: &str, description: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 46.0;
    const LABELS: f64 = 170.0;
    let length = |bar: &Bar| bar.parts.iter().map(|(length, _)| length).sum::<f64>();
    let reach = |bar: &Bar| bar.interval.map_or(0.0, |(_, high)| high).max(length(bar));
    let longest = bars.iter().map(reach).fold(0.0, f64::max);
    let scale = if longest > 0.0 { (WIDE - LABELS) / longest } else { 0.0 };
    let mut body = String::new();
    for (index, bar) in bars.iter().enumerate() {
        let top = index as f64 * ROW;
        let (text, bar_top, middle) = (top + 15.0, top + 21.0, top + 29.0);
        let _ = write!(body, "<text x=\"0\" y=\"{text}\">{}</text>", escape(&bar.name));
        let mut left = 0.0;
        for (length, colour) in &bar.parts {
            // What is there is to be seen.
            let width = (length * scale).max(if *length > 0.0 { 1.0 } else { 0.0 });
            let _ = write!(
                body,
                "<rect x=\"{left:.1}\" y=\"{bar_top}\" width=\"{width:.1}\" height=\"16\" fill=\"var(--s{colour})\"/>",
            );
            left += width;
        }
        let mut end = left;
        if let Some((low, high)) = bar.interval {
            let (low, high) = (low.max(0.0) * scale, high * scale);
            end = end.max(high);
            let (up, down) = (middle - 5.0, middle + 5.0);
            let _ = write!(
                body,
                "<path class=\"whisker\" d=\"M{low:.1} {up}V{down}M{low:.1} {middle}H{high:.1}M{high:.1} {up}V{down}\"/>",
            );
        }
        let (x, y) = (end + 8.0, middle + 4.5);
        let _ = write!(body, "<text x=\"{x:.1}\" y=\"{y}\">{}</text>", escape(&bar.label));
    }
    drawing(title, description, (WIDE, bars.len() as f64 * ROW + 4.0), &body)
}

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Number of its colour and dashes.
    pub(super) colour: usize,
}

/// What a chart of lines shows.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    /// Name and scale of each axis.
    pub(super) x: (&'a str, Scale),
    pub(super) y: (&'a str, Scale),
    pub(super) height: f64,
    /// Whether each point is marked.
    pub(super) marks: bool,
    pub(super) lines: Vec<Line>,
}

/// Lines over two axes, and their legend. Two of them fit side by side.
pub(super) fn lines(chart: &Lines<'_>) -> String {
    const LEFT: f64 = 62.0;
    const BOTTOM: f64 = 46.0;
    const TOP: f64 = 24.0;
    let values = |of: fn(&(f64, f64)) -> f64| {
        chart.lines.iter().flat_map(move |line| line.points.iter().map(of))
    };
    let (x, y) = (
        Axis::over(values(|point| point.0), chart.x.1),
        Axis::over(values(|point| point.1), chart.y.1),
    );
    let (right, bottom) = (NARROW - 18.0, chart.height - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * (right - LEFT);
    let at_y = |value: f64| bottom - y.place(value) * (bottom - TOP);
    let mut body = String::new();
    for tick in y.ticks() {
        let at = at_y(tick);
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            mark(tick),
        );
    }
    for tick in x.ticks() {
        let at = at_x(tick);
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            mark(tick),
        );
    }
    let _ = write!(
        body,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text class=\"tick\" x=\"0\" y=\"13\">{}</text>\
         <text class=\"tick\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        escape(chart.y.0),
        chart.height - 8.0,
        escape(chart.x.0),
    );
    // One line alone needs no dashes to be told from others.
    let dashes =
        |colour: usize| if chart.lines.len() > 1 { DASHES[colour % DASHES.len()] } else { "" };
    for line in &chart.lines {
        let colour = line.colour;
        let path: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1} {:.1}", at_x(*x), at_y(*y))).collect();
        if path.is_empty() {
            continue;
        }
        let _ = write!(
            body,
            "<path class=\"line\" stroke=\"var(--s{colour})\" stroke-dasharray=\"{}\" d=\"M{}\"><title>{}</title></path>",
            dashes(colour),
            path.join("L"),
            escape(&line.name),
        );
        if chart.marks {
            for (value_x, value_y) in &line.points {
                let _ = write!(
                    body,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"var(--s{colour})\"><title>{}: {}, {}</title></circle>",
                    at_x(*value_x),
                    at_y(*value_y),
                    escape(&line.name),
                    mark(*value_x),
                    number(*value_y),
                );
            }
        }
    }
    let legend = chart.lines.iter().map(|line| (line.name.as_str(), line.colour, true));
    drawing(chart.title, chart.description, (NARROW, chart.height), &body) + &self::legend(legend)
}

/// Names of colours; lines with their dashes, or blocks.
pub(super) fn legend<'a>(entries: impl Iterator<Item = (&'a str, usize, bool)>) -> String {
    let entries: Vec<_> = entries.collect();
    if entries.len() < 2 {
        return String::new();
    }
    let mut text = String::from("<ul class=\"legend\">");
    for (name, colour, is_line) in entries {
        let sample = if is_line {
            let dashes = DASHES[colour % DASHES.len()];
            format!(
                "<path class=\"line\" stroke=\"var(--s{colour})\" stroke-dasharray=\"{dashes}\" d=\"M0 6H28\"/>"
            )
        } else {
            format!("<rect width=\"28\" height=\"12\" fill=\"var(--s{colour})\"/>")
        };
        let _ = write!(
            text,
            "<li><svg viewBox=\"0 0 28 12\" aria-hidden=\"true\">{sample}</svg>{}</li>",
            escape(name)
        );
    }
    text.push_str("</ul>\n");
    text
}

fn drawing(title: &str, description: &str, (width, height): (f64, f64), body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\"><title>{}</title><desc>{}</desc>{body}</svg>\n",
        escape(title),
        escape(description),
    )
}

/// A value beside an axis.
fn mark(value: f64) -> String {
    if value >= 1e6 {
        format!("{} M", value / 1e6)
    } else if value >= 1e4 {
        format!("{} k", value / 1e3)
    } else {
        // Sums of steps have tails that nobody wants to see.
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        let bar = |length: f64| Bar {
            name: "a<b".to_owned(),
            parts: vec![(length, 0)],
            interval: None,
            label: number(length),
        };
        let svg = bars("Title", "What it shows", &[bar(100.0), bar(50.0)]);
        assert!(svg.contains("width=\"710.0\"") && svg.contains("width=\"355.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("<title>Title</title>"), "{svg}");
    }

    #[test]
    fn lines_stay_inside() {
        let chart = Lines {
            title: "t",
            description: "d",
            x: ("x", Scale::Logarithmic),
            y: ("y", Scale::Linear),
            height: 300.0,
            marks: true,
            lines: vec![Line {
                name: "one".to_owned(),
                points: vec![(1.0, 0.0), (1000.0, 7.0)],
                colour: 1,
            }],
        };
        let svg = lines(&chart);
        assert!(svg.contains("d=\"M62.0 254.0L422.0"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_panic() {
        assert!(!bars("t", "d", &[]).contains("NaN"));
        let chart = Lines {
            title: "t",
            description: "d",
            x: ("x", Scale::Logarithmic),
            y: ("y", Scale::Logarithmic),
            height: 300.0,
            marks: false,
            lines: Vec::new(),
        };
        assert!(!lines(&chart).contains("NaN"));
    }

    #[test]
    fn marks_are_short() {
        for (value, text) in
            [(0.1, "0.1"), (0.1 + 0.2, "0.3"), (1000.0, "1000"), (50_000.0, "50 k"), (1e6, "1 M")]
        {
            assert_eq!(mark(value), text);
        }
    }
}
