//! Several servers, a rate, and a tenant with a share and a rate of its own; events as they come.

use std::time::Duration;

use futures_util::StreamExt;
use posthaste::scheduler::Unit;
use posthaste::{Class, Mailer, Place, Rate, compose::Draft};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    const MINUTE: Duration = Duration::from_secs(60);
    let (builder, events) = Mailer::builder("mx1.example.com")?
        .also("mx2.example.com".parse()?, Place::default()) // shares the load
        .also("backup.example.com".parse()?, Place { preference: 1, weight: 1 })
        .rate(Rate { unit: Unit::Mails, count: 600, per: MINUTE })
        .events(1000);
    let mailer = builder.build()?;
    tokio::spawn(events.for_each(async |event| println!("{event:?}")));

    let shop = mailer.add_tenant(2); // where both wait, twice the share of a tenant of weight 1
    mailer.limit_tenant(shop, Rate { unit: Unit::Recipients, count: 100, per: MINUTE });
    let how = mailer.submission().tenant(shop).class(Class::Interactive).lifetime(10 * MINUTE);
    let receipt =
        Draft::new().from("shop@example.com").to("ann@b.test").text("Thank you!").build()?;
    let ticket = mailer.submit(how, receipt).await;
    for reason in ticket.explain().reasons {
        println!("waiting: {}", reason.kind); // ticket.cancel() would stop it
    }
    println!("{:?}", ticket.await.recipients);
    mailer.shutdown().await;
    Ok(())
}
