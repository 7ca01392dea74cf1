//! Every row of `tests/rows.tsv` is shown by a test or excused.
//!
//! The rows are what a client has to keep to: the RFCs (`CONN` to `SCHED`), attacks (`RF` to `LK`)
//! and quirks of servers (`Q`). A line of the list is an id, what must hold, and, for a row that is
//! not applicable, why; `# TEXT` begins a section. What counts as shown is in [`scan`].
//!
//! `tests/ROWS.md` lists each row with its tests. `UPDATE_ROWS=1 cargo test -p posthaste-tests
//! --test rows` writes it anew.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::scan::{Place, Scan};

mod scan;

struct Row {
    id: &'static str,
    must_hold: &'static str,
    /// Why the row is not applicable.
    excuse: Option<&'static str>,
}

struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    for line in include_str!("../rows.tsv").lines() {
        if let Some(title) = line.strip_prefix("# ") {
            sections.push(Section { title, rows: Vec::new() });
            continue;
        }
        let mut columns = line.split('\t');
        let (Some(id), Some(must_hold)) = (columns.next(), columns.next()) else {
            panic!("a row has an id and what must hold: {line:?}");
        };
        let section = sections.last_mut().expect("a row is in a section");
        section.rows.push(Row { id, must_hold, excuse: columns.next() });
    }
    sections
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository")
}

#[test]
fn every_row_is_shown_or_excused() {
    let sections = sections();
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let known: BTreeSet<&str> = rows().map(|row| row.id).collect();
    assert_eq!(known.len(), rows().count(), "an id is in the list twice");
    let scan = Scan::of(repository());
    let mut complaints = Vec::new();
    for (id, place) in scan.named.iter().filter(|(id, _)| !known.contains(id.as_str())) {
        complaints.push(format!("{place} names {id}, which is no row"));
    }
    for row in rows() {
        let is_shown = scan.shown.contains_key(row.id);
        match row.excuse {
            None if !is_shown => {
                complaints.push(format!("{} is shown by no test: {}", row.id, row.must_hold));
            }
            Some(excuse) if is_shown => complaints.push(format!(
                "{} is shown by {}, and excused: {excuse}",
                row.id,
                scan.shown[row.id].first().expect("a place")
            )),
            None | Some(_) => {}
        }
    }
    let page = page(&sections, &scan.shown);
    let path = repository().join("tests/ROWS.md");
    if std::env::var_os("UPDATE_ROWS").is_some() {
        std::fs::write(path, page).expect("the page can be written");
    } else if std::fs::read_to_string(path).unwrap_or_default() != page {
        complaints.push("tests/ROWS.md is out of date: UPDATE_ROWS=1 writes it anew".to_owned());
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn page(sections: &[Section], shown: &BTreeMap<String, BTreeSet<Place>>) -> String {
    let mut page = String::from(
        "# Rows\n\n\
         What a client has to keep to, and the tests that show it. This page is made by\n\
         `UPDATE_ROWS=1 cargo test -p posthaste-tests --test rows` from `rows.tsv` and the ids that\n\
         tests name; do not edit it.\n",
    );
    for section in sections {
        let _ = write!(
            page,
            "\n## {}\n\n| row | what must hold | shown by |\n|---|---|---|\n",
            section.title
        );
        for row in &section.rows {
            let tests = match (row.excuse, shown.get(row.id)) {
                (Some(excuse), _) => format!("not applicable: {excuse}"),
                (None, Some(places)) => {
                    places.iter().map(Place::to_string).collect::<Vec<_>>().join("<br>")
                }
                (None, None) => String::new(),
            };
            let _ = writeln!(page, "| {} | {} | {tests} |", row.id, row.must_hold);
        }
    }
    page
}
