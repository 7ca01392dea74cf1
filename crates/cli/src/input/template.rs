//! `--template`: header fields, text and HTML in MiniJinja, compiled once and filled for each row.
//!
//! A file has the header fields first, then an empty line, then the text (or HTML, if its name
//! ends so). A directory has `headers.txt`, `text.txt` and `html.html` (one of the two is
//! enough), and the files in `attachments/` and `inline/`.
//!
//! Each header field is a template of its own, so that no cell can add another field.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use posthaste::compose::{Attachment, ComposeError, Draft};

use super::rows::Row;
use super::{InputError, Place, Problem, read};

/// Header fields that the merge gives a meaning to. Any other goes into the mail as it is.
const KNOWN_FIELDS: [&str; 7] = ["From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Message-ID"];

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    headers: Vec<(String, Piece)>,
    text: Option<Piece>,
    html: Option<Piece>,
    attachments: Vec<Attachment>,
}

/// One template in the environment.
#[derive(Debug)]
struct Piece {
    name: String,
    /// Lines that stand before it in its file, and as line ends in the template, so that errors
    /// tell the right line.
    lines_before: usize,
}

/// A template with the cells of a row in it.
#[derive(Debug)]
pub(super) struct Filled {
    /// Names and values of the header fields; those without a value are left out.
    pub(super) headers: Vec<(String, String)>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

impl Template {
    /// Reads and compiles a template file or directory.
    pub(super) fn load(path: &Path) -> Result<Self, InputError> {
        let mut template = Self {
            environment: environment(path)?,
            headers: Vec::new(),
            text: None,
            html: None,
            attachments: Vec::new(),
        };
        if path.is_dir() {
            template.load_directory(path)?;
        } else {
            template.load_file(path)?;
        }
        Ok(template)
    }

    /// The files that go with every mail.
    pub(super) fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Whether the template sets a header field.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name))
    }

    /// Fills in the cells of a row. They are variables under their columns' names; `row` has them
    /// all, for names that no variable can have: `row["First name"]`.
    pub(super) fn fill(&self, row: &Row) -> Result<Filled, Problem> {
        let cells = context! { row => row.cells.clone(), ..row.cells.clone() };
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, piece) in &self.headers {
            let value = self.render(piece, &cells)?;
            if let Some(control) = value.chars().find(|c| c.is_control()) {
                let field = name.clone();
                return Err(Problem::HeaderCell { field, column: culprit(row, &value), control });
            }
            let value = value.trim();
            if !value.is_empty() {
                headers.push((name.clone(), value.to_owned()));
            }
        }
        let render = |piece: &Option<Piece>| {
            piece.as_ref().map(|piece| self.render(piece, &cells)).transpose()
        };
        Ok(Filled { headers, text: render(&self.text)?, html: render(&self.html)? })
    }

    fn render(&self, piece: &Piece, cells: &Value) -> Result<String, Problem> {
        let rendered = self
            .environment
            .get_template(&piece.name)
            .and_then(|template| template.render(cells.clone()));
        let mut rendered = rendered.map_err(Problem::Fill)?;
        rendered.drain(..piece.lines_before.min(rendered.len()));
        Ok(rendered)
    }

    fn load_file(&mut self, path: &Path) -> Result<(), InputError> {
        let text = read::text(path)?;
        let (header_lines, body) = self.add_headers(path, &text)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_html = is_html(&name);
        let piece = Some(self.add(path, name, header_lines, body)?);
        if is_html {
            self.html = piece;
        } else {
            self.text = piece;
        }
        Ok(())
    }

    fn load_directory(&mut self, path: &Path) -> Result<(), InputError> {
        let headers = path.join("headers.txt");
        self.add_headers(&headers, &read::text(&headers)?)?;
        self.text = self.add_file(path, "text.txt")?;
        self.html = self.add_file(path, "html.html")?;
        if self.text.is_none() && self.html.is_none() {
            return Err(Problem::TemplatePart("text.txt or html.html").at(Place::file(path)));
        }
        let attachments = path.join("attachments");
        if attachments.is_dir() {
            for file in read::files(&attachments)? {
                self.attachments.push(read::attachment(&file)?);
            }
        }
        let inline = path.join("inline");
        if inline.is_dir() {
            for file in read::files(&inline)? {
                self.attachments.push(read::inline(&file)?);
            }
        }
        Ok(())
    }

    fn add_file(&mut self, directory: &Path, name: &str) -> Result<Option<Piece>, InputError> {
        let path = directory.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let source = read::text(&path)?;
        self.add(&path, name.to_owned(), 0, &source).map(Some)
    }

    /// Adds the header fields at the start of a text, and returns the number of lines they take
    /// and what is behind.
    fn add_headers<'a>(
        &mut self,
        path: &Path,
        text: &'a str,
    ) -> Result<(usize, &'a str), InputError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut fields: Vec<(usize, &str, String)> = Vec::new();
        let mut rest = text;
        let mut number = 0;
        while let Some(line) = rest.split_inclusive('\n').next() {
            rest = rest.get(line.len()..).unwrap_or_default();
            number += 1;
            if line.trim().is_empty() {
                break;
            }
            if let (true, Some((_, _, value))) = (line.starts_with([' ', '\t']), fields.last_mut())
            {
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            match line.split_once(':') {
                Some((name, value))
                    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) =>
                {
                    fields.push((number, name, value.trim().to_owned()));
                }
                _ => {
                    return Err(Problem::TemplateHeader { line: number }
                        .at(Place::line(path, number as u64)));
                }
            }
        }
        for (line, name, value) in fields {
            if self.has_header(name) {
                let twice = Problem::TwiceHeader { field: name.to_owned() };
                return Err(twice.at(Place::line(path, line as u64)));
            }
            check_name(name)
                .map_err(|error| Problem::Compose(error).at(Place::line(path, line as u64)))?;
            let piece = self.add(path, format!("{file}, {name}"), line - 1, &value)?;
            self.headers.push((name.to_owned(), piece));
        }
        Ok((number, rest))
    }

    fn add(
        &mut self,
        path: &Path,
        name: String,
        lines_before: usize,
        source: &str,
    ) -> Result<Piece, InputError> {
        let source = "\n".repeat(lines_before) + source;
        self.environment
            .add_template_owned(name.clone(), source)
            .map_err(|error| Problem::Compile(error).at(Place::file(path)))?;
        Ok(Piece { name, lines_before })
    }
}

fn environment(path: &Path) -> Result<Environment<'static>, InputError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Errors then name the variable.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|name| {
        if is_html(name) { AutoEscape::Html } else { AutoEscape::None }
    });
    // A line that has only a tag on it leaves nothing behind.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.map_err(|error| Problem::Compile(error).at(Place::file(path)))?);
    Ok(environment)
}

fn is_html(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("html") || extension.eq_ignore_ascii_case("htm")
}

/// Makes sure that a mail can have such a header field.
fn check_name(name: &str) -> Result<(), ComposeError> {
    if KNOWN_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    match Draft::new().header(name, "").build() {
        Err(error @ (ComposeError::HeaderName(_) | ComposeError::OwnHeader(_))) => Err(error),
        _ => Ok(()),
    }
}

/// The column with the control character that got into a header value.
fn culprit(row: &Row, value: &str) -> Option<String> {
    let is_in = |cell: &str| cell.contains(char::is_control) && value.contains(cell);
    row.columns().into_iter().find(|column| row.cell(column).is_some_and(|cell| is_in(&cell)))
}
