//! Every algorithm by its name, from the command line to a report.

use stateset_agents::config::Algorithm;
use stateset_agents::read_result;

use crate::lab::{Lab, expect, stderr};

fn name(algorithm: Algorithm) -> String {
    serde_json::to_value(algorithm).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn every_algorithm_that_samples_trains_by_its_name() {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.samples()) {
        let (lab, set) = (Lab::new(), format!("training.algorithm={}", name(algorithm)));
        // The default rate, which TRPO does not have and does not mind.
        let sets = ["--set", &set, "--set", "training.steps=2", "--set", "training.learning_rate=3e-4"];
        expect(0, lab.train().args(sets));
        let summary = read_result(&lab.run()).unwrap();
        assert_eq!((summary.steps, summary.episodes_lost, summary.restarts), (2, 0, 0), "{algorithm:?}");
        digests.push(summary.policy_digest);
    }
    // In the first steps from a policy, surrogates differ in nothing but the tokens' weights.
    digests.sort_by_key(ToString::to_string);
    digests.dedup();
    assert!(digests.len() >= 6, "{} ways to learn", digests.len());
}

#[test]
fn settings_that_an_algorithm_never_looks_at_are_refused_by_name() {
    let refused = |sets: &[&str]| {
        let mut command = Lab::new().train();
        for set in sets {
            command.args(["--set", set]);
        }
        stderr(&expect(2, &mut command))
    };
    let told = refused(&["training.algorithm=cispo", "training.grpo.clip_low=0.1"]);
    assert!(told.contains("`training.grpo.clip_low` is set to 0.1, but only a surrogate that clips"), "{told}");
    let told = refused(&["training.algorithm=dpo", "training.grpo.epochs=2"]);
    assert!(told.contains("`training.grpo.epochs` is set to 2, but dpo looks at training.dpo only"), "{told}");
    let told = refused(&["training.dpo.beta=0.5"]);
    assert!(told.contains("`training.dpo.beta` is set to 0.5, but grpo looks at training.grpo only"), "{told}");
    let told = refused(&["training.algorithm=ppo", "training.critic.passes=3", "training.grpo.advantage=centred"]);
    assert!(told.contains("`training.critic.passes` is set to 3, but only `trpo` looks at it"), "{told}");
    assert!(told.contains("`training.grpo.advantage` is set to centred, but ppo looks at"), "{told}");
    let told = refused(&["training.algorithm=trpo", "training.learning_rate=1e-3"]);
    assert!(told.contains("`training.learning_rate` is set") && told.contains("max_kl"), "{told}");
    let told = refused(&["training.algorithm=a2c", "training.critic.clip=0.2"]);
    assert!(told.contains("`training.critic.clip` is set to 0.2, but only an algorithm that updates more"), "{told}");
    let told = refused(&["training.algorithm=dpo", "training.staleness=drop"]);
    assert!(told.contains("`training.staleness` is set, but in dpo a pair counts in full"), "{told}");
    let told = refused(&["training.grpo.rewards=apart", "training.max_resamples=1"]);
    assert!(told.contains("`training.max_resamples` is 1"), "{told}");
    let told = refused(&["training.algorithm=rloo", "training.grpo.advantage=centred"]);
    assert!(told.contains("`training.grpo.advantage` must be leave_one_out in rloo"), "{told}");
}

#[test]
fn rewards_may_be_measured_apart() {
    let lab = Lab::new();
    expect(0, lab.train().args(["--set", "training.grpo.rewards=apart", "--set", "training.steps=2"]));
    assert_eq!(read_result(&lab.run()).unwrap().steps, 2);
}
