//! Whole files in, whole verdicts out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use stateset_algorithms::{Algorithm, Grpo};
use tempfile::TempDir;

use super::*;
use crate::topology::Kinds;

const DOMAIN: &str = "environment: {domain: desk.yaml}\n";

fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.yaml"), text).unwrap();
    fs::write(folder.path().join("desk.yaml"), "").unwrap();
    folder
}

fn rungs(_: &Path) -> Result<Vec<String>, String> {
    Ok(["first", "standard", "hard"].map(str::to_owned).to_vec())
}

fn loaded(text: &str, sets: &[&str]) -> Result<Config, Problems> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&folder(text).path().join("run.yaml"), &sets, &Kinds::default(), rungs)
}

/// The problems as printed, without the folder's random name.
fn rejected(text: &str, sets: &[&str]) -> String {
    let problems = loaded(text, sets).unwrap_err();
    problems.to_string().replace(&format!("{}/", problems.file.parent().unwrap().display()), "")
}

#[test]
fn a_file_that_names_only_its_domain_is_a_run_of_defaults() {
    let config = loaded(DOMAIN, &[]).unwrap();
    assert_eq!((config.run.name.as_str(), &config.training), ("run", &Training::default()));
    assert!(config.environment.domain.ends_with("desk.yaml") && config.environment.domain.is_absolute());
}

#[test]
fn an_unknown_key_is_shown_where_it_stands_with_the_one_that_was_meant() {
    let printed = rejected(&format!("{DOMAIN}training:\n  # how long\n  stepz: 5\n"), &[]);
    let wanted = "\
error: unknown key `stepz` in `training`
 --> run.yaml:4:3
  |
4 |   stepz: 5
  |   ^^^^^
  = help: did you mean `steps`?

run.yaml: 1 problem";
    assert_eq!(printed, wanted);
}

#[test]
fn every_problem_of_every_kind_is_told_at_once_in_the_order_written() {
    let text = "\
environment:
  domain: desk.yaml
  rung: standart
training:
  algorithm: gpro
  group_size: 1
  learning_rate: fast
  betas: [0.9, 1.5]
  grpo: {clip_low: 2}
steps: 3
supervision:
  deadlines:
    generate: 30
run:
  name: 2024
";
    let printed = rejected(text, &[]);
    let found: Vec<&str> = printed.lines().filter(|line| line.starts_with("error")).collect();
    let wanted = [
        "error: `environment.rung` cannot be `standart`",
        "error: `training.algorithm` cannot be `gpro`",
        "error: `training.group_size` is 1",
        "error: `training.learning_rate` is the text \"fast\"",
        "error: `training.betas` is [0.9, 1.5]",
        "error: `training.grpo.clip_low` must lie between 0 and 1, but is 2",
        "error: unknown key `steps` in the file",
        "error: `supervision.deadlines.generate` is 30",
        "error: `run.name` is 2024",
    ];
    assert_eq!(found, wanted, "{printed}");
    assert!(printed.contains("help: did you mean `standard`?") && printed.contains("help: did you mean `grpo`?"));
    assert!(printed.contains("help: did you mean `training.steps`?"));
    assert!(printed.contains("allowed: a duration with its unit") && printed.contains("write it in quotes: \"2024\""));
}

#[test]
fn a_list_that_is_too_long_is_not_cut_short() {
    let printed = rejected(&format!("{DOMAIN}training: {{betas: [0.9, 0.95, 0.99]}}"), &[]);
    assert!(
        printed.contains("`training.betas` is a list of 3") && printed.contains("allowed: a list of 2"),
        "{printed}"
    );
}

#[test]
fn an_override_is_as_if_the_file_had_said_so() {
    let sets = ["training.steps=7", "agent.sampling.stop=[\"\\n\"]", "supervision.backoff.min=1.5s", "run.name=night"];
    let config = loaded(&format!("{DOMAIN}training: {{steps: 5, group_size: 4}}\n"), &sets).unwrap();
    assert_eq!((config.training.steps, config.training.group_size), (7, 4));
    assert_eq!((config.agent.sampling.stop, config.run.name), (vec!["\n".to_owned()], "night".to_owned()));
    assert_eq!(config.supervision.backoff.min, Duration::from_millis(1500));
}

#[test]
fn a_bad_override_is_shown_like_a_bad_line() {
    let printed = rejected(DOMAIN, &["training.stepz=5", "training.steps=many", "nonsense"]);
    assert!(
        printed.contains(
            "unknown key `stepz` in `training`\n --> --set:1:10\n  |\n1 | training.stepz=5\n  |          ^^^^^"
        )
    );
    assert!(printed.contains("1 | training.steps=many\n  |                ^^^^"), "{printed}");
    assert!(printed.contains("`--set nonsense` is not of the form `key=value`"));
    assert!(printed.ends_with("run.yaml: 3 problems"));
}

#[test]
fn a_file_that_is_not_yaml_or_not_there_is_one_problem() {
    let printed = rejected("training:\n  steps: [1,\nrun: {", &[]);
    assert!(printed.contains("this is not YAML") && printed.contains("--> run.yaml:"), "{printed}");
    let missing = load(Path::new("no/such.yaml"), &[], &Kinds::default(), rungs).unwrap_err().to_string();
    assert!(missing.contains("cannot read no/such.yaml"), "{missing}");
    assert!(rejected("- a\n- list\n", &[]).contains("the file is a list"));
}

#[test]
fn an_empty_section_is_one_of_defaults() {
    assert_eq!(loaded(&format!("{DOMAIN}training:\nlogging:\n"), &[]).unwrap().training, Training::default());
}

#[test]
fn a_missing_domain_or_model_is_named() {
    assert!(rejected("", &[]).contains("`environment.domain`: no domain is named"));
    let printed = rejected("environment: {domain: dusk.yaml}\nagent: {model: ../weights}\n", &[]);
    assert!(printed.contains("there is no dusk.yaml in ") && printed.contains("there is no folder `../weights`"));
    assert!(
        rejected(&format!("{DOMAIN}agent: {{model: 'builtin:tinny'}}"), &[]).contains("did you mean `builtin:tiny`?")
    );
}

#[test]
fn a_device_is_one_that_the_program_was_built_for_and_its_memory_is_not_planned() {
    for device in ["cpu", "auto"] {
        assert!(loaded(&format!("{DOMAIN}run: {{device: {device}}}"), &[]).is_ok(), "{device}");
    }
    let cuda = loaded(&format!("{DOMAIN}run: {{device: cuda}}"), &[]);
    assert_eq!(cuda.is_ok(), cfg!(feature = "cuda"));
    if let Err(problems) = cuda {
        assert!(problems.to_string().contains("`run.device` is cuda"), "{problems}");
    }
    let printed = rejected(&format!("{DOMAIN}run: {{device: auto}}"), &["training.memory_budget=20GiB"]);
    assert!(
        printed.contains("`training.memory_budget`") && printed.contains("unless `run.device` is `cpu`"),
        "{printed}"
    );
}

#[test]
fn a_model_of_the_hub_is_taken_at_its_name_and_a_name_of_no_form_is_refused_with_the_forms() {
    for name in ["org/name", "org/name@v1.0"] {
        assert_eq!(loaded(&format!("{DOMAIN}agent: {{model: {name}}}"), &[]).unwrap().agent.model, name);
    }
    let printed = rejected(&format!("{DOMAIN}agent: {{model: org/name/more}}"), &[]);
    assert!(printed.contains("cannot be `org/name/more`") && printed.contains("`org/name@revision`"), "{printed}");
}

#[test]
fn what_is_written_down_reads_back_the_same_and_in_the_same_words() {
    let folder = folder(DOMAIN);
    let sets = ["agent.sampling.top_p=0.9", "training.learning_rate=3e-4"].map(str::to_owned);
    let config = load(&folder.path().join("run.yaml"), &sets, &Kinds::default(), rungs).unwrap();
    let yaml = config.to_yaml();
    fs::write(folder.path().join("config.yaml"), &yaml).unwrap();
    let again = load(&folder.path().join("config.yaml"), &[], &Kinds::default(), rungs)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((again.to_yaml(), again), (yaml, config));
}

#[test]
fn a_run_is_resumed_only_as_itself() {
    let recorded = loaded(DOMAIN, &[]).unwrap().fingerprint();
    let same = loaded(DOMAIN, &["logging.level=debug", "run.output_dir=elsewhere", "supervision.attempts=9"]).unwrap();
    assert_eq!(Fingerprint::differences(&recorded, &same.fingerprint()), []);
    let other = loaded(DOMAIN, &["run.seed=4", "training.grpo.advantage=centred"]).unwrap().fingerprint();
    let differences: Vec<String> =
        Fingerprint::differences(&recorded, &other).iter().map(ToString::to_string).collect();
    assert_eq!(
        differences,
        ["run.seed was 0 and is now 4", "training.grpo.advantage was group_std and is now centred"]
    );
}

const JUDGED: &str = "\
environment: {domain: desk.yaml}
rewards:
  judge:
    endpoint: http://127.0.0.1:8000/v1
    model: small
    criteria:
      - {name: polite, weight: 2, description: Is it polite?}
    breaker: {window: 30s, open: 1s}
";

#[test]
fn a_judge_is_read_checked_and_written_down_like_everything_else() {
    let config = loaded(JUDGED, &["rewards.judge.breaker.window=40"]).unwrap();
    assert_eq!(config.rewards.judge.unwrap().breaker.window, stateset_resilience::Window::Calls(40));
    let config = loaded(JUDGED, &[]).unwrap();
    let again: Config = serde_saphyr::from_str(&config.to_yaml()).unwrap();
    assert_eq!(again, config);
    let printed =
        rejected(JUDGED, &["rewards.judge.model=", "rewards.judge.atempts=4", "rewards.judge.breaker.open_max=9m"]);
    for wanted in [
        "`rewards.judge.model`",
        "unknown key `atempts` in `rewards.judge`",
        "did you mean `attempts`?",
        "`rewards.judge.breaker.open_max` is 9m",
        "at least open = 1s, below supervision.deadlines.stall = 5m",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
}

#[test]
fn a_run_goes_on_with_its_judge_somewhere_else_but_not_with_another_judge() {
    let recorded = loaded(JUDGED, &[]).unwrap().fingerprint();
    let differences = |sets: &[&str]| -> Vec<String> {
        let now = loaded(JUDGED, sets).unwrap().fingerprint();
        Fingerprint::differences(&recorded, &now).into_iter().map(|difference| difference.key).collect()
    };
    let moved = ["rewards.judge.endpoint=http://10.0.0.1/v1", "rewards.judge.breaker.open=3s", "rewards.judge.cache=0"];
    assert_eq!(differences(&moved), [""; 0]);
    assert_eq!(differences(&["rewards.judge.model=large"]), ["rewards.judge.model"]);
    assert_eq!(differences(&["rewards.judge.max_score=5"]), ["rewards.judge.max_score"]);
}

#[test]
fn a_profile_gives_defaults_that_any_key_overrides() {
    let config =
        loaded(&format!("{DOMAIN}training: {{profile: conservative, steps: 50, group_size: 6}}\n"), &[]).unwrap();
    let training = &config.training;
    assert_eq!((training.learning_rate, training.group_size, training.max_grad_norm), (6e-5, 6, 0.5));
    assert_eq!((training.schedule.warmup_steps, training.eval_every), (10, 10));
    let config = loaded(DOMAIN, &["training.profile=aggressive", "training.learning_rate=1e-3"]).unwrap();
    assert_eq!((config.training.learning_rate, config.training.group_size), (1e-3, 4));
}

#[test]
fn policies_are_read_one_directive_or_many() {
    let text = format!(
        "{DOMAIN}policies:\n  - {{when: kl > 0.2, for: 3, do: {{scale_lr: {{by: 0.5, floor: 1e-7}}}}, clear: kl < 0.1}}\n  \
         - {{name: collapse, when: entropy < 0.01, do: [rewind, {{set_kl: {{to: 0.05}}}}]}}\n  - {{when: loss > 9}}\n"
    );
    let config = loaded(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let rules = config.rules();
    let own: Vec<(&str, usize, u64)> =
        rules[rules.len() - 3..].iter().map(|rule| (rule.name.as_str(), rule.directives.len(), rule.hold)).collect();
    assert_eq!(own, [("kl > 0.2", 1, 3), ("collapse", 2, 1), ("loss > 9", 1, 1)]);
    assert_eq!(rules.iter().filter(|rule| rule.name == "collapse").count(), 1, "it replaces the standard one");
    let recorded: Config = serde_saphyr::from_str(&config.to_yaml()).unwrap();
    assert_eq!(recorded, config);
}

#[test]
fn what_is_wrong_with_a_policy_is_told_at_its_line() {
    let printed = rejected(
        &format!(
            "{DOMAIN}policies:\n  - when: grad_norn > 1\n  - {{when: kl >, for: 0}}\n  - {{when: kl > 1, do: rewnd}}\n  \
             - {{when: throughput_stall > 2, do: rewind}}\n  - {{when: reward_hacking > 0.2}}\n  \
             - {{when: kl > 2, do: {{pause: {{seconds: 900}}}}}}\n  - {{when: kl > 3, do: {{scale_lr: {{by: 0}}}}}}\n  \
             - {{when: kl > 3, do: {{scale_lr: {{times: 2}}}}}}\n"
        ),
        &["training.early_stopping.enabled=true"],
    );
    for wanted in [
        "`policies.0.when`: there is no signal `grad_norn`, in column 1 of `grad_norn > 1`\n --> run.yaml:3:11",
        "did you mean `grad_norm`?",
        "`policies.1.when`: something is missing here, in column 5 of `kl >`",
        "`policies.1.for` is 0",
        "`policies.2.do` cannot be `rewnd`",
        "did you mean `rewind`?",
        "`policies.3.do` is an action",
        "`policies.4.when` is about held-out scenarios",
        "to pause for 900 seconds",
        "`policies.6.do` is to scale by 0",
        "unknown key `times`",
        "`training.early_stopping.enabled` is true",
    ] {
        assert!(printed.contains(wanted), "{wanted}:\n{printed}");
    }
}

#[test]
fn when_evaluations_are_made_only_matters_where_they_decide() {
    let of = |sets: &[&str]| loaded(DOMAIN, sets).unwrap().fingerprint();
    let differ = |sets: &[&str]| {
        let with = |every: &'static str| of(&sets.iter().copied().chain([every]).collect::<Vec<_>>());
        !Fingerprint::differences(&with("training.eval_every=5"), &with("training.eval_every=6")).is_empty()
    };
    assert!(!differ(&[]));
    assert!(differ(&["training.early_stopping.enabled=true"]));
    assert!(differ(&["training.auto_adjust=always"]), "reward_hacking acts then");
}

#[test]
fn a_pre_training_is_checked_in_the_same_way() {
    let read = |text: &str| load_pretraining(&folder(text).path().join("run.yaml"), &[], rungs);
    assert!(read("domain: desk.yaml\nrungs: [{rung: standard, weight: 1}]\n").is_ok());
    let printed =
        read("domain: dusk.yaml\nmodel: {heads: 3, hiden: 64}\nrungs: []\nbatch: 0\n").unwrap_err().to_string();
    for wanted in [
        "unknown key `hiden`",
        "there is no dusk.yaml",
        "`model.kv_heads` is 2",
        "`model.hidden` is 128",
        "`rungs` is empty",
        "`batch` is 0",
    ] {
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
}

#[test]
fn an_algorithm_gives_its_defaults_and_refuses_what_contradicts_it() {
    let grpo = |sets: &[&str]| loaded(DOMAIN, sets).map(|config| config.training.grpo);
    assert_eq!(grpo(&["training.algorithm=gspo"]).unwrap(), Algorithm::Gspo.settings());
    let wider = grpo(&["training.algorithm=dapo", "training.grpo.clip_high=0.3"]).unwrap();
    assert_eq!(wider, Grpo { clip_high: 0.3, ..Algorithm::Dapo.settings() });
    let refused = grpo(&["training.algorithm=cispo", "training.grpo.clip_low=0.1", "training.grpo.surrogate=clip"]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`training.grpo.surrogate` must be cispo in cispo, but is clip"), "{refused}");
    let refused = grpo(&["training.algorithm=cispo", "training.grpo.clip_low=0.1"]).unwrap_err().to_string();
    assert!(refused.contains("`training.grpo.clip_low` is set to 0.1, but only a surrogate that clips"), "{refused}");
}

#[test]
fn every_profile_goes_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let name = serde_json::to_value(algorithm).unwrap();
        for profile in ["conservative", "balanced", "aggressive", "auto"] {
            let text = format!("{DOMAIN}training: {{algorithm: {}, profile: {profile}}}\n", name.as_str().unwrap());
            let config = loaded(&text, &[]).unwrap_or_else(|problems| panic!("{text}{problems}"));
            assert_eq!(config.training.algorithm, algorithm);
        }
    }
    let bound = |profile| {
        loaded(&format!("{DOMAIN}training: {{algorithm: trpo, profile: {profile}}}\n"), &[])
            .unwrap()
            .training
            .trpo
            .max_kl
    };
    assert_eq!([bound("conservative"), bound("balanced"), bound("aggressive")], [0.005, 0.01, 0.02]);
}

#[test]
fn a_reply_that_a_stop_text_ends_is_not_to_be_taken_for_one_that_was_cut_off() {
    let masked = "training.grpo.mask_truncated=true";
    assert!(loaded(DOMAIN, &[masked]).is_ok());
    let refused = loaded(DOMAIN, &[masked, "agent.sampling.stop=[bye]"]).unwrap_err().to_string();
    assert!(refused.contains("`training.grpo.mask_truncated` is true") && refused.contains("stop text"), "{refused}");
}

#[test]
fn groups_are_made_up_for_only_where_they_are_compared() {
    assert_eq!(loaded(DOMAIN, &["training.max_resamples=2"]).unwrap().training.max_resamples, 2);
    let refused = loaded(DOMAIN, &["training.max_resamples=2", "training.algorithm=ppo"]).unwrap_err().to_string();
    assert!(refused.contains("`training.max_resamples` is 2"), "{refused}");
}
