//! `archive`: every valid chain is welcome, and nothing is computed.
//!
//! It is what a room does without slices, faster. As a slice it keeps what no other slice of the room accepts.

use super::{Context, Effects, Fault, Sees, Show, Slice, Verdict, View};

/// See above.
#[derive(Debug)]
pub struct Archive;

impl Slice for Archive {
    fn name(&self) -> &str {
        "archive"
    }

    fn sees(&self) -> Sees {
        Sees::Everything
    }

    fn decide(&mut self, _: &Context<'_>, _: &mut dyn View) -> Result<Verdict, Fault> {
        Ok(Verdict::Accept(Effects::default()))
    }

    fn show(&self) -> Show {
        |_| "null".into()
    }
}
