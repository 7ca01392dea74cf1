//! Those that send mail with the other libraries of Rust, each in its best shape: connections that are kept,
//! one runtime for both cores, nothing allocated that the library does not ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_smtp::{EmailAddress, SendableEmail, SmtpTransport};
use benches::load::{FROM, Load, TO};
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use mail_send::SmtpClient;
use mail_send::smtp::message::Parameters;
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// lettre's pool. It opens as many connections as are asked of it at a time, hence as many tasks as
/// there may be connections.
pub(crate) async fn lettre(load: Load) -> Duration {
    let start = Instant::now();
    let pool = PoolConfig::new().max_size(u32::try_from(load.connections).unwrap());
    let transport =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(load.server.ip().to_string())
            .port(load.server.port())
            .pool_config(pool)
            .build();
    let envelope =
        lettre::address::Envelope::new(Some(FROM.parse().unwrap()), vec![TO.parse().unwrap()]);
    let envelope = Arc::new(envelope.unwrap());
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let (transport, envelope, contents) =
            (transport.clone(), envelope.clone(), load.contents());
        let next = next.clone();
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.mails {
                    return;
                }
                transport.send_raw(&envelope, &contents.content(number)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let elapsed = start.elapsed();
    transport.shutdown().await;
    elapsed
}

/// mail-send, a connection a task.
pub(crate) async fn mail_send(load: Load, nodelay: bool) -> Duration {
    each_connection(load, move |connection| async move {
        let contents = load.contents();
        let stream = dial(load, nodelay).await?;
        let mut client = SmtpClient { stream, timeout: Duration::from_secs(60) };
        client.read().await.map_err(io::Error::other)?;
        client.ehlo(CLIENT).await.map_err(io::Error::other)?;
        for number in load.numbers(connection) {
            let none = Parameters::new();
            client.mail_from(FROM, &none).await.map_err(io::Error::other)?;
            client.rcpt_to(TO, &none).await.map_err(io::Error::other)?;
            client.data(contents.content(number)).await.map_err(io::Error::other)?;
        }
        client.quit().await.map_err(io::Error::other)
    })
    .await
}

/// async-smtp, a connection a task, with PIPELINING; it is handed its stream, and so one with
/// TCP_NODELAY.
pub(crate) async fn async_smtp(load: Load) -> Duration {
    each_connection(load, move |connection| async move {
        let contents = load.contents();
        let stream = BufStream::new(dial(load, true).await?);
        let client = async_smtp::SmtpClient::new().pipelining(true);
        let mut transport = SmtpTransport::new(client, stream).await.map_err(io::Error::other)?;
        let address = |text: &str| EmailAddress::new(text.to_owned()).unwrap();
        let envelope = async_smtp::Envelope::new(Some(address(FROM)), vec![address(TO)]).unwrap();
        for number in load.numbers(connection) {
            let mail = SendableEmail::new(envelope.clone(), contents.content(number));
            transport.send(mail).await.map_err(io::Error::other)?;
        }
        transport.quit().await.map_err(io::Error::other)
    })
    .await
}

/// Runs a task for each connection; returns how long all of them took.
async fn each_connection<F>(load: Load, send: impl Fn(usize) -> F) -> Duration
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in 0..load.connections {
        tasks.spawn(send(connection));
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    start.elapsed()
}

async fn dial(load: Load, nodelay: bool) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(load.server).await?;
    stream.set_nodelay(nodelay)?;
    Ok(stream)
}

const CLIENT: &str = "client.example";
