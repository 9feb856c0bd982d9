//! The client against a server on loopback that behaves in every way a server can.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use stateset_domain::{Message, Role};
use stateset_remote::{ChatClient, ChatSettings, ClientError, Endpoint};
use stateset_resilience::CallFailure;
use stateset_testkit::{ChatServer, Conduct};

fn settings(server: &ChatServer) -> ChatSettings {
    ChatSettings {
        endpoint: Endpoint::parse(&server.endpoint()).unwrap(),
        model: "small".into(),
        api_key: Some("secret".into()),
        temperature: 0.0,
        max_tokens: 64,
    }
}

fn client(server: &ChatServer) -> ChatClient {
    ChatClient::new(settings(server)).unwrap()
}

fn question() -> Vec<Message> {
    vec![Message::new(Role::System, "repeat"), Message::new(Role::User, "good \u{1f600} \"day\"")]
}

async fn server() -> ChatServer {
    ChatServer::start(|messages: &[Message]| messages.last().unwrap().content.clone()).await
}

#[tokio::test]
async fn a_question_is_answered() {
    let server = server().await;
    assert_eq!(client(&server).ask(&question()).await, Ok("good \u{1f600} \"day\"".into()));
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization.as_deref(), Some("Bearer secret"));
    assert_eq!((asked[0].body["model"].as_str(), asked[0].body["temperature"].as_f64()), (Some("small"), Some(0.0)));
    assert_eq!(asked[0].body["max_tokens"], 64);
}

#[tokio::test]
async fn failures_are_told_apart_by_what_can_be_done_about_them() {
    let server = server().await;
    let client = client(&server);
    server.behave(Conduct::status(503).retry_after(7));
    let overloaded = client.ask(&question()).await.unwrap_err();
    assert_eq!(overloaded.retry_after(), Some(Duration::from_secs(7)), "{overloaded}");
    server.behave(Conduct::status(401));
    let refused = client.ask(&question()).await.unwrap_err();
    assert!(matches!(&refused, CallFailure::Refused(cause) if cause.contains("401") && cause.contains(client.url())));
    assert!(!refused.to_string().contains("secret"));
    for garbage in ["", "null", "<html>", "{\"choices\": []}", "{\"choices\": [{\"message\": {}}]}"] {
        server.behave(Conduct::body(garbage));
        assert!(matches!(client.ask(&question()).await, Err(CallFailure::Garbled(_))), "{garbage}");
    }
    let cut = "{\"choices\": [{\"message\": {\"content\": \"{\"}, \"finish_reason\": \"length\"}]}";
    server.behave(Conduct::body(cut));
    assert!(client.ask(&question()).await.unwrap_err().to_string().contains("within 64 tokens"));
}

#[tokio::test]
async fn a_server_that_is_gone_may_come_back() {
    let mut server = server().await;
    let client = client(&server);
    client.ask(&question()).await.unwrap();
    server.stop().await;
    let gone = client.ask(&question()).await.unwrap_err();
    assert!(matches!(&gone, CallFailure::Transient { retry_after: None, .. }), "{gone}");
    assert!(gone.to_string().contains("cannot be reached"), "{gone}");
    server.restart().await;
    client.ask(&question()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_hangs_ends_with_whoever_waits_for_it() {
    let server = server().await;
    server.behave(Conduct::Hang);
    let client = client(&server);
    let question = question();
    let waited = tokio::time::timeout(Duration::from_millis(50), client.ask(&question)).await;
    assert!(waited.is_err());
    server.behave(Conduct::Answer);
    client.ask(&question).await.unwrap();
}

#[tokio::test]
async fn a_redirection_takes_the_key_nowhere() {
    let (server, other) = (server().await, server().await);
    server.behave(Conduct::status(307).location(&format!("{}/chat/completions", other.endpoint())));
    assert!(matches!(client(&server).ask(&question()).await, Err(CallFailure::Refused(_))));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_key_that_cannot_be_sent_is_refused() {
    let server = server().await;
    let wrong = ChatClient::new(ChatSettings { api_key: Some("two\nlines".into()), ..settings(&server) });
    assert!(matches!(wrong, Err(ClientError::Key)));
}
