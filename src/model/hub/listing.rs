//! What a repository consists of at a revision.

use std::collections::BTreeSet;

use serde::Deserialize;
use stateset_models::{COMPANIONS, REQUIRED, RefusedFormat, WEIGHTS, WEIGHTS_INDEX};

use super::super::name::Repo;
use super::error::HubError;
use super::http::Http;

/// The files of one commit.
pub(super) struct Listing {
    /// Its hash.
    pub(super) commit: String,
    files: Vec<Listed>,
}

/// A file as the hub describes it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: String,
    /// Bytes.
    pub(super) size: u64,
    /// What its contents are called in the cache.
    pub(super) blob: String,
    /// Whether that is the SHA-256 of its contents, as it is of large files; else it is git's hash.
    pub(super) sha256: bool,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// Whether `text` is a checksum in hexadecimal, and so safe as the name of a file.
pub(super) fn is_checksum(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

impl Listing {
    /// Asks for it.
    pub(super) async fn of(http: &Http, repo: &Repo) -> Result<Self, HubError> {
        let revision = repo.revision.replace('/', "%2F");
        let (url, body) = http.ask(repo, &format!("api/models/{}/revision/{revision}?blobs=true", repo.id)).await?;
        let garbled = |why: String| HubError::Garbled { url: url.clone(), why };
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| garbled(error.to_string()))?;
        if !is_checksum(&answer.sha) {
            return Err(garbled(format!("{:?} is no commit", answer.sha)));
        }
        let files = answer.siblings.into_iter().filter_map(Sibling::listed).collect();
        Ok(Self { commit: answer.sha, files })
    }

    fn find(&self, name: &str) -> Option<&Listed> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files that a model needs: its configuration, its tokenizer, what travels with them, and its weights if they are in one file.
    pub(super) fn model(&self, repo: &str) -> Result<Vec<&Listed>, HubError> {
        let lacking = |lacks: &str| HubError::NotAModel { repo: repo.into(), lacks: lacks.into() };
        if self.find(WEIGHTS).is_none() && self.index().is_none() {
            let format = self.files.iter().find_map(|file| RefusedFormat::of(&file.name));
            return Err(match format {
                Some(format) => HubError::Format { repo: repo.into(), format },
                None => lacking(WEIGHTS),
            });
        }
        let mut files = Vec::new();
        for name in REQUIRED {
            files.push(self.find(name).ok_or_else(|| lacking(name))?);
        }
        files.extend(COMPANIONS.into_iter().chain([WEIGHTS]).filter_map(|name| self.find(name)));
        Ok(files)
    }

    /// The index, if the weights are in several files.
    pub(super) fn index(&self) -> Option<&Listed> {
        self.find(WEIGHTS_INDEX).filter(|_| self.find(WEIGHTS).is_none())
    }

    /// The files of weights that an index names.
    pub(super) fn shards<'a>(
        &self,
        repo: &str,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<&Listed>, HubError> {
        let names: BTreeSet<&String> = names.collect();
        let lacking = |lacks: &String| HubError::NotAModel { repo: repo.into(), lacks: lacks.clone() };
        names.into_iter().map(|name| self.find(name).ok_or_else(|| lacking(name))).collect()
    }
}

impl Sibling {
    /// `None` for what is not described well enough to be downloaded.
    fn listed(self) -> Option<Listed> {
        let Self { rfilename: name, size, blob_id, lfs } = self;
        let sha256 = lfs.is_some();
        let (size, blob) = match lfs {
            Some(lfs) => (lfs.size, lfs.sha256),
            None => (size?, blob_id?),
        };
        is_checksum(&blob).then_some(Listed { name, size, blob, sha256 })
    }
}
