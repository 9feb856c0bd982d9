//! What the environment says about the hub, in the variables of Hugging Face's own programs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use stateset_remote::Endpoint;

use super::error::HubError;

/// Where the hub is, where its cache is, and who asks.
pub(super) struct Settings {
    /// Without a slash at its end.
    pub(super) endpoint: String,
    /// Whether that is this machine.
    pub(super) local: bool,
    /// The folder with a folder for every repository.
    pub(super) cache: PathBuf,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
    /// Before a download that broke off goes on.
    pub(super) pause: Duration,
}

impl Settings {
    /// Reads them from `variable`, which gives a variable's value.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")))
            .unwrap_or_else(|| PathBuf::from(".cache/huggingface"));
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let local = match Endpoint::parse(&endpoint) {
            Ok(parsed) => parsed.is_local(),
            Err(source) => return Err(HubError::Endpoint { endpoint, source }),
        };
        let stored = || fs::read_to_string(path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"))).ok();
        let token = set("HF_TOKEN").or_else(stored).map(|token| token.trim().to_owned());
        let yes = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str());
        Ok(Self {
            local,
            endpoint: endpoint.trim_end_matches('/').into(),
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token.filter(|token| !token.is_empty()),
            offline: set("HF_HUB_OFFLINE").is_some_and(yes),
            pause: Duration::from_secs(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::read(find).unwrap()
    }

    #[test]
    fn the_cache_is_where_the_nearest_variable_says() {
        let cache = |variables: &[(&str, &str)]| read(variables).cache;
        let all = [("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/me")];
        let expected = ["/c", "/h/hub", "/x/huggingface/hub", "/me/.cache/huggingface/hub"];
        for (first, expected) in expected.into_iter().enumerate() {
            assert_eq!(cache(&all[first..]), PathBuf::from(expected));
        }
    }

    #[test]
    fn a_token_comes_from_its_variable_or_from_where_it_was_stored() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "hf_stored\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).token.as_deref(), Some("hf_stored"));
        assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", " hf_given ")]).token.as_deref(), Some("hf_given"));
        assert_eq!(read(&[("HF_HOME", "/nowhere")]).token, None);
    }

    #[test]
    fn offline_is_what_hugging_face_takes_for_yes() {
        for (value, offline) in [("1", true), ("true", true), ("on", true), ("0", false), ("", false)] {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused() {
        let error = Settings::read(|name| (name == "HF_ENDPOINT").then(|| "ftp://hub".into())).err().unwrap();
        assert!(error.to_string().contains("HF_ENDPOINT ftp://hub must begin"), "{error}");
    }
}
