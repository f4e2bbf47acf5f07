//! An API server for tests: it remembers what it was asked and answers as the test says.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::response::Response;
use http::Method;
use http::Uri;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::AccessArgs;
use super::Client;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// With what comes after the question mark.
    pub(crate) path: String,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// See the module's documentation.
pub(crate) struct FakeApi {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeApi {
    /// Starts one that answers with a code and a body: JSON, or lines of it for a watch.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> FakeApi {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        let handle = async move |method: Method, uri: Uri, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let one = Asked { method, path: uri.to_string(), body };
            log.lock().push(one.clone());
            let (code, text) = answer(&one);
            Response::builder().status(code).body(Body::from(text)).unwrap()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        let access = AccessArgs { server: Some(server), ..AccessArgs::default() }.resolve().unwrap();
        FakeApi { client: Client::new(access).unwrap(), asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}
