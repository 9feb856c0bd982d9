//! Messages as tokens, and which of them count.

use stateset_chat::{ChatError, ChatFormat, Prompt};
use stateset_domain::{Message, Role};
use stateset_training::{Demonstration, PreferencePair};

use super::fault::Fault;
use super::line::Pair;

/// A conversation, in which all that the assistant says counts: its words and the end of each turn, but not what asks it to speak.
pub(crate) fn render(format: &ChatFormat, messages: &[Message]) -> Result<Demonstration, ChatError> {
    let (mut tokens, mut spoken) = (Vec::new(), Vec::new());
    let mut thread = format.thread();
    for message in messages {
        if message.role == Role::Assistant {
            let Prompt { heard, open } = thread.prompt()?;
            tokens.extend([heard, open].concat());
            spoken.resize(tokens.len(), false);
            tokens.extend(thread.given(&message.content)?);
            spoken.resize(tokens.len(), true);
        } else {
            thread.hear(message);
        }
    }
    tokens.extend(thread.heard()?);
    spoken.resize(tokens.len(), false);
    Ok(Demonstration { tokens, spoken })
}

/// A conversation of a file, of `limit` tokens at the most.
pub(super) fn conversation(format: &ChatFormat, messages: &[Message], limit: usize) -> Result<Demonstration, Fault> {
    fitting(render(format, messages), "it", limit)
}

/// A pair of a file, each side of `limit` tokens at the most. Of the prompt nothing counts, whoever says it.
pub(super) fn pair(format: &ChatFormat, pair: &Pair, limit: usize) -> Result<PreferencePair, Fault> {
    let prompt = fitting(render(format, &pair.prompt), "`prompt`", limit)?.tokens.len();
    let side = |answer: &[Message], name: &str| {
        let whole = [pair.prompt.as_slice(), answer].concat();
        let mut side = fitting(render(format, &whole), &format!("`prompt` with `{name}`"), limit)?;
        side.spoken[..prompt].fill(false);
        Ok(side)
    };
    Ok(PreferencePair { chosen: side(&pair.chosen, "chosen")?, rejected: side(&pair.rejected, "rejected")? })
}

fn fitting(rendered: Result<Demonstration, ChatError>, what: &str, limit: usize) -> Result<Demonstration, Fault> {
    let unknown = |error| Fault::new(format!("{what} has no tokens: {error}"), "text that the tokenizer knows");
    let found = rendered.map_err(unknown)?;
    match found.tokens.len() {
        tokens if tokens > limit => {
            Err(Fault::new(format!("{what} has {tokens} tokens"), format!("at most agent.max_context = {limit}")))
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stateset_domain::Tokenizer;
    use stateset_testkit::CharTokenizer;

    use super::*;

    fn format() -> ChatFormat {
        ChatFormat::new(Arc::new(CharTokenizer)).unwrap()
    }

    fn talk(said: &[(Role, &str)]) -> Vec<Message> {
        said.iter().map(|(role, text)| Message::new(*role, *text)).collect()
    }

    /// What counts of a conversation, as text, with a stop for every end of turn.
    fn counts(demonstration: &Demonstration) -> String {
        let end = CharTokenizer.special("<|end|>").unwrap();
        let counted = demonstration.tokens.iter().zip(&demonstration.spoken).filter(|(_, spoken)| **spoken);
        let text = |id: &u32| if *id == end { "/".to_owned() } else { CharTokenizer.decode(&[*id]).unwrap() };
        counted.map(|(id, _)| text(id)).collect()
    }

    #[test]
    fn what_the_assistant_says_counts_with_the_end_of_its_turns_and_nothing_else_does() {
        let said = [
            (Role::System, "be kind"),
            (Role::User, "where?"),
            (Role::Assistant, "look {}"),
            (Role::Tool, "there"),
            (Role::Assistant, "there."),
            (Role::User, "thanks"),
        ];
        let rendered = conversation(&format(), &talk(&said), 100).unwrap();
        assert_eq!(counts(&rendered), "look {}/there./");
        assert_eq!(rendered.tokens.len(), rendered.spoken.len());
    }

    #[test]
    fn of_a_pair_counts_what_the_assistant_says_after_the_prompt() {
        let prompt = talk(&[(Role::User, "a"), (Role::Assistant, "hm"), (Role::User, "b")]);
        let chosen = talk(&[(Role::Assistant, "yes"), (Role::User, "c"), (Role::Assistant, "so")]);
        let rejected = talk(&[(Role::Assistant, "no")]);
        let pair = pair(&format(), &Pair { prompt, chosen, rejected }, 100).unwrap();
        assert_eq!((counts(&pair.chosen).as_str(), counts(&pair.rejected).as_str()), ("yes/so/", "no/"));
        assert_eq!(pair.chosen.tokens[..10], pair.rejected.tokens[..10], "both begin with the prompt");
    }

    #[test]
    fn a_conversation_that_is_too_long_is_told_how_long_it_is() {
        let long = talk(&[(Role::User, "0123456789"), (Role::Assistant, "0123456789")]);
        assert!(conversation(&format(), &long, 24).is_ok());
        let told = conversation(&format(), &long, 23).unwrap_err().problem("", "here").to_string();
        assert!(told.contains("it has 24 tokens") && told.contains("at most agent.max_context = 23"), "{told}");
    }
}
