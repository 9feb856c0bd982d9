//! Several runs on one page: what each recipe comes to over its seeds, and how.

use std::fmt::Write as _;

use stateset_domain::StepMetrics;

use super::chart::{Curve, Curves, Unit};
use super::html::{escape, percent};
use super::statistics::{mean, of_mean};
use super::{Summary, page};

/// Runs that differ in their seed only.
pub(crate) struct Recipe {
    /// What they are called.
    pub(crate) name: String,
    /// Each run's result, and a row for each of its steps.
    pub(crate) runs: Vec<(Summary, Vec<StepMetrics>)>,
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
}

impl Recipe {
    /// What it came to; `None` if none of its runs was finished.
    fn row(&self) -> Option<Row<'_>> {
        let finished: Vec<_> =
            self.runs.iter().filter_map(|(summary, _)| Some((summary, summary.base?, summary.trained?))).collect();
        let of = |rate: &dyn Fn(&(&Summary, super::Measure, super::Measure)) -> f64| -> Vec<f64> {
            finished.iter().map(rate).collect()
        };
        let after = of(&|(_, _, trained)| trained.success_rate);
        let episodes = finished.iter().map(|(_, _, trained)| trained.episodes).sum();
        let seeds: Vec<String> = finished.iter().map(|(summary, ..)| summary.seed.to_string()).collect();
        Some(Row {
            name: &self.name,
            seeds: seeds.join(" "),
            steps: finished.iter().map(|(summary, ..)| summary.steps).max()?,
            before: mean(&of(&|(_, base, _)| base.success_rate)),
            within: of_mean(&after, episodes),
            after: mean(&after),
            greedy: mean(&of(&|(_, _, trained)| trained.success_rate_greedy)),
        })
    }

    fn curve(&self, value: fn(&StepMetrics) -> f64) -> Curve<'_> {
        let steps = self.runs.iter().map(|(_, rows)| rows.len()).min().unwrap_or(0);
        let at = |at: usize| -> Vec<f64> { self.runs.iter().map(|(_, rows)| value(&rows[at])).collect() };
        let (mut means, mut band) = (Vec::new(), Vec::new());
        for index in 0..steps {
            let (step, values) = (self.runs[0].1[index].step, at(index));
            let bound = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap_or(f64::NAN);
            means.push((step, mean(&values)));
            band.push((step, bound(f64::min), bound(f64::max)));
        }
        Curve { name: &self.name, mean: means, band }
    }
}

impl Comparison {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.0.iter().filter_map(Recipe::row)
    }

    /// Whether there is nothing to compare.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// The table as text.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|recipe| recipe.name.chars().count()).max().unwrap_or(0).max("recipe".len());
        let mut text =
            format!("{:width$}  seeds       steps  before   after  95 % within      greedy    gain\n", "recipe");
        for Row { name, seeds, steps, before, after, within: (low, high), greedy } in self.rows() {
            let [before, after, low, high, greedy] = [before, after, low, high, greedy].map(|rate| 100.0 * rate);
            let gain = after - before;
            let _ = writeln!(
                text,
                "{name:width$}  {seeds:<10}  {steps:>5}  {before:>4.1} %  {after:>4.1} %  {low:>5.1} to {high:>5.1} %  {greedy:>5.1} %  {gain:>+5.1}",
            );
        }
        text
    }

    /// The page.
    pub(crate) fn render(&self) -> String {
        let rows: String = self
            .rows()
            .map(|Row { name, seeds, steps, before, after, within: (low, high), greedy }| {
                let [before, after, low, high, greedy] = [before, after, low, high, greedy].map(percent);
                let (name, seeds) = (escape(name), escape(&seeds));
                format!(
                    "<tr><td>{name}</td><td>{seeds}</td><td>{steps}</td><td>{before}</td><td>{after}</td>\
                     <td>{low} to {high}</td><td>{greedy}</td></tr>"
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
             <th>Before</th><th>After, sampled</th><th>95% within</th><th>After, greedy</th></tr>{rows}</table></div></section>\n\
             <section><h2>Learning curves</h2><div class=\"charts\">{}</div></section>",
            charts.concat()
        );
        page("comparison", "Runs side by side", &sections)
    }
}
