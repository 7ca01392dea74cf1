//! The harness itself: the servers do what their descriptions say.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use posthaste_tests::{
    Auth, Delivery, Exim, PASSWORD, Postfix, Server, SmtpSink, Tls, USER, or_skip,
};
use tokio::net::TcpStream;

use crate::dialogue::Dialogue;

const CONTENT: &str = "Subject: Grüße\r\nFrom: a@example.test\r\n\r\n..hello\r\n\r\nlast\r\n";

/// What arrives of [`CONTENT`], where the first of the two dots is transparency's.
const ARRIVED: &str = "Subject: Grüße\r\nFrom: a@example.test\r\n\r\n.hello\r\n\r\nlast\r\n";

#[tokio::test]
async fn postfix_delivers_a_copy_for_each_recipient() {
    delivers_a_copy_for_each_recipient(&or_skip!(Postfix::default().start().await)).await;
}

#[tokio::test]
async fn exim_delivers_a_copy_for_each_recipient() {
    delivers_a_copy_for_each_recipient(&or_skip!(Exim::default().start().await)).await;
}

async fn delivers_a_copy_for_each_recipient(server: &Server) {
    let mut client = Dialogue::hello(server.addr).await;
    client.send("sender@example.test", &["one@a.test", "two@b.test"], CONTENT).await;
    client.expect("QUIT", "221").await;

    let mut mails = server.maildir.wait_for(2).await;
    mails.sort_by(|a, b| a.recipient.cmp(&b.recipient));
    let recipients: Vec<_> = mails.iter().map(|mail| mail.recipient.as_str()).collect();
    assert_eq!(recipients, ["one@a.test", "two@b.test"]);
    for mail in mails {
        assert_eq!(mail.sender, "sender@example.test");
        assert_eq!(String::from_utf8(mail.content).unwrap(), ARRIVED);
    }
}

#[tokio::test]
async fn postfix_offers_what_it_was_asked_for() {
    let plain = or_skip!(Postfix::default().start().await);
    let options = Postfix { tls: Tls::Starttls, auth: Auth::Offered, ..Postfix::default() };
    offers_what_it_was_asked_for(&plain, &or_skip!(options.start().await)).await;
}

#[tokio::test]
async fn exim_offers_what_it_was_asked_for() {
    let plain = or_skip!(Exim::default().start().await);
    let options = Exim { tls: Tls::Starttls, auth: Auth::Offered, ..Exim::default() };
    offers_what_it_was_asked_for(&plain, &or_skip!(options.start().await)).await;
}

async fn offers_what_it_was_asked_for(plain: &Server, full: &Server) {
    let reply = Dialogue::connect(plain.addr).await.expect("EHLO me", "250").await;
    for keyword in ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE"] {
        assert!(reply.contains(keyword), "no {keyword} in {reply}");
    }
    for keyword in ["STARTTLS", "AUTH"] {
        assert!(!reply.contains(keyword), "{keyword} in {reply}");
    }

    let mut client = Dialogue::connect(full.addr).await;
    let reply = client.expect("EHLO me", "250").await;
    for keyword in ["STARTTLS", "AUTH ", "PLAIN", "LOGIN", "CRAM-MD5"] {
        assert!(reply.contains(keyword), "no {keyword} in {reply}");
    }
    client.expect("STARTTLS", "220").await;
}

#[tokio::test]
async fn postfix_wants_the_right_password() {
    let options = Postfix { auth: Auth::Required, ..Postfix::default() };
    let server = or_skip!(options.start().await);
    let reply = Dialogue::connect(server.addr).await.expect("EHLO me", "250").await;
    assert!(reply.contains("SCRAM-SHA-256"), "{reply}");
    wants_the_right_password(&server).await;
}

#[tokio::test]
async fn exim_wants_the_right_password() {
    let options = Exim { auth: Auth::Required, ..Exim::default() };
    wants_the_right_password(&or_skip!(options.start().await)).await;
}

async fn wants_the_right_password(server: &Server) {
    let mut client = Dialogue::hello(server.addr).await;
    client.expect("MAIL FROM:<a@b.test>", "250").await;
    client.expect("RCPT TO:<c@d.test>", "5").await;
    client.expect("RSET", "250").await;
    client.expect(&format!("AUTH PLAIN {}", plain(USER, "wrong")), "535").await;
    client.expect(&format!("AUTH PLAIN {}", plain(USER, PASSWORD)), "235").await;
    client.send("a@b.test", &["c@d.test"], CONTENT).await;
    server.maildir.wait_for(1).await;
}

/// The initial response of AUTH PLAIN.
fn plain(user: &str, password: &str) -> String {
    BASE64.encode(format!("\0{user}\0{password}"))
}

#[tokio::test]
async fn lines_of_ones_own_win_in_postfix() {
    let refuse = "check_recipient_access inline:{{gone@a.test = 550 5.1.1 gone}}";
    let main_cf = format!("smtpd_recipient_restrictions = {refuse}");
    let options = Postfix { main_cf, ..Postfix::default() };
    refuses_one_recipient(&or_skip!(options.start().await)).await;
}

#[tokio::test]
async fn lines_of_ones_own_win_in_exim() {
    let acl_rcpt = "deny local_parts = gone\n message = gone".to_owned();
    let options = Exim { acl_rcpt, ..Exim::default() };
    refuses_one_recipient(&or_skip!(options.start().await)).await;
}

async fn refuses_one_recipient(server: &Server) {
    let mut client = Dialogue::hello(server.addr).await;
    client.expect("MAIL FROM:<>", "250").await;
    client.expect("RCPT TO:<gone@a.test>", "550").await;
    client.expect("RCPT TO:<here@a.test>", "250").await;
}

#[tokio::test]
async fn postfix_discards_what_it_accepts() {
    let options = Postfix { delivery: Delivery::Discard, ..Postfix::default() };
    discards(&or_skip!(options.start().await), "status=sent").await;
}

#[tokio::test]
async fn exim_discards_what_it_accepts() {
    let options = Exim { delivery: Delivery::Discard, ..Exim::default() };
    discards(&or_skip!(options.start().await), "Completed").await;
}

async fn discards(server: &Server, logged: &str) {
    let mut client = Dialogue::hello(server.addr).await;
    client.send("a@b.test", &["c@d.test"], CONTENT).await;
    server.wait_for_log(logged).await;
    assert_eq!(server.maildir.mails(), []);
}

#[tokio::test]
async fn postfix_leaves_nothing_behind() {
    leaves_nothing_behind(or_skip!(Postfix::default().start().await)).await;
}

#[tokio::test]
async fn exim_leaves_nothing_behind() {
    leaves_nothing_behind(or_skip!(Exim::default().start().await)).await;
}

async fn leaves_nothing_behind(server: Server) {
    let (addr, folder) = (server.addr, server.folder().to_owned());
    assert_ne!(processes_naming(&folder), Vec::<String>::new());
    drop(server);
    TcpStream::connect(addr).await.unwrap_err();
    assert!(!folder.exists(), "{}", folder.display());
    assert_eq!(processes_naming(&folder), Vec::<String>::new());
}

/// The command lines of running processes in which `folder` occurs.
fn processes_naming(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let files = processes.map(|entry| entry.unwrap().path().join("cmdline"));
    let lines = files.filter_map(|file: PathBuf| std::fs::read_to_string(file).ok());
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

#[tokio::test]
async fn smtp_sink_takes_mail() {
    let server = or_skip!(SmtpSink::default().start().await);
    Dialogue::hello(server.addr).await.send("a@b.test", &["c@d.test"], CONTENT).await;
}
