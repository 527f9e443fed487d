//! A run on the whole screen of a terminal, while it goes on.

use std::io::{self, IsTerminal, Stderr};

use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::prelude::CrosstermBackend;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};
use ratatui::{Frame, Terminal};

use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Length, Plan};
use crate::report::described::DescribedPlan;
use crate::report::words::Words;
use crate::units::{self, duration};

/// Below this there is no room for it.
const WIDTH_MIN: u16 = 60;
/// See [`WIDTH_MIN`].
const HEIGHT_MIN: u16 = 18;
/// Intervals that are drawn; older ones leave on the left.
const POINT_COUNT_MAX: usize = 120;

/// What is drawn.
struct Picture {
    title: String,
    load: String,
    words: Words,
    length: Length,
    /// Until the first interval is over.
    waiting: String,
    points: Vec<Point>,
}

/// Values over time.
struct Curve {
    name: &'static str,
    color: Color,
    points: Vec<(f64, f64)>,
}

/// The screen, for as long as this lives.
pub struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    picture: Picture,
}

/// Why there is no live view, if there can be none.
pub fn refusal() -> Option<String> {
    if !io::stderr().is_terminal() {
        return Some("stderr is no terminal".to_owned());
    }
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return Some("the terminal cannot move its cursor (TERM)".to_owned());
    }
    match ratatui::crossterm::terminal::size() {
        Ok((width, height)) if width >= WIDTH_MIN && height >= HEIGHT_MIN => None,
        Ok((width, height)) => Some(format!(
            "the terminal has {width} × {height} characters; {WIDTH_MIN} × {HEIGHT_MIN} are needed"
        )),
        Err(error) => Some(error.to_string()),
    }
}

impl Live {
    /// Takes the screen.
    pub fn start(plan: &Plan, target: &str) -> io::Result<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        execute!(io::stderr(), EnterAlternateScreen, cursor::Hide)?;
        let mut live = Self {
            terminal,
            picture: Picture::new(plan, target),
        };
        live.draw(&Outcome::new());
        Ok(live)
    }

    /// An interval is over.
    pub fn add(&mut self, point: &Point, so_far: &Outcome) {
        self.picture.add(point);
        self.draw(so_far);
    }

    fn draw(&mut self, so_far: &Outcome) {
        let picture = &self.picture;
        // In vain only if the terminal is gone, and then nobody looks.
        let _ = self.terminal.draw(|frame| picture.draw(frame, so_far));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = execute!(io::stderr(), cursor::Show, LeaveAlternateScreen);
    }
}

impl Picture {
    fn new(plan: &Plan, target: &str) -> Self {
        let described = DescribedPlan::of(plan, target);
        let waiting = match plan.warmup.as_nanos() as u64 {
            0 => "the first interval is under way".to_owned(),
            warmup_ns => format!("warming up for {}", duration(warmup_ns)),
        };
        Self {
            title: target.to_owned(),
            load: described.load_line(),
            words: Words::of(&described),
            length: plan.length,
            waiting,
            points: Vec::new(),
        }
    }

    fn add(&mut self, point: &Point) {
        if self.points.len() == POINT_COUNT_MAX {
            self.points.remove(0);
        }
        self.points.push(point.clone());
    }

    fn draw(&self, frame: &mut Frame<'_>, so_far: &Outcome) {
        let [head, figures, gauge, rate, time, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(3),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let title = Line::styled(self.title.as_str(), Style::new().bold());
        frame.render_widget(
            Paragraph::new(vec![title, Line::raw(self.load.as_str())]),
            head,
        );
        frame.render_widget(self.figures(so_far), figures);
        frame.render_widget(self.gauge(so_far), gauge);
        self.draw_rate(frame, rate);
        self.draw_times(frame, time);
        let foot_text = "Ctrl-C ends the run with the report so far";
        frame.render_widget(Paragraph::new(foot_text).style(Style::new().dim()), foot);
    }

    fn figures(&self, so_far: &Outcome) -> Paragraph<'static> {
        let mut text = match self.points.last() {
            None => self.waiting.clone(),
            Some(_) => format!("{} {}", units::rate(so_far.rate()), self.words.per_second),
        };
        let latency = &so_far.total.latency;
        if !latency.is_empty() {
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                let value = duration(latency.value_at_quantile(quantile));
                text.push_str(&format!("   {name} {value}"));
            }
        }
        let error_count = so_far.errors().count();
        text.push_str(&format!("   {}", units::plural(error_count, "error")));
        let style = if error_count > 0 {
            Style::new().fg(Color::Red)
        } else {
            Style::new()
        };
        Paragraph::new(text)
            .style(style)
            .block(Block::bordered().title("so far"))
    }

    fn gauge(&self, so_far: &Outcome) -> Gauge<'static> {
        let elapsed_s = so_far.elapsed.as_secs_f64();
        let (share, label) = match self.length {
            Length::Time(time) => (
                elapsed_s / time.as_secs_f64(),
                format!("{elapsed_s:.1} of {:.1} s", time.as_secs_f64()),
            ),
            Length::Count(count) => {
                let done = so_far.total.response_count + so_far.errors().count();
                (
                    done as f64 / count as f64,
                    format!("{} of {}", units::count(done), units::count(count)),
                )
            }
        };
        Gauge::default()
            .ratio(share.clamp(0.0, 1.0))
            .label(label)
            .gauge_style(Style::new().fg(Color::Blue))
    }

    fn draw_rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let rate = |point: &Point| {
            let seconds = point.seconds.max(f64::MIN_POSITIVE);
            (middle_s(point), point.response_count as f64 / seconds)
        };
        let points: Vec<_> = self.points.iter().map(rate).collect();
        let high = points.iter().map(|point| point.1).fold(1.0, f64::max);
        let bounds = [0.0, high * 1.1];
        let labels = bounds.map(|value| units::count(value.round() as u64));
        let lines = [Curve {
            name: "",
            color: Color::Blue,
            points,
        }];
        self.draw_lines(frame, area, self.words.per_second, &lines, (bounds, labels));
    }

    /// On a logarithmic scale.
    fn draw_times(&self, frame: &mut Frame<'_>, area: Rect) {
        let curve = |name, color, of: fn(&Point) -> u64| {
            let points = self.points.iter().filter(|point| of(point) > 0);
            Curve {
                name,
                color,
                points: points
                    .map(|point| (middle_s(point), (of(point) as f64).log10()))
                    .collect(),
            }
        };
        let lines = [
            curve("max", Color::DarkGray, |point| point.max_ns),
            curve("p99", Color::Red, |point| point.p99_ns),
            curve("p50", Color::Green, |point| point.p50_ns),
        ];
        let points = || lines.iter().flat_map(|line| &line.points);
        let values = || points().map(|point| point.1);
        let low = values().fold(9.0, f64::min).floor();
        let high = values().fold(low + 1.0, f64::max).ceil();
        let labels = [low, high].map(|power| duration(10_f64.powf(power) as u64));
        let heading = format!("{} of each interval", self.words.time);
        self.draw_lines(frame, area, &heading, &lines, ([low, high], labels));
    }

    fn draw_lines(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        heading: &str,
        curves: &[Curve],
        (bounds, labels): ([f64; 2], [String; 2]),
    ) {
        let start_s = self.points.first().map_or(0.0, |point| point.from_seconds);
        let end = self
            .points
            .last()
            .map(|point| point.from_seconds + point.seconds);
        let end_s = end.unwrap_or(1.0).max(start_s + 1.0);
        let sets = curves.iter().map(|curve| {
            Dataset::default()
                .name(curve.name)
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(Style::new().fg(curve.color))
                .data(&curve.points)
        });
        let seconds = [start_s, end_s].map(|value| format!("{value:.0} s"));
        let chart = Chart::new(sets.collect())
            .block(Block::bordered().title(heading.to_owned()))
            .x_axis(Axis::default().bounds([start_s, end_s]).labels(seconds))
            .y_axis(Axis::default().bounds(bounds).labels(labels));
        frame.render_widget(chart, area);
    }
}

fn middle_s(point: &Point) -> f64 {
    point.from_seconds + point.seconds / 2.0
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::report::sample;

    fn drawn(picture: &Picture, so_far: &Outcome, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| picture.draw(frame, so_far)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_is_as_it_was() {
        let mut picture = Picture::new(&sample::plan(), "http://127.0.0.1:3200/items");
        let outcome = sample::outcome();
        let before = drawn(&picture, &Outcome::new(), (80, 24));
        assert!(before.contains("warming up for 500 ms"), "{before}");
        for point in &outcome.points {
            picture.add(point);
        }
        sample::assert_golden("live.txt", &drawn(&picture, &outcome, (80, 24)));
    }

    #[test]
    fn it_draws_whatever_the_size_and_forgets_what_is_old() {
        let mut picture = Picture::new(&sample::plan(), "t");
        let outcome = sample::outcome();
        for second in 0..1000 {
            picture.add(&Point {
                from_seconds: f64::from(second),
                ..outcome.points[0].clone()
            });
        }
        assert_eq!(picture.points.len(), POINT_COUNT_MAX);
        for size in [(1, 1), (WIDTH_MIN, HEIGHT_MIN), (400, 90)] {
            let _ = drawn(&picture, &outcome, size);
        }
    }
}
