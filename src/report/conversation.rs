//! What the policy said before and after training, side by side.

use stateset_domain::{Message, Outcome, Role, Trajectory};

use super::html::{escape, number};

/// One played episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// What was said, and for the reply that ends a user's turn whether the turn passed its check.
    pub messages: Vec<(Message, Option<bool>)>,
    /// Every check passed.
    pub success: bool,
    /// The episode's reward, if it was judged.
    pub reward: Option<f32>,
}

/// The same scenario, played by both policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The scenario.
    pub scenario: String,
    /// As the base policy played it.
    pub before: Conversation,
    /// As the final policy played it.
    pub after: Conversation,
}

impl From<&Trajectory> for Conversation {
    fn from(trajectory: &Trajectory) -> Self {
        let messages = &trajectory.messages;
        let mut rewards = trajectory.turn_rewards.iter();
        let marked = messages.iter().enumerate().map(|(at, message)| {
            let on_the_way = messages.get(at + 1).is_some_and(|next| next.role == Role::Tool);
            let ends_turn = message.role == Role::Assistant && !on_the_way;
            (message.clone(), ends_turn.then(|| rewards.next()).flatten().map(|reward| *reward >= 1.0))
        });
        let success = match trajectory.outcome {
            Outcome::Completed { success } => success,
            Outcome::Failed(_) => false,
        };
        Self { messages: marked.collect(), success, reward: trajectory.reward }
    }
}

pub(super) fn section(pairs: &[Pair]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let shown: String = pairs.iter().enumerate().map(|(at, pair)| render(pair, at == 0)).collect();
    format!(
        "<section><h2>Before and after</h2><p class=\"note\">The same held-out scenarios, played by the base policy and by the trained \
         one. A mark says whether the reply passed its executed checks.</p>{shown}</section>"
    )
}

fn render(pair: &Pair, open: bool) -> String {
    let verdict = |conversation: &Conversation| mark(conversation.success);
    format!(
        "<details class=\"pair\"{}><summary><code>{}</code> <span>before {} after {}</span></summary>\
         <div class=\"sides\">{}{}</div></details>",
        if open { " open" } else { "" },
        escape(&pair.scenario),
        verdict(&pair.before),
        verdict(&pair.after),
        side("Before", &pair.before),
        side("After", &pair.after),
    )
}

fn side(title: &str, conversation: &Conversation) -> String {
    let said: String = conversation.messages.iter().map(|(message, passed)| bubble(message, *passed)).collect();
    let reward = conversation.reward.map(|reward| format!(" · reward {}", number(reward.into()))).unwrap_or_default();
    let outcome = if conversation.success { "succeeded" } else { "failed" };
    format!("<div class=\"side\"><h3>{title} <span>{outcome}{reward}</span></h3>{said}</div>")
}

fn bubble(message: &Message, passed: Option<bool>) -> String {
    let verdict = passed.map(mark).unwrap_or_default();
    let role = message.role.name();
    format!("<div class=\"said {role}\"><p>{}</p><small>{role} {verdict}</small></div>", escape(&message.content))
}

fn mark(passed: bool) -> &'static str {
    if passed { "<b class=\"pass\" title=\"passed\">✓</b>" } else { "<b class=\"fail\" title=\"failed\">✗</b>" }
}
