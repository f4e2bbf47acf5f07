//! Whether Docker answers, as one value that many tasks read and only `watch` writes.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::EngineInfo;

/// The state of the connection to Docker.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// Docker answers.
    Up(Arc<EngineInfo>),
    /// Docker answers, and what happened while it was away is being learnt.
    Joining(Arc<EngineInfo>),
    /// Docker is slow to answer, for this reason. Calls in flight go on; nothing new is begun.
    Suspect(String),
    /// Docker does not answer, for this reason.
    Down(String),
}

/// See the module's documentation. Starts as "down: not contacted yet".
#[derive(Debug)]
pub struct Connection {
    state: watch::Sender<ConnectionState>,
    /// What was known when Docker last answered; the kubelet needs the cgroup driver and the root directory
    /// while Docker restarts, too.
    last: Mutex<Option<Arc<EngineInfo>>>,
}

impl Connection {
    pub(super) fn new() -> Connection {
        let (state, _) = watch::channel(ConnectionState::Down("not contacted yet".to_owned()));
        Connection { state, last: Mutex::new(None) }
    }

    /// Records that Docker answers again, but that the index is not true yet.
    pub fn set_joining(&self, info: EngineInfo) {
        let info = Arc::new(info);
        *self.last.lock() = Some(Arc::clone(&info));
        self.state.send_replace(ConnectionState::Joining(info));
    }

    /// Records that Docker answers and the index is true, or new info of a Docker that is up.
    pub fn set_up(&self, info: EngineInfo) {
        let info = Arc::new(info);
        *self.last.lock() = Some(Arc::clone(&info));
        self.state.send_replace(ConnectionState::Up(info));
    }

    /// Records that Docker was slow to say that it is there.
    pub fn set_suspect(&self, reason: impl Into<String>) {
        self.state.send_replace(ConnectionState::Suspect(reason.into()));
    }

    /// Records that a Docker that was slow answers again.
    pub fn clear_suspicion(&self) {
        let suspected = matches!(self.state(), ConnectionState::Suspect(_));
        if let (true, Some(info)) = (suspected, self.info()) {
            self.state.send_replace(ConnectionState::Up(info));
        }
    }

    /// Records that Docker does not answer; calls in flight are given up.
    pub fn set_down(&self, reason: impl Into<String>) {
        self.state.send_replace(ConnectionState::Down(reason.into()));
    }

    /// The state now.
    pub fn state(&self) -> ConnectionState {
        self.state.borrow().clone()
    }

    /// What is known of the engine, even when it is away just now; `None` before its first answer.
    pub fn info(&self) -> Option<Arc<EngineInfo>> {
        self.last.lock().clone()
    }

    pub(super) fn down_reason(&self) -> Option<String> {
        match &*self.state.borrow() {
            ConnectionState::Up(_) | ConnectionState::Joining(_) | ConnectionState::Suspect(_) => None,
            ConnectionState::Down(reason) => Some(reason.clone()),
        }
    }

    /// Resolves when Docker goes away, with the reason.
    pub(super) async fn wait_down(&self) -> String {
        let mut state = self.state.subscribe();
        let down = state.wait_for(|state| matches!(state, ConnectionState::Down(_))).await;
        match down.as_deref() {
            Ok(ConnectionState::Down(reason)) => reason.clone(),
            // The sender lives in `self`, so the channel cannot close while we wait.
            _ => "the connection was closed".to_owned(),
        }
    }
}
