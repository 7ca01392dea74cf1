//! Each extension that Postfix and Exim offer, used once for real: in the clear and under TLS, by
//! DATA and by BDAT.

use std::sync::Arc;

use posthaste::connection::{DialSettings, ProxyAddresses, ProxyHeader, ProxyVersion};
use posthaste::session::{
    Chunking, Content, Envelope, EnvelopeId, ForwardPath, Mail, MailOptions, Mailbox, Notify,
    OriginalRecipient, Recipient, RecipientOptions, ReturnContent, TlsPolicy, Xclient, XclientName,
};
use posthaste::{MailerBuilder, Transcript};
use posthaste_tests::{Delivered, Exim, Postfix, Server, Tls, or_skip};

use crate::dialogue::Dialogue;
use crate::interop::{mail_to, mailer};
use crate::samples::large_samples;
use crate::tls::trusting;
use crate::watch::Watch;

/// Under TLS where the server has it.
fn to(server: &Server, tls: Tls) -> MailerBuilder {
    let mailer = mailer(server);
    match tls {
        Tls::Off => mailer.tls(TlsPolicy::Off),
        Tls::Starttls | Tls::Implicit => {
            mailer.tls(TlsPolicy::Require).tls_settings(trusting(&server.ca_pem, None))
        }
    }
}

/// Sends a mail that has to be delivered, and gives what the client said.
async fn deliver(mailer: MailerBuilder, mail: Mail) -> Vec<String> {
    let watch = Watch::new();
    let mailer = mailer.observer(Arc::clone(&watch) as _, Transcript::On).build().unwrap();
    let report = mailer.send(mail).await;
    mailer.shutdown().await;
    assert!(report.is_delivered(), "{report:#?}");
    watch.seen().said
}

/// Both ways content can go, each in the clear and under TLS.
const WAYS: [(Tls, Chunking); 4] = [
    (Tls::Off, Chunking::Off),
    (Tls::Off, Chunking::Always),
    (Tls::Starttls, Chunking::Off),
    (Tls::Starttls, Chunking::Always),
];

const CONTENT: &str =
    "Subject: Gr\u{fc}\u{df}e\r\nMessage-ID: <1@client.example>\r\n\r\n.\r\n..\r\nn\u{e4}chste\r\n";

/// SIZE-01, 8BIT-01, UTF8-01, PIPE-01, CHUNK-02, DSN-01 to DSN-04: everything at once.
fn asking_for_all() -> Mail {
    let to: ForwardPath = "j\u{fc}rgen@a.test".parse().unwrap();
    let original = OriginalRecipient::new(&"list+j@client.example".parse().unwrap()).unwrap();
    let recipient = Recipient::new(to).with_options(RecipientOptions {
        notify: Some(Notify::SUCCESS | Notify::FAILURE),
        original: Some(original),
        ..RecipientOptions::default()
    });
    let from: Mailbox = "sender@client.example".parse().unwrap();
    let envelope = Envelope::new(from, [recipient]).unwrap().with_options(MailOptions {
        return_content: Some(ReturnContent::Headers),
        envelope_id: Some(EnvelopeId::new("QQ 314=159+").unwrap()),
        ..MailOptions::default()
    });
    Mail::new(envelope, Content::new(CONTENT).unwrap())
}

/// Whether the client said what was asked for, and sent content by the command that it should.
#[track_caller]
fn check_said(said: &[String], chunking: Chunking) {
    let mail = format!(
        "MAIL FROM:<sender@client.example> SIZE={} BODY=8BITMIME SMTPUTF8 \
         RET=HDRS ENVID=QQ+20314+3D159+2B",
        CONTENT.len()
    );
    let rcpt = "RCPT TO:<j\\xc3\\xbcrgen@a.test> NOTIFY=SUCCESS,FAILURE \
                ORCPT=rfc822;list+2Bj@client.example";
    for line in [mail.as_str(), rcpt] {
        assert!(said.iter().any(|it| it == line), "no {line:?} in {said:?}");
    }
    let uses_bdat = said.iter().any(|line| line.starts_with("BDAT"));
    assert_eq!(uses_bdat, chunking == Chunking::Always, "{said:?}");
}

/// The notification that the mail has arrived, which names mail and recipient as it was told to.
#[track_caller]
fn check_notification(filed: &[Delivered], id: &str, original: &str) {
    let notification = filed.iter().find(|mail| mail.sender.is_empty()).expect("a notification");
    let text = String::from_utf8_lossy(&notification.content).to_lowercase();
    let id = format!("original-envelope-id: {id}");
    let original = format!("original-recipient: rfc822;{original}");
    for line in [&id, &original, "action: delivered", "message-id: <1@client.example>"] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(!text.contains("n\u{e4}chste"), "more than the header in {text}");
}

fn find<'a>(mails: &'a [Delivered], recipient: &str) -> &'a Delivered {
    let found = mails.iter().find(|mail| mail.recipient == recipient);
    found.unwrap_or_else(|| panic!("no mail for {recipient} in {mails:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_gets_all_that_it_offers() {
    for (tls, chunking) in WAYS {
        let server = or_skip!(Postfix { tls, ..Postfix::default() }.start().await);
        let said = deliver(to(&server, tls).chunking(chunking), asking_for_all()).await;
        check_said(&said, chunking);
        let filed = server.maildir.wait_for(2).await;
        assert_eq!(find(&filed, "j\u{fc}rgen@a.test").content, CONTENT.as_bytes());
        check_notification(&filed, "qq 314=159+", "list+j@client.example");
    }
}

/// Exim offers DSN where it is told to. Q37: it also offers PRDR, for which nobody asks.
#[tokio::test(flavor = "multi_thread")]
async fn exim_gets_all_that_it_offers() {
    for (tls, chunking) in WAYS {
        let main = "dsn_advertise_hosts = *\nprdr_enable = true".to_owned();
        let server = or_skip!(Exim { tls, main, ..Exim::default() }.start().await);
        let offer = Dialogue::connect(server.addr).await.expect("EHLO me", "250").await;
        assert!(offer.contains("DSN") && offer.contains("PRDR"), "{offer}");
        let said = deliver(to(&server, tls).chunking(chunking), asking_for_all()).await;
        check_said(&said, chunking);
        let filed = server.maildir.wait_for(2).await;
        assert_eq!(find(&filed, "j\u{fc}rgen@a.test").content, CONTENT.as_bytes());
        // Exim hands on what it was given, still encoded.
        check_notification(&filed, "qq+20314+3d159+2b", "list+2bj@client.example");
    }
}

/// CHUNK-12, CHUNK-16: 10 MiB in chunks of at most 1 MiB, sent ahead of their replies.
#[tokio::test(flavor = "multi_thread")]
async fn large_mails_go_to_both_in_chunks() {
    let postfix = or_skip!(Postfix::default().start().await);
    in_chunks(&postfix).await;
    let exim = or_skip!(Exim::default().start().await);
    in_chunks(&exim).await;
}

async fn in_chunks(server: &Server) {
    let sample = &large_samples()[0];
    let mailer = to(server, Tls::Off).chunking(Chunking::Always);
    let said = deliver(mailer, mail_to(&["m"], sample.content())).await;
    let sizes = said.iter().filter_map(|line| line.strip_prefix("BDAT "));
    let sizes: Vec<usize> =
        sizes.map(|size| size.trim_end_matches(" LAST").parse().unwrap()).collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|&size| size <= 1 << 20), "{sizes:?}");
    let filed = server.maildir.wait_for(1).await;
    assert!(filed[0].content == sample.expected(), "content differs");
}

/// XCLIENT-01, XCLIENT-02, PROXY-01, PROXY-02: Postfix believes whom it is told to believe.
#[tokio::test(flavor = "multi_thread")]
async fn postfix_is_told_whom_the_client_speaks_for() {
    let small = || mail_to(&["m"], Content::new("Subject: a\r\n\r\nb\r\n").unwrap());
    let trust = "mynetworks = 127.0.0.0/8 192.0.2.0/24";
    let main_cf = format!("{trust}\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8");
    let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
    let client = Xclient {
        name: Some(XclientName::Known("spike.example".parse().unwrap())),
        address: Some("192.0.2.7".parse().unwrap()),
        ..Xclient::default()
    };
    deliver(mailer(&server).xclient(client), small()).await;
    server.wait_for_log("client=spike.example[192.0.2.7]").await;

    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let main_cf = format!("{trust}\nsmtpd_upstream_proxy_protocol = haproxy");
        let server = or_skip!(Postfix { main_cf, ..Postfix::default() }.start().await);
        let source = "192.0.2.8:5000".parse().unwrap();
        let addresses = ProxyAddresses::new(source, server.addr).unwrap();
        let header = Some(ProxyHeader { version, addresses });
        let dial = DialSettings { proxy_header: header, ..DialSettings::default() };
        deliver(mailer(&server).dial(dial), small()).await;
        server.wait_for_log("client=unknown[192.0.2.8]").await;
    }
}
