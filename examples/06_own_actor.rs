//! An actor of one's own in the tree: an auditor that sees every finished episode before the judge does.
//!
//! Its kind is registered here; `06_own_actor.yaml` says where it sits, who restarts it, and whom it passes episodes on to.
//!
//! ```console
//! $ cargo run --release --example 06_own_actor
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stateset_agents::prelude::*;

/// What has been seen, by all incarnations.
#[derive(Default)]
struct Tally {
    episodes: AtomicU64,
    long_replies: AtomicU64,
}

/// What the YAML says about it under `params`.
#[derive(serde::Deserialize)]
struct Params {
    words: usize,
}

/// Counts replies of more than so many words, and passes everything on.
struct Auditor;

#[derive(Clone)]
struct Audit {
    words: usize,
    tally: Arc<Tally>,
    judge: Port<JudgeMsg>,
}

impl Actor for Auditor {
    type Msg = JudgeMsg;
    type State = Audit;
    type Arguments = Audit;

    async fn pre_start(&self, _: ActorRef<JudgeMsg>, audit: Audit) -> Result<Audit, ActorProcessingErr> {
        Ok(audit)
    }

    async fn handle(
        &self,
        _: ActorRef<JudgeMsg>,
        message: JudgeMsg,
        audit: &mut Audit,
    ) -> Result<(), ActorProcessingErr> {
        let JudgeMsg::Score { trajectory, .. } = &message else { return Ok(()) };
        let replies = trajectory.messages.iter().filter(|message| message.role == Role::Assistant);
        let long = replies.filter(|reply| reply.content.split_whitespace().count() > audit.words).count();
        audit.tally.long_replies.fetch_add(long as u64, Ordering::Relaxed);
        // A panic costs nothing but time: the ticket in the message goes home when it is dropped, and the episode is tried again.
        assert!(audit.tally.episodes.fetch_add(1, Ordering::Relaxed) != 10, "the auditor has had enough");
        // So does a judge that stays away.
        Ok(audit.judge.post(message, Duration::from_secs(10)).await.map_err(|_| "the judge is down")?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // What the panic has to say is in the events; once is enough.
    std::panic::set_hook(Box::new(|_| {}));
    let tally = Arc::new(Tally::default());
    let seen = tally.clone();
    let auditor = Kind::new("auditor", move |seat: &Seat<'_, JudgeMsg>| {
        let Params { words } = seat.params()?;
        let audit = Audit { words, tally: seen.clone(), judge: seat.port("judge")? };
        Ok(seat.actor(move |_incarnation| (Auditor, audit.clone())))
    });
    let auditor = auditor.sends::<JudgeMsg>("judge", "trajectory").params::<Params>();

    let folder = tempfile::tempdir()?;
    let output = format!("run.output_dir={}", folder.path().display());
    let runtime = Runtime::builder().register(auditor).config_file("examples/06_own_actor.yaml", &[output])?.build()?;
    let summary = runtime.run().await?.summary;

    let Tally { episodes, long_replies } = &*tally;
    println!(
        "{} episodes passed the auditor, with {} long replies",
        episodes.load(Ordering::Relaxed),
        long_replies.load(Ordering::Relaxed)
    );
    println!("{} restarts, {} episodes lost", summary.restarts, summary.episodes_lost);
    // Two steps of 8, four evaluations of 4, and the one that was tried again.
    assert_eq!((episodes.load(Ordering::Relaxed), summary.restarts, summary.episodes_lost), (33, 1, 0));
    Ok(())
}
