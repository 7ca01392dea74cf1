//! The table of servers.

use crate::units::grouped;

/// Servers that are shown; a screen has no more room.
const MAX_ROWS: usize = 10;
/// Columns of text that a reply or a state may take.
const MAX_TEXT: usize = 60;
/// Columns that a state keeps on a narrow screen: enough for its first words.
const MIN_STATE: usize = 12;
/// Columns below which a reply is put on a line of its own: its codes and a word or two.
const MIN_REPLY: usize = 20;
/// What stands between two columns.
const GAP: &str = "  ";

/// How one server does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// How it is, and until what time.
    pub(crate) state: String,
    /// How it is, and for how long, as short as may be.
    pub(crate) brief: String,
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

/// The lines of the table, the first one with the names of the columns, for a screen so many columns wide.
/// Where it is narrow, what a server said last has a line of its own.
pub(crate) fn table(rows: &[Row], screen: usize) -> Vec<String> {
    let full = live(rows, MAX_TEXT);
    let excess = wide(&full).saturating_sub(screen);
    let mut lines = match excess {
        0 => full,
        _ => {
            let state = rows.iter().take(MAX_ROWS).map(|row| width(&row.brief)).max().unwrap_or(0);
            live(rows, state.min(MAX_TEXT).saturating_sub(excess).max(MIN_STATE))
        }
    };
    let room = screen.saturating_sub(wide(&lines) + GAP.len());
    if room >= MIN_REPLY {
        add_replies(&mut lines, rows, room.min(MAX_TEXT));
    } else {
        let replies = rows.iter().take(MAX_ROWS).map(|row| row.last.as_str());
        let replies = std::iter::once("").chain(replies);
        let told = |(line, reply): (String, &str)| {
            let reply = cut(reply, screen.saturating_sub(GAP.len()));
            let below = (!reply.is_empty()).then(|| format!("{GAP}{reply}"));
            std::iter::once(cut(&line, screen)).chain(below)
        };
        lines = lines.into_iter().zip(replies).flat_map(told).collect();
    }
    lines.extend(more(rows));
    lines
}

/// The same for the end of a command.
pub(crate) fn totals(rows: &[Row]) -> Vec<String> {
    let mut lines = lines(["server", "state", "mails", "bears"], rows, Row::totals);
    add_replies(&mut lines, rows, MAX_TEXT);
    lines.extend(more(rows));
    lines
}

fn live(rows: &[Row], state: usize) -> Vec<String> {
    const NAMES: [&str; 7] = ["server", "state", "up", "open", "bears", "queued", "mails/s"];
    lines(NAMES, rows, |row| row.cells(state))
}

/// Lines of the same width.
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
    cells.iter().map(|row| line(row, &widths)).collect()
}

/// Puts what each server said last behind its line.
fn add_replies(lines: &mut [String], rows: &[Row], room: usize) {
    let replies = std::iter::once("last reply").chain(rows.iter().map(|row| row.last.as_str()));
    for (line, reply) in lines.iter_mut().zip(replies) {
        *line = format!("{line}{GAP}{}", cut(reply, room)).trim_end().to_owned();
    }
}

fn more(rows: &[Row]) -> Option<String> {
    let more = rows.len().saturating_sub(MAX_ROWS);
    (more > 0).then(|| format!("… and {more} more"))
}

impl Row {
    fn cells(&self, state: usize) -> [String; 7] {
        [
            self.name.clone(),
            cut(&self.brief, state),
            grouped(self.established.into()),
            grouped(self.open.into()),
            self.bears(),
            grouped(self.queued.into()),
            format!("{:.1}", self.rate),
        ]
    }

    fn totals(&self) -> [String; 4] {
        let mails = grouped(self.accepted);
        [self.name.clone(), cut(&self.state, MAX_TEXT), mails, self.bears()]
    }

    fn bears(&self) -> String {
        self.ceiling.map_or_else(|| "?".to_owned(), |ceiling| grouped(ceiling.into()))
    }
}

/// Two texts to the left, numbers to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let fill = |(column, (cell, &width)): (usize, (&String, &usize))| {
        let fill = " ".repeat(width.saturating_sub(self::width(cell)));
        if column < 2 { format!("{cell}{fill}") } else { format!("{fill}{cell}") }
    };
    let cells: Vec<_> = cells.iter().zip(widths).enumerate().map(fill).collect();
    cells.join(GAP)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn wide(lines: &[String]) -> usize {
    lines.iter().map(|line| width(line)).max().unwrap_or(0)
}

/// What a server says can be long, and a table is no place for it.
fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
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
            brief: "normal".to_owned(),
            established: 3,
            open: 5,
            ceiling,
            queued,
            accepted: 1000,
            rate: 12.34,
            last: "250 Ok".to_owned(),
        };
        let rows = [row("mx1.example:25", 12_000, Some(20)), row("b:25", 3, None)];
        let lines = table(&rows, 80).join("\n").replace('\u{202f}', " ");
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
    fn a_narrow_screen_is_kept_within() {
        let row = Row {
            name: "mx1.example:25".to_owned(),
            brief: "held for 5 min: the server does not take the credentials".to_owned(),
            last: "535 5.7.8 Authentication credentials invalid".to_owned(),
            ..Row::default()
        };
        let expected = "\
server          state                         up  open  bears  queued  mails/s
mx1.example:25  held for 5 min: the server …   0     0      ?       0      0.0
  535 5.7.8 Authentication credentials invalid";
        let lines = table(std::slice::from_ref(&row), 78);
        assert_eq!(lines.join("\n"), expected);
        for screen in 20..200 {
            assert!(wide(&table(std::slice::from_ref(&row), screen)) <= screen, "{screen} columns");
        }
    }

    #[test]
    fn much_is_cut_short() {
        let long = Row { last: "x".repeat(100), ..Row::default() };
        let lines = table(&vec![long; 12], 200);
        assert_eq!((lines.len(), lines[11].as_str()), (12, "… and 2 more"));
        assert!(lines[1].ends_with("x…"), "{}", lines[1]);
    }
}
