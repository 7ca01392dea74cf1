//! Exit codes, the same for all commands: what a script can rely on.

use std::fmt::Write as _;
use std::process::ExitCode;

/// How the command ended. The numbers follow sysexits.h where it has one that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// A fault of the command itself.
    Internal = 1,
    /// The command line makes no sense.
    Usage = 64,
    /// What was read is not what it should be.
    BadInput = 65,
    /// A file could not be read.
    NoInput = 66,
    /// Some recipients failed for good.
    Failed = 69,
    /// A report or log could not be written.
    NoOutput = 74,
    /// Some recipients are deferred or in doubt, or a probe was inconclusive.
    Deferred = 75,
    /// The server broke the protocol.
    ProtocolViolation = 76,
    /// A safety gate said no, the server refused the credentials, or there is no TLS, or no
    /// certificate, of the kind that was demanded.
    Denied = 77,
    /// The configuration cannot be used.
    BadConfig = 78,
    /// A threshold or a regression gate broke.
    Threshold = 99,
    /// SIGINT; the report was written.
    Interrupted = 130,
    /// SIGTERM; the report was written.
    Terminated = 143,
}

impl Exit {
    /// Every code, in order.
    pub(crate) const ALL: [Self; 14] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::BadInput,
        Self::NoInput,
        Self::Failed,
        Self::NoOutput,
        Self::Deferred,
        Self::ProtocolViolation,
        Self::Denied,
        Self::BadConfig,
        Self::Threshold,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// What `--help` says about it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "everything asked for was done",
            Self::Internal => "internal error",
            Self::Usage => "the command line makes no sense",
            Self::BadInput => "bad input data (of files, nothing was sent)",
            Self::NoInput => "cannot open input",
            Self::Failed => "some recipients failed for good, or probe refused",
            Self::NoOutput => "cannot write output",
            Self::Deferred => "deferred, in doubt or inconclusive",
            Self::ProtocolViolation => "the server violated the protocol",
            Self::Denied => "safety gate, refused login, or TLS not as demanded",
            Self::BadConfig => "bad configuration",
            Self::Threshold => "a threshold or regression gate broke",
            Self::Interrupted => "interrupted by SIGINT, report written",
            Self::Terminated => "ended by SIGTERM, report written",
        }
    }

    /// The section about exit codes in `--help`.
    pub(crate) fn help() -> String {
        let mut help = String::from("Exit codes:\n");
        for exit in Self::ALL {
            // Writing to a String cannot fail.
            let _ = writeln!(help, "  {:>3}  {}", exit.code(), exit.meaning());
        }
        help
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_code_in_order() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 64, 65, 66, 69, 74, 75, 76, 77, 78, 99, 130, 143]);
        let help = Exit::help();
        assert!(Exit::ALL.iter().all(|exit| help.contains(exit.meaning())));
        assert!(help.lines().all(|line| line.len() <= 60), "fits any terminal:\n{help}");
    }
}
