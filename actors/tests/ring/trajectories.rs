//! What is trained on is exactly what was rendered once and sampled.

use std::sync::{Arc, Mutex};

use stateset_actors::policy::Plan;
use stateset_chat::{ChatFormat, Conversation, Prompt, Value};
use stateset_domain::{
    Artifact, Digest, Engine, EngineError, GenerateRequest, Message, PolicySnapshot, PolicyVersion, Poll, Role,
    Sampling, Tokenizer, Trajectory,
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

/// The built-in policy's template, but of a reply that is not the last only what follows the thoughts.
const FORGETFUL: &str = "{% for message in messages %}\
    {% set thoughts_go = message['role'] == 'assistant' and not loop.last %}\
    {{ '<|' + message['role'] + '|>' }}\
    {{ message['content'].split('</think>')[-1] if thoughts_go else message['content'] }}{{ '<|end|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

fn forgetful() -> ChatFormat {
    let file = |name: &str, text: &str| Artifact { name: name.into(), bytes: text.into() };
    let files = [file("chat_template.jinja", FORGETFUL), file("tokenizer_config.json", r#"{"eos_token": "<|end|>"}"#)];
    ChatFormat::declared(Arc::new(CharTokenizer), &files, false, None).unwrap()
}

/// Prompts, and what was replied to each.
type Asked = Arc<Mutex<Vec<(Vec<u32>, String)>>>;

/// An engine that says what it thinks before it repeats what it heard, and writes down both.
fn thinking(thoughts: &'static str, asked: &Asked) -> Arc<dyn Fn() -> Box<dyn Engine> + Send + Sync> {
    let asked = Arc::clone(asked);
    Arc::new(move || {
        let asked = Arc::clone(&asked);
        Box::new(ScriptedEngine::new(move |_, request| {
            let reply = format!("<think>{thoughts}</think>{}", sometimes_echo(request));
            asked.lock().unwrap().push((request.tokens.clone(), reply.clone()));
            reply
        }))
    })
}

/// An episode of three turns with an engine that thinks and a template that forgets it.
async fn thought_through(thoughts: &'static str, asked: &Asked) -> Trajectory {
    let sampling = Sampling { max_tokens: 250, ..Sampling::default() };
    let plan = Plan { steps: 0, eval_episodes: 1, sampling, ..Rig::default().plan };
    let ran = Rig { plan, engine: thinking(thoughts, asked), format: forgetful(), ..Rig::default() }.run().await;
    ran.recorder.evaluations.lock().unwrap()[0].samples[0].clone()
}

#[tokio::test]
async fn a_template_that_takes_thoughts_back_forks_the_trajectory_and_every_sampled_token_is_scored_once() {
    let prompts = Asked::default();
    let episode = thought_through("so", &prompts).await;
    let asked = prompts.lock().unwrap()[..3].to_vec();
    let message =
        |message: &Message| Value::from_pairs([("role", message.role.name()), ("content", message.content.as_str())]);
    let (mut expected, mut forks, mut sampled) = (Vec::new(), Vec::new(), Vec::new());
    for (turn, (tokens, reply)) in asked.iter().enumerate() {
        let messages = episode.messages[..=2 * turn].iter().map(message).collect();
        let whole = forgetful().render(&Conversation { messages, ..Conversation::default() }, true).unwrap();
        assert_eq!(*tokens, whole.ids, "a reply is asked for as the template writes the whole conversation now");
        let reply = [CharTokenizer.encode(reply).unwrap(), vec![CharTokenizer::END]].concat();
        forks.push(expected.len());
        expected.extend([whole.ids, reply.clone()].concat());
        sampled.extend(reply);
    }
    assert_eq!((&episode.tokens, &episode.forks[..]), (&expected, &forks[1..]));
    let scored = (0..episode.tokens.len()).filter(|at| episode.mask[*at]);
    assert!(scored.clone().map(|at| episode.tokens[at]).eq(sampled), "what was sampled, thoughts included, and once");
    assert!(scored.clone().all(|at| episode.log_probs[at] < 0.0 && episode.versions[at] == PolicyVersion(0)));
    assert_eq!(episode.turn_rewards.len(), 3);
}

#[tokio::test]
async fn what_a_conversation_may_have_of_tokens_is_measured_as_it_is_written_last() {
    const THOUGHTS: &str = "hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, \
                            hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm, hm";
    let episode = thought_through(THOUGHTS, &Asked::default()).await;
    assert_eq!(episode.forks.len(), 2);
    assert!(episode.tokens.len() > 400 && episode.newest().len() < 400, "the rig's limit is 400");
}
