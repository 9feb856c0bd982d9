//! The numbers a reader looks for first.

use super::html::{count, number, percent, time};
use super::statistics::interval;
use super::{Measure, Summary};

pub(super) fn section(summary: &Summary) -> String {
    let after = summary.trained.as_ref();
    let before = summary.base.as_ref();
    let unfinished =
        "<p class=\"note\">This run has not been finished; the policy it would end with was not measured.</p>";
    let cards = [
        rate("Success, sampled", before, after, |measure| measure.success_rate),
        rate("Success, greedy", before, after, |measure| measure.success_rate_greedy),
        change(
            "Mean reward",
            before.map(|measure| number(measure.reward_mean)),
            after.map(|measure| number(measure.reward_mean)),
            "sampled, held-out",
        ),
        plain("Steps", &count(summary.steps), &format!("in {}", time(summary.wall_seconds))),
        plain("Episodes learned from", &count(summary.episodes_completed), &losses(summary)),
        plain("Restarts healed", &count(summary.restarts), &format!("seed {}", summary.seed)),
    ];
    let digest = summary.policy_digest;
    let notice = if after.is_none() { unfinished } else { "" };
    format!(
        "<section>{notice}<div class=\"cards\">{}</div><p class=\"note\">weights <code>{digest}</code></p></section>",
        cards.concat()
    )
}

fn rate(
    label: &str,
    before: Option<&Measure>,
    after: Option<&Measure>,
    rate: impl Fn(&Measure) -> f64 + Copy,
) -> String {
    let note = after.or(before).map_or_else(String::new, |shown| {
        let (low, high) = interval(rate(shown), shown.episodes);
        format!("95% within {}–{}, {} held-out episodes", percent(low), percent(high), count(shown.episodes))
    });
    let told = |measure: Option<&Measure>| measure.map(|measure| percent(rate(measure)));
    change(label, told(before), told(after), &note)
}

fn change(label: &str, before: Option<String>, after: Option<String>, note: &str) -> String {
    let value = match (before, after) {
        (Some(before), Some(after)) => format!("<span class=\"before\">{before} →</span> {after}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "–".into(),
    };
    plain(label, &value, note)
}

fn plain(label: &str, value: &str, note: &str) -> String {
    format!("<div class=\"card\"><p>{label}</p><strong>{value}</strong><small>{note}</small></div>")
}

fn losses(summary: &Summary) -> String {
    let Summary { episodes_failed, episodes_lost, episodes_duplicated, .. } = summary;
    format!("{episodes_failed} given up on, {episodes_lost} lost, {episodes_duplicated} counted twice")
}
