//! Several runs on one page: what each recipe comes to over its seeds, and how.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stateset_domain::StepMetrics;

use super::chart::{Curve, Curves, Unit};
use super::html::{escape, percent};
use super::picture::{self, Field};
use super::statistics::{mean, of_mean};
use super::{Measure, page};

/// A finished run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) base: Measure,
    pub(crate) trained: Measure,
    /// A row for each step that is still there.
    pub(crate) rows: Vec<StepMetrics>,
}

/// Runs that differ in their seed only, at least one.
pub(crate) struct Recipe {
    /// What they are called.
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
}

/// Recipes side by side.
pub(crate) struct Comparison(pub(crate) Vec<Recipe>);

/// A recipe's row.
struct Row<'a> {
    name: &'a str,
    seeds: String,
    steps: u64,
    before: f64,
    after: f64,
    within: (f64, f64),
    greedy: f64,
    /// Of the slowest run.
    seconds: f64,
}

impl Recipe {
    fn row(&self) -> Row<'_> {
        let rates = |rate: fn(&Run) -> f64| self.runs.iter().map(rate).collect::<Vec<f64>>();
        let after = rates(|run| run.trained.success_rate);
        Row {
            name: &self.name,
            seeds: self.runs.iter().map(|run| run.seed.to_string()).collect::<Vec<_>>().join(" "),
            steps: self.runs.iter().map(|run| run.steps).max().unwrap_or(0),
            before: mean(&rates(|run| run.base.success_rate)),
            within: of_mean(&after, self.runs.iter().map(|run| run.trained.episodes).sum()),
            after: mean(&after),
            greedy: mean(&rates(|run| run.trained.success_rate_greedy)),
            seconds: self.runs.iter().map(|run| run.seconds).fold(0.0, f64::max),
        }
    }

    /// Over the steps of which every run has a row.
    fn curve(&self, value: fn(&StepMetrics) -> f64) -> Curve<'_> {
        let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for row in self.runs.iter().flat_map(|run| &run.rows) {
            by_step.entry(row.step).or_default().push(value(row));
        }
        by_step.retain(|_, values| values.len() == self.runs.len());
        let bound = |values: &[f64], pick: fn(f64, f64) -> f64| values.iter().copied().fold(f64::NAN, pick);
        let band = by_step.iter().map(|(step, values)| (*step, bound(values, f64::min), bound(values, f64::max)));
        Curve {
            name: &self.name,
            band: band.collect(),
            mean: by_step.iter().map(|(step, values)| (*step, mean(values))).collect(),
        }
    }
}

impl Comparison {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.0.iter().map(Recipe::row)
    }

    /// The table as text.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|recipe| recipe.name.chars().count()).max().unwrap_or(0).max("recipe".len());
        let mut text = format!(
            "{:width$}  seeds       steps  before   after  95 % within      greedy    gain  seconds\n",
            "recipe"
        );
        for Row { name, seeds, steps, before, after, within: (low, high), greedy, seconds } in self.rows() {
            let [before, after, low, high, greedy] = [before, after, low, high, greedy].map(|rate| 100.0 * rate);
            let gain = after - before;
            let _ = writeln!(
                text,
                "{name:width$}  {seeds:<10}  {steps:>5}  {before:>4.1} %  {after:>4.1} %  {low:>5.1} to {high:>5.1} %  {greedy:>5.1} %  {gain:>+5.1}  {seconds:>7.0}",
            );
        }
        text
    }

    /// Every recipe's success by step, as an SVG file.
    pub(crate) fn picture(&self) -> String {
        let fields = self.0.iter().map(|recipe| {
            let Row { before, after, .. } = recipe.row();
            let result = format!("{:.0} to {:.0} %", 100.0 * before, 100.0 * after);
            Field { curve: recipe.curve(|row| row.success_rate), result }
        });
        picture::draw(&fields.collect::<Vec<_>>())
    }

    /// The page.
    pub(crate) fn render(&self) -> String {
        let rows: String = self
            .rows()
            .map(|Row { name, seeds, steps, before, after, within: (low, high), greedy, seconds }| {
                let [before, after, low, high, greedy] = [before, after, low, high, greedy].map(percent);
                let (name, seeds) = (escape(name), escape(&seeds));
                format!(
                    "<tr><td>{name}</td><td>{seeds}</td><td>{steps}</td><td>{before}</td><td>{after}</td>\
                     <td>{low} to {high}</td><td>{greedy}</td><td>{seconds:.0} s</td></tr>"
                )
            })
            .collect();
        let curves = |title, about, unit, value: fn(&StepMetrics) -> f64| {
            Curves { title, about, unit, curves: self.0.iter().map(|recipe| recipe.curve(value)).collect() }.render()
        };
        let charts = [
            curves("Success rate", "share of a step's episodes; band: lowest and highest seed", Unit::Share, |row| {
                row.success_rate
            }),
            curves("Reward", "mean of a step's episodes", Unit::Plain, |row| row.reward_mean),
            curves("Entropy", "nats per sampled token", Unit::Plain, |row| row.learner.entropy),
            curves("Gradient norm", "before clipping", Unit::Plain, |row| row.learner.grad_norm),
        ];
        let sections = format!(
            "<section><h2>Held-out success</h2><div class=\"wide\"><table><tr><th>Recipe</th><th>Seeds</th><th>Steps</th>\
             <th>Before</th><th>After, sampled</th><th>95% within</th><th>After, greedy</th><th>Slowest run</th></tr>{rows}</table></div></section>\n\
             <section><h2>Learning curves</h2><div class=\"charts\">{}</div></section>",
            charts.concat()
        );
        page("comparison", "Runs side by side", &sections)
    }
}
