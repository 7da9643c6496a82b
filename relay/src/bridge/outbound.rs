//! Out of the rooms: every block that a bridged room stored becomes events.
//!
//! Works off [`Outgoing`] in order, a batch at a time, and forgets a batch when its events are on disk. After a crash in
//! between the batch is done again, and must not double anything. A wrapped block has the same event again, because the
//! time at which the block was accepted was stored with it; and what was published is looked up before: blocks and copies
//! by the block they are of, heads and profiles by the block they say is the last.

use std::cell::RefCell;
use std::sync::Arc;

use pico_bridge::{Context, Copied, Draft, Head, Mode, kind, named_kinds, wrap};
use picofeed::Id as BlockId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::children::children;
use super::heads::Heads;
use super::keys::Signers;
use super::publish::publish;
use super::published::Published;
use super::{Failure, PAUSE, Parts, Wanted, lookup, parts, room_of};
use crate::clock;
use crate::config::{self, Bridge};
use crate::event::{Class, Event, PublicKey};
use crate::filter::Filter;
use crate::ingest::Ingest;
use crate::pico::carry::Carry;
use crate::pico::repo::Repo;
use crate::pico::rooms::Rooms;
use crate::rarely::rarely;
use crate::store::Readers;
use crate::store::carry::{Located, Origin, Outgoing};
use crate::verify::Verified;

/// The work, and what it needs.
pub struct Outbound {
    pub(super) repo: Repo,
    readers: Readers,
    pub(super) ingest: Ingest,
    rooms: Arc<Rooms>,
    pub(super) carry: Carry,
    pub(super) wanted: Option<Arc<Wanted>>,
    pub(super) signers: Arc<Signers>,
    options: config::BridgeSection,
    stop: CancellationToken,
}

impl Outbound {
    /// The work of this relay.
    pub fn new(parts: &Parts) -> Self {
        Self {
            repo: parts.repo.clone(),
            readers: parts.readers.clone(),
            ingest: parts.ingest.clone(),
            rooms: Arc::clone(&parts.rooms),
            carry: parts.carry.clone(),
            wanted: parts.wanted.clone(),
            signers: Arc::clone(&parts.signers),
            options: parts.config.bridge.clone(),
            stop: parts.stop.clone(),
        }
    }

    /// Works until the relay stops.
    pub async fn run(self) {
        let mut heads = Heads::new(&self.options);
        loop {
            let worked = tokio::select! {
                worked = Box::pin(self.work(&mut heads)) => worked,
                () = self.stop.cancelled() => return,
            };
            let pausing = async {
                match &worked {
                    Ok(true) => {}
                    Ok(false) => self.has_work(heads.due()).await,
                    Err(error) => {
                        rarely!(error, %error, "blocks could not be carried to nostr; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            tokio::select! {
                () = pausing => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Waits until there is something to do, or until then.
    async fn has_work(&self, until: Instant) {
        let lost_some = async {
            match &self.wanted {
                Some(wanted) => wanted.lost_some().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.carry.stored.notified() => {}
            () = lost_some => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// One batch, or if there is none, some heads. False if there was neither.
    async fn work(&self, heads: &mut Heads) -> Result<bool, Failure> {
        let batch = self.repo.outgoing(self.options.batch_max, self.options.batch_bytes_max).await?;
        let Some(last) = batch.last().map(|one| one.number) else {
            let is_due = heads.due() <= Instant::now();
            if is_due {
                self.look_at_heads(heads).await?;
            }
            return Ok(is_due);
        };
        for one in batch.iter().filter(|one| one.origin == Origin::Event) {
            if let Some(standing) = &one.found {
                heads.note(&one.room, standing.chain.genesis, Instant::now(), rand::random_range(0.0..1.0));
            }
        }
        let events = self.events(&batch).await?;
        publish(&self.ingest, self.wanted.as_deref(), events).await?;
        children(&self.rooms, &self.repo, &self.readers, &batch).await?;
        self.repo.carried_out(last).await?;
        Ok(true)
    }

    /// What is still to be published of a batch: blocks and copies in order, then the heads of their chains.
    async fn events(&self, batch: &[Outgoing]) -> Result<Vec<Event>, Failure> {
        let mut published = self.published(batch).await?;
        let mut events = Vec::new();
        let mut heads: Vec<(&Outgoing, &Located, Draft)> = Vec::new();
        for one in batch {
            let Some(standing) = &one.found else { continue };
            for draft in self.drafts(one, standing, &mut published).await? {
                let place = (one.room.clone(), one.id);
                match draft.kind {
                    kind::HEAD if one.origin != Origin::Peer => {}
                    kind::BLOCK if one.origin != Origin::Peer && published.carried.contains(&place) => {}
                    kind::BLOCK => {
                        if published.wrapped.insert(place) {
                            events.extend(self.signers.sign(&draft));
                        }
                    }
                    kind::HEAD => {
                        heads.retain(|(other, _, head)| other.room != one.room || !is_same_chain(head, &draft));
                        heads.push((one, standing, draft));
                    }
                    // A copy that is gone was deleted.
                    _ if one.origin == Origin::Lost => {}
                    _ if published.copies.contains_key(&place) => {}
                    _ => events.extend(self.copy(one, standing, draft, &mut published).await?),
                }
            }
        }
        for (one, standing, draft) in heads {
            let Some(draft) = self.renewed(one, standing, draft, &mut published).await? else { continue };
            events.extend(self.signers.sign(&draft));
        }
        Ok(events)
    }

    /// What becomes of a block. What its copy refers to is looked up first.
    async fn drafts(
        &self,
        one: &Outgoing,
        standing: &Located,
        published: &mut Published,
    ) -> Result<Vec<Draft>, Failure> {
        let (drafts, asked) = self.wrap(one, standing, published);
        let unknown: Vec<BlockId> =
            asked.into_iter().filter(|id| !published.copies.contains_key(&(one.room.clone(), *id))).collect();
        if unknown.is_empty() {
            return Ok(drafts);
        }
        let values = unknown.iter().map(|id| format!("pico:block:{id}")).collect();
        let mut found = 0;
        let filter = lookup::tagged(&named_kinds(), None, b'i', values);
        self.each(filter, |event| found += usize::from(self.note_copy(&event, published))).await?;
        Ok(if found > 0 { self.wrap(one, standing, published).0 } else { drafts })
    }

    /// The drafts, and the blocks whose copies were asked for.
    pub(super) fn wrap(&self, one: &Outgoing, standing: &Located, published: &Published) -> (Vec<Draft>, Vec<BlockId>) {
        let mode = match self.carry.modes.of(one.room.as_str()) {
            Bridge::Off => return Default::default(),
            Bridge::Wrap => Mode::Wrap,
            Bridge::Copies => Mode::Copies,
        };
        let Some(room) = room_of(&one.room) else { return Default::default() };
        let asked = RefCell::new(Vec::new());
        let copy_of = |id: &BlockId| {
            asked.borrow_mut().push(*id);
            published.copies.get(&(one.room.clone(), *id)).copied()
        };
        let silo = Some(self.options.silo.as_str()).filter(|silo| !silo.is_empty());
        let context = Context {
            room: &room,
            chain: standing.chain.genesis,
            height: standing.before + 1,
            accepted: one.accepted,
            mode,
            silo,
            copy_of: &copy_of,
        };
        let drafts = wrap(&standing.block, &context);
        (drafts, asked.into_inner())
    }

    /// A copy as an event, unless a later block has replaced it already.
    async fn copy(
        &self,
        one: &Outgoing,
        standing: &Located,
        draft: Draft,
        published: &mut Published,
    ) -> Result<Option<Event>, Failure> {
        let draft = match Class::of(draft.kind) {
            Class::Replaceable | Class::Addressable => match self.renewed(one, standing, draft, published).await? {
                Some(draft) => draft,
                None => return Ok(None),
            },
            Class::Regular | Class::Ephemeral => draft,
        };
        let Some(event) = self.signers.sign(&draft) else { return Ok(None) };
        self.note_copy_of(&event, &draft.parts(), published);
        Ok(Some(event))
    }

    /// A replaceable draft, dated so that it replaces the event before it; none if that one is of this block or a later
    /// one.
    pub(super) async fn renewed(
        &self,
        one: &Outgoing,
        standing: &Located,
        draft: Draft,
        published: &mut Published,
    ) -> Result<Option<Draft>, Failure> {
        let Some(pubkey) = self.pubkey(&draft) else { return Ok(None) };
        let d = draft.tags.iter().find_map(|tag| match tag.as_slice() {
            [name, value, ..] if name == "d" => Some(value.clone()),
            _ => None,
        });
        let address = (pubkey, draft.kind, d.unwrap_or_default());
        let mut previous = published.newest.get(&address).copied();
        if previous.is_none()
            && let Some(stored) = self.stored(&address).await?
        {
            if self.is_later(one, standing, &stored).await? {
                return Ok(None);
            }
            previous = Some(stored.created_at);
        }
        let draft = match previous {
            Some(previous) => draft.after(previous),
            None => draft,
        };
        published.newest.insert(address, draft.created_at);
        Ok(Some(draft))
    }

    /// The stored version of a replaceable event.
    async fn stored(&self, (pubkey, kind, d): &(PublicKey, u16, String)) -> Result<Option<Verified>, Failure> {
        let filter = if Class::of(*kind) == Class::Addressable {
            lookup::tagged(&[*kind], Some(vec![*pubkey]), b'd', vec![d.clone()])
        } else {
            Filter { kinds: Some([*kind].into()), authors: Some([*pubkey].into()), ..Filter::default() }
        };
        Ok(self.ask(filter).await?.into_iter().next())
    }

    /// Whether an event of ours is about this block, or a later one of the same chain.
    async fn is_later(&self, one: &Outgoing, standing: &Located, event: &Verified) -> Result<bool, Failure> {
        let parts = parts(event, "");
        let named = match Head::parse(&parts) {
            Ok(head) => Some((head.room, head.block)),
            Err(_) => Copied::parse(&parts).map(|copied| (copied.room, copied.block)),
        };
        let Some((room, block)) = named else { return Ok(false) };
        if room.as_str() != one.room.as_str() {
            return Ok(false);
        }
        let found = self.repo.find(&one.room, block).await?;
        Ok(found.is_some_and(|(chain, before)| chain.genesis == standing.chain.genesis && before >= standing.before))
    }

    fn pubkey(&self, draft: &Draft) -> Option<PublicKey> {
        match &draft.signer {
            pico_bridge::Signer::Relay => Some(self.signers.relay()),
            pico_bridge::Signer::Author(author) => self.signers.author(author),
        }
    }

    /// All that a filter matches. Anybody can publish events that name the same blocks, newer ones without end: ours must
    /// not be behind a limit. The time that takes grows with them, what is kept does not.
    pub(super) async fn each(&self, filter: Filter, take: impl FnMut(Verified)) -> Result<(), Failure> {
        Ok(lookup::each(&self.readers, filter, u64::MAX, clock::now(), take).await??)
    }

    /// The newest that a filter matches, where others cannot hide what is looked for, or it is made again.
    pub(super) async fn ask(&self, filter: Filter) -> Result<Vec<Verified>, Failure> {
        Ok(lookup::events(&self.readers, filter, ANSWERS_MAX, clock::now()).await??)
    }
}

/// Events that an answer of the store may have. Of heads there is one by each relay for each chain looked at; a head that
/// others hide is looked up once more by its address before it is made again.
const ANSWERS_MAX: u64 = 5_000;

fn is_same_chain(one: &Draft, other: &Draft) -> bool {
    one.tags.first() == other.tags.first()
}
