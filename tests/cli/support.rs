//! Starts the command with files and servers around it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde_json::Value;
use tempfile::TempDir;

/// A mail that can be sent as it is.
pub(crate) const MAIL: &str =
    "From: Ann <ann@a.test>\r\nTo: bob@b.test\r\nSubject: s\r\n\r\nhello\r\n";

/// A directory with files, and a sink that keeps there what it gets. In arguments, `{}` is the
/// directory and `{sink}` the sink's address.
pub(crate) struct Scene {
    directory: TempDir,
    sink: Option<SinkChild>,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    /// Without a sink.
    pub(crate) fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap(), sink: None };
        scene.file("m.eml", MAIL);
        scene
    }

    /// With a sink that has these flags, too.
    pub(crate) fn with_sink(flags: &[&str]) -> Self {
        let mut scene = Self::new();
        let args = ["127.0.0.1:0", "--stats", "{}/stats.json", "--store", "jsonl:{}/mails.jsonl"];
        let args: Vec<_> = ["sink"].into_iter().chain(args).chain(flags.iter().copied()).collect();
        scene.sink = Some(SinkChild::start(scene.command(&args)));
        scene
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// JSON lines with so many composed mails, each to a recipient of its own.
    pub(crate) fn mails(&self, name: &str, count: usize) {
        let line = |number| {
            format!(r#"{{"from":"ann@a.test","to":"r{number}@b.test","text":"mail {number}"}}"#)
        };
        self.file(name, (0..count).map(line).collect::<Vec<_>>().join("\n"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A file with a JSON object in each line.
    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        json_lines(&fs::read_to_string(self.path(name)).unwrap_or_default())
    }

    /// The port that the sink listens on.
    pub(crate) fn port(&self) -> &str {
        self.sink.as_ref().unwrap().address.rsplit_once(':').unwrap().1
    }

    /// The command, ready to start, with nothing on its standard input.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let sink = self.sink.as_ref().map_or("", |sink| sink.address.as_str());
        let directory = self.directory.path().to_str().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(args.iter().map(|arg| arg.replace("{}", directory).replace("{sink}", sink)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Running::start(self.command(args)).wait()
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Finished {
        let mut running = self.start(args);
        running.stdin().write_all(input.as_ref()).unwrap();
        running.wait()
    }

    /// Starts the command with a pipe as its standard input.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    /// Ends the sink. What it counted, and the mails it kept.
    pub(crate) fn end(&mut self) -> (Value, Vec<Value>) {
        let code = self.sink.take().unwrap().end(Signal::SIGTERM);
        assert_eq!(code, Some(143));
        let stats = serde_json::from_str(&self.read("stats.json")).unwrap();
        (stats, self.lines("mails.jsonl"))
    }

    /// Ends the sink, which has got nothing.
    #[track_caller]
    pub(crate) fn end_without_mail(&mut self) {
        let (stats, mails) = self.end();
        assert_eq!((&stats["mails"], mails.len()), (&Value::from(0), 0));
        assert_eq!(stats["commands"].get("MAIL").unwrap_or(&Value::from(0)), 0, "{stats}");
    }
}

impl Finished {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Everything that was printed.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.output().contains(text), "{text:?} is not in {self:#?}");
        self
    }

    /// The whole of standard error is one line, this one.
    #[track_caller]
    pub(crate) fn complains(self, line: &str) -> Self {
        assert_eq!(self.stderr, format!("posthaste: {line}\n"));
        self
    }
}

/// A command that runs. It is killed if the test forgets it.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<Box<dyn Read + Send>>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().unwrap());
        Self { child, stderr: BufReader::new(stderr), seen: String::new() }
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Waits for a line with a text on standard error, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let octets = self.stderr.read_line(&mut line).unwrap();
            assert!(octets > 0, "no {text:?} in {}", self.seen);
            self.seen += &line;
        }
        line
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> Finished {
        drop(self.child.stdin.take());
        let stdout = self.child.stdout.take();
        let stdout = thread::spawn(move || {
            let mut octets = Vec::new();
            stdout.map(|mut stdout| stdout.read_to_end(&mut octets).unwrap());
            String::from_utf8(octets).unwrap()
        });
        self.stderr.read_to_string(&mut self.seen).unwrap();
        let code = self.child.wait().unwrap().code();
        let stderr = std::mem::take(&mut self.seen);
        Finished { code, stdout: stdout.join().unwrap(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most often it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sink in a process of its own.
pub(crate) struct SinkChild {
    running: Running,
    address: String,
}

impl SinkChild {
    #[track_caller]
    fn start(command: Command) -> Self {
        let mut running = Running::start(command);
        let mut line = String::new();
        running.stdout().read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("listening on ") else {
            panic!("{:#?}", running.wait());
        };
        Self { address: address.to_owned(), running }
    }

    fn end(self, signal: Signal) -> Option<i32> {
        self.running.signal(signal);
        self.running.wait().code
    }
}

/// A server that says the same to everybody, and then waits for the client to go or goes itself.
pub(crate) fn fake_server(greeting: &'static str, then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The client may be gone already.
            let _ = stream.write_all(greeting.as_bytes());
            if then == Then::Wait {
                thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        }
    });
    address
}

/// A server that begins with the first reply and answers each line with the next one; then it waits
/// for the client to go.
pub(crate) fn scripted_server(replies: &'static [&'static str]) -> String {
    serve(move |stream| follow(stream, replies))
}

/// The same; behind the replies it begins TLS, with a certificate that no client can read.
pub(crate) fn server_with_unusable_certificate(replies: &'static [&'static str]) -> String {
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::Pkcs8(KeyPair::generate().unwrap().serialize_der().into());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certificate = b"no certificate".to_vec().into();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let config = Arc::new(config);
    serve(move |stream| {
        let mut stream = follow(stream, replies);
        let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        // The client objects, which is what it is for.
        while tls.complete_io(&mut stream).is_ok_and(|octets| octets != (0, 0)) {}
        stream
    })
}

/// Does this on each connection, and then waits for the client to go.
fn serve(talk: impl Fn(TcpStream) -> TcpStream + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let talk = Arc::new(talk);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = Arc::clone(&talk);
            thread::spawn(move || std::io::copy(&mut talk(stream), &mut std::io::sink()));
        }
    });
    address
}

fn follow(mut stream: TcpStream, replies: &[&str]) -> TcpStream {
    let mut octet = [0];
    for (count, reply) in replies.iter().enumerate() {
        // One by one, so that nothing of what comes next is taken away.
        while count > 0 && octet != *b"\n" && stream.read(&mut octet).is_ok_and(|read| read > 0) {}
        octet = [0];
        // The client may be gone already.
        let _ = stream.write_all(reply.as_bytes());
    }
    stream
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Wait,
    Close,
}

#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The newsletter that comes with the source: a template and 1 200 rows.
pub(crate) fn newsletter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/newsletter")
}
