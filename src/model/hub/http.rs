//! Asking the hub, and downloading from it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::super::name::Repo;
use super::bar::Bar;
use super::error::HubError;
use super::listing::Listed;
use super::settings::Settings;

/// To get a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Answers that are read whole are shorter, bytes.
const MOST_ANSWER: usize = 64 << 20;
/// How often a download is taken up without a byte of progress before it is given up.
const TRIES: u32 = 5;

/// A client of the hub.
pub(super) struct Http {
    client: Client,
    endpoint: String,
    token: bool,
    pause: Duration,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, HubError> {
        // There is one for the process. If an application has chosen its own, that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        if let Some(token) = &settings.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| HubError::Token)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // Large files are redirected to other hosts, which are not told the token.
        let mut client = Client::builder()
            .user_agent(concat!("stateset-agents/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .https_only(settings.endpoint.starts_with("https://"))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE);
        if settings.local {
            client = client.no_proxy();
        }
        let endpoint = settings.endpoint.clone();
        let client = client.build().map_err(|error| unreachable(&endpoint, &error))?;
        Ok(Self { client, endpoint, token: settings.token.is_some(), pause: settings.pause })
    }

    /// The answer about `path`, and the address that was asked.
    pub(super) async fn ask(&self, repo: &Repo, path: &str) -> Result<(String, Vec<u8>), HubError> {
        let url = format!("{}/{path}", self.endpoint);
        let mut response = self.get(repo, &url, 0).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
            if body.len() + chunk.len() > MOST_ANSWER {
                return Err(HubError::Garbled { url, why: format!("more than {MOST_ANSWER} bytes") });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((url, body))
    }

    /// Downloads `file` from `url` to `blob`, which is there only once it is whole and has the checksum that the hub names.
    pub(super) async fn download(
        &self,
        repo: &Repo,
        url: &str,
        file: &Listed,
        blob: &Path,
        bar: &Bar,
    ) -> Result<(), HubError> {
        let mut part = Part::open(blob, file)?;
        let mut tries = 0;
        while part.bytes < file.size {
            let before = part.bytes;
            bar.at(before);
            match self.go_on(repo, url, &mut part, bar).await {
                Err(HubError::Unreachable { .. }) if part.bytes > before => tries = 0,
                Err(HubError::Unreachable { .. }) if tries < TRIES => tries += 1,
                done => done?,
            }
            if part.bytes < file.size {
                tokio::time::sleep(self.pause * tries).await;
            }
        }
        part.finish(repo, file, blob)
    }

    /// One connection's worth of what is missing.
    async fn go_on(&self, repo: &Repo, url: &str, part: &mut Part, bar: &Bar) -> Result<(), HubError> {
        let mut response = self.get(repo, url, part.bytes).await?;
        let start = format!("bytes {}-", part.bytes);
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
        if part.bytes > 0 && !(response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&start)) {
            // All of it comes again.
            part.restart()?;
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
            if part.bytes + chunk.len() as u64 > part.size {
                part.restart()?;
                let why = format!("more than the {} bytes that it says there are", part.size);
                return Err(HubError::Garbled { url: url.into(), why });
            }
            part.append(&chunk)?;
            bar.at(part.bytes);
        }
        match part.bytes == part.size {
            true => Ok(()),
            false => Err(HubError::Unreachable { url: url.into(), why: "it ended early".into() }),
        }
    }

    async fn get(&self, repo: &Repo, url: &str, from: u64) -> Result<Response, HubError> {
        let mut request = self.client.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| unreachable(url, &error))?;
        let code = response.status();
        let page = format!("{}/{}", self.endpoint, repo.id);
        let status = match response.headers().get("x-error-message").and_then(|words| words.to_str().ok()) {
            Some(words) => format!("{code}: {words:.200}"),
            None => code.to_string(),
        };
        match code.as_u16() {
            200..=299 => Ok(response),
            401 | 403 => Err(HubError::Forbidden { repo: repo.id.clone(), page, status, token: self.token }),
            404 => Err(HubError::NotFound { what: format!("{} at revision {}", repo.id, repo.revision), page }),
            408 | 429 | 500..=599 => Err(HubError::Unreachable { url: url.into(), why: status }),
            _ => Err(HubError::Refused { url: url.into(), status }),
        }
    }
}

/// The innermost cause: the outer ones repeat the address.
fn unreachable(url: &str, error: &reqwest::Error) -> HubError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    HubError::Unreachable { url: url.into(), why: cause.to_string() }
}

/// What there is of a file.
struct Part {
    file: File,
    path: std::path::PathBuf,
    bytes: u64,
    /// When it is whole.
    size: u64,
    hash: Sha256,
}

impl Part {
    /// Takes up what an earlier download left.
    fn open(blob: &Path, listed: &Listed) -> Result<Self, HubError> {
        let path = blob.with_extension("incomplete");
        let folder = blob.parent().expect("it is in a folder");
        fs::create_dir_all(folder).map_err(HubError::disk("create", folder))?;
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(HubError::disk("open", &path))?;
        let mut part = Self { file, path, bytes: 0, size: listed.size, hash: Sha256::new() };
        part.bytes = io::copy(&mut (&part.file).take(listed.size + 1), &mut Hasher(&mut part.hash))
            .map_err(HubError::disk("read", &part.path))?;
        if part.bytes > part.size {
            part.restart()?;
        }
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::disk("write", &self.path))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(HubError::disk("empty", &self.path))?;
        (self.bytes, self.hash) = (0, Sha256::new());
        Ok(())
    }

    /// Puts it where it belongs, if it is what it should be.
    fn finish(self, repo: &Repo, listed: &Listed, blob: &Path) -> Result<(), HubError> {
        let found: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if listed.sha256 && found != listed.blob {
            fs::remove_file(&self.path).map_err(HubError::disk("remove", &self.path))?;
            let (repo, file, expected) = (repo.id.clone(), listed.name.clone(), listed.blob.clone());
            return Err(HubError::Checksum { repo, file, expected, found });
        }
        let whole = self.file.sync_all().and_then(|()| fs::rename(&self.path, blob));
        whole.map_err(HubError::disk("complete", blob))
    }
}

/// A hash that can be copied into.
struct Hasher<'a>(&'a mut Sha256);

impl Write for Hasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
