//! Training from an application: a configuration, a listener, a result.
//!
//! ```console
//! $ cargo run --release --example 04_train_from_rust
//! ```
#![allow(clippy::print_stdout, reason = "showing something is what it is for")]

use stateset_agents::prelude::*;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::from_file("config/quickstart.yaml")?;
    config.run.output_dir = folder.path().into();
    config.training.steps = 8;
    config.evaluation.episodes = 128;

    let runtime = Runtime::builder().config(config).on_update(|update| match update {
        Update::Step(step) => println!("step {:>2}  {:5.1} % succeed", step.step, 100.0 * step.success_rate),
        Update::Evaluated(_) | Update::Restored(_) => {}
    });
    let result = runtime.build()?.run().await?;

    let (Some(before), Some(after)) = (result.summary.base, result.summary.trained) else {
        anyhow::bail!("nothing was evaluated")
    };
    println!("held-out: {:.1} % before, {:.1} % after", 100.0 * before.success_rate, 100.0 * after.success_rate);
    assert!(after.success_rate > before.success_rate, "eight steps are enough to see it learn");
    assert!(result.files.report().is_file(), "and there is a page to look at");
    Ok(())
}
