//! A chat model on loopback.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use stateset_domain::Message;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How a [`ChatServer`] treats whoever asks.
#[derive(Debug, Clone, Default)]
pub enum Conduct {
    /// Answers.
    #[default]
    Answer,
    /// Takes questions and never answers.
    Hang,
    /// Sends the same response to everyone.
    Respond(Box<Canned>),
}

/// A response that has nothing to do with the question.
#[derive(Debug, Clone, Default)]
pub struct Canned {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Conduct {
    /// Responds with `status` and a few words.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let body = format!("{{\"error\": \"told to answer {status}\"}}");
        Self::Respond(Box::new(Canned { status, headers: Vec::new(), body }))
    }

    /// Responds that all is well, with `body`.
    pub fn body(body: impl Into<String>) -> Self {
        Self::Respond(Box::new(Canned { status: 200, headers: Vec::new(), body: body.into() }))
    }

    /// The same, asking to be left alone for so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER.as_str(), seconds.to_string())
    }

    /// The same, pointing to another address.
    #[must_use]
    pub fn location(self, url: &str) -> Self {
        self.with(LOCATION.as_str(), url.to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        if let Self::Respond(canned) = &mut self {
            canned.headers.push((name, value));
        }
        self
    }
}

/// A question that arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Its JSON.
    pub body: Value,
}

type Script = Arc<dyn Fn(&[Message]) -> String + Send + Sync>;

/// A real HTTP server at `/v1/chat/completions` that answers by a script, and can be stopped, restarted at its address, and told to
/// misbehave. Gone when it is dropped.
pub struct ChatServer {
    address: SocketAddr,
    desk: Arc<Desk>,
    /// `None` while it is stopped.
    listening: Option<JoinHandle<()>>,
}

struct Desk {
    script: Script,
    conduct: Mutex<Conduct>,
    asked: Mutex<Vec<Asked>>,
}

impl ChatServer {
    /// Listens at a free port of loopback, on the current runtime.
    pub async fn start(script: impl Fn(&[Message]) -> String + Send + Sync + 'static) -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let address = listener.local_addr().expect("a bound socket has an address");
        let desk = Arc::new(Desk { script: Arc::new(script), conduct: Mutex::default(), asked: Mutex::default() });
        let listening = Some(tokio::spawn(serve(listener, Arc::clone(&desk))));
        Self { address, desk, listening }
    }

    /// What a client is told: the address, up to `/v1`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Treats everyone like this from now on.
    pub fn behave(&self, conduct: Conduct) {
        *lock(&self.desk.conduct) = conduct;
    }

    /// Every question so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.desk.asked).clone()
    }

    /// Stops listening, and breaks every connection.
    pub async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            // The error says that it was aborted.
            let _ = listening.await;
        }
    }

    /// Listens at the same address again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.listening = Some(tokio::spawn(serve(listen(self.address).await, Arc::clone(&self.desk))));
    }
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).await.unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"))
}

/// Connections end with this future.
async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(Arc::clone(&desk), request));
            // A client that goes away in the middle is none of our business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|key| key.to_str().ok()).map(str::to_owned);
    let found = request.uri().path() == "/v1/chat/completions";
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let messages: Option<Vec<Message>> = serde_json::from_value(body["messages"].clone()).ok();
    lock(&desk.asked).push(Asked { authorization, body });
    let conduct = lock(&desk.conduct).clone();
    Ok(match (conduct, messages) {
        (Conduct::Hang, _) => pending().await,
        (Conduct::Respond(canned), _) => respond(&canned),
        (Conduct::Answer, Some(messages)) if found => {
            let said = json!({ "role": "assistant", "content": (desk.script)(&messages) });
            let body = json!({ "choices": [{ "index": 0, "message": said, "finish_reason": "stop" }] }).to_string();
            respond(&Canned { status: 200, headers: Vec::new(), body })
        }
        (Conduct::Answer, _) => respond(&Canned { status: 404, ..Canned::default() }),
    })
}

fn respond(canned: &Canned) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(canned.status);
    for (name, value) in &canned.headers {
        response = response.header(*name, value);
    }
    response.body(Full::from(canned.body.clone())).expect("a test makes sense of its own responses")
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
