//! Stores in files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;

use super::lock;
use crate::mail::Mail;
use crate::proxy_protocol::ProxyHeader;

/// A Maildir: a file for each mail, written in `tmp` and moved to `new` when it is whole.
#[derive(Debug)]
pub(crate) struct Maildir {
    directory: PathBuf,
    /// Makes file names differ from those of earlier runs.
    run: String,
}

impl Maildir {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let run = started.unwrap_or_default().as_micros();
        let run = format!("{run}.P{}", std::process::id());
        Ok(Self { directory: directory.to_owned(), run })
    }

    pub(super) fn keep(&self, mail: &Mail) -> io::Result<()> {
        let name = format!("{}Q{}.sink", self.run, mail.queue_id);
        let unfinished = self.directory.join("tmp").join(&name);
        let mut file = File::create_new(&unfinished)?;
        file.write_all(format!("Return-Path: <{}>\r\n", mail.reverse_path).as_bytes())?;
        for recipient in &mail.recipients {
            file.write_all(format!("Delivered-To: {recipient}\r\n").as_bytes())?;
        }
        file.write_all(&mail.content)?;
        fs::rename(unfinished, self.directory.join("new").join(name))
    }
}

/// An mbox file in the mboxrd form: `From ` behind any number of `>` at the start of a line gets one
/// more `>`.
#[derive(Debug)]
pub(crate) struct Mbox(Mutex<File>);

impl Mbox {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        append(path).map(Mutex::new).map(Self)
    }

    pub(super) fn keep(&self, mail: &Mail) -> io::Result<()> {
        let sender = match mail.reverse_path.as_str() {
            "" => "MAILER-DAEMON",
            sender => sender,
        };
        // The date is of no use to a test, and this store reads no clock.
        let mut entry = format!("From {sender} Thu Jan  1 00:00:00 1970\r\n").into_bytes();
        for line in mail.content.split_inclusive(|&b| b == b'\n') {
            let quotes = line.iter().take_while(|&&b| b == b'>').count();
            if line[quotes..].starts_with(b"From ") {
                entry.push(b'>');
            }
            entry.extend_from_slice(line);
        }
        entry.extend_from_slice(if entry.ends_with(b"\n") { b"\r\n" } else { b"\r\n\r\n" });
        lock(&self.0).write_all(&entry)
    }
}

/// A file with a JSON object in each line.
#[derive(Debug)]
pub(crate) struct JsonLines(Mutex<File>);

#[derive(Serialize)]
struct Line<'a> {
    queue_id: &'a str,
    from: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parameters: &'a str,
    to: &'a [String],
    /// One for each recipient; left out if all are empty.
    #[serde(skip_serializing_if = "are_empty")]
    to_parameters: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    xclient: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyHeader>,
    received_us: u128,
    /// Octets that are no UTF-8 are replaced; `bytes` is the true length.
    content: &'a str,
    bytes: usize,
}

impl JsonLines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        append(path).map(Mutex::new).map(Self)
    }

    pub(super) fn keep(&self, mail: &Mail) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line {
            queue_id: &mail.queue_id,
            from: &mail.reverse_path,
            parameters: &mail.parameters,
            to: &mail.recipients,
            to_parameters: &mail.recipient_parameters,
            xclient: &mail.on_behalf_of.xclient,
            proxy: mail.on_behalf_of.proxy,
            received_us: mail.received.as_micros(),
            content: &String::from_utf8_lossy(&mail.content),
            bytes: mail.content.len(),
        })?;
        line.push(b'\n');
        lock(&self.0).write_all(&line)
    }
}

fn are_empty(texts: &[String]) -> bool {
    texts.iter().all(String::is_empty)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
