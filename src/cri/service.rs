//! What the RPCs work with.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::Instrument;

use crate::container::Containers;
use crate::docker::Engine;
use crate::error::Error;
use crate::image::Images;
use crate::pod::Pods;
use crate::state::Index;
use crate::state::NodeSettings;
use crate::stats::Stats;
use crate::stream::Streams;
use cni_runtime::Cni;

use super::log::Calls;

/// The handles that both services use.
pub(crate) struct Service {
    /// Docker, for Version and Status.
    pub engine: Engine,
    /// For container events.
    pub index: Index,
    /// Keeps the pod CIDR.
    pub node_settings: NodeSettings,
    /// The network's state, and its pod CIDR.
    pub cni: Arc<Cni>,
    /// The ImageService's verbs.
    pub images: Arc<Images>,
    /// Verbs on containers.
    pub containers: Arc<Containers>,
    /// Verbs on sandboxes.
    pub pods: Arc<Pods>,
    /// Exec, Attach and PortForward.
    pub streams: Arc<Streams>,
    /// Stats and metrics of pods.
    pub stats: Arc<Stats>,
    /// For Status.
    pub settings: Settings,
    /// Durations of RPCs, for Dockside's own metrics.
    pub calls: Calls,
    /// The verbs in progress.
    pub jobs: TaskTracker,
}

/// The part of the configuration that a verbose `Status` shows.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// The pause container's image.
    pub sandbox_image: String,
    /// Where records are.
    pub state_dir: PathBuf,
    /// Where CNI configurations are.
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins are.
    pub cni_bin_dirs: Vec<PathBuf>,
}

impl Service {
    /// Runs a verb in a task of its own, so that it finishes when its client disconnects: tonic drops the handler then,
    /// and a verb that stopped halfway would leave leftovers.
    pub(super) async fn job<T: Send + 'static>(
        &self,
        verb: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        match self.jobs.spawn(verb.in_current_span()).await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => {
                tracing::error!(%error, "a verb panicked");
                Err(Status::internal(format!("the request ended unexpectedly: {error}")))
            }
        }
    }
}
