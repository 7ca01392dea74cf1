//! `--metrics-listen`: metrics for Prometheus, over as much HTTP as that takes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use posthaste::Mailer;
use posthaste::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::summary::tell;

/// Upper bounds of the buckets of all histograms, in seconds: from a server next door to one that
/// lets mail wait for an hour.
const BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
    3600.0,
];
/// Longest request that is read, in octets; browsers' are below 2 KiB.
const MAX_REQUEST: usize = 8 * 1024;
/// How long a request, or the taking of its answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that are answered at a time; Prometheus asks one by one.
const MAX_REQUESTS: usize = 16;
/// How often samples are put into their buckets, so that they do not pile up while nobody looks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Metrics, and who tells them.
pub(crate) struct Exposition {
    metrics: Arc<Metrics>,
    handle: PrometheusHandle,
    listener: Option<TcpListener>,
    task: Option<JoinHandle<()>>,
}

/// `9090`, `:9090`, `192.0.2.1:9090` or `[::1]:9090`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = text.strip_prefix(':').unwrap_or(text);
    match (port.parse(), text.parse()) {
        (Ok(port), _) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        (Err(_), Ok(address)) => Ok(address),
        (Err(_), Err(_)) => Err("expected PORT or IP:PORT, e.g. 9090"),
    }
}

impl Exposition {
    /// Listens, and says where. Nobody is answered before [`start`](Self::start).
    pub(crate) async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS);
        let recorder = builder.map_err(io::Error::other)?.build_recorder();
        let metrics = Arc::new(::metrics::with_local_recorder(&recorder, Metrics::new));
        tell(&format!("metrics on http://{}/metrics", listener.local_addr()?));
        Ok(Self { metrics, handle: recorder.handle(), listener: Some(listener), task: None })
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers whoever asks, until this is dropped.
    pub(crate) fn start(&mut self, mailer: Mailer) {
        let Some(listener) = self.listener.take() else { return };
        let page = Page { metrics: Arc::clone(&self.metrics), handle: self.handle.clone(), mailer };
        self.task = Some(tokio::spawn(serve(listener, Arc::new(page))));
    }
}

impl Drop for Exposition {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Page {
    metrics: Arc<Metrics>,
    handle: PrometheusHandle,
    mailer: Mailer,
}

async fn serve(listener: TcpListener, page: Arc<Page>) {
    let room = Arc::new(Semaphore::new(MAX_REQUESTS));
    let mut upkeep = tokio::time::interval(UPKEEP);
    loop {
        let stream = tokio::select! {
            _ = upkeep.tick() => {
                page.handle.run_upkeep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        // Whoever hangs up, or comes while there is no room, asks again.
        let (Ok((stream, _)), Ok(permit)) = (stream, Arc::clone(&room).try_acquire_owned()) else {
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let _ = timeout(PATIENCE, answer(stream, &page)).await;
            drop(permit);
        });
    }
}

/// Answers one request and closes the connection (RFC 9112).
async fn answer(mut stream: TcpStream, page: &Page) -> io::Result<()> {
    let mut request = Vec::new();
    let mut octets = [0; 1024];
    while !request.windows(4).any(|octets| octets == b"\r\n\r\n") {
        let read = stream.read(&mut octets).await?;
        if read == 0 || request.len() > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(octets.get(..read).unwrap_or_default());
    }
    let (status, content) = page.find(&request);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        content.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(content.as_bytes()).await?;
    stream.shutdown().await
}

impl Page {
    /// The status and the content for a request.
    fn find(&self, request: &[u8]) -> (&'static str, String) {
        let line = request.split(|&octet| octet == b'\r').next().unwrap_or_default();
        let mut words = line.split(|&octet| octet == b' ');
        let (method, target) = (words.next(), words.next().unwrap_or_default());
        let path = target.split(|&octet| octet == b'?').next();
        match (method, path) {
            (Some(b"GET"), Some(b"/metrics")) => {
                self.metrics.measure(&self.mailer);
                ("200 OK", self.handle.render())
            }
            (Some(b"GET"), _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET is understood\n".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for (text, expected) in [
            ("9090", "127.0.0.1:9090"),
            (":9090", "127.0.0.1:9090"),
            ("0.0.0.0:9090", "0.0.0.0:9090"),
            ("[::1]:9090", "[::1]:9090"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", ":", "mx.example:25", "70000", "::1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
