//! `stateset validate CONFIG`: what would run, or every reason why it cannot.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use stateset_environments::DomainSpec;

use crate::config::{self, Config, Problems};
use crate::topology::Kinds;

/// Reads and checks the run at `path`, its domain included, with `sets` (each `key=value`) laid over it and actors of `kinds` in it.
///
/// # Errors
/// [`Problems`]: all of them.
pub fn check(path: &Path, sets: &[String], kinds: &Kinds) -> Result<Config, Problems> {
    config::load(path, sets, kinds, rungs)
}

/// The names of a domain's rungs, or what is wrong with its file.
///
/// # Errors
/// A sentence, or several lines if there is more than one thing wrong.
pub fn rungs(domain: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(domain).map_err(|error| format!("cannot read {}: {error}", domain.display()))?;
    let spec = DomainSpec::from_yaml(&text).map_err(|error| format!("{}: {error}", domain.display()))?;
    Ok(spec.rungs.into_keys().collect())
}

/// Writes what the run at `path` would do.
///
/// # Errors
/// [`Problems`] if it cannot be run; otherwise only if `out` cannot be written to.
pub fn run(path: &Path, sets: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    let config = check(path, sets, &Kinds::default())?;
    writeln!(out, "ok: {}", path.display())?;
    describe(&config, out)?;
    Ok(())
}

fn describe(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let Config { run, agent, environment, training, evaluation, supervision, .. } = config;
    let (groups, size) = training.sampled();
    let learning = match training.is_offline() {
        true => training.diet(),
        false => {
            format!("{groups} groups of {size}: {} episodes", training.steps * u64::from(groups) * u64::from(size))
        }
    };
    let along = match training.eval_every {
        0 => String::new(),
        steps => format!(", and every {steps} steps"),
    };
    let lines = [
        ("run", format!("{} with seed {}, in {}", run.name, run.seed, run.output_dir.join(&run.name).display())),
        ("policy", format!("{}, conversations of up to {} tokens", agent.model, agent.max_context)),
        ("world", format!("{}, rung {}", environment.domain.display(), environment.rung)),
        ("training", format!("{} steps of {learning}; learning rate {:e}", training.steps, training.learning_rate)),
        (
            "evaluation",
            format!("{} held-out episodes, sampled and greedy, before and after{along}", evaluation.episodes),
        ),
        ("checkpoints", format!("every {} steps, the newest {} kept", training.save_every, training.keep_checkpoints)),
        (
            "supervision",
            format!(
                "{} conversations at once, {} attempts each; gives up after {} restarts within {} s",
                supervision.max_live_episodes,
                supervision.attempts,
                supervision.restarts.max,
                supervision.restarts.within.as_secs_f64()
            ),
        ),
    ];
    let judge = config.rewards.judge.as_ref().map(|judge| {
        let (model, endpoint, criteria) = (&judge.model, &judge.endpoint, judge.criteria.len());
        ("judge", format!("{model} at {endpoint}, {criteria} criteria, worth {}", judge.weight))
    });
    lines.iter().chain(&judge).try_for_each(|(label, line)| writeln!(out, "  {label:<12} {line}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
    }

    #[test]
    fn every_run_that_is_shipped_is_valid_with_its_domain() {
        for name in ["quickstart.yaml", "hard.yaml", "marathon.yaml", "smoke.yaml"] {
            check(&shipped(name), &[], &Kinds::default()).unwrap_or_else(|problems| panic!("{problems}"));
        }
        config::load_pretraining(&shipped("pretrain-tiny.yaml"), &[], rungs)
            .unwrap_or_else(|problems| panic!("{problems}"));
    }

    #[test]
    fn a_valid_run_is_described() {
        let mut out = Vec::new();
        run(&shipped("quickstart.yaml"), &["training.steps=10".to_owned()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("ok: ") && text.contains("10 steps of 16 groups of 8: 1280 episodes; learning rate"),
            "{text}"
        );
    }

    #[test]
    fn what_is_wrong_with_the_domain_is_told_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("desk.yaml"), "name: [").unwrap();
        fs::write(folder.path().join("run.yaml"), "environment:\n  domain: desk.yaml\n").unwrap();
        let printed = check(&folder.path().join("run.yaml"), &[], &Kinds::default()).unwrap_err().to_string();
        assert!(
            printed.contains("desk.yaml: cannot read the domain spec") && printed.contains("run.yaml:2:11"),
            "{printed}"
        );
    }
}
