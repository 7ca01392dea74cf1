//! What is asked for on the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rival::Rival;
use crate::scenario::Scenario;

/// What is measured, and for how long.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Runs of each client in each scenario.
    pub(crate) rounds: usize,
    /// About how long a run takes.
    pub(crate) run: Duration,
    /// The clients.
    pub(crate) rivals: Vec<Rival>,
    /// Where they send.
    pub(crate) scenarios: Vec<Scenario>,
    /// The file of all figures.
    pub(crate) json: PathBuf,
}

impl Settings {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut settings = Self {
            rounds: 3,
            run: Duration::from_millis(700),
            rivals: Rival::ALL.to_vec(),
            scenarios: Scenario::ALL.to_vec(),
            json: target().join("rivals.json"),
        };
        let mut arguments = arguments.iter();
        while let Some(&name) = arguments.next() {
            if name == "--quick" {
                settings.rounds = 1;
                settings.run = Duration::from_millis(300);
                continue;
            }
            let &value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name {
                "--rounds" => settings.rounds = value.parse().map_err(|_| "no number of rounds")?,
                "--only" => settings.rivals = rivals(value)?,
                "--at" => settings.scenarios.retain(|scenario| scenario.is_named(value)),
                "--json" => settings.json = value.into(),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if settings.rounds == 0 || settings.scenarios.is_empty() {
            return Err("nothing to do".to_owned());
        }
        Ok(settings)
    }
}

/// Where everything goes that can be made again.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target")
}

fn rivals(names: &str) -> Result<Vec<Rival>, String> {
    let named = |name| Rival::named(name).ok_or_else(|| format!("no client is named {name}"));
    names.split(',').map(named).collect()
}
