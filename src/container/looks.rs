//! Whether the file systems of a container's mounts answer.
//!
//! A look at a network file system whose server is gone holds its thread for ever. So it is made on a thread of its own,
//! only one at a time for each path, whoever asks for it meanwhile, and on no more threads than all else can spare.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Threads that look at a time, of the 512 for all that blocks.
const AT_ONCE: usize = 128;

type Look = Shared<BoxFuture<'static, ()>>;

/// The looks that have not come to their end.
pub(super) struct Looks {
    at_work: Arc<Mutex<HashMap<PathBuf, Look>>>,
    threads: Arc<Semaphore>,
}

impl Looks {
    pub(super) fn new() -> Looks {
        Looks { at_work: Arc::default(), threads: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Waits until the path answers, be it that there is nothing. A caller that has waited long enough drops this; the
    /// look goes on.
    pub(super) async fn answered(&self, path: &Path) {
        // What it finds is looked at again by those who need it.
        self.look(path, |path| drop(path.metadata())).await;
    }

    fn look(&self, path: &Path, ask: impl FnOnce(&Path) + Send + 'static) -> Look {
        let mut at_work = self.at_work.lock();
        if let Some(look) = at_work.get(path) {
            return look.clone();
        }
        let (own, others, threads) = (path.to_owned(), Arc::clone(&self.at_work), Arc::clone(&self.threads));
        let looking = tokio::spawn(async move {
            let permit = threads.acquire_owned().await;
            let asked = own.clone();
            let asking = tokio::task::spawn_blocking(move || {
                ask(&asked);
                drop(permit);
            });
            if let Err(error) = asking.await {
                tracing::error!(path = %own.display(), %error, "could not look at a path");
            }
            others.lock().remove(&own);
        });
        let look = looking.map(|_| ()).boxed().shared();
        at_work.insert(path.to_owned(), look.clone());
        look
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
    async fn a_path_that_does_not_answer_holds_one_thread_however_often_it_is_asked() {
        let looks = Looks::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, server) = mpsc::channel::<()>();
        let server = Arc::new(Mutex::new(server));
        let dead = |looks: &Looks| {
            let (asked, server) = (Arc::clone(&asked), Arc::clone(&server));
            looks.look(Path::new("/dead"), move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                let _ = server.lock().recv();
            })
        };
        while asked.load(Ordering::Relaxed) == 0 {
            assert!(timeout(A_WHILE, dead(&looks)).await.is_err());
        }
        for _ in 0..10 {
            assert!(timeout(A_WHILE, dead(&looks)).await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        looks.answered(Path::new("/tmp")).await;
        looks.answered(Path::new("/nowhere")).await;
        let waiting = dead(&looks);
        answer.send(()).unwrap();
        waiting.await;
        assert!(looks.at_work.lock().is_empty());
        // The next look is a new one.
        answer.send(()).unwrap();
        dead(&looks).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn many_paths_that_do_not_answer_leave_threads_for_all_else() {
        let looks = Looks::new();
        let (answer, server) = mpsc::channel::<()>();
        let server = Arc::new(Mutex::new(server));
        for number in 0..=AT_ONCE {
            let server = Arc::clone(&server);
            drop(looks.look(Path::new(&format!("/dead/{number}")), move |_| {
                let _ = server.lock().recv();
            }));
        }
        assert!(timeout(A_WHILE, looks.answered(Path::new("/tmp"))).await.is_err());
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        drop(answer);
        looks.answered(Path::new("/tmp")).await;
    }
}
