use std::collections::BTreeSet;

use stateset_domain::{Role, ToolCall};

use super::account::split_of;
use super::plan::Need;
use super::*;
use crate::Action;

const YAML: &str = include_str!("../../../../config/domains/support_desk.yaml");

fn spec() -> DomainSpec {
    DomainSpec::from_yaml(YAML).unwrap()
}

/// The support desk without any mistakes, then with those that `change` makes.
fn flawed(rung: &str, change: impl Fn(&mut DomainSpec)) -> Ladder {
    let mut spec = spec();
    spec.mistakes = Mistakes::default();
    spec.issues.values_mut().for_each(|issue| issue.habit = None);
    change(&mut spec);
    Ladder::new(Arc::new(spec), rung, 7).unwrap()
}

fn ladder(rung: &str) -> Ladder {
    Ladder::new(Arc::new(spec()), rung, 7).unwrap()
}

fn action(text: &str) -> Action {
    let call = text.split_once(' ').and_then(|(name, arguments)| {
        let arguments = serde_json::from_str(arguments).ok()?;
        Some(ToolCall { name: name.into(), arguments })
    });
    Action { text: text.into(), call, truncated: false }
}

/// Plays the assistant's part of `messages`; yields the conversation it led to, its turn rewards, and its success.
fn play(ladder: &Ladder, scenario: &Scenario, messages: &[Message]) -> (Vec<Message>, Vec<f32>, Option<bool>) {
    let Start { opening: mut said, mut session } = ladder.start(scenario, Stream::new(0)).unwrap();
    let (mut rewards, mut done) = (Vec::new(), None);
    for reply in messages.iter().filter(|message| message.role == Role::Assistant) {
        let step = session.step(&action(&reply.content)).unwrap();
        said.push(reply.clone());
        said.extend(step.observation);
        rewards.extend(step.reward);
        done = step.done;
    }
    (said, rewards, done)
}

fn needs(ladder: &Ladder, scenario: &Scenario) -> Vec<Need> {
    Plan::of(scenario, &ladder.spec).unwrap().needs
}

#[test]
fn the_ideal_conversation_passes_every_turn_on_every_rung() {
    for rung in spec().rungs.keys() {
        let ladder = ladder(rung);
        for index in 0..200 {
            for split in [Split::Train, Split::HeldOut] {
                let scenario = ladder.scenario(split, index);
                let ideal = ladder.ideal(&scenario).unwrap();
                let (said, rewards, done) = play(&ladder, &scenario, &ideal);
                assert_eq!((said, done), (ideal, Some(true)), "{}", scenario.id);
                assert_eq!(rewards, vec![1.0; scenario.script.len()]);
            }
        }
    }
}

#[test]
fn each_kind_of_mistake_fails_the_episode() {
    let mistakes: [fn(&mut Mistakes); 4] = [
        |rates| rates.wrong_account = 1.0,
        |rates| rates.ignores_refusal = 1.0,
        |rates| rates.skips_tool = 1.0,
        |rates| rates.forgets_item = 1.0,
    ];
    for (kind, mistake) in mistakes.into_iter().enumerate() {
        let ladder = flawed("standard", |spec| mistake(&mut spec.mistakes));
        for index in 0..50 {
            let scenario = ladder.scenario(Split::Train, index);
            let messages = ladder.demonstration(&scenario, &mut Stream::new(index)).unwrap();
            let (said, _, done) = play(&ladder, &scenario, &messages);
            assert_eq!((said, done), (messages, Some(false)), "mistake {kind}, {}", scenario.id);
        }
    }
}

#[test]
fn a_habit_fails_its_issue_and_no_other() {
    let habit = Habit { remedy: "pause".into(), rate: 1.0 };
    let ladder = flawed("first", |spec| spec.issues.get_mut("login").unwrap().habit = Some(habit.clone()));
    for index in 0..50 {
        let scenario = ladder.scenario(Split::Train, index);
        let messages = ladder.demonstration(&scenario, &mut Stream::new(index)).unwrap();
        let is_login = needs(&ladder, &scenario) == [Need::Issue { name: "login".into(), refused: false }];
        assert_eq!(play(&ladder, &scenario, &messages).2, Some(!is_login));
    }
}

#[test]
fn demonstrations_without_mistakes_are_ideal() {
    let ladder = flawed("hard", |_| ());
    let scenario = ladder.scenario(Split::Train, 0);
    assert_eq!(ladder.demonstration(&scenario, &mut Stream::new(1)), ladder.ideal(&scenario));
}

#[test]
fn a_minority_of_the_support_desks_demonstrations_succeed() {
    let ladder = ladder("standard");
    let succeeded = |index: &u64| {
        let scenario = ladder.scenario(Split::Train, *index);
        let messages = ladder.demonstration(&scenario, &mut Stream::new(*index)).unwrap();
        play(&ladder, &scenario, &messages).2 == Some(true)
    };
    let share = (0..2000).filter(succeeded).count() as f64 / 2000.0;
    assert!((0.05..0.25).contains(&share), "{share}");
}

#[test]
fn no_account_is_in_both_splits_whatever_the_seeds() {
    let accounts = |split, seed| -> BTreeSet<String> {
        let ladder = Ladder::new(Arc::new(spec()), "first", seed).unwrap();
        (0..200).map(|i| Plan::of(&ladder.scenario(split, i), &ladder.spec).unwrap().account).collect()
    };
    for seed in 0..10 {
        assert!(accounts(Split::Train, seed).iter().all(|account| split_of(account) == Split::Train));
        assert!(accounts(Split::HeldOut, seed).iter().all(|account| split_of(account) == Split::HeldOut));
    }
}

#[test]
fn the_seed_changes_what_is_trained_on_and_not_what_is_held_out() {
    let [one, two] = [1, 2].map(|seed| Ladder::new(Arc::new(spec()), "standard", seed).unwrap());
    assert_eq!(one.scenario(Split::HeldOut, 3), two.scenario(Split::HeldOut, 3));
    assert_ne!(one.scenario(Split::Train, 3), two.scenario(Split::Train, 3));
    assert_eq!(one.scenario(Split::Train, 3), one.scenario(Split::Train, 3));
}

#[test]
fn a_rung_gives_exactly_its_issues_refusals_and_lookups() {
    for (name, rung) in &spec().rungs {
        let ladder = ladder(name);
        for index in 0..100 {
            let needs = needs(&ladder, &ladder.scenario(Split::Train, index));
            let count = |is: fn(&Need) -> bool| needs.iter().filter(|need| is(need)).count();
            assert_eq!(needs.len(), rung.issues);
            assert_eq!(count(|need| matches!(need, Need::Issue { refused: true, .. })), rung.refusals);
            assert!(rung.lookups.contains(&count(|need| matches!(need, Need::Lookup { .. }))));
        }
    }
}

#[test]
fn the_account_is_given_in_the_first_turn_and_never_again() {
    let ladder = ladder("hard");
    for index in 0..100 {
        let scenario = ladder.scenario(Split::Train, index);
        let account = Plan::of(&scenario, &ladder.spec).unwrap().account;
        let mentions: Vec<bool> = scenario.script.iter().map(|turn| turn.user.contains(&account)).collect();
        assert!(mentions[0] && mentions[1..].iter().all(|mentioned| !mentioned), "{scenario:?}");
    }
}

#[test]
fn a_standard_episode_is_short() {
    let ladder = ladder("standard");
    // A word, a mark and a character of a reference each count as a token, and so do the two that frame a message.
    let tokens = |message: &Message| {
        let is_reference = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        let words = message.content.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let marks = message.content.chars().filter(|c| !c.is_alphanumeric() && *c != '_' && *c != ' ').count();
        words.map(|word| if is_reference(&word) { word.len() } else { 1 }).sum::<usize>() + marks + 2
    };
    let longest = (0..500).map(|index| {
        let messages = ladder.ideal(&ladder.scenario(Split::Train, index)).unwrap();
        messages.iter().map(tokens).sum::<usize>()
    });
    let longest = longest.max().unwrap();
    assert!(longest <= 170, "{longest}");
}

#[test]
fn the_corpus_has_every_word_that_is_said() {
    let ladder = ladder("marathon");
    let words = |text: &str| -> Vec<String> {
        let cut = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        cut.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let corpus = ladder.spec().corpus();
    let known: BTreeSet<String> = corpus.iter().flat_map(|text| words(text)).collect();
    for index in 0..200 {
        let scenario = ladder.scenario(Split::Train, index);
        for message in ladder.demonstration(&scenario, &mut Stream::new(index)).unwrap() {
            assert!(words(&message.content).iter().all(|word| known.contains(word)), "{}", message.content);
        }
    }
    assert_eq!(corpus, spec().corpus());
}

#[test]
fn scenarios_of_another_world_are_refused() {
    let ladder = ladder("standard");
    let mut stranger = ladder.scenario(Split::Train, 0);
    stranger.id = "elsewhere/1".into();
    assert!(ladder.start(&stranger, Stream::new(0)).is_err());
    stranger.details = serde_json::Value::Null;
    assert!(ladder.ideal(&stranger).is_err());
}

#[test]
fn an_unknown_rung_is_refused_with_those_there_are() {
    let error = Ladder::new(Arc::new(spec()), "steep", 0).unwrap_err();
    assert_eq!(error.to_string(), "there is no rung `steep`; the domain has first, hard, marathon, pair, standard");
}

#[test]
fn validation_reports_every_problem_at_once() {
    let mut spec = spec();
    spec.account.length = 1;
    spec.issues.get_mut("broken").unwrap().remedy = "reshop".into();
    spec.mistakes.skips_tool = 1.5;
    spec.wordings.reply = "{wording} for {account}".into();
    spec.rungs.get_mut("hard").unwrap().refusals = 9;
    let SpecError::Invalid(problems) = spec.validate().unwrap_err() else { panic!("it has the right shape") };
    let paths: BTreeSet<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = ["account", "issues.broken.remedy", "mistakes.skips_tool", "rungs.hard.refusals", "wordings.reply"];
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let text = YAML.replace("skips_tool:", "skip_tools:");
    let error = DomainSpec::from_yaml(&text).unwrap_err().to_string();
    assert!(error.contains("skip_tools") && error.contains("line"), "{error}");
}
