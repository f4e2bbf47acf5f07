//! Who is compared: servers that speak the CRI, and raw calls to Docker.

use std::path::PathBuf;
use std::time::Duration;

use super::cri::Cri;
use super::floor::Floor;
use super::meter;
use super::pod::Pod;
use super::samples::Notes;
use super::server::Server;

/// The name of the raw calls.
pub const FLOOR: &str = "docker";

/// One of the programs to compare, running.
pub enum Contender {
    Floor(Box<Floor>),
    Cri(Box<Cri>),
}

/// One of the programs to compare, as it is on disk.
#[derive(Clone)]
pub struct Entrant {
    pub name: &'static str,
    /// `None`: Docker, which runs already.
    pub program: Option<PathBuf>,
}

impl Entrant {
    /// Starts it. Nothing else but Docker runs beside it: a server that does nothing still costs something.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn enter(&self) -> Result<Contender, String> {
        let Some(program) = &self.program else { return Ok(Contender::Floor(Box::new(Floor::connect().await?))) };
        let server = Server::start(self.name, program)?;
        Ok(Contender::Cri(Box::new(Cri::connect(server).await?)))
    }
}

impl Contender {
    pub async fn start(&self, number: usize, notes: &Notes<'_>) -> Result<Pod, String> {
        match self {
            Contender::Floor(floor) => floor.start(number, notes).await,
            Contender::Cri(cri) => cri.start(number, notes).await,
        }
    }

    pub async fn stop(&self, made: &Pod, notes: &Notes<'_>) -> Result<(), String> {
        match self {
            Contender::Floor(floor) => floor.stop(made, notes).await,
            Contender::Cri(cri) => cri.stop(made, notes).await,
        }
    }

    /// Returns false when the contender has no such call.
    pub async fn read(&self, call: &str, made: &Pod) -> Result<bool, String> {
        match self {
            Contender::Floor(floor) => floor.read(call, made).await.map_err(|error| error.to_string()),
            Contender::Cri(cri) => match cri.read(call, made).await {
                Ok(()) => Ok(true),
                Err(status) if status.code() == tonic::Code::Unimplemented => Ok(false),
                Err(status) => Err(format!("{call}: {}", status.message())),
            },
        }
    }

    /// The server's process; none for the floor, which is Docker alone.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Contender::Floor(_) => None,
            Contender::Cri(cri) => Some(cri.server.pid()),
        }
    }

    /// Processor time of those who work for the server alone: its children, and its shims where it has some.
    pub fn helpers_cpu(&self) -> Duration {
        match self {
            Contender::Floor(_) => Duration::ZERO,
            Contender::Cri(cri) => meter::children_cpu(cri.server.pid()) + meter::shims_cpu(&cri.server.socket),
        }
    }

    pub async fn version(&self) -> Result<String, String> {
        match self {
            Contender::Floor(floor) => floor.version().await,
            Contender::Cri(cri) => Ok(cri.version().await),
        }
    }
}
