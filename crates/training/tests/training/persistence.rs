//! A learner that is saved and restored is the learner it was; the same groups give the same bits.

use rayon::ThreadPoolBuilder;
use stateset_algorithms::{Decay, Schedule};
use stateset_domain::{Digest, Learner, LearnerError, StepReport};
use stateset_training::PolicyLearner;

use crate::{group, groups, learner, llama, model, settings};

/// A learner whose next step depends on everything that is saved: optimizer, step, and the reference that is not the policy.
fn demanding() -> PolicyLearner {
    learner(|settings| {
        settings.schedule = Schedule { kind: Decay::Cosine, warmup_steps: 2 };
        crate::grpo(settings).kl_coef = 0.1;
        crate::grpo(settings).epochs = 2;
        settings.optimizer.weight_decay = 0.01;
    })
}

fn run(learner: &mut PolicyLearner, steps: u32) -> (StepReport, Digest) {
    let mut report = StepReport::default();
    for step in 0..steps {
        report = learner.step(&[group(step, &[1.0, 0.0, 0.5]), groups().remove(0)]).unwrap();
    }
    (report, learner.snapshot().unwrap().digest())
}

#[test]
fn a_restored_learner_steps_as_if_never_interrupted() {
    let mut uninterrupted = demanding();
    run(&mut uninterrupted, 3);
    let saved = uninterrupted.save().unwrap();
    let mut restored = demanding();
    run(&mut restored, 1);
    restored.restore(&saved).unwrap();
    assert_eq!(restored.save().unwrap(), saved, "saving again gives the same files");
    assert_eq!(run(&mut restored, 2), run(&mut uninterrupted, 2));
    assert_eq!(restored.save().unwrap(), uninterrupted.save().unwrap());
}

#[test]
fn runs_are_equal_to_the_bit_on_one_thread_and_on_two() {
    let on = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&mut demanding(), 3))
    };
    let once = on(1);
    assert_eq!(once, on(1));
    assert_eq!(once, on(2));
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let saved = demanding().save().unwrap();
    for missing in ["model.safetensors", "optimizer.safetensors", "learner.json", "config.json", "tokenizer.json"] {
        let rest: Vec<_> = saved.iter().filter(|file| file.name != missing).cloned().collect();
        let error = demanding().restore(&rest).unwrap_err();
        assert!(matches!(&error, LearnerError::State(reason) if reason.contains(missing)), "{error}");
    }
    let other = PolicyLearner::new(model(&llama(304)), settings()).unwrap();
    let error = demanding().restore(&other.save().unwrap()).unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");
}
