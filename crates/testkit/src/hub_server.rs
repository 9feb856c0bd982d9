//! A hub of models on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How a [`HubServer`] treats whoever asks.
#[derive(Debug, Clone, Default)]
pub struct HubConduct {
    /// Answers every request with this status.
    pub status: Option<u16>,
    /// The same, but only where files are asked for.
    pub file_status: Option<u16>,
    /// Breaks off after so many bytes of a file.
    pub cut_after: Option<usize>,
    /// Sends files from their beginning, whatever part is asked for.
    pub ignores_ranges: bool,
    /// Sends this file with its last byte changed.
    pub spoilt: Option<&'static str>,
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRequest {
    /// The path, with its query.
    pub path: String,
    /// Its `Range`.
    pub range: Option<String>,
    /// Its `Authorization`.
    pub authorization: Option<String>,
}

/// A real HTTP server that has one repository, `org/name`, with a branch `main`, and can be told to misbehave. Files that end in
/// `.safetensors` are large files with a SHA-256; it listens until the process ends.
pub struct HubServer {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
}

struct Desk {
    files: BTreeMap<String, Vec<u8>>,
    conduct: HubConduct,
    asked: Vec<HubRequest>,
}

impl HubServer {
    /// The commit that `main` is.
    pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// Listens at a free port of loopback.
    pub fn start(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let files = files.into_iter().collect();
        let desk = Arc::new(Mutex::new(Desk { files, conduct: HubConduct::default(), asked: Vec::new() }));
        let served = Arc::clone(&desk);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up is not answered.
                let _ = answer(&stream, &served);
            }
        });
        Self { address, desk }
    }

    /// What a client is told.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Treats everyone like this from now on.
    pub fn behave(&self, conduct: HubConduct) {
        lock(&self.desk).conduct = conduct;
    }

    /// Every request since this was last asked.
    #[must_use]
    pub fn asked(&self) -> Vec<HubRequest> {
        std::mem::take(&mut lock(&self.desk).asked)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(stream: &TcpStream, desk: &Mutex<Desk>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = HubRequest { path, range: None, authorization: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value.trim().into()),
            "authorization" => request.authorization = Some(value.trim().into()),
            _ => {}
        }
    }
    let mut desk = lock(desk);
    desk.asked.push(request.clone());
    let response = desk.respond(&request);
    drop(desk);
    let mut stream = stream;
    stream.write_all(&response)
}

impl Desk {
    fn respond(&self, request: &HubRequest) -> Vec<u8> {
        let conduct = &self.conduct;
        if let Some(status) = conduct.status {
            return whole(status, b"told to");
        }
        if request.path == "/api/models/org/name/revision/main?blobs=true" {
            return whole(200, self.listing().to_string().as_bytes());
        }
        let prefix = format!("/org/name/resolve/{}/", HubServer::COMMIT);
        let file = request.path.strip_prefix(&prefix).and_then(|name| Some((name, self.files.get(name)?)));
        match (conduct.file_status, file) {
            (Some(status), _) => whole(status, b"told to"),
            (None, Some((name, bytes))) => self.part(name, bytes, request.range.as_deref()),
            (None, None) => whole(404, b"no such file"),
        }
    }

    fn listing(&self) -> Value {
        let siblings = self.files.iter().map(|(name, bytes)| {
            let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let blob = &sha256[..40];
            match name.ends_with(".safetensors") {
                true => json!({ "rfilename": name, "size": bytes.len(), "blobId": blob, "lfs": { "sha256": sha256, "size": bytes.len() } }),
                false => json!({ "rfilename": name, "size": bytes.len(), "blobId": blob }),
            }
        });
        json!({ "sha": HubServer::COMMIT, "siblings": siblings.collect::<Vec<_>>() })
    }

    fn part(&self, name: &str, bytes: &[u8], range: Option<&str>) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut().filter(|_| self.conduct.spoilt == Some(name)) {
            *last ^= 1;
        }
        let from: Option<usize> = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let mut response = match from.filter(|_| !self.conduct.ignores_ranges) {
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                bytes.drain(..from);
                head(206, bytes.len(), &range)
            }
            None => head(200, bytes.len(), ""),
        };
        bytes.truncate(self.conduct.cut_after.unwrap_or(bytes.len()));
        response.extend(bytes);
        response
    }
}

fn whole(status: u16, body: &[u8]) -> Vec<u8> {
    let mut response = head(status, body.len(), "");
    response.extend(body);
    response
}

fn head(status: u16, length: usize, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n").into_bytes()
}
