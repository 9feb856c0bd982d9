//! A line chart as SVG: every measured value thin, their moving mean thick, and a title for whoever hovers.

use super::html::{escape, number, percent};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// As percentages, on an axis from 0 to 100 %.
    Share,
    /// As numbers, on an axis that holds them all and 0.
    Plain,
}

/// One measured quantity over the steps of a run.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) about: &'a str,
    pub(super) unit: Unit,
    /// Step and value. Values that are not finite leave a gap.
    pub(super) points: Vec<(u64, f64)>,
    /// Levels to compare with, such as the base policy's.
    pub(super) levels: Vec<(&'a str, f64)>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 230.0;
/// Room for the axes' labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (46.0, 14.0, 12.0, 28.0);

/// What several runs measured, in one chart.
pub(super) struct Curves<'a> {
    pub(super) title: &'a str,
    pub(super) about: &'a str,
    pub(super) unit: Unit,
    pub(super) curves: Vec<Curve<'a>>,
}

/// One recipe's course: the mean of its seeds, and how far they reach.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) mean: Vec<(u64, f64)>,
    /// Step, lowest and highest.
    pub(super) band: Vec<(u64, f64, f64)>,
}

impl Curves<'_> {
    pub(super) fn render(&self) -> String {
        // The widest curve decides about the axes.
        let points = self.curves.iter().flat_map(|curve| curve.mean.iter().copied()).collect();
        let frame = Chart { title: self.title, about: self.about, unit: self.unit, points, levels: Vec::new() };
        let plot = frame.plot();
        let drawn = self.curves.iter().enumerate().map(|(at, curve)| {
            let window = 1 + curve.mean.len() / 15;
            let mean = line("mean", &plot, &moving_mean(&curve.mean, window));
            format!("<g class=\"curve c{}\">{}{mean}</g>", at % COLOURS, band(&plot, &curve.band))
        });
        let key = self.curves.iter().enumerate();
        let key = key.map(|(at, curve)| format!("<span class=\"key c{}\">{}</span>", at % COLOURS, escape(curve.name)));
        format!(
            "<figure><figcaption><b>{}</b> <span>{}</span><div>{}</div></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{}{}</svg></figure>",
            escape(self.title),
            escape(self.about),
            key.collect::<String>(),
            escape(self.title),
            frame.axes(&plot),
            drawn.collect::<String>(),
        )
    }
}

fn band(plot: &Plot, band: &[(u64, f64, f64)]) -> String {
    let finite: Vec<_> = band.iter().filter(|(_, low, high)| low.is_finite() && high.is_finite()).collect();
    let there = finite.iter().map(|(step, _, high)| (*step, *high));
    let back = finite.iter().rev().map(|(step, low, _)| (*step, *low));
    let corners: Vec<String> =
        there.chain(back).map(|(step, value)| format!("{:.1},{:.1}", plot.x(step as f64), plot.y(value))).collect();
    format!("<polygon class=\"band\" points=\"{}\"/>", corners.join(" "))
}

/// Colours that curves are told apart by; then they begin again.
const COLOURS: usize = 8;

impl Chart<'_> {
    pub(super) fn render(&self) -> String {
        let plot = self.plot();
        let window = 1 + self.points.len() / 15;
        let note = if window > 1 { format!(" · thick: mean of {window} steps") } else { String::new() };
        format!(
            "<figure><figcaption><b>{}</b> <span>{}{note}</span></figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{}{}{}{}{}</svg></figure>",
            escape(self.title),
            escape(self.about),
            escape(self.title),
            self.axes(&plot),
            self.level_lines(&plot),
            line("raw", &plot, &self.points),
            line("mean", &plot, &moving_mean(&self.points, window)),
            self.hovers(&plot),
        )
    }

    fn plot(&self) -> Plot {
        let values = || self.points.iter().map(|(_, value)| *value).chain(self.levels.iter().map(|(_, level)| *level));
        let finite = || values().filter(|value| value.is_finite());
        let (low, high) = match self.unit {
            Unit::Share => (0.0, 1.0),
            Unit::Plain => (finite().fold(0.0, f64::min), finite().fold(0.0, f64::max)),
        };
        let step = nice_step(if high > low { high - low } else { 1.0 });
        let top = ((high / step).ceil() * step).max(low + step);
        let last = self.points.iter().map(|(at, _)| *at).max().unwrap_or(1).max(1);
        Plot { low: (low / step).floor() * step, high: top, step, last: last as f64 }
    }

    fn axes(&self, plot: &Plot) -> String {
        let (left, right, _, bottom) = MARGIN;
        let lines = ((plot.high - plot.low) / plot.step).round() as usize;
        let rows = (0..=lines).map(|at| {
            let value = plot.low + at as f64 * plot.step;
            let y = plot.y(value);
            let label = self.label(value);
            format!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - right,
                left - 7.0,
                y + 4.0,
            )
        });
        let every = nice_step(plot.last).max(1.0);
        let columns = (0..=(plot.last / every) as usize).map(|at| {
            let step = at as f64 * every;
            format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{step}</text>",
                plot.x(step),
                HEIGHT - bottom + 19.0
            )
        });
        rows.chain(columns).collect()
    }

    fn level_lines(&self, plot: &Plot) -> String {
        self.levels
            .iter()
            .filter(|(_, level)| level.is_finite())
            .map(|(name, level)| {
                let (left, right, y) = (MARGIN.0, WIDTH - MARGIN.1, plot.y(*level));
                let (x, anchor) = if self.begins_near(*level) { (right - 5.0, "end") } else { (left + 5.0, "start") };
                // Above the line, unless that would leave the plot.
                let above = if y < MARGIN.2 + 14.0 { y + 13.0 } else { y - 5.0 };
                let label = format!("{} {}", escape(name), self.label(*level));
                format!(
                    "<line class=\"level\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{x}\" y=\"{above:.1}\" text-anchor=\"{anchor}\">{label}</text>"
                )
            })
            .collect()
    }

    /// Whether the curve is nearer to `level` at its beginning than at its end.
    fn begins_near(&self, level: f64) -> bool {
        let distance = |point: Option<&(u64, f64)>| point.map_or(0.0, |(_, value)| (value - level).abs());
        distance(self.points.first()) < distance(self.points.last())
    }

    /// A dot and a full-height strip for every value: the strip is what is hovered, the dot what then appears.
    fn hovers(&self, plot: &Plot) -> String {
        let strip = (plot.x(1.0) - plot.x(0.0)).max(2.0);
        let finite = self.points.iter().filter(|(_, value)| value.is_finite());
        finite.map(|(step, value)| {
            let (x, y) = (plot.x(*step as f64), plot.y(*value));
            format!(
                "<g class=\"at\"><rect x=\"{:.1}\" y=\"{}\" width=\"{strip:.1}\" height=\"{}\"/><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/><title>step {step}: {}</title></g>",
                x - strip / 2.0, MARGIN.2, HEIGHT - MARGIN.2 - MARGIN.3, self.label(*value),
            )
        }).collect()
    }

    fn label(&self, value: f64) -> String {
        match self.unit {
            Unit::Share => percent(value),
            Unit::Plain => number(value),
        }
    }
}

/// From steps and values to places on the page.
struct Plot {
    low: f64,
    high: f64,
    step: f64,
    last: f64,
}

impl Plot {
    fn x(&self, step: f64) -> f64 {
        MARGIN.0 + step / self.last * (WIDTH - MARGIN.0 - MARGIN.1)
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - MARGIN.2 - MARGIN.3;
        MARGIN.2 + (self.high - value) / (self.high - self.low) * height
    }
}

/// A stretch of 1, 2 or 5 times a power of ten, of which four to eight fit into `span`.
fn nice_step(span: f64) -> f64 {
    let power = 10f64.powf((span / 4.0).log10().floor());
    let fits = |times: &&f64| **times * power <= span / 4.0 * 1.001;
    [1.0, 2.0, 5.0].iter().rev().find(fits).unwrap_or(&1.0) * power
}

/// The mean around every value, over at most `window` finite ones.
fn moving_mean(points: &[(u64, f64)], window: usize) -> Vec<(u64, f64)> {
    let around = |at: usize| &points[at.saturating_sub(window / 2)..points.len().min(at + window.div_ceil(2))];
    let mean = |points: &[(u64, f64)]| {
        let finite: Vec<f64> = points.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    points.iter().enumerate().map(|(at, (step, _))| (*step, mean(around(at)))).collect()
}

fn line(class: &str, plot: &Plot, points: &[(u64, f64)]) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for (step, value) in points {
        if value.is_finite() {
            path.push_str(&format!("{pen}{:.1} {:.1}", plot.x(*step as f64), plot.y(*value)));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    format!("<path class=\"{class}\" d=\"{path}\"/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_divided_into_round_numbers() {
        assert_eq!([1.0, 60.0, 0.37, 4.0].map(nice_step), [0.2, 10.0, 0.05, 1.0]);
    }

    #[test]
    fn a_mean_looks_both_ways_and_past_gaps() {
        let points = [(1, 1.0), (2, f64::NAN), (3, 3.0), (4, 5.0)];
        let means: Vec<f64> = moving_mean(&points, 3).iter().map(|(_, mean)| *mean).collect();
        assert_eq!(means, [1.0, 2.0, 4.0, 4.0]);
    }

    #[test]
    fn a_value_that_is_not_finite_leaves_a_gap() {
        let points = vec![(1, 0.1), (2, f64::NAN), (3, 0.3), (4, 0.4)];
        let chart = Chart { title: "x", about: "", unit: Unit::Share, points, levels: Vec::new() };
        let svg = chart.render();
        assert_eq!((svg.matches("<title>").count(), svg.contains("NaN")), (3, false));
    }

    #[test]
    fn each_curve_has_its_colour_its_band_and_its_name() {
        let curve =
            |name| Curve { name, mean: vec![(1, 0.2), (2, 0.6)], band: vec![(1, 0.1, 0.3), (2, f64::NAN, 0.7)] };
        let curves = vec![curve("grpo"), curve("<dpo>")];
        let svg = Curves { title: "x", about: "", unit: Unit::Share, curves }.render();
        assert!(
            svg.contains("<span class=\"key c1\">&lt;dpo&gt;</span>") && svg.contains("<g class=\"curve c1\">"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && svg.matches("<polygon").count() == 2);
    }

    #[test]
    fn a_chart_of_nothing_is_still_a_chart() {
        let chart = Chart { title: "x", about: "", unit: Unit::Plain, points: Vec::new(), levels: Vec::new() };
        assert!(!chart.render().contains("NaN") && !chart.render().contains("inf"));
    }
}
