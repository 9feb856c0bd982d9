//! Models behind an HTTP endpoint.
//!
//! One call is one request: nothing is retried here, and nothing waits here but for the answer. Whoever calls sets the deadline (a call
//! that is dropped is cancelled) and decides what to do about a failure, which is told apart by what can be done about it:
//!
//! | What happened                                          | [`CallFailure`](stateset_resilience::CallFailure)       |
//! |--------------------------------------------------------|--------------------------------------------------------|
//! | no connection, a connection that broke; 408, 409, 425, 429, 5xx | `Transient`, with the server's `Retry-After`  |
//! | 400, 401, 403, 404, any other 4xx; a redirection       | `Refused`, with endpoint, status and the server's words |
//! | 2xx with a body that is no answer                      | `Garbled`                                              |

mod chat;
mod endpoint;
mod status;

pub use chat::{ChatClient, ChatSettings, ClientError};
pub use endpoint::{Endpoint, EndpointError};
