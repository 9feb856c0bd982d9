//! What is trained on is exactly what was rendered once and sampled.

use std::sync::{Arc, Mutex};

use stateset_actors::policy::Plan;
use stateset_chat::{ChatFormat, Prompt};
use stateset_domain::{
    Digest, Engine, EngineError, GenerateRequest, Message, PolicySnapshot, Poll, Role, Sampling, Tokenizer,
};
use stateset_testkit::{CharTokenizer, EchoEnvironment, ScriptedEngine};

use crate::rig::{Rig, sometimes_echo};

/// Begins every reply with a special token, which the text of the reply does not show, and writes down what it is asked.
struct Stammering {
    engine: ScriptedEngine,
    prompts: Arc<Mutex<Vec<Vec<u32>>>>,
}

impl Engine for Stammering {
    fn load(&mut self, snapshot: &PolicySnapshot) -> Result<Digest, EngineError> {
        self.engine.load(snapshot)
    }

    fn submit(&mut self, request: GenerateRequest) -> Result<(), EngineError> {
        self.prompts.lock().unwrap().push(request.tokens.clone());
        self.engine.submit(request)
    }

    fn step(&mut self) -> Result<Poll, EngineError> {
        let mut poll = self.engine.step()?;
        for finished in &mut poll.finished {
            finished.completion.tokens.insert(0, CharTokenizer.special("<|tool|>").unwrap());
            finished.completion.log_probs.insert(0, -9.0);
        }
        Ok(poll)
    }

    fn release(&mut self, conversation: u64) {
        self.engine.release(conversation);
    }
}

fn stammering(prompts: &Arc<Mutex<Vec<Vec<u32>>>>) -> Arc<dyn Fn() -> Box<dyn Engine> + Send + Sync> {
    let prompts = Arc::clone(prompts);
    Arc::new(move || {
        let engine = ScriptedEngine::new(|_, request| sometimes_echo(request));
        Box::new(Stammering { engine, prompts: Arc::clone(&prompts) })
    })
}

#[tokio::test]
async fn over_four_turns_ids_are_what_was_rendered_and_sampled_and_nothing_is_tokenised_again() {
    let prompts = Arc::default();
    let sampling = Sampling { max_tokens: 32, ..Sampling::default() };
    let plan = Plan { steps: 0, eval_episodes: 1, sampling, ..Rig::default().plan };
    let ran = Rig {
        plan,
        engine: stammering(&prompts),
        environment: Arc::new(EchoEnvironment { turns: 4 }),
        ..Rig::default()
    };
    let ran = ran.run().await;
    let episode = ran.recorder.evaluations.lock().unwrap()[0].samples[0].clone();

    let format = ChatFormat::new(Arc::new(CharTokenizer)).unwrap();
    let (mut expected, mut asked) = (Vec::new(), Vec::new());
    let mut thread = format.thread();
    for turn in episode.messages.chunks(2) {
        thread.hear(&turn[0]);
        let Prompt { heard, open } = thread.prompt().unwrap();
        expected.extend([heard, open].concat());
        asked.push(expected.clone());
        expected.extend(CharTokenizer.special("<|tool|>"));
        expected.extend(thread.given(&turn[1].content).unwrap());
    }
    assert_eq!(episode.messages.len(), 8);
    assert_eq!(episode.tokens, expected, "the sampled special token is kept, although the text does not show it");
    assert_eq!(prompts.lock().unwrap()[..4], asked, "each prompt extends the one before it");

    let sampled: usize = episode.spans.iter().map(|span| span.sampled.len()).sum();
    assert_eq!(episode.sampled_tokens(), sampled);
    for span in episode.spans.iter().filter(|span| span.role == Role::Assistant) {
        assert!(!episode.mask[span.tokens.start], "the token that opens a reply was given");
        assert_eq!(episode.log_probs[span.sampled.start], -9.0);
        assert_eq!(span.sampled.end, span.tokens.end, "the policy sampled its own end");
    }
}

#[tokio::test]
async fn a_reply_that_is_cut_off_is_closed_for_it() {
    let sampling = Sampling { max_tokens: 3, ..Sampling::default() };
    let plan = Plan { steps: 0, eval_episodes: 1, sampling, ..Rig::default().plan };
    let ran = Rig { plan, ..Rig::default() }.run().await;
    let episode = ran.recorder.evaluations.lock().unwrap()[0].samples[0].clone();
    let span = episode.spans.iter().find(|span| span.role == Role::Assistant).unwrap().clone();
    assert_eq!((span.sampled.len(), span.tokens.end - span.sampled.end), (3, 1));
    assert_eq!((episode.tokens[span.sampled.end], episode.mask[span.sampled.end]), (CharTokenizer::END, false));
    let text = CharTokenizer.decode(&episode.tokens[span.sampled]).unwrap();
    assert_eq!(episode.messages[1], Message::new(Role::Assistant, text));
}
