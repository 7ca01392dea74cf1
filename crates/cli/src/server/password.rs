//! Where passwords come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::ServerError;

/// The longest password file or output of --password-cmd: a token has 8192 octets at most, and a
/// line end may follow.
const MAX_PASSWORD: u64 = 8194;

pub(super) fn from_variable(variable: &str) -> Result<String, ServerError> {
    std::env::var(variable).map_err(|_| ServerError::PasswordEnv(variable.to_owned()))
}

/// The first line of a file.
pub(super) fn from_file(path: &Path) -> Result<String, ServerError> {
    let password = File::open(path).and_then(first_line).and_then(|password| {
        if password.is_empty() { Err(invalid("its first line is empty")) } else { Ok(password) }
    });
    password.map_err(|error| ServerError::PasswordFile(path.to_owned(), error))
}

/// The first line that a command prints.
pub(super) fn from_command(command: &str) -> Result<String, ServerError> {
    let failed = |error| ServerError::PasswordCommand(command.to_owned(), error);
    let mut shell = Command::new("sh");
    let mut child = shell
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let password = child.stdout.take().map_or_else(|| Ok(String::new()), first_line);
    if password.is_err() {
        // It may have no end. If it has ended already, all the better.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let password = password.map_err(failed)?;
    if !status.success() || password.is_empty() {
        return Err(ServerError::PasswordCommandFailed(command.to_owned()));
    }
    Ok(password)
}

fn first_line(source: impl Read) -> io::Result<String> {
    let mut octets = Vec::new();
    source.take(MAX_PASSWORD + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MAX_PASSWORD {
        return Err(invalid("it is too long for a password"));
    }
    let text = String::from_utf8(octets).map_err(|_| invalid("it is not UTF-8"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
