//! Every block, as it is: kind 7420. Read by [`crate::unwrap`].

use data_encoding::BASE64;

use super::Subject;
use crate::{
    Draft, Signer,
    event::tag,
    kind,
    tags::{self, name},
    unwrap::content_bytes,
};

pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let Subject { block, context, chain, .. } = subject;
    let mut tags = vec![name(tags::BLOCK, block.id()), name(tags::CHAIN, chain), name(tags::AUTHOR, block.author())];
    tags.extend(block.parent().map(|parent| name(tags::PARENT, parent)));
    tags.extend([
        name(tags::ROOM, context.room),
        tags::kind_of_names(tags::BLOCK),
        tag(["format", block.format().name()]),
        tag(["alt", "Block of a pico feed"]),
    ]);
    let content = BASE64.encode(&content_bytes(block));
    Some(Draft { signer: Signer::Relay, kind: kind::BLOCK, created_at: context.accepted, tags, content })
}
