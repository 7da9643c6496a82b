//! A reader that cannot run past its end.

use crate::Defect;

/// Bytes and a place in them.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte from the start.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Everything that was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Defect> {
        let taken = self.rest().get(..len).ok_or(Defect::Truncated)?;
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        let taken = *self.rest().first_chunk().ok_or(Defect::Truncated)?;
        self.at += N;
        Ok(taken)
    }

    /// Skips `prefix` if it comes next; says whether it did.
    pub(crate) fn skip(&mut self, prefix: &[u8]) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Whether nothing but zeros is left. Writers that reserve memory in advance leave them.
    pub(crate) fn only_zeros(&self) -> bool {
        self.rest().iter().all(|byte| *byte == 0)
    }
}
