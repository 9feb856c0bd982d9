//! `kill -9` at random moments: whenever it comes, `--resume` ends where the run would have ended.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use stateset_agents::RunFolder;
use stateset_domain::Stream;

use crate::lab::{Lab, assert_undisturbed, expect, steps};

fn started(lab: &Lab) -> Child {
    lab.resume().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// How long the run takes when nobody disturbs it, on this machine, now.
fn length() -> Duration {
    let (lab, start) = (Lab::new(), Instant::now());
    expect(0, &mut lab.train());
    assert_undisturbed(&lab.run());
    start.elapsed()
}

/// Kills a run `moment` after its start. How many steps it had taken by then; `None` if it was over already.
fn killed_after(moment: Duration, lab: &Lab) -> Option<usize> {
    let mut child = started(lab);
    std::thread::sleep(moment);
    child.kill().unwrap();
    if child.wait().unwrap().code().is_some() {
        return None;
    }
    let run = RunFolder::inspect(&lab.runs().join("small")).ok().filter(|run| run.metrics().exists());
    Some(run.map_or(0, |run| steps(&run).len()))
}

/// Kills `count` runs, each at a moment of its own, and resumes each to its end.
fn kill(count: usize, seed: u64) {
    let (mut moments, length) = (Stream::new(seed), length());
    let mut kills: BTreeMap<usize, usize> = BTreeMap::new();
    while kills.values().sum::<usize>() < count {
        let lab = Lab::new();
        let Some(steps) = killed_after(length.mul_f64(moments.uniform()), &lab) else { continue };
        expect(0, &mut lab.resume());
        assert_undisturbed(&lab.run());
        *kills.entry(steps).or_default() += 1;
        let done = kills.values().sum::<usize>();
        if done.is_multiple_of(10) {
            eprintln!("{done} of {count}");
        }
    }
    eprintln!("{count} kills, each resumed to the undisturbed weights; by steps taken when it came: {kills:?}");
}

#[test]
fn ten_kills_at_random_moments_change_nothing() {
    kill(10, 1);
}

#[test]
#[ignore = "minutes long: `just kills`"]
fn the_first_fifty_of_a_hundred_kills_change_nothing() {
    kill(50, 2);
}

#[test]
#[ignore = "minutes long: `just kills`"]
fn the_second_fifty_of_a_hundred_kills_change_nothing() {
    kill(50, 3);
}
