//! A domain's own demonstrations: conversations without end, in which every reply is right.

use std::sync::Arc;

use stateset_chat::ChatFormat;
use stateset_domain::{LearnerError, Message, Role, Split};
use stateset_environments::{Environment, Ladder};
use stateset_training::{Demonstration, Endless};

use super::render;

/// A demonstration that does not fit makes way for another, at the most so many times.
const ATTEMPTS: u64 = 16;

/// How far away the others are: beyond any that a run comes to by itself.
const AWAY: u32 = 40;

/// One for each training scenario of a rung.
pub(super) struct Demonstrations {
    pub(super) ladder: Ladder,
    /// Standing instructions that open every conversation.
    pub(super) system: Option<String>,
    pub(super) format: ChatFormat,
    /// Most tokens of one.
    pub(super) limit: usize,
}

impl Demonstrations {
    /// The demonstration of a number.
    pub(super) fn draw(&self, number: u64) -> Result<Demonstration, String> {
        let mut shortest = usize::MAX;
        for attempt in 0..ATTEMPTS {
            let scenario = self.ladder.scenario(Split::Train, number + (attempt << AWAY));
            let mut messages: Vec<Message> =
                self.system.iter().map(|text| Message::new(Role::System, text.as_str())).collect();
            messages.extend(self.ladder.ideal(&scenario).map_err(|error| error.0)?);
            let found = render(&self.format, &messages).map_err(|error| error.to_string())?;
            if found.tokens.len() <= self.limit {
                return Ok(found);
            }
            shortest = shortest.min(found.tokens.len());
        }
        Err(format!(
            "none of {ATTEMPTS} demonstrations fits into agent.max_context = {}: the shortest has {shortest} tokens",
            self.limit
        ))
    }

    pub(super) fn endless(self) -> Endless {
        Arc::new(move |number| self.draw(number).map_err(LearnerError::Batch))
    }
}

#[cfg(test)]
mod tests {
    use stateset_environments::DomainSpec;
    use stateset_testkit::CharTokenizer;

    use super::*;

    fn demonstrations(limit: usize) -> Demonstrations {
        let spec = DomainSpec::from_yaml(include_str!("../../config/domains/support_desk.yaml")).unwrap();
        let ladder = Ladder::new(Arc::new(spec), "first", 3).unwrap();
        let format = ChatFormat::new(Arc::new(CharTokenizer)).unwrap();
        Demonstrations { ladder, system: Some("be brief".into()), format, limit }
    }

    #[test]
    fn a_number_has_one_demonstration_and_another_number_another() {
        let own = demonstrations(4000);
        assert_eq!(own.draw(7), demonstrations(4000).draw(7));
        assert_ne!(own.draw(7), own.draw(8));
        assert!(own.draw(7).unwrap().spoken_tokens() > 0);
    }

    #[test]
    fn one_that_does_not_fit_makes_way_for_one_that_does() {
        let lengths: Vec<usize> = (0..24).map(|at| demonstrations(4000).draw(at).unwrap().tokens.len()).collect();
        let (shortest, longest) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
        let limit = usize::midpoint(*shortest, *longest);
        assert!((0..24).all(|at| demonstrations(limit).draw(at).unwrap().tokens.len() <= limit));
        let told = demonstrations(20).draw(0).unwrap_err();
        assert!(told.starts_with("none of 16 demonstrations fits into agent.max_context = 20"), "{told}");
    }
}
