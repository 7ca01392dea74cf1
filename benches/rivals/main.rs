//! How fast mails go, beside others: `cargo bench -p benches --bench rivals`.
//!
//! Each client sends to each server in turn, several rounds, so that whatever else the machine does
//! hits all of them; medians are printed, with ratios, which hold where absolute figures drift with
//! the machine. Clients and servers are processes of their own: processor time and memory are those of the
//! client alone. After each run the server's count is compared with what was sent, and its
//! Message-IDs where it keeps them: a mail that is lost, doubled or out of order ends the program.
//!
//! ```text
//! cargo bench -p benches --bench rivals -- [OPTION…]
//!     --quick                 one round, and shorter runs
//!     --rounds N              default 3
//!     --only cross,lettre     these clients, by their names in rival.rs
//!     --at sink,postfix       the scenarios whose names begin so, in scenario.rs
//!     --json FILE             default target/rivals.json
//! ```
//!
//! Clients in other languages are fetched by `benches/rivals/fetch`; one that is not there is said to
//! be NOT RUN.
//!
//! A Postfix writes each mail to disk before it takes it, in the folder for temporary files. What a disk of a virtual
//! machine takes varies twofold within a minute; `TMPDIR=/dev/shm` leaves that out, for all clients alike.

mod clients;
mod delay;
mod measure;
mod rival;
mod scenario;
mod servers;
mod settings;
mod table;

use std::time::Duration;

use crate::measure::Run;
use crate::rival::Rival;
use crate::settings::Settings;
use benches::load::Load;
// The allocator of the command, for all clients in Rust.
#[cfg(target_os = "linux")]
use mimalloc as _;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // `cargo test --benches` only wants to know that it starts.
        ["--test", ..] => {}
        ["client", name, ref load @ ..] => {
            let rival = Rival::named(name).unwrap();
            println!("{}", rival.send(Load::parse(load)).as_secs_f64());
        }
        ["run", ref client @ ..] => Run::print(client),
        ["sink"] => servers::serve_sink(),
        ["delay", server, micros] => {
            let round_trip = Duration::from_micros(micros.parse().unwrap());
            delay::serve(server.parse().unwrap(), round_trip);
        }
        _ => {
            let result = Settings::parse(&arguments).and_then(|settings| table::make(&settings));
            if let Err(error) = result {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
    }
}
