//! How training went, step by step.

use stateset_domain::StepMetrics;

use super::Summary;
use super::chart::{Chart, Unit};

pub(super) fn section(metrics: &[StepMetrics], summary: &Summary) -> String {
    let points = |value: fn(&StepMetrics) -> f64| metrics.iter().map(|row| (row.step, value(row))).collect();
    let chart = |title, about, unit, value| Chart { title, about, unit, points: points(value), levels: Vec::new() };
    let base = summary.base.map(|base| ("base, held-out", base.success_rate));
    let trained = summary.trained.map(|trained| ("final, held-out", trained.success_rate));
    let held_out = base.into_iter().chain(trained).collect();
    let charts = [
        Chart {
            levels: held_out,
            ..chart("Success rate", "share of a step's episodes", Unit::Share, |row| row.success_rate)
        },
        chart("Reward", "mean of a step's episodes", Unit::Plain, |row| row.reward_mean),
        chart("Loss", "what is minimised", Unit::Plain, |row| row.learner.loss),
        chart("KL to the base", "nats per token", Unit::Plain, |row| row.learner.kl),
        chart("Entropy", "nats per sampled token", Unit::Plain, |row| row.learner.entropy),
        chart("Gradient norm", "before clipping", Unit::Plain, |row| row.learner.grad_norm),
        chart("Rollout speed", "tokens per second", Unit::Plain, |row| row.rollout_tokens as f64 / row.rollout_seconds),
    ];
    let rewarded = metrics.iter().any(|row| row.reward_mean.is_finite());
    let measured = |chart: &&Chart| match chart.title {
        // Without a reference policy there is no KL to show.
        "KL to the base" => chart.points.iter().any(|(_, kl)| kl.is_finite() && *kl != 0.0),
        // A surrogate's value says little; a cross-entropy says all that is known without episodes.
        "Loss" => !rewarded && !metrics.is_empty(),
        _ => metrics.is_empty() || chart.points.iter().any(|(_, value)| value.is_finite()),
    };
    let drawn: String = charts.iter().filter(measured).map(Chart::render).collect();
    format!("<section><h2>Learning curves</h2><div class=\"charts\">{drawn}</div></section>")
}
