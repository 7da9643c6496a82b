//! `rate`: so many blocks of one author in a minute, and a burst of more after a while of silence.
//!
//! It accepts nothing by itself: put it before slices that do, such as `slices = ["rate", "archive"]`. For each author
//! that wrote lately it keeps one number, the time at which they are back at rest; a block moves it on by the length of
//! one block, and is refused if that would be further ahead than a burst is long (the generic cell rate algorithm).
//! When that time has come the number has no meaning any more, and expires.

use super::{Context, Effects, Expires, Fault, Millis, Put, Sees, Show, Slice, Verdict, View};

/// How many blocks an author may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Blocks of one author in a minute, in the long run.
    pub blocks_per_minute: u32,
    /// Blocks of one author at once.
    pub burst: u32,
}

/// See above.
#[derive(Debug)]
pub struct Rate {
    /// Milliseconds of one block.
    block: Millis,
    /// Milliseconds of a burst.
    burst: Millis,
}

impl Rate {
    /// With this pace.
    pub fn new(pace: Pace) -> Self {
        let block = (60_000 / Millis::from(pace.blocks_per_minute.max(1))).max(1);
        Self { block, burst: block * Millis::from(pace.burst.max(1)) }
    }
}

impl Slice for Rate {
    fn name(&self) -> &str {
        "rate"
    }

    fn sees(&self) -> Sees {
        Sees::Everything
    }

    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        let author = block.block.author().to_string();
        let before = view.object(self.name(), &author)?;
        let rest = before.and_then(|object| <[u8; 8]>::try_from(object.value.as_ref()).ok()).map(Millis::from_be_bytes);
        let next = rest.unwrap_or(0).max(block.now) + self.block;
        if next - block.now > self.burst {
            return Ok(Verdict::Veto("too many blocks of one author".into()));
        }
        let put = Put { id: author, value: Some(next.to_be_bytes().to_vec().into()), expires: Expires::At(next) };
        Ok(Verdict::Watch(Effects { puts: vec![put], ..Effects::default() }))
    }

    fn expires_at(&mut self, _: &str, value: &[u8], _: &mut dyn View) -> Result<Option<Millis>, Fault> {
        Ok(<[u8; 8]>::try_from(value).ok().map(Millis::from_be_bytes))
    }

    fn show(&self) -> Show {
        |value| <[u8; 8]>::try_from(value).map_or("null".into(), |value| Millis::from_be_bytes(value).to_string())
    }
}
