//! Bytes that are read value by value, and what may be wrong with them: what CBOR and msgpack share.

use rquickjs::Ctx;

/// How deep values may be nested at the very most, so that they fit on the stack of any thread: `script.value_depth_max` is not
/// more. What is stored is shown that deep, whatever the option says now.
pub const DEPTH_CEILING: usize = 256;

/// How deep values of this runtime may be nested: `script.value_depth_max`.
pub fn depth_max(ctx: &Ctx<'_>) -> usize {
    ctx.userdata::<usize>().map_or(0, |max| *max)
}

/// The largest integer that a JavaScript number holds exactly.
pub const SAFE_MAX: u64 = (1 << 53) - 1;

/// What is wrong with some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("the bytes end too early")]
    End,
    /// More follows after the value.
    #[error("the bytes go on after their value")]
    Trailing,
    /// Nested more deeply than it may be.
    #[error("the value is nested too deeply (script.value_depth_max)")]
    Depth,
    /// Something that is not read.
    #[error("the bytes have {0}")]
    Unsupported(&'static str),
}

/// A value that could not be made of bytes.
#[derive(Debug)]
pub enum DecodeError {
    /// The bytes are wrong.
    Malformed(Malformed),
    /// The runtime refused: no memory, as a rule.
    Script(rquickjs::Error),
}

impl From<Malformed> for DecodeError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<rquickjs::Error> for DecodeError {
    fn from(error: rquickjs::Error) -> Self {
        Self::Script(error)
    }
}

/// What is left to read.
pub struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::End)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned integer of so many bytes, at most eight.
    pub fn number(&mut self, len: usize) -> Result<u64, Malformed> {
        Ok(self.take(len)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// The same as a length.
    pub fn len(&mut self, len: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number(len)?).map_err(|_| Malformed::End)
    }

    /// The value that was read is all there is.
    pub fn end<T>(&self, value: T) -> Result<T, DecodeError> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed::Trailing.into()) }
    }
}
