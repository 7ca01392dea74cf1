//! Many mails over pooled connections.

use futures_util::{StreamExt, stream};
use posthaste::{Mailer, compose::Draft};

#[tokio::main]
async fn main() -> Result<(), posthaste::SetupError> {
    let mailer = Mailer::connect("smtps://news:secret@smtp.example.com")?;
    let letter = |to| Draft::new().from("news@example.com").to(to).text("Hello!").build();
    let mails = ["ann@example.org", "bob@example.org"].into_iter().flat_map(letter);
    let reports = mailer.send_all(stream::iter(mails));
    reports.for_each(async |(n, report)| println!("{n}: {:?}", report.recipients)).await;
    mailer.shutdown().await;
    Ok(())
}
