//! The side that is looked at.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::Builder;
use std::time::Duration;

use super::picture::Seen;
use super::text;
use crate::run_folder::{RunFiles, write_whole};

/// The longest path that a socket's address has room for everywhere, with some to spare.
const LONGEST: usize = 100;
/// Whoever asks may take so long to ask, and to listen.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers whoever looks, until it is dropped.
#[must_use = "nobody is answered once this is dropped"]
pub(crate) struct Server {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    /// Holds the socket's path, if that is not in the run's folder.
    elsewhere: Option<PathBuf>,
}

impl Server {
    /// Answers on the run's socket. The caller owns the folder, so a socket that is there was left by a process that is gone.
    pub(crate) fn start(files: &RunFiles, seen: Seen) -> io::Result<Self> {
        let (socket, elsewhere) = place(files)?;
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let over = Arc::new(AtomicBool::new(false));
        let server = Self { socket, over: Arc::clone(&over), elsewhere };
        let run = move || {
            for stream in listener.incoming() {
                if over.load(SeqCst) {
                    return;
                }
                // Whoever has hung up does not need an answer.
                let _ = stream.and_then(|stream| answer(&seen, &stream));
            }
        };
        Builder::new().name("inspect".into()).spawn(run)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        // Wakes the thread, which then sees that it is over.
        let _ = UnixStream::connect(&self.socket);
        let left = [Some(&self.socket), self.elsewhere.as_ref()];
        // What cannot be removed answers nobody, and the next process replaces it.
        left.into_iter().flatten().for_each(|path| drop(fs::remove_file(path)));
    }
}

/// Where the socket goes: into the run's folder, or if its path is too long there, into the folder for temporary files, by a path that
/// the run's folder holds.
fn place(files: &RunFiles) -> io::Result<(PathBuf, Option<PathBuf>)> {
    let socket = std::path::absolute(files.socket())?;
    if fits(&socket) {
        return Ok((socket, None));
    }
    let short = std::env::temp_dir().join(format!("stateset-{}-{}.sock", std::process::id(), number()));
    if !fits(&short) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!("{} is too long for a socket", short.display()),
        ));
    }
    let pointer = files.socket_elsewhere();
    write_whole(&pointer, &short.display().to_string()).map_err(io::Error::other)?;
    Ok((short, Some(pointer)))
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST
}

/// A process may run several runs.
fn number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, SeqCst)
}

fn answer(seen: &Seen, mut stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut asked = String::new();
    BufReader::new(io::Read::take(stream, 64)).read_line(&mut asked)?;
    let picture = seen.picture();
    let answer = match asked.trim() {
        "json" => serde_json::to_string_pretty(&picture)? + "\n",
        _ => text::render(&picture),
    };
    stream.write_all(answer.as_bytes())
}
