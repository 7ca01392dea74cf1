//! Many mails over pooled connections.

use futures_util::{StreamExt, stream};
use posthaste::{Mailer, compose::Draft};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mailer = Mailer::connect("smtps://news:secret@smtp.example.com")?;
    let letter = |to| Draft::new().from("news@example.com").to(to).text("Hello!").build();
    let mails: Result<Vec<_>, _> = ["ann@b.test", "bob@b.test"].into_iter().map(letter).collect();
    let reports = mailer.send_all(stream::iter(mails?));
    reports.for_each(async |(n, report)| println!("{n}: {:?}", report.recipients)).await;
    mailer.shutdown().await;
    Ok(())
}
