//! The side that looks.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::past;
use crate::run_folder::RunFiles;

/// A process that runs answers at once; one that is stopped may never.
const PATIENCE: Duration = Duration::from_secs(5);

/// In which form to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What can be seen of a run: as its process tells it, or if there is none, as its files do.
///
/// # Errors
/// If a process is there and does not answer, or the files cannot be read.
pub(crate) fn look(files: &RunFiles, form: Form) -> Result<String> {
    let socket = fs::read_to_string(files.socket_elsewhere()).map_or_else(|_| files.socket(), PathBuf::from);
    let stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        // A process that was killed leaves its socket, and nobody behind it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return past::tell(files, form);
        }
        // A path that is too long for an address was never bound.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return past::tell(files, form),
        Err(error) => return Err(error).with_context(|| format!("cannot reach {}", socket.display())),
    };
    ask(stream, form).with_context(|| format!("the process behind {} does not answer", socket.display()))
}

fn ask(mut stream: UnixStream, form: Form) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(match form {
        Form::Text => b"text\n",
        Form::Json => b"json\n",
    })?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
