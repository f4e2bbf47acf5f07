//! What is compared: CRI servers, and raw Docker calls.

use std::path::PathBuf;
use std::time::Duration;

use super::cri::Cri;
use super::meter;
use super::pod::Pod;
use super::raw_docker::RawDocker;
use super::samples::Recorder;
use super::server::Server;

/// The name of the raw Docker calls in tables.
pub(crate) const RAW_DOCKER: &str = "docker";

/// A running contender.
pub(crate) enum Contender {
    RawDocker(Box<RawDocker>),
    Cri(Box<Cri>),
}

/// A contender that is not running.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub name: &'static str,
    /// The server's executable; `None` for raw Docker calls.
    pub program: Option<PathBuf>,
}

impl Candidate {
    /// Starts it. No other contender may run at the same time: even an idle server costs something.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start_server(&self) -> Result<Contender, String> {
        let Some(program) = &self.program else {
            return Ok(Contender::RawDocker(Box::new(RawDocker::connect().await?)));
        };
        let server = Server::start(self.name, program)?;
        Ok(Contender::Cri(Box::new(Cri::connect(server).await?)))
    }
}

impl Contender {
    pub(crate) async fn start(&self, number: usize, recorder: &Recorder<'_>) -> Result<Pod, String> {
        match self {
            Contender::RawDocker(raw) => raw.start(number, recorder).await,
            Contender::Cri(cri) => cri.start(number, recorder).await,
        }
    }

    pub(crate) async fn stop(&self, pod_handle: &Pod, recorder: &Recorder<'_>) -> Result<(), String> {
        match self {
            Contender::RawDocker(raw) => raw.stop(pod_handle, recorder).await,
            Contender::Cri(cri) => cri.stop(pod_handle, recorder).await,
        }
    }

    /// Returns false when the contender has no such call.
    pub(crate) async fn read(&self, call: &str, pod_handle: &Pod) -> Result<bool, String> {
        match self {
            Contender::RawDocker(raw) => raw.read(call, pod_handle).await.map_err(|error| error.to_string()),
            Contender::Cri(cri) => match cri.read(call, pod_handle).await {
                Ok(()) => Ok(true),
                Err(status) if status.code() == tonic::Code::Unimplemented => Ok(false),
                Err(status) => Err(format!("{call}: {}", status.message())),
            },
        }
    }

    /// The server's process; none for the floor, which is Docker alone.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Contender::RawDocker(_) => None,
            Contender::Cri(cri) => Some(cri.server.pid()),
        }
    }

    /// CPU time of the server's children and shims.
    pub(crate) fn helpers_cpu(&self) -> Duration {
        match self {
            Contender::RawDocker(_) => Duration::ZERO,
            Contender::Cri(cri) => meter::children_cpu(cri.server.pid()) + meter::shims_cpu(&cri.server.socket),
        }
    }

    pub(crate) async fn version(&self) -> Result<String, String> {
        match self {
            Contender::RawDocker(raw) => raw.version().await,
            Contender::Cri(cri) => Ok(cri.version().await),
        }
    }
}
