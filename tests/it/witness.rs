//! A line between a client and a server on which every octet the client says is held against what
//! it was told.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste::session::{Chunking, Pipelining, Protocol, TlsPolicy};
use posthaste_testkit::checker::{Checker, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Carries connections to a server and has a [`Checker`] on each, who says no more once TLS begins.
/// The sink is not the only judge of its clients then.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    addr: SocketAddr,
    complaints: Arc<Mutex<Vec<String>>>,
}

/// How one direction came to its end.
enum End {
    /// With FIN, which was handed on; or nobody takes it any more, and the other direction tells why.
    InOrder,
    /// The connection is broken, and so will the other one be.
    Broken,
}

impl Witness {
    /// A line to `server`; it ends with the test.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let witness = Self { addr, complaints: Arc::default() };
        let complaints = Arc::clone(&witness.complaints);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let checked = carry(client, server, Arc::clone(&complaints));
                tokio::spawn(checked);
            }
        });
        witness
    }

    /// Where clients connect to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Panics if a client has broken a rule.
    #[track_caller]
    pub(crate) fn check(&self) {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// One connection's checker, until it complains.
struct Watched {
    checker: Mutex<Option<Checker>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn see(&self, look: impl FnOnce(&mut Checker)) {
        let mut checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = checker.as_mut() else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| look(current))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            *checker = None;
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.push(text.unwrap_or_default());
        }
    }
}

/// Whatever any of these clients was told.
fn rules() -> Rules {
    Rules {
        protocol: Protocol::Smtp,
        chunking: Chunking::Always,
        pipelining: Pipelining::Cross,
        tls: TlsPolicy::May,
        authenticates: false,
        allows_plaintext: true,
        ignored_keywords: Vec::new(),
    }
}

async fn carry(client: TcpStream, server: SocketAddr, complaints: Arc<Mutex<Vec<String>>>) {
    let Ok(server) = TcpStream::connect(server).await else {
        // As if nobody had listened at all.
        return reset(&client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let watched = Watched { checker: Mutex::new(Some(Checker::on_the_line(rules()))), complaints };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let end = {
        let up = pump(&mut from_client, &mut to_server, |octets| {
            watched.see(|checker| checker.said(octets));
        });
        let down = pump(&mut from_server, &mut to_client, |octets| {
            watched.see(|checker| checker.heard(octets, usize::MAX));
        });
        tokio::pin!(up, down);
        tokio::select! {
            End::Broken = &mut up => End::Broken,
            End::Broken = &mut down => End::Broken,
            else => End::InOrder,
        }
    };
    if let End::Broken = end {
        reset(from_client.as_ref());
        reset(from_server.as_ref());
    }
}

fn reset(stream: &TcpStream) {
    // If this fails the connection is gone already.
    let _ = stream.set_zero_linger();
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, see: impl Fn(&[u8])) -> End {
    let mut octets = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut octets).await {
            Ok(0) => {
                let _ = to.shutdown().await;
                return End::InOrder;
            }
            Err(_) => return End::Broken,
            Ok(read) => &octets[..read],
        };
        see(read);
        if to.write_all(read).await.is_err() {
            return End::InOrder;
        }
    }
}
