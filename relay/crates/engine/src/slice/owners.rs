//! `owners`: a chain belongs to the author of its first block, and nobody else may write on it.
//!
//! By the rules of pico anybody may append to any chain, and what comes first is kept: in an archive a stranger can take
//! the place of an author's next block. Where an app has no use for that, put this before slices that accept, such as
//! `slices = ["owners", "archive"]`. It accepts nothing by itself.

use super::{Context, Effects, Fault, Sees, Show, Slice, Verdict, View};

/// See above.
#[derive(Debug)]
pub struct Owners;

impl Slice for Owners {
    fn name(&self) -> &str {
        "owners"
    }

    fn sees(&self) -> Sees {
        Sees::Everything
    }

    fn decide(&mut self, block: &Context<'_>, _: &mut dyn View) -> Result<Verdict, Fault> {
        Ok(if block.block.author() == block.owner {
            Verdict::Watch(Effects::default())
        } else {
            Verdict::Veto("the chain is another author's".into())
        })
    }

    fn show(&self) -> Show {
        |_| "null".into()
    }
}
