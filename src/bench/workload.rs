//! How many conversations, how long, and which of them begin alike.

use stateset_domain::{EpisodeId, GroupId, PolicyVersion, Purpose, Role, Stream, Trajectory};
use stateset_models::ModelConfig;

use super::Refused;
use super::flops::Conversations;

/// The least that a ragged reply has.
const SHORTEST: usize = 4;

/// Conversations of so many turns: a prompt, a reply, and then a message of a quarter of the prompt's length before each further reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Conversations.
    pub(crate) sequences: usize,
    /// Tokens of each prompt.
    pub(crate) prompt: usize,
    /// Tokens of each reply; of the longest, if they are ragged.
    pub(crate) completion: usize,
    /// How many conversations in a row share their prompt.
    pub(crate) group: usize,
    /// Whether replies differ in length.
    pub(crate) ragged: bool,
    /// Replies of each conversation.
    pub(crate) turns: usize,
    /// What everything is drawn from.
    pub(crate) seed: u64,
}

impl Workload {
    /// Whether a decoder of that shape can do it.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), Refused> {
        let refuse = |told: String| Err(Refused(told));
        let Self { sequences, group, completion, .. } = *self;
        if sequences % group != 0 {
            let allowed: Vec<String> =
                (1..=sequences).filter(|it| sequences.is_multiple_of(*it)).map(|it| it.to_string()).collect();
            let allowed = allowed.join(", ");
            return refuse(format!("--group {group} does not divide --sequences {sequences}; these do: {allowed}"));
        }
        if self.ragged && completion < SHORTEST {
            return refuse(format!("--ragged draws lengths from {SHORTEST} to --completion, which is {completion}"));
        }
        if self.turns > 1 && self.message() == 0 {
            return refuse(format!(
                "--turns {} needs a --prompt of at least 4: what is said later has a quarter of it",
                self.turns
            ));
        }
        let (longest, room) = (self.longest(), config.max_position_embeddings);
        if longest >= room {
            return refuse(format!(
                "a conversation would have {longest} tokens, and the model has room for {}: choose a smaller --prompt, --completion or --turns",
                room - 1
            ));
        }
        Ok(())
    }

    /// Tokens of what is said between two replies.
    fn message(&self) -> usize {
        self.prompt / 4
    }

    /// Tokens of a conversation in which every reply is as long as it may be.
    pub(crate) fn longest(&self) -> usize {
        self.prompt + self.turns * self.completion + (self.turns - 1) * self.message()
    }

    /// Tokens of a conversation's reply in `turn`.
    pub(crate) fn reply(&self, sequence: usize, turn: usize) -> usize {
        match self.ragged {
            true => SHORTEST + (hash(self.seed, sequence, turn) % (self.completion - SHORTEST + 1) as u64) as usize,
            false => self.completion,
        }
    }

    fn replies(&self, sequence: usize) -> usize {
        (0..self.turns).map(|turn| self.reply(sequence, turn)).sum()
    }

    fn length(&self, sequence: usize) -> usize {
        self.prompt + self.replies(sequence) + (self.turns - 1) * self.message()
    }

    /// Tokens of all conversations.
    pub(crate) fn tokens(&self) -> usize {
        (0..self.sequences).map(|sequence| self.length(sequence)).sum()
    }

    /// Tokens of all replies.
    pub(crate) fn sampled(&self) -> usize {
        (0..self.sequences).map(|sequence| self.replies(sequence)).sum()
    }

    /// What sampling the replies takes: the very last token of a conversation is drawn, and read by nobody.
    pub(crate) fn sampling(&self) -> Conversations {
        self.conversations(1)
    }

    /// What scoring the replies takes.
    pub(crate) fn scoring(&self) -> Conversations {
        self.conversations(0)
    }

    fn conversations(&self, unread: usize) -> Conversations {
        let all = 0..self.sequences;
        Conversations {
            positions: all.clone().map(|sequence| self.length(sequence) - unread).collect(),
            scored: all.map(|sequence| self.replies(sequence)).collect(),
            group: self.group,
            shared: self.prompt,
        }
    }

    /// The stream of `repetition`: prompts are new in each, so that nothing kept from the one before is of any use.
    pub(crate) fn stream(&self, repetition: usize) -> Stream {
        Stream::new(self.seed).fork(repetition as u64)
    }

    /// The conversations of `repetition` as they begin, of which nobody has said anything yet but the prompt.
    pub(crate) fn begin(&self, repetition: usize, vocabulary: usize) -> Vec<Trajectory> {
        let prompts = self.stream(repetition).fork(0);
        let begin = |sequence: usize| {
            let (index, member) = (sequence / self.group, sequence % self.group);
            let group = GroupId { purpose: Purpose::Train, step: repetition as u64, index: index as u32 };
            let mut conversation = Trajectory::new(EpisodeId { group, member: member as u32 }, index.to_string());
            conversation.push_context(Role::User, &ids(prompts.fork(index as u64), self.prompt, vocabulary));
            conversation
        };
        (0..self.sequences).map(begin).collect()
    }

    /// What is said to a conversation before the reply of `turn`, which is not its first.
    pub(crate) fn say(&self, repetition: usize, (sequence, turn): (usize, usize), vocabulary: usize) -> Vec<u32> {
        let stream = self.stream(repetition).fork(1).fork(sequence as u64).fork(turn as u64);
        ids(stream, self.message(), vocabulary)
    }

    /// Whole conversations of `repetition` in which replies are random ids, as if the policy at `version` had found all ids alike.
    pub(crate) fn finished(&self, repetition: usize, vocabulary: usize, version: PolicyVersion) -> Vec<Trajectory> {
        let mut conversations = self.begin(repetition, vocabulary);
        let log_prob = -(vocabulary as f32).ln();
        for (sequence, conversation) in conversations.iter_mut().enumerate() {
            for turn in 0..self.turns {
                if turn > 0 {
                    conversation.push_context(Role::User, &self.say(repetition, (sequence, turn), vocabulary));
                }
                let stream = self.stream(repetition).fork(2).fork(sequence as u64).fork(turn as u64);
                let reply = ids(stream, self.reply(sequence, turn), vocabulary);
                conversation.push_sampled(&[], &reply, &vec![log_prob; reply.len()], version, &[]);
            }
        }
        conversations
    }
}

fn ids(mut stream: Stream, count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|_| stream.below(vocabulary) as u32).collect()
}

/// Sixty-four bits for each turn of each conversation: SplitMix64's output function (Steele et al. 2014) over a place of its own in the
/// sequence. Plain enough to be written down again in another language, so that programs that are compared draw the same lengths.
fn hash(seed: u64, sequence: usize, turn: usize) -> u64 {
    let place = 1 + sequence as u64 + ((turn as u64) << 32);
    let z = seed.wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ragged() -> Workload {
        Workload { sequences: 4, prompt: 8, completion: 9, group: 2, ragged: true, turns: 2, seed: 7 }
    }

    #[test]
    fn ragged_replies_have_the_lengths_that_other_programs_draw() {
        // In Python, with hashed() as above on 64-bit words: [4 + hashed(7, i, t) % 6 for t in range(2) for i in range(4)]
        let lengths = |turn| [0, 1, 2, 3].map(|sequence| ragged().reply(sequence, turn));
        assert_eq!((lengths(0), lengths(1)), ([7, 4, 4, 7], [7, 9, 5, 9]));
    }

    #[test]
    fn a_conversation_is_as_long_as_was_counted_and_a_group_begins_alike() {
        let workload = ragged();
        let all = workload.finished(3, 50, PolicyVersion(2));
        assert_eq!(all.iter().map(|it| it.tokens.len()).sum::<usize>(), workload.tokens());
        assert_eq!(all.iter().map(Trajectory::sampled_tokens).sum::<usize>(), workload.sampled());
        assert_eq!(all[0].tokens[..8], all[1].tokens[..8]);
        assert_ne!(all[0].tokens[..8], all[2].tokens[..8]);
        assert_ne!(all[0].tokens[..8], workload.begin(4, 50)[0].tokens[..8], "a repetition has prompts of its own");
        assert_eq!(workload.sampling().positions.iter().sum::<usize>() + 4, workload.tokens());
        assert!(all.iter().all(|it| it.tokens.len() <= workload.longest()));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_what_can() {
        let config = "A".parse::<crate::bench::Shape>().unwrap().config().unwrap();
        let told = |workload: Workload| workload.check(&config).unwrap_err().to_string();
        assert!(ragged().check(&config).is_ok());
        assert!(told(Workload { group: 3, ..ragged() }).ends_with("these do: 1, 2, 4"));
        assert!(told(Workload { completion: 3, ..ragged() }).contains("from 4 to --completion, which is 3"));
        assert!(
            told(Workload { completion: 2000, ..ragged() }).contains("4010 tokens, and the model has room for 2047")
        );
        assert!(told(Workload { prompt: 3, ..ragged() }).contains("at least 4"));
    }
}
