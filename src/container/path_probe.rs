//! Probes whether the file systems of a container's mounts answer.
//!
//! A system call on a network file system whose server is gone blocks its thread for ever. So each path is probed on a
//! blocking thread, at most once at a time however many callers wait for it, and the probes together use only a part of
//! the blocking threads.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// How many probes run at a time, of tokio's 512 blocking threads.
const CONCURRENCY: usize = 128;

type Probe = Shared<BoxFuture<'static, ()>>;

/// The probes at work.
pub(super) struct PathProbes {
    running: Arc<Mutex<HashMap<PathBuf, Probe>>>,
    threads: Arc<Semaphore>,
}

impl PathProbes {
    pub(super) fn new() -> PathProbes {
        PathProbes { running: Arc::default(), threads: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    /// Waits until the path answers, also if it does not exist. A caller may drop this at any time; the probe goes on.
    pub(super) async fn probe(&self, path: &Path) {
        // The result is dropped: the caller reads what it needs itself.
        self.start(path, |path| drop(path.metadata())).await;
    }

    fn start(&self, path: &Path, stat: impl FnOnce(&Path) + Send + 'static) -> Probe {
        let mut running = self.running.lock();
        if let Some(probe) = running.get(path) {
            return probe.clone();
        }
        let (own, others, threads) = (path.to_owned(), Arc::clone(&self.running), Arc::clone(&self.threads));
        let task = tokio::spawn(async move {
            let permit = threads.acquire_owned().await;
            let probed = own.clone();
            let blocking = tokio::task::spawn_blocking(move || {
                stat(&probed);
                drop(permit);
            });
            if let Err(error) = blocking.await {
                tracing::error!(path = %own.display(), %error, "could not probe a path");
            }
            others.lock().remove(&own);
        });
        let probe = task.map(|_| ()).boxed().shared();
        running.insert(path.to_owned(), probe.clone());
        probe
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const A_WHILE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_path_that_does_not_answer_blocks_one_thread_however_often_it_is_probed() {
        let probes = PathProbes::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let (answer, server) = mpsc::channel::<()>();
        let server = Arc::new(Mutex::new(server));
        let dead = |probes: &PathProbes| {
            let (calls, server) = (Arc::clone(&calls), Arc::clone(&server));
            probes.start(Path::new("/dead"), move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
                let _ = server.lock().recv();
            })
        };
        while calls.load(Ordering::Relaxed) == 0 {
            assert!(timeout(A_WHILE, dead(&probes)).await.is_err());
        }
        for _ in 0..10 {
            assert!(timeout(A_WHILE, dead(&probes)).await.is_err());
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        probes.probe(Path::new("/tmp")).await;
        probes.probe(Path::new("/nowhere")).await;
        let waiting = dead(&probes);
        answer.send(()).unwrap();
        waiting.await;
        assert!(probes.running.lock().is_empty());
        // The next probe is a new one.
        answer.send(()).unwrap();
        dead(&probes).await;
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn many_paths_that_do_not_answer_leave_blocking_threads_for_other_work() {
        let probes = PathProbes::new();
        let (answer, server) = mpsc::channel::<()>();
        let server = Arc::new(Mutex::new(server));
        for number in 0..=CONCURRENCY {
            let server = Arc::clone(&server);
            drop(probes.start(Path::new(&format!("/dead/{number}")), move |_| {
                let _ = server.lock().recv();
            }));
        }
        assert!(timeout(A_WHILE, probes.probe(Path::new("/tmp"))).await.is_err());
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        drop(answer);
        probes.probe(Path::new("/tmp")).await;
    }
}
