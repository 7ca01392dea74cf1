//! Processes that serve while something is measured: they say where, on a line of standard output,
//! and end when their standard input does, also when nobody is left to tell them.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Such a process, seen from outside.
#[derive(Debug)]
pub struct Helper {
    process: Child,
    output: BufReader<ChildStdout>,
    addr: SocketAddr,
}

impl Helper {
    /// Starts one, and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let addr = line.trim_end().parse().unwrap();
        Self { process, output, addr }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it, and returns what else it printed.
    pub fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Its side: says where it listens, and waits until it is to end.
    pub async fn serve_until_told(addr: SocketAddr) {
        println!("{addr}");
        let end = || io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(end).await.unwrap().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It has nothing left to do, and an error means that it is gone already.
        let _ = self.process.wait();
    }
}
