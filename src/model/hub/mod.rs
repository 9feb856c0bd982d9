//! Models of the Hugging Face hub, through the cache that Hugging Face's own programs use.
//!
//! One request asks what a revision consists of: its commit, and the size and checksum of every file. What the cache lacks is then
//! downloaded, only what a model needs here, and never code. A download that broke off goes on where it was; weights are not put into the
//! cache before their SHA-256 is the one that the hub names. Without the hub, what is cached is used.
//!
//! | Variable                                     | Meaning                                                                |
//! |----------------------------------------------|------------------------------------------------------------------------|
//! | `HF_HUB_CACHE`, else `HF_HOME`, `XDG_CACHE_HOME` | where the cache is; else `~/.cache/huggingface/hub`                |
//! | `HF_TOKEN`, else `HF_TOKEN_PATH`, `HF_HOME`   | a token, for models that are gated or private                          |
//! | `HF_HUB_OFFLINE`                              | `1`: the hub is not asked                                              |
//! | `HF_ENDPOINT`                                 | another hub                                                            |

mod bar;
mod cache;
mod error;
mod http;
mod listing;
mod settings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use stateset_models::{WEIGHTS_INDEX, read_index};

use super::name::Repo;
use bar::Bar;
use cache::Cache;
pub(crate) use error::HubError;
use http::Http;
use listing::{Listed, Listing};
use settings::Settings;

/// The hub and its cache.
pub(super) struct Hub {
    settings: Settings,
}

impl Hub {
    /// The hub that the environment names.
    pub(super) fn from_env() -> Result<Self, HubError> {
        Ok(Self { settings: Settings::read(|name| std::env::var(name).ok())? })
    }

    /// The folder of `repo` in the cache, as it was last seen.
    pub(super) fn cached(&self, repo: &Repo) -> Result<PathBuf, HubError> {
        let cache = Cache::new(&self.settings.cache, repo);
        cache.snapshot().map_err(|lacks| HubError::NotCached {
            repo: repo.id.clone(),
            cache: self.settings.cache.clone(),
            lacks,
            why: "it was not looked for elsewhere".into(),
        })
    }

    /// The folder of `repo`, downloaded as far as the cache lacks it.
    pub(super) fn fetch(&self, repo: &Repo) -> Result<PathBuf, HubError> {
        if self.settings.offline {
            return self.instead(repo, "HF_HUB_OFFLINE is set".into());
        }
        // A thread of its own: whoever calls may be a task of an async runtime, in which there can be no other.
        let fetched = std::thread::scope(|scope| {
            let online = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime
                    .map_err(HubError::disk("start a runtime for", &self.settings.cache))?
                    .block_on(self.online(repo))
            };
            scope.spawn(online).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match fetched {
            Err(HubError::Unreachable { url, why }) => self.instead(repo, format!("{url} cannot be reached: {why}")),
            other => other,
        }
    }

    /// What is cached, since the hub is not there because of `why`.
    fn instead(&self, repo: &Repo, why: String) -> Result<PathBuf, HubError> {
        match Cache::new(&self.settings.cache, repo).snapshot() {
            Ok(folder) => {
                eprintln!("{why}; using {} as it was cached", repo.id);
                Ok(folder)
            }
            Err(lacks) => {
                let (repo, cache) = (repo.id.clone(), self.settings.cache.clone());
                Err(HubError::NotCached { repo, cache, lacks, why })
            }
        }
    }

    async fn online(&self, repo: &Repo) -> Result<PathBuf, HubError> {
        let http = Http::new(&self.settings)?;
        let listing = Listing::of(&http, repo).await?;
        let cache = Cache::new(&self.settings.cache, repo);
        let fetched = async |files: Vec<&Listed>| {
            for file in files {
                self.file(&http, &cache, repo, &listing, file).await?;
            }
            Ok::<_, HubError>(())
        };
        fetched(listing.model(&repo.id)?).await?;
        if let Some(index) = listing.index() {
            self.file(&http, &cache, repo, &listing, index).await?;
            let path = cache.file(&listing.commit, WEIGHTS_INDEX);
            let bytes = std::fs::read(&path).map_err(HubError::disk("read", &path))?;
            let index = read_index(&bytes).map_err(|source| HubError::Index { repo: repo.id.clone(), source })?;
            fetched(listing.shards(&repo.id, index.values())?).await?;
        }
        cache.name(&listing.commit)?;
        Ok(cache.folder(&listing.commit))
    }

    async fn file(
        &self,
        http: &Http,
        cache: &Cache,
        repo: &Repo,
        listing: &Listing,
        file: &Listed,
    ) -> Result<(), HubError> {
        let url = format!("{}/{}/resolve/{}/{}", self.settings.endpoint, repo.id, listing.commit, file.name);
        let _lock = cache.lock(&file.blob)?;
        let blob = cache.blob(&file.blob);
        if !blob.exists() {
            let bar = Bar::new(&repo.id, file);
            http.download(repo, &url, file, &blob, &bar).await?;
        }
        cache.link(&listing.commit, file)
    }
}
