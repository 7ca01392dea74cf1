//! `--metrics-listen`: metrics for Prometheus.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::{Running, Scene};

/// Where a command says that it serves metrics.
fn address(running: &mut Running) -> String {
    let line = running.wait_for("metrics on http://");
    let address = line.trim().strip_prefix("metrics on http://").unwrap();
    address.strip_suffix("/metrics").unwrap().to_owned()
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn prometheus_can_read_it() {
    let scene = Scene::with_sink(&["--fault", "at=final first=1 after=2 delay=1h"]);
    scene.mails("in.jsonl", 20);
    let args =
        ["send", "{sink}", "--jsonl", "{}/in.jsonl", "-c", "1", "--metrics-listen", "0", "-v"];
    let mut running = scene.start(&args);
    let address = address(&mut running);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    running.wait_for("<- 250 2.0.0 Ok: queued");
    running.wait_for("<- 250 2.0.0 Ok: queued");
    // The transcript is a moment ahead of the counters.
    let delivered = r#"posthaste_recipients_total{state="delivered"} 2"#;
    let page = (0..1000)
        .map(|_| ask(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
        .find(|page| page.lines().any(|line| line == delivered))
        .expect("two are delivered");
    let (head, page) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", page.len())), "{head}");
    for line in [
        "# TYPE posthaste_attempts_total counter",
        r#"posthaste_attempts_total{result="refused"} 0"#,
        delivered,
        "posthaste_mail_seconds_count 2",
        "posthaste_held_up 0",
        r#"posthaste_connections_opened_total{result="ready"} 1"#,
        r#"posthaste_setup_seconds_count{stage="ehlo"} 1"#,
        r#"posthaste_connections{state="established"} 1"#,
    ] {
        assert!(page.lines().any(|it| it == line), "no {line} in {page}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "405 Method Not Allowed"),
    ] {
        assert!(ask(&address, request).starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}");
    }
}

#[test]
fn addresses_that_cannot_be_used() {
    let scene = Scene::with_sink(&[]);
    let args = |address| ["send", "{sink}", "{}/m.eml", "--metrics-listen", address];
    scene.run(&args("mx.example:25")).exits(64).says("expected PORT or IP:PORT, e.g. 9090");
    let taken = format!("127.0.0.1:{}", scene.port());
    scene.run(&args(&taken)).exits(78).says(&format!("cannot serve metrics on {taken}"));
}
