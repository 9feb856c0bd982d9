//! The seed decides, and nothing else does.

use stateset_agents::read_result;

use crate::lab::{Lab, assert_undisturbed, expect, undisturbed};

#[test]
fn the_same_seed_gives_the_same_policy() {
    let lab = Lab::new();
    expect(0, &mut lab.train());
    assert_undisturbed(&lab.run());
}

#[test]
fn another_seed_gives_another_policy() {
    let lab = Lab::new();
    expect(0, lab.train().args(["--seed", "1"]));
    let digest = |run| read_result(run).unwrap().policy_digest;
    assert_ne!(digest(&lab.run()), digest(undisturbed()));
}

#[test]
fn company_and_threads_do_not_matter() {
    for (threads, live) in [("1", 3), ("2", 1)] {
        let lab = Lab::new();
        let set = format!("supervision.max_live_episodes={live}");
        expect(0, lab.train().env("RAYON_NUM_THREADS", threads).args(["--set", &set]));
        assert_undisturbed(&lab.run());
    }
}
