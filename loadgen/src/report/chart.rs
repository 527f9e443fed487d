//! Line charts as inline SVG. Colours come from the page's style sheet, so that
//! they follow light and dark.

use std::fmt::Write;

/// Width and height of a chart, and the margins around its plot, in SVG units.
const WIDTH: f64 = 860.0;
/// See [`WIDTH`].
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;

/// A mark on an axis: where, from 0 to 1, and what stands beside it.
pub type Tick = (f64, String);

/// How values become places along an axis.
pub struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<Tick>,
    title: String,
}

/// A line, or marks, of one thing.
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Class in the style sheet: its colour.
    pub class: &'static str,
    /// Values along both axes.
    pub points: Vec<(f64, f64)>,
}

impl Axis {
    /// From 0 to at least `high`, evenly, in round steps.
    pub fn linear(high: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_up_step(high / 5.0);
        let top = (high / step).ceil() * step;
        let count = (top / step).round() as u32;
        let ticks = (0..=count)
            .map(|index| {
                let value = f64::from(index) * step;
                (value / top, label(value))
            })
            .collect();
        Self {
            low: 0.0,
            high: top,
            is_log: false,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Time from 0 to exactly `high`.
    pub fn time(high: f64, title: &str) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_up_step(high / 10.0);
        let count = (high / step * 1.0001).floor() as u32;
        let ticks = (0..=count)
            .map(|index| f64::from(index) * step)
            .map(|value| (value / high, trim_number(value)))
            .collect();
        Self {
            low: 0.0,
            high,
            is_log: false,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Logarithmic over all of `low` to `high`, with marks at 1, 2 and 5.
    pub fn logarithmic(low: f64, high: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        // Of nothing there is no least and no most.
        let finite = |value: f64| {
            if value.is_finite() {
                value.max(1.0)
            } else {
                1.0
            }
        };
        let low = finite(low);
        let high = finite(high).max(low * 1.01);
        let bound = |value: f64, up: bool| {
            let decade = 10_f64.powf(value.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
            let found = if up {
                steps.into_iter().find(|step| *step >= value * 0.999)
            } else {
                steps.into_iter().rev().find(|step| *step <= value * 1.001)
            };
            found.unwrap_or(decade)
        };
        let (low, high) = (bound(low, false), bound(high, true));
        let decades = (high / low).log10();
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(low.log10().floor());
        while decade <= high * 1.001 {
            // Over many decades only the powers of ten have room.
            let steps: &[f64] = if decades > 4.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            for step in steps {
                let value = decade * step;
                if value >= low * 0.999 && value <= high * 1.001 {
                    ticks.push(((value / low).log10() / decades, label(value)));
                }
            }
            decade *= 10.0;
        }
        Self {
            low,
            high,
            is_log: true,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Percentiles by their distance to 100 %, each nine as wide as the last, up
    /// to what `count` values can tell.
    pub fn percentiles(count: u64) -> Self {
        let nines = ((count.max(10) as f64).log10().ceil()).clamp(2.0, 7.0);
        let names = [
            "0 %",
            "90 %",
            "99 %",
            "99.9 %",
            "99.99 %",
            "99.999 %",
            "99.9999 %",
            "99.99999 %",
        ];
        let mut ticks: Vec<Tick> = names
            .iter()
            .take(nines as usize + 1)
            .enumerate()
            .map(|(index, name)| (index as f64 / nines, (*name).to_owned()))
            .collect();
        ticks.push((2_f64.log10() / nines, "50 %".to_owned()));
        Self {
            low: 1.0,
            high: 10_f64.powf(nines),
            is_log: true,
            ticks,
            title: "percentile".to_owned(),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let place = if self.is_log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`.
fn round_up_step(step: f64) -> f64 {
    let decade = 10_f64.powf(step.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    steps
        .into_iter()
        .find(|round| *round >= step * 0.999)
        .unwrap_or(10.0 * decade)
}

/// Without zeros that say nothing.
fn trim_number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Draws lines over two axes.
pub fn lines(name: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = start(name, x, y, series);
    for line in series {
        let mut path = String::new();
        for (index, (at, value)) in line.points.iter().enumerate() {
            let (at, value) = (x_of(x.place(*at)), y_of(y.place(*value)));
            let command = if index == 0 { 'M' } else { 'L' };
            write!(path, "{command}{at:.1} {value:.1}").expect("a String takes everything");
        }
        svg.push_str(&format!(
            "<path class=\"line {}\" d=\"{path}\"><title>{}</title></path>",
            line.class,
            escape(&line.name)
        ));
        if let [(at, value)] = line.points[..] {
            let (at, value) = (x_of(x.place(at)), y_of(y.place(value)));
            svg.push_str(&format!(
                "<circle class=\"{}\" cx=\"{at:.1}\" cy=\"{value:.1}\" r=\"3\"/>",
                line.class
            ));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Draws a bar at each point, as wide as `width` along the x axis.
pub fn bars(name: &str, x: &Axis, y: &Axis, series: &Series, width: f64) -> String {
    let mut svg = start(name, x, y, &[]);
    for (at, value) in &series.points {
        let (left, right) = (x_of(x.place(*at)), x_of(x.place(at + width)));
        let top = y_of(y.place(*value));
        svg.push_str(&format!(
            "<rect class=\"{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            series.class,
            (right - left - 1.0).max(1.0),
            (y_of(0.0) - top).max(0.0),
        ));
    }
    svg.push_str("</svg>");
    svg
}

/// A rectangle of a heat map.
pub struct Cell {
    /// From where to where along the x axis.
    pub x: (f64, f64),
    /// And along the y axis.
    pub y: (f64, f64),
    /// How much of its colour it has, from 0 to 1.
    pub share: f64,
    /// Shown at the pointer.
    pub title: String,
}

/// Draws a heat map.
pub fn heat(name: &str, x: &Axis, y: &Axis, cells: &[Cell]) -> String {
    let mut svg = start(name, x, y, &[]);
    for cell in cells {
        let (left, right) = (x_of(x.place(cell.x.0)), x_of(x.place(cell.x.1)));
        let (bottom, top) = (y_of(y.place(cell.y.0)), y_of(y.place(cell.y.1)));
        svg.push_str(&format!(
            "<rect class=\"c1\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{:.2}\"><title>{}</title></rect>",
            (right - left).max(0.5),
            (bottom - top).max(0.5),
            cell.share.clamp(0.05, 1.0),
            escape(&cell.title)
        ));
    }
    svg.push_str("</svg>");
    svg
}

fn x_of(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn y_of(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
}

/// Opens the drawing: grid, axes, legend.
fn start(name: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(name)
    );
    let (left, right, top, bottom) = (x_of(0.0), x_of(1.0), y_of(1.0), y_of(0.0));
    for (place, label) in &y.ticks {
        let at = y_of(*place);
        svg.push_str(&format!(
            "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            at + 4.0,
            escape(label)
        ));
    }
    for (place, label) in &x.ticks {
        let at = x_of(*place);
        svg.push_str(&format!(
            "<path class=\"grid\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 17.0,
            escape(label)
        ));
    }
    svg.push_str(&format!(
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"axis\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
        f64::midpoint(left, right),
        HEIGHT - 8.0,
        escape(&x.title),
        TOP - 14.0,
        escape(&y.title)
    ));
    let mut at = right;
    for line in series.iter().rev() {
        let width = line.name.chars().count() as f64 * 7.0;
        svg.push_str(&format!(
            "<text class=\"legend\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <path class=\"line {}\" d=\"M{:.1} {:.1}h14\"/>",
            TOP - 14.0,
            escape(&line.name),
            line.class,
            at - width - 20.0,
            TOP - 18.0
        ));
        at -= width + 38.0;
    }
    svg
}

/// Text within HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_round_marks() {
        let linear = Axis::linear(3_470.0, "", |value| value.to_string());
        let labels: Vec<_> = linear
            .ticks
            .iter()
            .map(|(_, label)| label.as_str())
            .collect();
        assert_eq!(labels, ["0", "1000", "2000", "3000", "4000"]);
        assert!((linear.place(2_000.0) - 0.5).abs() < 1e-9);
        let log = Axis::logarithmic(63_000.0, 4_800_000.0, "", |value| value.to_string());
        assert_eq!((log.low, log.high), (50_000.0, 5_000_000.0));
        assert!((log.place(500_000.0) - 0.5).abs() < 1e-9);
        let time = Axis::time(2.5, "");
        assert_eq!(time.ticks.len(), 6);
        assert_eq!(time.ticks[1].1, "0.5");
    }

    #[test]
    fn percentiles_are_placed_by_their_distance_to_the_whole() {
        let axis = Axis::percentiles(5_000);
        assert!((axis.place(1.0 / (1.0 - 0.9)) - 0.25).abs() < 1e-9);
        assert!((axis.place(1.0 / (1.0 - 0.99)) - 0.5).abs() < 1e-9);
        assert!(axis.place(f64::INFINITY) >= 1.0);
    }

    #[test]
    fn charts_of_nothing_and_of_one_value_are_still_charts() {
        let flat = Axis::linear(0.0, "", |value| value.to_string());
        let points = |points| Series {
            name: "a<b".to_owned(),
            class: "a",
            points,
        };
        for series in [points(vec![]), points(vec![(0.0, 0.0)])] {
            let svg = lines("n", &flat, &flat, &[series]);
            assert!(!svg.contains("NaN") && !svg.contains("a<b"), "{svg}");
        }
        let empty = Axis::logarithmic(f64::INFINITY, 1.0, "", |value| value.to_string());
        assert!(!empty.ticks.is_empty());
        let log = Axis::logarithmic(0.0, 0.0, "", |value| value.to_string());
        assert!(log.place(0.0).abs() < 1e-9);
    }
}
