//! Where a model is.

use std::fmt;

use reqwest::Url;
use thiserror::Error;

/// The address of an OpenAI-compatible API: what `/chat/completions` is appended to, such as `http://127.0.0.1:8000/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// It is no URL.
    #[error("is no URL: {0}")]
    NotAUrl(String),
    /// It is a URL of another kind.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// It holds a user name or a password, which would end up in records.
    #[error("must not hold a user name or a password")]
    Credentials,
    /// It has a query or a fragment, to which nothing can be appended.
    #[error("must not have a `?` or a `#`")]
    Tail,
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let base = Url::parse(text).map_err(|error| EndpointError::NotAUrl(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme);
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(EndpointError::Tail);
        }
        Ok(Self { base })
    }

    /// The address of `path` below it.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Whether it is on this machine, where no proxy leads.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.base.host_str().is_some_and(|host| {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_appended_with_one_slash() {
        for base in ["http://127.0.0.1:80/v1", "http://127.0.0.1:80/v1/"] {
            let endpoint = Endpoint::parse(base).unwrap();
            assert_eq!(endpoint.join("chat/completions").as_str(), "http://127.0.0.1/v1/chat/completions");
        }
        let bare = Endpoint::parse("https://example.com").unwrap();
        assert_eq!(bare.join("chat/completions").as_str(), "https://example.com/chat/completions");
    }

    #[test]
    fn what_is_no_endpoint_is_told() {
        let error = |text| Endpoint::parse(text).unwrap_err();
        assert!(matches!(error("127.0.0.1:80/v1"), EndpointError::NotAUrl(_)));
        assert!(matches!(error(""), EndpointError::NotAUrl(_)));
        assert_eq!(error("ftp://host/v1"), EndpointError::Scheme);
        assert_eq!(error("http://me:secret@host/v1"), EndpointError::Credentials);
        assert_eq!(error("http://host/v1?key=secret"), EndpointError::Tail);
    }

    #[test]
    fn no_proxy_leads_to_this_machine() {
        let local = |text| Endpoint::parse(text).unwrap().is_local();
        assert!(local("http://127.0.0.1:1/v1") && local("http://localhost/v1") && local("http://[::1]:9/"));
        assert!(!local("http://10.0.0.1/v1") && !local("https://localhost.example.com"));
    }
}
