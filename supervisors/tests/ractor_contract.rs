//! What this crate relies on ractor for. ractor is pinned; at every bump this file says what changed.
#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::concurrency::JoinHandle;
use ractor::{
    Actor, ActorProcessingErr, ActorRef, ActorStatus, MessagingErr, RactorErr, SpawnErr, SupervisionEvent, registry,
};

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Notes every supervision event.
struct Parent(Journal);

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.0.note("parent handled a message");
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.0.note(match &event {
            SupervisionEvent::ActorStarted(_) => "started".into(),
            SupervisionEvent::ActorTerminated(_, state, reason) => {
                format!("terminated state={} reason={reason:?}", state.is_some())
            }
            SupervisionEvent::ActorFailed(_, error) => format!("failed {error}"),
            _ => "something else".into(),
        });
        Ok(())
    }
}

struct Child(Journal);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Do {
    Fail,
    Panic,
    Note(&'static str),
    Sleep,
}

/// Notes when it is dropped.
struct Held(Journal);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.note("state dropped");
    }
}

impl Actor for Child {
    type Msg = Do;
    type State = Held;
    type Arguments = Option<&'static str>;

    async fn pre_start(&self, _: ActorRef<Do>, refuse: Self::Arguments) -> Result<Held, ActorProcessingErr> {
        match refuse {
            Some("panic") => panic!("refused"),
            Some(text) => Err(text.into()),
            None => Ok(Held(self.0.clone())),
        }
    }

    async fn post_start(&self, _: ActorRef<Do>, _: &mut Held) -> Result<(), ActorProcessingErr> {
        self.0.note("post_start");
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Do>, order: Do, _: &mut Held) -> Result<(), ActorProcessingErr> {
        match order {
            Do::Fail => return Err("an error".into()),
            Do::Panic => panic!("a panic"),
            Do::Note(line) => self.0.note(line),
            Do::Sleep => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.0.note("slept");
            }
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Do>, _: &mut Held) -> Result<(), ActorProcessingErr> {
        let free = myself.get_name().is_some_and(|name| registry::where_is(name).is_none());
        self.0.note(if free { "post_stop, name free" } else { "post_stop" });
        Ok(())
    }
}

struct Pair {
    journal: Journal,
    parent: ActorRef<()>,
    parent_task: JoinHandle<()>,
    child: ActorRef<Do>,
    task: JoinHandle<()>,
}

async fn pair(name: Option<&str>) -> Pair {
    let journal = Journal::default();
    let (parent, parent_task) = Actor::spawn(None, Parent(journal.clone()), ()).await.unwrap();
    let name = name.map(String::from);
    let (child, task) = Actor::spawn_linked(name, Child(journal.clone()), None, parent.get_cell()).await.unwrap();
    assert_eq!(journal.lines(), [""; 0], "spawn returns before post_start");
    settle().await;
    assert_eq!(journal.lines(), ["post_start", "started"]);
    journal.0.lock().unwrap().clear();
    Pair { journal, parent, parent_task, child, task }
}

/// Lets everything run that can run without time passing.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_an_error_of_spawn_and_no_event() {
    let journal = Journal::default();
    let (parent, _) = Actor::spawn(None, Parent(journal.clone()), ()).await.unwrap();
    for refuse in ["panic", "refused"] {
        let spawned = Actor::spawn_linked(None, Child(journal.clone()), Some(refuse), parent.get_cell()).await;
        let Err(SpawnErr::StartupFailed(error)) = spawned else { panic!("it must not start") };
        assert_eq!(error.to_string(), "refused");
    }
    settle().await;
    assert_eq!(journal.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_error_and_a_panic_look_alike_and_skip_post_stop() {
    for (order, event) in [(Do::Fail, "failed an error"), (Do::Panic, "failed a panic")] {
        let Pair { journal, child, .. } = pair(None).await;
        child.send_message(order).unwrap();
        settle().await;
        let mut lines = journal.lines();
        lines.sort();
        assert_eq!(lines, [event, "state dropped"]);
    }
}

/// Hence a supervisor waits for the task, not for the event.
#[tokio::test(start_paused = true)]
async fn a_failed_childs_state_is_dropped_by_the_time_its_task_is_over() {
    let Pair { journal, child, task, .. } = pair(None).await;
    child.send_message(Do::Fail).unwrap();
    task.await.unwrap();
    assert!(journal.lines().contains(&"state dropped".into()));
}

#[tokio::test(start_paused = true)]
async fn a_kill_hands_over_the_state_and_skips_post_stop_idle_or_not() {
    for busy in [false, true] {
        let Pair { journal, child, .. } = pair(None).await;
        if busy {
            child.send_message(Do::Sleep).unwrap();
            settle().await;
        }
        child.kill();
        settle().await;
        assert_eq!(journal.lines(), ["terminated state=true reason=Some(\"killed\")", "state dropped"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_the_reason_killed_looks_like_a_kill() {
    let Pair { journal, child, .. } = pair(None).await;
    child.stop(Some("killed".into()));
    settle().await;
    assert_eq!(journal.lines(), ["post_stop", "terminated state=true reason=Some(\"killed\")", "state dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_current_message_drops_the_rest_and_frees_the_name_before_post_stop() {
    let Pair { journal, child, .. } = pair(Some("contract-stop")).await;
    child.send_message(Do::Sleep).unwrap();
    settle().await;
    child.send_message(Do::Note("queued")).unwrap();
    child.stop(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lines = ["slept", "post_stop, name free", "terminated state=true reason=None", "state dropped"];
    assert_eq!(journal.lines(), lines);
}

#[tokio::test(start_paused = true)]
async fn a_drain_handles_what_is_queued_and_refuses_what_comes() {
    let Pair { journal, child, .. } = pair(None).await;
    child.send_message(Do::Note("queued")).unwrap();
    child.drain().unwrap();
    let refused = child.send_message(Do::Note("late"));
    assert!(matches!(refused, Err(MessagingErr::SendErr(Do::Note("late")))));
    settle().await;
    let lines = ["queued", "post_stop", "terminated state=true reason=Some(\"Drained\")", "state dropped"];
    assert_eq!(journal.lines(), lines);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_task_is_a_termination_without_state() {
    let Pair { journal, task, .. } = pair(None).await;
    task.abort();
    settle().await;
    assert_eq!(journal.lines(), ["state dropped", "terminated state=false reason=Some(\"actor_task_cancelled\")"]);
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_ends_kills_its_children_without_post_stop() {
    let Pair { journal, parent, parent_task, child, .. } = pair(None).await;
    parent.stop(None);
    parent_task.await.unwrap();
    settle().await;
    assert_eq!((child.get_status(), journal.lines()), (ActorStatus::Stopped, vec!["state dropped".into()]));
}

/// Hence an incarnation is killed by being dropped, whatever ractor does.
#[tokio::test(start_paused = true)]
async fn a_draining_child_outlives_its_parent() {
    let Pair { journal, parent, parent_task, child, .. } = pair(None).await;
    child.send_message(Do::Sleep).unwrap();
    child.drain().unwrap();
    settle().await;
    parent.kill();
    parent_task.await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(journal.lines(), ["slept", "post_stop", "state dropped"]);
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_childs_end_is_not_told_and_its_state_is_gone_with_its_task() {
    let Pair { journal, parent, child, task, .. } = pair(None).await;
    child.unlink(parent.get_cell());
    child.kill();
    task.await.unwrap();
    assert_eq!(journal.lines(), ["state dropped"]);
}

/// Hence a restart that goes through the mailbox comes after all ends that were told before.
#[tokio::test(start_paused = true)]
async fn supervision_events_overtake_messages() {
    let Pair { journal, parent, child, .. } = pair(None).await;
    parent.send_message(()).unwrap();
    // What a child's end does, without waiting for one.
    child.notify_supervisor(SupervisionEvent::ActorFailed(child.get_cell(), "told later".into()));
    settle().await;
    assert_eq!(journal.lines(), ["failed told later", "parent handled a message"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_and_wait_does_not_wait() {
    let Pair { child, .. } = pair(None).await;
    child.send_message(Do::Sleep).unwrap();
    settle().await;
    child.stop(None);
    let second = child.stop_and_wait(None, None).await;
    assert!(matches!(second, Err(RactorErr::Messaging(MessagingErr::ChannelClosed))));
    assert_eq!(child.get_status(), ActorStatus::Running);
}
