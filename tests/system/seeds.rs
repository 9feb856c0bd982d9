//! The seed decides, and nothing else does.

use stateset_agents::read_result;

use crate::lab::{Lab, assert_undisturbed, expect, stateset, stderr, stdout, undisturbed};

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
fn seeds_are_compared_as_one_recipe() {
    let lab = Lab::new();
    for seed in ["0", "1"] {
        expect(0, lab.train().args(["--seed", seed, "--set", "training.steps=2"]));
    }
    expect(
        0,
        lab.train().args(["--set", "training.algorithm=dpo", "--set", "run.name=dpo", "--set", "training.steps=2"]),
    );
    let (page, run) = (lab.runs().join("comparison.html"), |name: &str| lab.runs().join(name));
    let mut command = stateset();
    command.arg("compare").args([run("small"), run("small-2"), run("dpo")]).arg("--output-file").arg(&page);
    let told = stdout(&expect(0, &mut command));
    let rows: Vec<&str> = told.lines().collect();
    assert!(rows[1].starts_with("small   0 1 ") && rows[2].starts_with("dpo     0 "), "{told}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<span class=\"key c1\">dpo</span>") && !page.contains("<script"));
    let picture = lab.runs().join("curves.svg");
    expect(0, stateset().arg("compare").args([run("small"), run("dpo")]).arg("--output-file").arg(&picture));
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg xmlns=") && picture.matches("<polyline").count() == 2, "{picture}");
    let told = stderr(&expect(2, stateset().arg("compare").arg(lab.runs())));
    assert!(told.contains("is not a run"), "{told}");
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
