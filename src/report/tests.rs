//! The whole page, from made-up runs.

use stateset_actors::policy::HealthStatus;
use stateset_domain::{
    Action, Change, Directive, EpisodeId, FailureKind, GroupId, Message, PolicySnapshot, PolicyVersion, Purpose, Role,
    Ruling, Scaling, StepReport, Stream,
};
use stateset_domain::{Outcome, Trajectory};
use stateset_telemetry::{Event, ExitCause};

use super::*;

fn summary() -> Summary {
    let measure = |success_rate, success_rate_greedy, reward_mean| Measure {
        episodes: 256,
        success_rate,
        success_rate_greedy,
        reward_mean,
    };
    Summary {
        seed: 0,
        steps: 60,
        reason: "completed".into(),
        wall_seconds: 612.4,
        base: Some(measure(0.129, 0.0, 0.412)),
        trained: Some(measure(0.895, 0.949, 0.934)),
        policy_digest: PolicySnapshot::digest_of(&[]),
        restarts: 2,
        episodes_completed: 7_680,
        episodes_failed: 0,
        episodes_lost: 0,
        episodes_duplicated: 0,
        health: HealthStatus::default(),
    }
}

/// Sixty steps that learn along a smooth curve with noise on it; the 40th was skipped.
fn metrics() -> Vec<StepMetrics> {
    let mut noise = Stream::new(3);
    let mut row = |step: u64| {
        let done = 1.0 / (1.0 + (-(step as f64 - 26.0) / 7.0).exp());
        let mut near = |value: f64, by: f64| (value + by * noise.normal()).max(0.0);
        let learner = StepReport {
            kl: near(0.09 * done, 0.004),
            entropy: near(0.62 - 0.4 * done, 0.02),
            grad_norm: if step == 40 { f64::NAN } else { near(0.8 - 0.4 * done, 0.12) },
            skipped: step == 40,
            ..StepReport::default()
        };
        StepMetrics {
            step,
            policy_version: PolicyVersion(step),
            reward_mean: near(0.4 + 0.52 * done, 0.02).min(1.0),
            reward_std: 0.2,
            success_rate: near(0.12 + 0.77 * done, 0.035).min(1.0),
            episodes_failed: 0,
            rollout_tokens: 24_000,
            rollout_seconds: near(6.0, 0.3),
            train_seconds: 2.5,
            learner,
        }
    };
    (1..=60).map(&mut row).collect()
}

fn events() -> Vec<TimedEvent> {
    let text = |text: &str| text.to_owned();
    let cause = ExitCause::Panic(text("index out of bounds: the len is 4 but the index is 4"));
    let group = GroupId { purpose: Purpose::Train, step: 17, index: 3 };
    let episode = EpisodeId { group, member: 5 };
    let failure = FailureKind::Inference(text("the engine went away"));
    let happened = [
        (0.1, Event::RunStarted { seed: 0, from_step: 0, policy_digest: summary().policy_digest }),
        (
            171.0,
            Event::ChildExited { supervisor: text("serving-line"), child: text("inference"), incarnation: 1, cause },
        ),
        (
            171.0,
            Event::RestartScheduled {
                supervisor: text("serving-line"),
                child: text("inference"),
                restarting: vec![text("inference")],
                delay_seconds: 0.05,
                restarts_in_window: 1,
            },
        ),
        (171.1, Event::EpisodeRetried { episode, attempt: 1, failure }),
        (171.3, Event::ChildStarted { supervisor: text("serving-line"), child: text("inference"), incarnation: 2 }),
        (402.0, Event::StepSkipped { step: 40 }),
        (612.4, Event::RunFinished { step: 60, reason: text("completed") }),
    ];
    happened.into_iter().map(|(seconds, event)| TimedEvent { seconds, event }).collect()
}

fn played(success: bool, lines: &[(Role, &str)], turn_rewards: &[f32]) -> Conversation {
    let group = GroupId { purpose: Purpose::EvaluateGreedy, step: 0, index: 0 };
    let mut trajectory = Trajectory::new(EpisodeId { group, member: 0 }, "support_desk/standard/held_out/0");
    trajectory.messages = lines.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    trajectory.turn_rewards = turn_rewards.to_vec();
    let share = turn_rewards.iter().sum::<f32>() / turn_rewards.len() as f32;
    trajectory.reward = Some(0.5 * share + if success { 0.5 } else { 0.0 });
    trajectory.outcome = Outcome::Completed { success };
    Conversation::from(&trajectory)
}

fn pair() -> Pair {
    use Role::{Assistant, Tool, User};
    let (opening, also, thanks) = (
        "hi, my account is K7Q2M. you sent the wrong item.",
        "also, where is my order?",
        "thanks. what did you do for me?",
    );
    let before = [
        (User, opening),
        (Assistant, "i will send it again [reship] for K7Q2M."),
        (User, also),
        (Assistant, "i will pay it back [refund] for K7Q2N. <b>sorry</b>"),
        (User, thanks),
        (Assistant, "for K7Q2M: [reship] [refund]"),
    ];
    let after = [
        (User, opening),
        (Assistant, "i will swap the item [replace] for K7Q2M."),
        (User, also),
        (Assistant, "lookup_order {\"id\":\"K7Q2M\"}"),
        (Tool, "{\"status\":\"lost\"}"),
        (Assistant, "i will send it again [reship] for K7Q2M."),
        (User, thanks),
        (Assistant, "for K7Q2M: [replace] [reship]"),
    ];
    Pair {
        scenario: "support_desk/standard/held_out/0".into(),
        before: played(false, &before, &[0.0, 0.0, 0.0]),
        after: played(true, &after, &[1.0, 1.0, 1.0]),
    }
}

fn page() -> String {
    let (summary, metrics, events, conversations) = (summary(), metrics(), events(), [pair(), pair()]);
    let config = "version: 1\nrun:\n  name: quickstart\n";
    Report {
        name: "quickstart",
        summary: &summary,
        metrics: &metrics,
        events: &events,
        conversations: &conversations,
        config,
    }
    .render()
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let page = page();
    for outside in ["http", "src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("<b>sorry</b>") && page.contains("&lt;b&gt;sorry"));
}

#[test]
fn every_tag_that_is_opened_is_closed() {
    let page = page();
    for tag in ["section", "div", "details", "summary", "svg", "figure", "table", "tr", "td", "p", "g", "pre", "main"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_mark_stands_on_the_reply_that_ends_the_turn() {
    let marks: Vec<Option<bool>> = pair().after.messages.iter().map(|(_, passed)| *passed).collect();
    let passed = Some(true);
    assert_eq!(marks, [None, passed, None, None, None, passed, None, passed]);
}

#[test]
fn the_log_tells_failures_with_their_causes_and_counts_the_rest() {
    let page = page();
    assert!(page.contains("panicked</td><td>index out of bounds: the len is 4 but the index is 4"));
    assert!(page.contains("restarts inference in 50 ms"));
    assert!(page.contains("inference failed: the engine went away") && page.contains("every healthy run (1)"));
}

#[test]
fn what_rules_decided_is_told_with_its_grounds() {
    let halve = Directive::ScaleLr(Scaling { by: 0.5, floor: None, ceiling: None });
    let change = Change { setting: "learning_rate".into(), before: 0.001, after: 0.0005 };
    let ruling = Ruling {
        rule: "kl_drift".into(),
        step: 31,
        when: "kl > 3".into(),
        evidence: [("kl".into(), Some(4.5))].into(),
        actions: vec![Action { directive: halve, change: Some(change) }],
    };
    let events = [TimedEvent { seconds: 9.0, event: Event::Ruled(ruling) }];
    let page = Report { name: "x", summary: &summary(), metrics: &[], events: &events, conversations: &[], config: "" };
    let page = page.render();
    assert!(page.contains(
        "<td>31</td><td>kl_drift: multiply the learning rate by 0.5 (learning_rate 0.001 -&gt; 0.0005)</td>"
    ));
    assert!(page.contains("kl &gt; 3 (kl 4.5000)") && page.contains("At the end, healthy."));
}

#[test]
fn a_run_that_was_not_finished_still_has_a_page() {
    let summary = Summary { trained: None, ..summary() };
    let page =
        Report { name: "x", summary: &summary, metrics: &[], events: &[], conversations: &[], config: "" }.render();
    assert!(
        page.contains("has not been finished")
            && page.contains("Nothing failed.")
            && !page.contains("Before and after")
    );
}

#[test]
fn a_summary_has_exactly_its_fields() {
    let json = serde_json::to_value(summary()).unwrap();
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let top = "base episodes_completed episodes_duplicated episodes_failed episodes_lost final health policy_digest reason restarts seed steps wall_seconds";
    assert_eq!(keys(&json).join(" "), top);
    assert_eq!(keys(&json["final"]).join(" "), "episodes reward_mean success_rate success_rate_greedy");
}
