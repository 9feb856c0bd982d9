//! A chat model at an OpenAI-compatible endpoint.

use std::time::SystemTime;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use serde::{Deserialize, Serialize};
use stateset_domain::Message;
use stateset_resilience::CallFailure;
use thiserror::Error;

use crate::Endpoint;
use crate::status;

/// A longer body than this is no answer to anything we ask.
const MOST_BYTES: usize = 1 << 20;

/// Which model, and how it answers.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its name there.
    pub model: String,
    /// What is sent as the bearer key.
    pub api_key: Option<String>,
    /// How freely it answers; 0 is not at all.
    pub temperature: f32,
    /// The longest answer, in its tokens. A longer one is garbled.
    pub max_tokens: u32,
}

/// Why there can be no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The key holds characters that no header can hold.
    #[error("the key is no text that can be sent: it holds line breaks or other control characters")]
    Key,
    /// The HTTP client could not be set up.
    #[error("cannot set up an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// Asks a chat model.
#[derive(Debug, Clone)]
pub struct ChatClient {
    http: Client,
    url: Url,
    model: String,
    temperature: f32,
    max_tokens: u32,
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: &'a [Message],
    temperature: f32,
    max_tokens: u32,
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

impl ChatClient {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(settings: ChatSettings) -> Result<Self, ClientError> {
        let ChatSettings { endpoint, model, api_key, temperature, max_tokens } = settings;
        // There is one for the process. If an application has chosen its own, that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // A redirection would take the key to somebody else.
        let mut http = Client::builder().default_headers(headers).redirect(redirect::Policy::none());
        if endpoint.is_local() {
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, url: endpoint.join("chat/completions"), model, temperature, max_tokens })
    }

    /// Where questions go.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Asks once. Dropping the future ends the request.
    ///
    /// # Errors
    /// [`CallFailure`], by what can be done about it.
    pub async fn ask(&self, messages: &[Message]) -> Result<String, CallFailure> {
        let Self { http, url, model, temperature, max_tokens } = self;
        let question = Question { model, messages, temperature: *temperature, max_tokens: *max_tokens };
        let response = http.post(url.clone()).json(&question).send().await.map_err(|error| self.broken(&error))?;
        let (code, headers) = (response.status(), response.headers().clone());
        let body = self.body(response).await?;
        if !code.is_success() {
            return Err(status::failure(url.as_str(), code, &headers, &body, SystemTime::now()));
        }
        self.read(&body)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CallFailure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(CallFailure::Garbled(format!("{} answered more than {MOST_BYTES} bytes", self.url)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn read(&self, body: &[u8]) -> Result<String, CallFailure> {
        let garbled = |what: String| CallFailure::Garbled(format!("{} {what}", self.url));
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| garbled(format!("answered something that is no chat completion: {error}")))?;
        let choice = answer.choices.into_iter().next().ok_or_else(|| garbled("answered without a choice".into()))?;
        if choice.finish_reason.as_deref() == Some("length") {
            return Err(garbled(format!("did not finish its answer within {} tokens", self.max_tokens)));
        }
        choice.message.content.ok_or_else(|| garbled("answered without a text".into()))
    }

    /// The innermost cause of a request that came to nothing: the outer ones repeat the address.
    fn broken(&self, error: &reqwest::Error) -> CallFailure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CallFailure::transient(format!("{} cannot be reached: {cause}", self.url))
    }
}
