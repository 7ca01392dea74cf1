//! Each kind of input, through the flags that a user writes.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use mail_parser::{Message, MessageParser, MimeHeaders};
use posthaste::session::ForwardPath;
use tempfile::TempDir;

use super::*;
use crate::exit::Exit;

mod files;
mod json;
mod merging;
mod usage;

/// Sends mails.
#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    input: InputArgs,
}

/// A directory with files in it; `{}` in an argument stands for its path.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new<const N: usize>(files: [(&str, &[u8]); N]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, octets) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, octets).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn inputs(&self, args: &[&str]) -> Result<Inputs, InputError> {
        let directory = self.directory.path().to_str().unwrap();
        let args = args.iter().map(|arg| arg.replace("{}", directory));
        let args: Vec<_> = std::iter::once("send".to_owned()).chain(args).collect();
        Command::try_parse_from(args).unwrap().input.check()
    }

    /// What each mail or error is; an error before the first mail is the only one.
    fn results(&self, args: &[&str]) -> Vec<Result<InputMail, InputError>> {
        match self.inputs(args).and_then(|inputs| inputs.open()) {
            Ok(mails) => mails.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    #[track_caller]
    fn mails(&self, args: &[&str]) -> Vec<InputMail> {
        let results = self.results(args).into_iter();
        results
            .map(|result| result.unwrap_or_else(|error| panic!("{}", self.chain(&error))))
            .collect()
    }

    #[track_caller]
    fn mail(&self, args: &[&str]) -> InputMail {
        let mut mails = self.mails(args);
        assert_eq!(mails.len(), 1);
        mails.remove(0)
    }

    /// Checks the one error: its exit code and what is printed, with the directory left out.
    #[track_caller]
    fn refuse(&self, args: &[&str], exit: Exit, expected: &str) {
        let mut errors: Vec<_> = self.results(args).into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = errors.remove(0);
        assert_eq!(self.chain(&error), expected);
        assert_eq!(error.exit(), exit);
    }

    fn chain(&self, error: &InputError) -> String {
        let causes = std::iter::successors(error.source(), |error| (*error).source());
        let chain = causes.fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"));
        chain.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn from(mail: &InputMail) -> &str {
    mail.mail.envelope.reverse_path().as_str()
}

fn to(mail: &InputMail) -> Vec<&str> {
    mail.mail.envelope.forward_paths().iter().map(ForwardPath::as_str).collect()
}

fn octets(mail: &InputMail) -> String {
    String::from_utf8(mail.mail.content.to_bytes().into()).unwrap()
}

fn parsed(mail: &InputMail) -> Message<'static> {
    MessageParser::default().parse(&mail.mail.content.to_bytes()[..]).unwrap().into_owned()
}
