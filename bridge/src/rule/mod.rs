//! What becomes of a block: one file per rule, and the lists.

mod deletion;
mod head;
mod note;
mod page;
mod profile;
mod reply;
mod wrap;

use data_encoding::HEXLOWER;
use picofeed::{Block, Id};

use crate::{
    Body, Context, CopyOf, Draft, Mode, Record, Signer, Value,
    event::{Tag, tag},
    tags,
};

/// A rule: what a block becomes, if anything.
pub(crate) type Rule = fn(&Subject<'_>) -> Option<Draft>;

/// What every block becomes. The block comes before what names it, so that nobody is sent after a block that is not
/// there yet.
const CARRY: &[Rule] = &[wrap::draft, head::draft];

/// What a block may become for people to read, most specific first: the first that applies is the only one. A profile
/// can have a text, a deletion a reason, and a reply is a note unless it is known what it answers.
const COPIES: &[Copying] = &[
    Copying { kind: page::ARTICLE, draft: page::draft },
    Copying { kind: profile::METADATA, draft: profile::draft },
    Copying { kind: deletion::DELETION, draft: deletion::draft },
    Copying { kind: note::NOTE, draft: reply::draft },
    Copying { kind: note::NOTE, draft: note::draft },
];

/// A rule that makes copies for people to read.
struct Copying {
    /// The kind of every event that it makes.
    kind: u16,
    draft: Rule,
}

/// The kinds of all copies, each once: by them a program finds the copies that it published.
pub fn copy_kinds() -> Vec<u16> {
    let mut kinds: Vec<u16> = COPIES.iter().map(|copying| copying.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Those of them that a reply or a deletion can name: all but deletions.
pub fn named_kinds() -> Vec<u16> {
    copy_kinds().into_iter().filter(|kind| *kind != deletion::DELETION).collect()
}

/// Text that is longer is not copied.
pub const NOTE_BYTES_MAX: usize = 32 << 10;

/// The collection of blocks that carry nostr events into a room. They are not copied: the events are there.
pub const FROM_NOSTR: &str = "nostr";

/// A block and all that rules may know of it.
pub(crate) struct Subject<'a> {
    pub(crate) block: &'a Block,
    pub(crate) body: Body<'a>,
    pub(crate) context: &'a Context<'a>,
    pub(crate) chain: Id,
    pub(crate) height: u64,
}

/// Everything a block becomes.
pub(crate) fn drafts(block: &Block, context: &Context<'_>) -> Vec<Draft> {
    let (chain, height) = if block.is_genesis() { (block.id(), 1) } else { (context.chain, context.height) };
    let mut subject = Subject { block, body: Body::Opaque, context, chain, height };
    let carry = if context.mode == Mode::Off { &[] } else { CARRY };
    let mut drafts: Vec<Draft> = carry.iter().filter_map(|rule| rule(&subject)).collect();
    if context.mode == Mode::Copies {
        subject.body = Body::of(block);
        let from_nostr = subject.record().is_some_and(|record| record.collection == FROM_NOSTR);
        let copies = if from_nostr { &[] } else { COPIES };
        drafts.extend(copies.iter().find_map(|copying| {
            let draft = (copying.draft)(&subject)?;
            debug_assert_eq!(draft.kind, copying.kind, "a copy of another kind is not found again");
            Some(draft)
        }));
    }
    drafts
}

impl Subject<'_> {
    fn record(&self) -> Option<&Record> {
        match &self.body {
            Body::Record(record) => Some(record),
            _ => None,
        }
    }

    /// A readable copy, dated `date_ms`, but never after the block came.
    fn copy(&self, kind: u16, date_ms: Option<u64>, tags: Vec<Tag>, content: String, alt: &str) -> Draft {
        let author = self.block.author();
        let created_at = date_ms.map_or(self.context.accepted, |ms| (ms / 1000).min(self.context.accepted));
        let common = [
            tag(["proxy", &format!("pico:block:{}", self.block.id()), "pico"]),
            tags::name(tags::BLOCK, self.block.id()),
            tags::name(tags::AUTHOR, author),
            tags::name(tags::ROOM, self.context.room),
            tags::kind_of_names(tags::BLOCK),
            tags::kind_of_names(tags::AUTHOR),
            tag(["alt", alt]),
        ];
        let tags = tags.into_iter().chain(common).collect();
        Draft { signer: Signer::Author(author), kind, created_at, tags, content }
    }

    /// The copy of the block that the first of these fields names.
    fn copy_named(&self, fields: &[&str]) -> Option<CopyOf> {
        let payload = &self.record()?.payload;
        let target = fields.iter().find_map(|field| block_id(payload.field(field)?))?;
        (self.context.copy_of)(&target)
    }
}

/// Blocks are named by 64 bytes or 128 hexadecimal digits.
fn block_id(value: &Value) -> Option<Id> {
    match value {
        Value::Bytes(bytes) => <[u8; 64]>::try_from(bytes.as_slice()).ok().map(Id::from),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
