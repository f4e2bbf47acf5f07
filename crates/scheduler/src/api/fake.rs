//! An API server for tests: it remembers what it was asked and answers as the test says.

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

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// With what comes after the question mark.
    pub(crate) path: String,
    /// The media types that are understood.
    pub(crate) accept: String,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// See the module's documentation.
pub(crate) struct FakeApi {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeApi {
    /// Starts one that answers with a code and a body: JSON, or lines of it for a watch, or Protobuf, which has zeros.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> FakeApi {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        let handle = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let accept = headers.get(ACCEPT).map_or("", |value| value.to_str().unwrap()).to_owned();
            let one = Asked { method, path: uri.to_string(), accept, body };
            log.lock().push(one.clone());
            let (code, text) = answer(&one);
            let kind = if text.contains('\0') { "application/vnd.kubernetes.protobuf" } else { "application/json" };
            Response::builder().status(code).header(CONTENT_TYPE, kind).body(Body::from(text)).unwrap()
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
