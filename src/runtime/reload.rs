//! Going on with another configuration, on request and on the record.

use stateset_telemetry::{ConfigChange, Event, EventSink};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Change, Config, Problems};
use crate::run_folder::{RunFiles, write_whole};
use crate::topology::{Kinds, ReloadRefused, Topology};

/// Lets a run go on with another configuration, from anywhere.
#[derive(Clone)]
pub struct Reloader(pub(super) mpsc::Sender<Request>);

/// Somebody wants the run to go on with another configuration.
pub(crate) struct Request {
    config: Result<Config, Problems>,
    answer: oneshot::Sender<Result<Vec<Change>, ReloadRefused>>,
}

impl Reloader {
    /// Goes on with `config`, or with the one there is if it could not be read: that is then on record too. Nothing changes unless
    /// everything can. Returns what changed.
    ///
    /// # Errors
    /// [`ReloadRefused`], saying why the run goes on as it was.
    pub async fn reload(&self, config: Result<Config, Problems>) -> Result<Vec<Change>, ReloadRefused> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { config, answer }).await.map_err(|_| ReloadRefused::Over)?;
        answered.await.map_err(|_| ReloadRefused::Over)?
    }
}

/// Carries `request` out, or refuses it.
pub(super) async fn carry_out(
    request: Request,
    topology: &Topology,
    kinds: &Kinds,
    files: &RunFiles,
    events: &dyn EventSink,
) {
    let Request { config, answer } = request;
    let outcome = match config {
        Ok(config) => take_over(config, topology, kinds, files).await,
        Err(problems) => Err(ReloadRefused::Problems(problems.problems)),
    };
    events.emit(match &outcome {
        Ok(changes) => Event::ConfigReloaded { changed: changes.iter().map(in_words).collect() },
        Err(refused) => Event::ReloadRefused { reason: refused.to_string() },
    });
    // Whoever asked need not wait for the answer.
    let _ = answer.send(outcome);
}

async fn take_over(
    config: Config,
    topology: &Topology,
    kinds: &Kinds,
    files: &RunFiles,
) -> Result<Vec<Change>, ReloadRefused> {
    let (before, yaml) = (topology.standing(), config.to_yaml());
    let changes = topology.reload(config, kinds).await?;
    if let Err(error) = write_whole(&files.config(), &yaml) {
        topology.reload(before.config.clone(), kinds).await?;
        return Err(ReloadRefused::Unrecorded(error.to_string()));
    }
    Ok(changes)
}

fn in_words(Change { key, from, to, effect }: &Change) -> ConfigChange {
    ConfigChange { key: key.clone(), from: from.clone(), to: to.clone(), how: effect.to_string() }
}
