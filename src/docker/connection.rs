//! Whether Docker answers: one value that many tasks read and only `watch` writes.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::EngineInfo;

/// The state of the connection to Docker.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// Docker answers, and the index is up to date.
    Up(Arc<EngineInfo>),
    /// Docker answers, and the index is being reconciled with it.
    Joining(Arc<EngineInfo>),
    /// Docker was slow to answer, for this reason. Requests in flight continue; verbs are refused.
    Suspect(String),
    /// Docker does not answer, for this reason.
    Down(String),
}

/// The connection's state and the engine's last known properties. Starts as [`ConnectionState::Down`].
#[derive(Debug)]
pub struct Connection {
    state: watch::Sender<ConnectionState>,
    /// From Docker's last answer: the kubelet needs the cgroup driver and the root directory while Docker restarts,
    /// too.
    last: Mutex<Option<Arc<EngineInfo>>>,
}

impl Connection {
    pub(super) fn new() -> Connection {
        let (state, _) = watch::channel(ConnectionState::Down("not contacted yet".to_owned()));
        Connection { state, last: Mutex::new(None) }
    }

    /// Records that Docker answers again, before the index is reconciled.
    pub fn set_joining(&self, info: EngineInfo) {
        let info = Arc::new(info);
        *self.last.lock() = Some(Arc::clone(&info));
        self.state.send_replace(ConnectionState::Joining(info));
    }

    /// Records that Docker answers and the index is reconciled, or new properties of a Docker that is up.
    pub fn set_up(&self, info: EngineInfo) {
        let info = Arc::new(info);
        *self.last.lock() = Some(Arc::clone(&info));
        self.state.send_replace(ConnectionState::Up(info));
    }

    /// Records that a ping was not answered in time.
    pub fn set_suspect(&self, reason: impl Into<String>) {
        self.state.send_replace(ConnectionState::Suspect(reason.into()));
    }

    /// Records that a ping was answered.
    pub fn clear_suspicion(&self) {
        let suspected = matches!(self.state(), ConnectionState::Suspect(_));
        if let (true, Some(info)) = (suspected, self.info()) {
            self.state.send_replace(ConnectionState::Up(info));
        }
    }

    /// Records that Docker does not answer; requests in flight are given up.
    pub fn set_down(&self, reason: impl Into<String>) {
        self.state.send_replace(ConnectionState::Down(reason.into()));
    }

    /// The state now.
    pub fn state(&self) -> ConnectionState {
        self.state.borrow().clone()
    }

    /// The engine's properties, also while it is down; `None` before its first answer.
    pub fn info(&self) -> Option<Arc<EngineInfo>> {
        self.last.lock().clone()
    }

    pub(super) fn down_reason(&self) -> Option<String> {
        match &*self.state.borrow() {
            ConnectionState::Up(_) | ConnectionState::Joining(_) | ConnectionState::Suspect(_) => None,
            ConnectionState::Down(reason) => Some(reason.clone()),
        }
    }

    /// Resolves with the reason when Docker goes down.
    pub(super) async fn wait_down(&self) -> String {
        let mut state = self.state.subscribe();
        let down = state.wait_for(|state| matches!(state, ConnectionState::Down(_))).await;
        match down.as_deref() {
            Ok(ConnectionState::Down(reason)) => reason.clone(),
            // The sender is a field of `self`, so the channel cannot close during the wait.
            _ => "the connection was closed".to_owned(),
        }
    }
}
