//! The Prometheus page with Dockside's own metrics. Off unless `metrics-address` is set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// OpenMetrics, as text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a response that is being read may take after shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The metrics could not be served.
#[derive(Debug, thiserror::Error)]
#[error("could not listen for metrics on {address}: {source}")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// The HTTP server of the page.
pub(crate) struct Server {
    listener: TcpListener,
    registry: Arc<Registry>,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be bound, for example because another process listens there.
    pub(crate) async fn bind(address: SocketAddr, registry: Registry) -> Result<Server, Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| Error { address, source })?;
        Ok(Server { listener, registry: Arc::new(registry) })
    }

    /// Answers `GET /metrics` until `shutdown`.
    pub(crate) async fn serve(self, shutdown: CancellationToken) {
        let registry = self.registry;
        let metrics = move || {
            let registry = Arc::clone(&registry);
            async move { page(&registry) }
        };
        let app = Router::new().route("/metrics", get(metrics));
        let stop = shutdown.clone();
        let serving = axum::serve(self.listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        // A client that keeps its connection open must not delay the shutdown.
        let shutdown_deadline = async {
            shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(%error, "stopped serving metrics");
                }
            }
            () = shutdown_deadline => {}
        }
    }
}

/// All metrics of a registry, as Prometheus reads them.
fn page(registry: &Registry) -> ([(HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, registry);
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}
