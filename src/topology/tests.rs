//! Topologies that make sense, and those that do not.

use std::time::Duration;

use super::kind::Manner;
use super::*;
use crate::config::{Config, Problem};
use stateset_supervisors::{AutoShutdown, Excess, Strategy};

/// The configuration with this `topology` section.
fn config(topology: &str) -> Config {
    let config = Config { topology: serde_saphyr::from_str(topology).unwrap(), ..Config::default() };
    assert_eq!(serde_saphyr::from_str::<Config>(&config.to_yaml()).unwrap(), config, "it is written as it is read");
    config
}

fn blueprint(topology: &str) -> Blueprint {
    Blueprint::of(&config(topology), &Kinds::default()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Key, message and what is said to help, of every problem.
fn problems(topology: &str) -> Vec<String> {
    let told = |Problem { key, message, allowed, help, .. }: Problem| {
        let key = key.trim_start_matches("topology.");
        [Some(format!("{key}: {message}")), allowed, help].into_iter().flatten().collect::<Vec<_>>().join(" | ")
    };
    Blueprint::of(&config(topology), &Kinds::default()).unwrap_err().into_iter().map(told).collect()
}

fn names(branch: &Branch) -> Vec<&str> {
    branch
        .children
        .iter()
        .map(|child| match child {
            Child::Supervisor(below) => below.name.as_str(),
            Child::Actor(id) => id,
        })
        .collect()
}

fn below<'a>(branch: &'a Branch, name: &str) -> &'a Branch {
    let below = branch.children.iter().find_map(|child| match child {
        Child::Supervisor(below) if below.name == name => Some(below),
        Child::Supervisor(_) | Child::Actor(_) => None,
    });
    below.unwrap_or_else(|| panic!("no {name} below {}", branch.name))
}

#[test]
fn the_standard_topology_is_whole_and_every_port_of_it_leads_somewhere() {
    let blueprint = blueprint("{}");
    assert_eq!(blueprint.root.strategy, Strategy::RestForOne);
    assert_eq!(names(&blueprint.root), ["persistence", "learning", "serving-line", "rollouts", "watch"]);
    assert_eq!(names(below(&blueprint.root, "rollouts")), ["judge", "environment", "conversations"]);
    assert_eq!(blueprint.actors.len(), 7);
    assert!(blueprint.actors.values().all(|placed| placed.to.values().all(Option::is_some)), "{blueprint:#?}");
}

#[test]
fn what_is_written_is_laid_over_the_standard_topology() {
    let blueprint = blueprint(
        "
        defaults: {shutdown: {drain: 1s}}
        supervisors:
          learning: {intensity: {max: 1, within: 5m}}
          rollouts: {children: [environment, conversations, scoring]}
          scoring: {strategy: rest_for_one, children: [critic]}
        actors:
          critic: {kind: judge, pool: {size: 4}, restart: transient}
        ",
    );
    let learning = below(&blueprint.root, "learning");
    assert_eq!((learning.strategy, learning.intensity.max_restarts), (Strategy::RestForOne, 1));
    assert_eq!(learning.backoff.reset_after, Duration::from_secs(300));
    assert_eq!(names(below(below(&blueprint.root, "rollouts"), "scoring")), ["critic"]);
    assert_eq!(blueprint.actors["critic"].pool, Some(4));
    assert_eq!(blueprint.actors["conversations"].to["judge"], Some("critic".into()), "the only one that judges");
    assert_eq!(blueprint.actors["learner"].budgets.drain, Duration::from_secs(1));
}

#[test]
fn nobody_needs_to_watch() {
    let blueprint = blueprint("supervisors: {root: {children: [persistence, learning, serving-line, rollouts]}}");
    assert_eq!(blueprint.actors["learner"].to["health_monitor"], None);
}

#[test]
fn names_that_mean_nobody_are_told_with_the_nearest() {
    let told = problems(
        "
        supervisors:
          rollouts: {children: [juge, environment, conversations, lawyer]}
          watch: {children: [health_monitor, auditor]}
        actors:
          auditor: {kind: health_monitr, to: {judge: judge}}
          conversations: {to: {inferense: inference, judge: enviroment}}
        ",
    );
    let wanted = [
        "supervisors.rollouts.children.0: `rollouts` has an unknown child `juge` | did you mean `judge`?",
        "supervisors.rollouts.children.3: `rollouts` has an unknown child `lawyer` | ",
        "actors.auditor.kind: `auditor` is of an unknown kind `health_monitr` | ",
        "supervisors: there is no judge in the tree | list an actor of kind `judge` as a supervisor's child",
        "actors.conversations.to.inferense: `conversations` has no port `inferense` | did you mean `inference`?",
        "actors.conversations.to.judge: the port `judge` of `conversations` leads to `enviroment`, which is not in the tree",
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (told, wanted) in told.iter().zip(wanted) {
        assert!(told.starts_with(wanted), "{told}\n{wanted}");
    }
    assert!(
        told[1].contains("`judge`") && told[1].ends_with("describe it: `topology.actors.lawyer.kind`"),
        "{}",
        told[1]
    );
    assert!(told[2].ends_with("| did you mean `health_monitor`?"), "{}", told[2]);
}

#[test]
fn everybody_has_one_parent_and_nobody_is_below_himself() {
    let told = problems(
        "
        supervisors:
          rollouts: {children: [judge, environment, conversations, judge, root]}
          watch: {children: [health_monitor, learner]}
          idle: {children: [idler]}
          idler: {children: [idle]}
          empty: {children: []}
        actors:
          spare: {kind: judge}
        ",
    );
    let wanted = [
        "supervisors.rollouts.children.3: `judge` has one parent, but is listed twice in `rollouts`",
        "supervisors.rollouts.children.4: a supervisor cannot be below itself: root -> rollouts -> root",
        "supervisors.watch.children.1: `learner` has one parent, but is listed in `learning` and in `watch`",
        "supervisors.empty: `empty` has no parent: no supervisor lists it | name it in the `children` of a supervisor",
        "supervisors.idle.children: supervisors in a circle, none below `root`: `idle`, `idler`",
        "actors.spare: `spare` has no parent: no supervisor lists it | name it in the `children` of a supervisor",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn an_actor_is_only_what_its_kind_can_be() {
    let told = problems(
        "
        supervisors:
          watch: {children: [health_monitor, second]}
        actors:
          second: {kind: learner}
          inference: {pool: {size: 2}}
          judge: {pool: {size: 0}, params: {strictness: 3}}
          conversations: {restart: permanent}
          environment: {shutdown: {kill: 0s}}
        ",
    );
    let wanted = [
        "actors.inference.pool: `inference` cannot be a pool: there is only ever one inference",
        "actors.judge.pool.size: the pool `judge` has 0 members | 1 to 1024",
        "actors.judge.params: the parameters of `judge`: the kind `judge` asks for none",
        "actors.environment.shutdown.kill: `environment` has no time to be gone once killed | above 0",
        "actors.conversations.restart: `conversations` cannot have `restart`: a conversation comes and goes with its episode",
        "actors.second.kind: there is more than one learner: `learner`, `second`",
    ];
    assert_eq!(told, wanted);
}

#[test]
fn an_end_is_only_significant_if_it_can_be_one_and_to_somebody() {
    let told = problems(
        "
        supervisors:
          learning: {auto_shutdown: any_significant}
          watch: {on_exceeded: quarantine, cool_off: 0s}
        actors:
          learner: {significant: true}
          judge: {restart: transient, significant: true}
        ",
    );
    let wanted = [
        "supervisors.watch.cool_off: `watch` leaves nobody alone for 0 s | above 0",
        "actors.learner.significant: `learner` cannot be significant: a permanent child cannot be significant: it never ends for good \
         | `learner` may be `restart: transient`, and `learning` have an `auto_shutdown`",
        "actors.judge.significant: `judge` cannot be significant: a child cannot be significant under a supervisor that never shuts down \
         by itself | `judge` may be `restart: transient`, and `rollouts` have an `auto_shutdown`",
    ];
    assert_eq!(told, wanted);
    let blueprint = blueprint(
        "
        supervisors: {learning: {auto_shutdown: all_significant, strategy: one_for_all, on_exceeded: degrade}}
        actors: {learner: {restart: transient, significant: true, intensity: {max: 2}}}
        ",
    );
    let learning = below(&blueprint.root, "learning");
    assert_eq!((learning.auto_shutdown, learning.excess), (AutoShutdown::AllSignificant, Excess::Degrade));
    assert_eq!(blueprint.actors["learner"].intensity.map(|it| it.max_restarts), Some(2));
}

/// An auditor that sees every episode before the judge does.
fn auditor() -> Kind {
    Kind::new("auditor", |_seat: &Seat<'_, stateset_actors::protocol::JudgeMsg>| {
        Err(SeatError::Params { actor: "auditor".into(), cause: "only drawn here".into() })
    })
    .sends::<stateset_actors::protocol::JudgeMsg>("judge", "trajectory")
}

const AUDITED: &str = "supervisors: {rollouts: {children: [judge, auditor, environment, conversations]}}";

fn with_auditor(topology: &str) -> Result<Blueprint, Vec<Problem>> {
    let mut kinds = Kinds::default();
    kinds.add(auditor());
    Blueprint::of(&config(topology), &kinds)
}

#[test]
fn a_port_that_could_lead_to_two_actors_has_to_be_told() {
    let actors = "actors: {auditor: {}, conversations: {to: {judge: auditor}}}";
    let blueprint = with_auditor(&format!("{AUDITED}\n{actors}")).unwrap();
    assert_eq!(blueprint.actors["conversations"].to["judge"], Some("auditor".into()));
    assert_eq!(blueprint.actors["auditor"].to["judge"], Some("judge".into()), "nobody sends to himself");

    let problems = with_auditor(&format!("{AUDITED}\nactors: {{auditor: {{}}}}")).unwrap_err();
    let [Problem { key, message, help, .. }] = problems.as_slice() else { panic!("{problems:#?}") };
    assert_eq!(key, "topology.actors.conversations.to.judge");
    assert_eq!(message, "the port `judge` of `conversations` could lead to several actors");
    assert_eq!(help.as_deref(), Some("say which in `topology.actors.conversations.to.judge`: `auditor`, `judge`"));
}

#[test]
fn a_wire_carries_only_what_is_taken_at_its_end() {
    let told = problems("actors: {conversations: {to: {judge: learner}}}");
    assert_eq!(
        told,
        [
            "actors.conversations.to.judge: `conversations` sends `JudgeMsg` to `learner`, which takes `LearnerMsg` | `judge`"
        ]
    );
}

#[test]
fn actors_do_not_wait_for_each_other_in_a_circle() {
    let mut kinds = Kinds::default();
    let asker = || {
        Kind::new("asker", |_: &Seat<'_, String>| unreachable!("not built here")).calls::<String>("other", "a question")
    };
    kinds.add(asker());
    let topology = "
        supervisors: {watch: {children: [health_monitor, first, second, third]}}
        actors:
          first: {kind: asker, to: {other: second}}
          second: {kind: asker, to: {other: third}}
          third: {kind: asker, to: {other: first}}";
    let problems = Blueprint::of(&config(topology), &kinds).unwrap_err();
    let [Problem { key, message, .. }] = problems.as_slice() else { panic!("{problems:#?}") };
    assert_eq!(key, "topology.actors.third.to.other");
    assert_eq!(message, "actors wait for each other in a circle: first -> second -> third -> first");

    let mut sender = asker();
    sender.ports[0].manner = Manner::Sends;
    kinds.add(sender);
    assert!(Blueprint::of(&config(topology), &kinds).is_ok(), "whoever does not wait may be in a circle");
}
