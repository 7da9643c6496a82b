//! POP-04: web pages in blocks.

use picofeed::Key;

use crate::html;

/// A valid page: `html`, a runlevel from 0 to 4, a line end, headers, an empty line, and a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    runlevel: u8,
    headers: Vec<(String, &'a str)>,
    body_offset: usize,
    document: &'a [u8],
}

/// A body is not a page, or not one that its runlevel allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageInvalid {
    /// It does not begin with `html` and a digit, in lower case.
    #[error("missing html0 magic")]
    Magic,
    /// The runlevel is not one of 0 to 4.
    #[error("unknown runlevel")]
    Runlevel,
    /// Lines end with CR LF.
    #[error("line break must be LF")]
    LineBreak,
    /// Nothing follows the first line.
    #[error("no body")]
    Empty,
    /// Headers do not end.
    #[error("no blank line")]
    BlankLine,
    /// More bytes than the runlevel allows, with the headers.
    #[error("larger than {0} bytes")]
    TooLong(usize),
    /// More bytes of headers than [`HEADERS_BYTES_MAX`].
    #[error("headers larger than {HEADERS_BYTES_MAX} bytes")]
    HeadersTooLong,
    /// A line among the headers is not `Name: value`.
    #[error("malformed header")]
    Header,
    /// `Public-Key` is not 64 hexadecimal digits.
    #[error("malformed public-key")]
    PublicKey,
    /// `Public-Key` is not the author of the block.
    #[error("public-key does not verify the block signature")]
    PublicKeyOther,
    /// `Date` is not unix milliseconds.
    #[error("malformed date")]
    Date,
    /// `Revision` is not a whole number.
    #[error("malformed revision")]
    Revision,
    /// The page has scripts, and its runlevel none.
    #[error("script not allowed in runlevel {0}")]
    Script(u8),
}

/// Longest header section that is read. POP-04 itself limits only the whole.
pub const HEADERS_BYTES_MAX: usize = 64 << 10;

impl<'a> Page<'a> {
    /// Reads the body of a block that `author` signed.
    ///
    /// That a page of runlevel 0 or 1 has no scripts is a rule of POP-04, not a protection: whoever serves pages tells
    /// browsers not to run them.
    ///
    /// # Errors
    ///
    /// See [`PageInvalid`].
    pub fn parse(body: &'a [u8], author: &Key) -> Result<Self, PageInvalid> {
        let (runlevel, rest) = first_line(body)?;
        let size_max = match runlevel {
            0..=2 => 64 << 10,
            3 => 4 << 20,
            _ => 16 << 20,
        };
        if body.len() > size_max {
            return Err(PageInvalid::TooLong(size_max));
        }
        let (headers, document) = headers(rest)?;
        let page = Self { runlevel, headers, body_offset: body.len() - document.len(), document };
        page.check_headers(author)?;
        if runlevel < 2 && html::has_script(document) {
            return Err(PageInvalid::Script(runlevel));
        }
        Ok(page)
    }

    /// 0: a document. 1: with custom elements. 2: with scripts. 3, 4: larger.
    pub fn runlevel(&self) -> u8 {
        self.runlevel
    }

    /// Headers in order: lower-case name, value.
    pub fn headers(&self) -> &[(String, &'a str)] {
        &self.headers
    }

    /// The value of the first header of this name, which is to be lower-case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Where in the body of the block the document begins.
    pub fn body_offset(&self) -> usize {
        self.body_offset
    }

    /// The document: HTML, perhaps not even UTF-8.
    pub fn document(&self) -> &'a [u8] {
        self.document
    }

    /// When the page was written, in unix milliseconds, as its author says.
    pub fn date(&self) -> Option<u64> {
        self.header("date").and_then(|text| text.parse().ok())
    }

    /// How often the page was written.
    pub fn revision(&self) -> Option<u64> {
        self.header("revision").and_then(|text| text.parse().ok())
    }

    /// Whether custom elements mean anything in this page. In others they are inert.
    pub fn custom_elements(&self) -> bool {
        self.runlevel > 0
    }

    fn check_headers(&self, author: &Key) -> Result<(), PageInvalid> {
        for (name, value) in &self.headers {
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok();
            match name.as_str() {
                "public-key" if value.parse::<Key>().map_err(|_| PageInvalid::PublicKey)? != *author => {
                    return Err(PageInvalid::PublicKeyOther);
                }
                "date" if !is_number => return Err(PageInvalid::Date),
                "revision" if !is_number => return Err(PageInvalid::Revision),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The runlevel, and what comes after the line.
fn first_line(body: &[u8]) -> Result<(u8, &[u8]), PageInvalid> {
    let rest = body.strip_prefix(b"html").ok_or(PageInvalid::Magic)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (runlevel, rest) = rest.split_at_checked(digits).ok_or(PageInvalid::Magic)?;
    match (runlevel, rest) {
        ([], _) => Err(PageInvalid::Magic),
        (_, [b'\r', b'\n', ..]) => Err(PageInvalid::LineBreak),
        ([digit @ b'0'..=b'4'], [b'\n', rest @ ..]) if !rest.is_empty() => Ok((digit - b'0', rest)),
        ([b'0'..=b'4'], [b'\n']) => Err(PageInvalid::Empty),
        (_, [b'\n', ..]) => Err(PageInvalid::Runlevel),
        _ => Err(PageInvalid::Magic),
    }
}

/// Headers, lower-case name and value, and the bytes after them.
type Headers<'a> = (Vec<(String, &'a str)>, &'a [u8]);

fn headers(mut rest: &[u8]) -> Result<Headers<'_>, PageInvalid> {
    let mut headers = Vec::new();
    let section_len = rest.len();
    loop {
        let line_len = rest.iter().position(|byte| *byte == b'\n').ok_or(PageInvalid::BlankLine)?;
        let (line, after) = rest.split_at_checked(line_len).ok_or(PageInvalid::BlankLine)?;
        rest = after.get(1..).unwrap_or_default();
        if section_len - rest.len() > HEADERS_BYTES_MAX {
            return Err(PageInvalid::HeadersTooLong);
        }
        match line {
            [] => return Ok((headers, rest)),
            [.., b'\r'] => return Err(PageInvalid::LineBreak),
            // A document where headers should be: they never ended.
            [b'<', ..] => return Err(PageInvalid::BlankLine),
            line => headers.push(header(line).ok_or(PageInvalid::Header)?),
        }
    }
}

fn header(line: &[u8]) -> Option<(String, &str)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| (name.to_ascii_lowercase(), value.trim()))
}
