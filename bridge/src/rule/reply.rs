//! A text that answers a block whose copy is a note: kind 1 with the marks of NIP-10.

use super::{Subject, hex, note};
use crate::{Draft, event::tag};

pub(super) fn draft(subject: &Subject<'_>) -> Option<Draft> {
    let text = note::text(subject)?;
    let parent = subject.copy_named(FIELDS).filter(|copy| copy.kind == note::NOTE)?;
    let pubkey = hex(&parent.pubkey);
    let tags = match &parent.root {
        None => vec![tag(["e", &hex(&parent.event), "", "root", &pubkey]), tag(["p", &pubkey])],
        Some(root) => vec![
            tag(["e", &hex(root), "", "root"]),
            tag(["e", &hex(&parent.event), "", "reply", &pubkey]),
            tag(["p", &pubkey]),
        ],
    };
    Some(note::note(subject, text, tags))
}

/// The fields by which apps name the block that is answered.
const FIELDS: &[&str] = &["replyTo", "reply_to", "inReplyTo", "in_reply_to", "reply", "re"];
