//! An API server for tests: it records requests and answers as the test says.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::response::Response;
use http::HeaderMap;
use http::Method;
use http::Uri;
use http::header::ACCEPT;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::AccessArgs;
use super::Client;

/// A recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    /// The Accept header.
    pub(crate) accept: String,
    /// Null if there is none.
    pub(crate) body: Value,
}

/// See the module documentation.
pub(crate) struct FakeApi {
    pub(crate) client: Client,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeApi {
    /// Starts a server that answers with a status and a body: JSON, JSON lines for a watch, or Protobuf (recognised by
    /// its zero bytes).
    pub(crate) async fn start(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> FakeApi {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (log, answer) = (requests.clone(), Arc::new(answer));
        let handle = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let accept = headers.get(ACCEPT).map_or("", |value| value.to_str().unwrap()).to_owned();
            let request = Request { method, path: uri.to_string(), accept, body };
            log.lock().push(request.clone());
            let (code, text) = answer(&request);
            let kind = if text.contains('\0') { "application/vnd.kubernetes.protobuf" } else { "application/json" };
            Response::builder().status(code).header(CONTENT_TYPE, kind).body(Body::from(text)).unwrap()
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        let access = AccessArgs { server: Some(server), ..AccessArgs::default() }.resolve().unwrap();
        FakeApi { client: Client::new(access).unwrap(), requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}
