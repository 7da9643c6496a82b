//! The last block of a chain: kind 37420. Read by [`crate::Head::parse`].

use super::Subject;
use crate::{
    Draft, Signer,
    event::tag,
    kind,
    tags::{self, name},
};

pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let Subject { block, context, chain, height, .. } = subject;
    let tags = vec![
        tag(["d", &chain.to_string()]),
        name(tags::BLOCK, block.id()),
        name(tags::AUTHOR, block.author()),
        name(tags::ROOM, context.room),
        tags::kind_of_names(tags::BLOCK),
        tag(["height", &height.to_string()]),
        tag(["alt", "Head of a pico feed"]),
    ];
    let content = String::new();
    Some(Draft { signer: Signer::Relay, kind: kind::HEAD, created_at: context.accepted, tags, content })
}
