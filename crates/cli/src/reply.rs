//! `posthaste reply`: what a server's words mean.

use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStringExt as _;

use clap::Args;
use posthaste::reply::{Framer, Limits, Reply, ReplyError};
use posthaste::scheduler::failure::{self, Reading};
use posthaste::session::Stage;
use serde::Serialize;

use crate::exit::Exit;

/// Says what a server's replies mean, as a line of JSON each
#[derive(Args, Debug)]
pub(crate) struct ReplyArgs {
    /// Replies as they came, "550 5.1.1 no such user"; - is standard input, with any number of
    /// them [default: -]
    #[arg(value_name = "TEXT")]
    texts: Vec<OsString>,
    /// What they were said to: connect, greeting, ehlo, starttls, auth, mail, rcpt, data, content,
    /// final, rset or quit
    #[arg(long, value_name = "STAGE", default_value = "rcpt", value_parser = stage)]
    stage: Stage,
}

/// The stages at which a server says something.
const STAGES: [Stage; 12] = [
    Stage::Connect,
    Stage::Greeting,
    Stage::Hello,
    Stage::StartTls,
    Stage::Auth,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Content,
    Stage::Final,
    Stage::Reset,
    Stage::Quit,
];

fn stage(text: &str) -> Result<Stage, String> {
    STAGES.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| {
        let names = STAGES.map(Stage::as_str).join(", ");
        format!("expected one of {names}")
    })
}

/// Why replies cannot be read, or what they mean cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyCommandError {
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl ReplyCommandError {
    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::NoInput,
            Self::Output(_) => Exit::NoOutput,
        }
    }
}

/// What a reply means.
#[derive(Serialize)]
struct Meaning {
    code: u16,
    enhanced: Option<String>,
    lines: usize,
    severity: &'static str,
    class: &'static str,
    scope: &'static str,
    action: &'static str,
}

/// What is no reply, and where in its input.
#[derive(Serialize)]
struct NoReply {
    error: String,
    offset: usize,
}

pub(crate) fn run(args: &ReplyArgs) -> Result<Exit, ReplyCommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match explain_all(args, &mut out) {
        Err(ReplyCommandError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            Ok(Exit::Done)
        }
        result => result,
    }
}

fn explain_all(args: &ReplyArgs, out: &mut dyn Write) -> Result<Exit, ReplyCommandError> {
    let standard_input = [OsString::from("-")];
    let texts = if args.texts.is_empty() { &standard_input[..] } else { &args.texts };
    let mut all_replies = true;
    for text in texts {
        let mut reader = ReplyReader::new(args.stage, out);
        if text == "-" {
            reader.read_from(io::stdin().lock())?;
        } else {
            reader.take(&completed(text.clone().into_vec()))?;
        }
        all_replies &= reader.end()?;
    }
    out.flush().map_err(ReplyCommandError::Output)?;
    Ok(if all_replies { Exit::Done } else { Exit::BadInput })
}

/// Nobody types a line end.
fn completed(mut text: Vec<u8>) -> Vec<u8> {
    if !text.ends_with(b"\n") {
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Cuts a stream into replies and explains each. What is no reply is passed over up to the end of
/// its line, so that one bad line does not hide the rest.
struct ReplyReader<'a> {
    stage: Stage,
    out: &'a mut dyn Write,
    framer: Framer,
    /// What came and is not explained; at most one reply of the framer's limits, and one read.
    unread: Vec<u8>,
    /// Octets of the input before those.
    passed: usize,
    /// The rest of the line is no reply either.
    skips_line: bool,
    all_replies: bool,
}

/// Octets read at once.
const READ: usize = 64 * 1024;

impl<'a> ReplyReader<'a> {
    fn new(stage: Stage, out: &'a mut dyn Write) -> Self {
        // As in a session.
        let limits = match stage {
            Stage::Auth => Limits::default().with_challenges(),
            _ => Limits::default(),
        };
        Self {
            stage,
            out,
            framer: Framer::new(limits),
            unread: Vec::new(),
            passed: 0,
            skips_line: false,
            all_replies: true,
        }
    }

    fn read_from(&mut self, mut input: impl Read) -> Result<(), ReplyCommandError> {
        let mut octets = vec![0; READ];
        loop {
            let count = match input.read(&mut octets) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReplyCommandError::Input(error)),
            };
            self.take(octets.get(..count).unwrap_or_default())?;
            // Whoever types a reply wants to know what it means before the next one.
            self.out.flush().map_err(ReplyCommandError::Output)?;
        }
    }

    /// Explains what is complete with these octets.
    fn take(&mut self, octets: &[u8]) -> Result<(), ReplyCommandError> {
        self.unread.extend_from_slice(octets);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        loop {
            if self.skips_line {
                let Some(line_feed) = rest.iter().position(|octet| *octet == b'\n') else {
                    self.passed += rest.len();
                    return Ok(());
                };
                rest = self.pass(rest, line_feed + 1);
                self.skips_line = false;
            }
            match self.framer.read(rest) {
                Ok(None) => break,
                Ok(Some(reply)) => {
                    self.explain(reply)?;
                    rest = self.pass(rest, reply.as_bytes().len());
                }
                Err(error) => {
                    let offset = error.offset();
                    self.complain(&error.behind(self.passed), self.passed + offset)?;
                    rest = self.pass(rest, offset);
                    self.framer.reset();
                    self.skips_line = true;
                }
            }
        }
        self.unread = rest.to_vec();
        Ok(())
    }

    fn pass<'b>(&mut self, octets: &'b [u8], count: usize) -> &'b [u8] {
        self.passed += count.min(octets.len());
        octets.get(count..).unwrap_or_default()
    }

    /// Whether all of the input was replies.
    fn end(mut self) -> Result<bool, ReplyCommandError> {
        if !self.unread.is_empty() {
            self.complain(&ReplyError::Incomplete, self.passed)?;
        }
        Ok(self.all_replies)
    }

    fn explain(&mut self, reply: Reply<'_>) -> Result<(), ReplyCommandError> {
        let Reading { class, scope, consequence, .. } = failure::read(self.stage, reply);
        self.write(&Meaning {
            code: reply.code().value(),
            enhanced: reply.enhanced().map(|enhanced| enhanced.to_string()),
            lines: reply.lines().count(),
            severity: reply.code().severity().as_str(),
            class: class.as_str(),
            scope: scope.as_str(),
            action: consequence.as_str(),
        })
    }

    fn complain(
        &mut self,
        error: &dyn std::error::Error,
        offset: usize,
    ) -> Result<(), ReplyCommandError> {
        self.all_replies = false;
        self.write(&NoReply { error: error.to_string(), offset })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), ReplyCommandError> {
        let written = serde_json::to_writer(&mut self.out, line).map_err(io::Error::from);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        written.map_err(ReplyCommandError::Output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RF-01, RF-02: whatever comes, and however much of it, what is kept has a bound.
    #[test]
    fn endless_input_takes_no_memory() {
        const ROUNDS: usize = 4;
        for endless in [&b"x"[..], b"250 ok\r\n", b"250-a\r\n", b"\r\n", b"250 "] {
            let mut out = io::sink();
            let mut reader = ReplyReader::new(Stage::Rcpt, &mut out);
            let octets = endless.repeat(READ / endless.len());
            for _ in 0..ROUNDS {
                reader.take(&octets).unwrap();
                let most = Limits::default().reply;
                assert!(reader.unread.len() <= most, "{}", endless.escape_ascii());
            }
            assert_eq!(reader.passed + reader.unread.len(), ROUNDS * octets.len());
        }
    }

    /// REP-11: wherever reads end, the same comes out.
    #[test]
    fn reads_may_end_anywhere() {
        let octets = b"250-a\r\n250 b\r\nnonsense\r\n550 5.1.1 x\r\n250-a\r\n550 b\r\n421 c\r\n25";
        let explain = |cut: usize| {
            let mut out = Vec::new();
            let mut reader = ReplyReader::new(Stage::Rcpt, &mut out);
            reader.take(&octets[..cut]).unwrap();
            reader.take(&octets[cut..]).unwrap();
            assert!(!reader.end().unwrap());
            String::from_utf8(out).unwrap()
        };
        let whole = explain(0);
        assert_eq!(whole.lines().count(), 6, "{whole}");
        for cut in 1..octets.len() {
            assert_eq!(explain(cut), whole, "cut at {cut}");
        }
    }
}
