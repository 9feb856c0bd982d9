//! Why a model of the hub is not here, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use stateset_models::{RefusedFormat, ShardError};
use stateset_remote::EndpointError;
use thiserror::Error;

/// Why a model of the hub cannot be had.
#[derive(Debug, Error)]
pub(crate) enum HubError {
    /// No connection, or none that lasted; or a server that is overloaded.
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
    /// The hub is not there, and neither is the model.
    #[error(
        "{repo} is not in the cache {cache} ({lacks}), and {why}: download it by other means and give its folder, or set \
         HF_HUB_CACHE to the cache that has it"
    )]
    NotCached { repo: String, cache: PathBuf, lacks: String, why: String },
    /// The hub wants to know who asks, or does not like who asks.
    #[error(
        "the hub refuses {repo} ({status}): it is gated or private, or does not exist. Accept its licence at {page}, then set \
         HF_TOKEN to a token of yours{}; or download it by other means and give its folder", if *token { " that may read it (the present one may not)" } else { "" }
    )]
    Forbidden { repo: String, page: String, status: String, token: bool },
    /// There is none.
    #[error("the hub has no {what}: look at {page}; a folder's name begins with ./ or /")]
    NotFound { what: String, page: String },
    /// Any other answer that is no success.
    #[error("{url} answered {status}")]
    Refused { url: String, status: String },
    /// An answer that makes no sense.
    #[error("{url} answered something that is not the hub's: {why}")]
    Garbled { url: String, why: String },
    /// What arrived is not what the hub says it is.
    #[error("{file} of {repo} arrived with SHA-256 {found}, the hub says {expected}; it was thrown away: try again")]
    Checksum { repo: String, file: String, expected: String, found: String },
    /// A repository without what a model needs.
    #[error("{repo} has no {lacks}, which a model needs here")]
    NotAModel { repo: String, lacks: String },
    /// A repository with weights in a format that is refused.
    #[error("{repo} has no safetensors: {format}")]
    Format { repo: String, format: RefusedFormat },
    /// An index that is none.
    #[error("model.safetensors.index.json of {repo}: {source}")]
    Index { repo: String, source: ShardError },
    /// The cache cannot be used.
    #[error("cannot {what} {path}: {source}")]
    Disk { what: &'static str, path: PathBuf, source: io::Error },
    /// Not the address of a hub.
    #[error("HF_ENDPOINT {endpoint} {source}")]
    Endpoint { endpoint: String, source: EndpointError },
    /// A token that cannot be sent.
    #[error("HF_TOKEN has characters that a token cannot have")]
    Token,
}

impl HubError {
    /// For `map_err`, where `what` was to be done with `path`.
    pub(super) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}
