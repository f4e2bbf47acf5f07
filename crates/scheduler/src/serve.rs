//! The HTTP endpoints `/healthz`, `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What the endpoints report.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Served at `/metrics`.
    pub(crate) metrics: Metrics,
    /// Every kind was listed: `/readyz` succeeds.
    pub(crate) is_synced: AtomicBool,
}

/// Serves until the process exits; returns the address with its port.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn start(address: SocketAddr, health: Arc<Health>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "could not serve health and metrics any more");
        }
    });
    Ok(address)
}

async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if health.is_synced.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "caches are not synced yet")
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    health.metrics.page()
}
