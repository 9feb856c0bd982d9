//! The conversation actor: talks one episode through.
//!
//! Each turn renders only what is new, asks for a reply to all tokens so far, appends exactly what was sampled, and lets the
//! environment answer. Earlier ids are never rendered again, unless the template takes back what it wrote: then the trajectory forks,
//! and goes on from the whole conversation as it is written now. Every wait has a deadline, and whatever goes wrong ends up on the
//! ticket: said, if it can be said, and otherwise by dropping it.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use stateset_chat::{ChatError, ChatFormat, Prompt as Opening, Thread};
use stateset_domain::{FailureKind, Finish, Message, Outcome, Role, Sampling, Trajectory};
use stateset_environments::{Action, Session, Step};

use crate::protocol::{
    Assignment, Begin, CallError, ConversationMsg, Deadlines, EnvironmentMsg, InferenceMsg, Instruments, JudgeMsg,
    LiveEntry, Port, Prompt, Site, Stepped,
};

/// Talks one episode through, and stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConversationActor;

/// What a [`ConversationActor`] starts with.
pub struct ConversationArguments {
    /// The episode.
    pub begin: Begin,
    /// What all conversations share.
    pub setup: ConversationSetup,
}

/// What all conversations share.
#[derive(Clone)]
pub struct ConversationSetup {
    /// Renders turns and reads replies.
    pub format: ChatFormat,
    /// The most tokens that a conversation may have, as it is written at the time.
    pub max_context: usize,
    /// Who replies.
    pub inference: Port<InferenceMsg>,
    /// Who answers.
    pub environment: Port<EnvironmentMsg>,
    /// Who scores.
    pub judge: Port<JudgeMsg>,
    /// How long to wait for each.
    pub deadlines: Deadlines,
    /// What to report through.
    pub instruments: Instruments,
}

impl Actor for ConversationActor {
    type Msg = ConversationMsg;
    type State = Option<ConversationArguments>;
    type Arguments = ConversationArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ConversationMsg>,
        arguments: ConversationArguments,
    ) -> Result<Option<ConversationArguments>, ActorProcessingErr> {
        myself.cast(ConversationMsg::Run).map_err(|_| "a conversation cannot reach itself")?;
        Ok(Some(arguments))
    }

    async fn handle(
        &self,
        myself: ActorRef<ConversationMsg>,
        ConversationMsg::Run: ConversationMsg,
        state: &mut Option<ConversationArguments>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(ConversationArguments { begin, setup }) = state.take() {
            run(begin, &setup).await;
        }
        myself.stop(None);
        Ok(())
    }
}

async fn run(begin: Begin, setup: &ConversationSetup) {
    let Begin { ticket, scenario, opening, session } = begin;
    let live = setup.instruments.conversations.enter(&ticket);
    let (thread, trajectory) = (setup.format.thread(), Trajectory::new(ticket.episode, scenario));
    let talk = Talk { setup, assignment: &ticket, live, thread, trajectory };
    let prefix = Prefix { inference: &setup.inference, conversation: ticket.conversation };
    let talked = talk.through(opening, session).await;
    drop(prefix);
    match talked {
        Err(failure) => ticket.fail(failure),
        Ok(trajectory) => {
            let message = JudgeMsg::Score { ticket, trajectory: Box::new(trajectory) };
            if let Err(undelivered) = setup.judge.post(message, setup.deadlines.judge).await
                && let JudgeMsg::Score { ticket, .. } = undelivered.0
            {
                ticket.fail(FailureKind::Judge(CallError::Down.to_string()));
            }
        }
    }
}

/// The prefix that the engine keeps for a conversation, released however it ends.
struct Prefix<'a> {
    inference: &'a Port<InferenceMsg>,
    conversation: u64,
}

impl Drop for Prefix<'_> {
    fn drop(&mut self) {
        // An engine that is down has no prefixes.
        let _ = self.inference.send(InferenceMsg::Release { conversation: self.conversation });
    }
}

struct Talk<'a> {
    setup: &'a ConversationSetup,
    assignment: &'a Assignment,
    live: LiveEntry,
    thread: Thread,
    trajectory: Trajectory,
}

impl Talk<'_> {
    async fn through(mut self, opening: Vec<Message>, session: Box<dyn Session>) -> Result<Trajectory, FailureKind> {
        let (mut heard, mut session) = (opening, session);
        for turn in 1.. {
            self.setup.instruments.visit(Site::Conversation).await.map_err(|_| FailureKind::Abandoned)?;
            let open = self.hear(heard)?;
            let action = self.reply(turn, open).await?;
            let stepped = self.step(turn, session, action).await?;
            let Step { observation, reward, done } = stepped.step;
            self.trajectory.turn_rewards.extend(reward);
            if let Some(success) = done {
                self.trajectory.outcome = Outcome::Completed { success };
                break;
            }
            (heard, session) = (observation, stepped.session);
        }
        Ok(self.trajectory)
    }

    /// Appends what others said; returns the tokens that ask for a reply.
    fn hear(&mut self, messages: Vec<Message>) -> Result<Vec<u32>, FailureKind> {
        messages.iter().for_each(|message| self.thread.hear(message));
        let prompt = match self.thread.prompt() {
            Err(ChatError::Rewritten { .. }) => {
                self.trajectory.fork();
                self.thread.anew()
            }
            prompt => prompt,
        };
        let Opening { heard, open } = prompt.map_err(unrenderable)?;
        if !heard.is_empty() {
            let role = messages.last().map_or(Role::System, |last| last.role);
            self.trajectory.push_context(role, &heard);
        }
        self.trajectory.messages.extend(messages);
        Ok(open)
    }

    /// Lets the policy speak, and appends what it sampled.
    async fn reply(&mut self, turn: u32, open: Vec<u32>) -> Result<Action, FailureKind> {
        let (format, deadline) = (&self.setup.format, self.setup.deadlines.generate);
        let tokens = [self.trajectory.newest(), &open].concat();
        let sampling = self.fitting(tokens.len())?;
        let Assignment { conversation, stream, .. } = *self.assignment;
        let stream = stream.fork(u64::from(turn));
        let prompt = Prompt { conversation, tokens, sampling, stop_tokens: format.stop_tokens(), stream };
        self.live.waits(turn, Site::Inference);
        let generated = self.setup.inference.call(|reply| InferenceMsg::Generate { prompt, reply }, deadline).await;
        let completion = generated
            .map_err(|error| unanswered(Site::Inference, FailureKind::Inference, error))?
            .map_err(|error| FailureKind::Inference(error.to_string()))?;
        let (reply, close) =
            self.thread.reply(&completion.tokens).map_err(|error| FailureKind::Inference(error.to_string()))?;
        self.trajectory.push_sampled(&open, &completion.tokens, &completion.log_probs, completion.version, &close);
        self.trajectory.messages.push(Message::new(Role::Assistant, reply.text.as_str()));
        Ok(Action { text: reply.text, call: reply.call, truncated: completion.finish == Finish::Length })
    }

    /// The sampling parameters, with no more tokens than there is room for beside the end of the turn.
    fn fitting(&mut self, prompt: usize) -> Result<Sampling, FailureKind> {
        let (limit, end) = (self.setup.max_context, self.thread.close().map_err(unrenderable)?.len());
        let room = limit.saturating_sub(prompt + end);
        if room == 0 {
            return Err(FailureKind::ContextFull { tokens: prompt + end + 1, limit });
        }
        let sampling = self.assignment.sampling.clone();
        Ok(Sampling { max_tokens: sampling.max_tokens.min(room), ..sampling })
    }

    async fn step(&self, turn: u32, session: Box<dyn Session>, action: Action) -> Result<Stepped, FailureKind> {
        self.live.waits(turn, Site::Environment);
        let ask = |reply| EnvironmentMsg::Step { session, action, reply };
        let stepped = self.setup.environment.call(ask, self.setup.deadlines.environment).await;
        stepped
            .map_err(|error| unanswered(Site::Environment, FailureKind::Environment, error))?
            .map_err(|error| FailureKind::Environment(error.0))
    }
}

fn unanswered(site: Site, failed: fn(String) -> FailureKind, error: CallError) -> FailureKind {
    match error {
        CallError::Deadline => FailureKind::Deadline(site.to_string()),
        CallError::Down | CallError::Dropped => failed(error.to_string()),
    }
}

fn unrenderable(error: ChatError) -> FailureKind {
    FailureKind::Environment(format!("a message cannot be rendered: {error}"))
}
