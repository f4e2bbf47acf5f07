//! Attach: the streams of a container's init process.

use std::sync::Arc;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;

use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::TerminalSize;
use crate::error::Error;
use crate::state::Container;

use super::OUTPUT_DRAIN_LIMIT;
use super::ProcessState;
use crate::cgroup::process_tree;
use crate::container::Containers;

impl Containers {
    /// Attaches to the container's init process: to its stdin, if that is open, and to its output from now on.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::Precondition`] when the container is not running.
    pub(crate) async fn attach(&self, id: &str, spec: &ExecSpec) -> Result<(Arc<Container>, Hijacked), Error> {
        let container = self.running(id)?;
        self.engine.info()?;
        // Docker's stream format depends on the container's tty, not on the client's request.
        let spec = ExecSpec { terminal: container.record.config.tty, ..spec.clone() };
        let io = self.engine.attach_container(&container.record.id, &spec).await?;
        Ok((container, io))
    }

    /// Resolves a few seconds after the container has exited. Docker has closed all attached connections by then, except
    /// one that attached just as the container exited: Docker keeps that one open for the next start, which never comes.
    pub(crate) async fn output_drain_deadline(&self, id: &str) {
        self.wait_exit(id).await;
        tokio::time::sleep(OUTPUT_DRAIN_LIMIT).await;
    }

    /// The states of the container's init process: Running, if it can be found, then Exited. Its pid is looked up in this
    /// call, because that is possible only while the process exists.
    pub(crate) fn process_states(&self, container: &Container) -> impl Stream<Item = ProcessState> {
        let pid = self.first_process(container);
        let id = container.record.id.clone();
        let running = stream::iter(pid.map(|_| ProcessState::Running));
        let exited = async move {
            let process_gone = async {
                match pid {
                    Some(pid) => process_tree::wait_gone(pid, &id).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wait_exit(&id) => ProcessState::Exited,
                () = process_gone => ProcessState::Exited,
            }
        };
        running.chain(stream::once(exited))
    }

    async fn wait_exit(&self, id: &str) {
        let mut changes = self.index.changes();
        while self.index.containers.get(id).is_some_and(|container| container.process.is_running()) {
            changes.next().await;
        }
    }

    /// Resizes the terminal of the container's init process.
    ///
    /// # Errors
    /// When the container is not running.
    pub(crate) async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        Ok(self.engine.resize_container(id, size).await?)
    }
}
