//! The table of servers.

use crate::units::grouped;

/// Servers that are shown; a screen has no more room.
const MAX_ROWS: usize = 10;
/// Columns of text that a reply or a state may take.
const MAX_TEXT: usize = 60;

/// How one server does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: String,
    /// Connections that take mails.
    pub(crate) established: u32,
    /// Connections that there are.
    pub(crate) open: u32,
    /// How many it bears, where that is known.
    pub(crate) ceiling: Option<u32>,
    /// Mails that could be sent now.
    pub(crate) queued: u32,
    /// Mails it took for somebody.
    pub(crate) accepted: u64,
    /// The same per second, of late.
    pub(crate) rate: f64,
    /// What it said last.
    pub(crate) last: String,
}

/// The lines of the table, the first one with the names of the columns.
pub(crate) fn table(rows: &[Row]) -> Vec<String> {
    const NAMES: [&str; 8] =
        ["server", "state", "up", "open", "bears", "queued", "mails/s", "last reply"];
    lines(NAMES, rows, Row::cells)
}

/// The same for the end of a command.
pub(crate) fn totals(rows: &[Row]) -> Vec<String> {
    lines(["server", "state", "mails", "bears", "last reply"], rows, Row::totals)
}

fn lines<const N: usize>(
    names: [&str; N],
    rows: &[Row],
    of: impl Fn(&Row) -> [String; N],
) -> Vec<String> {
    let mut cells = vec![names.map(str::to_owned)];
    cells.extend(rows.iter().take(MAX_ROWS).map(of));
    let widths: [usize; N] = std::array::from_fn(|column| {
        cells.iter().map(|row| width(&row[column])).max().unwrap_or(0)
    });
    let mut lines: Vec<_> = cells.iter().map(|row| line(row, &widths)).collect();
    if rows.len() > MAX_ROWS {
        lines.push(format!("… and {} more", rows.len() - MAX_ROWS));
    }
    lines
}

impl Row {
    fn cells(&self) -> [String; 8] {
        [
            self.name.clone(),
            cut(&self.state),
            grouped(self.established.into()),
            grouped(self.open.into()),
            self.bears(),
            grouped(self.queued.into()),
            format!("{:.1}", self.rate),
            cut(&self.last),
        ]
    }

    fn totals(&self) -> [String; 5] {
        let mails = grouped(self.accepted);
        [self.name.clone(), cut(&self.state), mails, self.bears(), cut(&self.last)]
    }

    fn bears(&self) -> String {
        self.ceiling.map_or_else(|| "?".to_owned(), |ceiling| grouped(ceiling.into()))
    }
}

/// Texts to the left, numbers to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let fill = " ".repeat(width.saturating_sub(self::width(cell)));
        // The first two and the last are texts.
        match column {
            0 | 1 => line += &format!("{cell}{fill}  "),
            _ if column + 1 == cells.len() => line += cell,
            _ => line += &format!("{fill}{cell}  "),
        }
    }
    line.trim_end().to_owned()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// What a server says can be long, and a table is no place for it.
fn cut(text: &str) -> String {
    if width(text) <= MAX_TEXT {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_TEXT - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_straight() {
        let row = |name: &str, queued, ceiling| Row {
            name: name.to_owned(),
            state: "normal".to_owned(),
            established: 3,
            open: 5,
            ceiling,
            queued,
            accepted: 1000,
            rate: 12.34,
            last: "250 Ok".to_owned(),
        };
        let rows = [row("mx1.example:25", 12_000, Some(20)), row("b:25", 3, None)];
        let lines = table(&rows).join("\n").replace('\u{202f}', " ");
        let expected = "\
server          state   up  open  bears  queued  mails/s  last reply
mx1.example:25  normal   3     5     20  12 000     12.3  250 Ok
b:25            normal   3     5      ?       3     12.3  250 Ok";
        assert_eq!(lines, expected);
        let lines = totals(&rows).join("\n").replace('\u{202f}', " ");
        let expected = "\
server          state   mails  bears  last reply
mx1.example:25  normal  1 000     20  250 Ok
b:25            normal  1 000      ?  250 Ok";
        assert_eq!(lines, expected);
    }

    #[test]
    fn much_is_cut_short() {
        let long = Row { last: "x".repeat(100), ..Row::default() };
        let lines = table(&vec![long; 12]);
        assert_eq!((lines.len(), lines[11].as_str()), (12, "… and 2 more"));
        assert!(lines[1].ends_with("x…"), "{}", lines[1]);
    }
}
