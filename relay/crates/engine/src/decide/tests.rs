//! Slices of both kinds on both backends.

mod random;

use std::sync::Arc;

use bytes::Bytes;
use picofeed::{Block, Feed, Format, Secret};
use tokio::sync::broadcast;

use super::{Decision, Engine, Limits, Mode, Store};
use crate::offline::Offline;
use crate::slice::*;
use crate::store::Backend;
use crate::store::memory::Memory;
use crate::store::repo::{Bounds, Full, Merged, Part, Quota, Run};
use crate::store::state::Stored;
use crate::vanish::RelayUrls;

type Asked<T> = fn(&Context<'_>, &mut dyn View) -> Result<T, Fault>;

/// What a slice says of the expiry of a value.
type Expiry = fn(&[u8], &mut dyn View) -> Result<Option<Millis>, Fault>;

/// A slice made of closures.
struct Fake {
    name: &'static str,
    sees: Sees,
    decide: Asked<Verdict>,
    reduce: Asked<Effects>,
    trap: fn(&Signal, &mut dyn View) -> Result<Effects, Fault>,
    expires: Expiry,
    sweep: fn(&Due<'_>, &mut dyn View) -> Result<Effects, Fault>,
    weight: fn(&ChainSummary) -> Option<f64>,
}

impl Fake {
    fn collection(name: &'static str, decide: Asked<Verdict>) -> Box<dyn Slice> {
        Box::new(Self::new(name, Sees::Collection, decide))
    }

    fn new(name: &'static str, sees: Sees, decide: Asked<Verdict>) -> Self {
        Self {
            name,
            sees,
            decide,
            reduce: |_, _| Ok(Effects::default()),
            trap: |_, _| Ok(Effects::default()),
            expires: |_, _| Ok(None),
            sweep: |_, _| Ok(Effects::default()),
            weight: |_| None,
        }
    }
}

impl Slice for Fake {
    fn name(&self) -> &str {
        self.name
    }
    fn sees(&self) -> Sees {
        self.sees
    }
    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        (self.decide)(block, view)
    }
    fn reduce(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        (self.reduce)(block, view)
    }
    fn trap(&mut self, signal: &Signal, _: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        (self.trap)(signal, view)
    }
    fn expires_at(&mut self, _: &str, value: &[u8], view: &mut dyn View) -> Result<Option<Millis>, Fault> {
        (self.expires)(value, view)
    }
    fn sweep(&mut self, due: &Due<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        (self.sweep)(due, view)
    }
    fn weight(&mut self, chain: &ChainSummary, _: &mut dyn View) -> Result<Option<f64>, Fault> {
        Ok((self.weight)(chain))
    }
    fn show(&self) -> Show {
        |value| String::from_utf8_lossy(value).into_owned()
    }
}

/// `[collection, number, date]`
fn body(collection: &str, number: i64) -> Vec<u8> {
    let mut cbor = minicbor::Encoder::new(Vec::new());
    cbor.array(3).unwrap().str(collection).unwrap().i64(number).unwrap().u64(1_700_000_000_000).unwrap();
    cbor.into_writer()
}

fn secret(author: u8) -> Secret {
    Secret::ed25519([author; 32])
}

fn feed(author: u8, bodies: &[(&str, i64)]) -> Feed {
    let mut feed = Feed::new(Format::V8);
    bodies
        .iter()
        .for_each(|(collection, number)| drop(feed.append(&body(collection, *number), &secret(author)).unwrap()));
    feed
}

fn slice(feed: &Feed, from: isize, to: isize) -> Feed {
    feed.slice(from, Some(to)).unwrap()
}

fn payload(block: &Context<'_>) -> i64 {
    minicbor::Decoder::new(block.body.unwrap().payload).i64().unwrap()
}

fn number(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn put(id: &str, number: i64) -> Effects {
    let value = Some(Bytes::from(number.to_string()));
    Effects { puts: vec![Put { id: id.into(), value, expires: Expires::Ask }], ..Effects::default() }
}

/// One object that must rise by one with each block.
fn count(block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
    let name = block.body.unwrap().collection;
    let before = view.object(name, "0")?.map_or(0, |object| number(&object.value));
    Ok(if payload(block) == before + 1 {
        Verdict::Accept(put("0", before + 1))
    } else {
        Verdict::Reject(format!("expected {}", before + 1))
    })
}

/// An object for each owner, which holds when it expires.
fn own(block: &Context<'_>, _: &mut dyn View) -> Result<Verdict, Fault> {
    Ok(Verdict::Accept(put(&block.owner.to_string(), payload(block))))
}

fn backends() -> [Arc<dyn Backend>; 2] {
    [Arc::new(Memory::new(RelayUrls::default())), picorelay_testing::sqlite(RelayUrls::default())]
}

fn on(backend: &dyn Backend, slices: Vec<Box<dyn Slice>>) -> Offline {
    Offline::on(backend, slices, Bounds::NONE, Limits::default()).unwrap()
}

/// The objects of a slice, as text.
fn objects(room: &mut Offline, slice: &str) -> Vec<(String, String)> {
    let text = |stored: Stored| String::from_utf8(stored.value.to_vec()).unwrap();
    room.objects(slice).unwrap().into_iter().map(|(id, stored)| (id, text(stored))).collect()
}

fn one(id: &str, value: i64) -> Vec<(String, String)> {
    vec![(id.to_owned(), value.to_string())]
}

const NEW: Decision = Decision::Merged(Merged::New);

#[test]
fn blocks_are_taken_in_the_order_of_their_chain() {
    for backend in backends() {
        let mut room = on(&*backend, vec![Fake::collection("x", count)]);
        let all = feed(1, &[("x", 1), ("x", 2), ("x", 3), ("x", 4), ("x", 5), ("x", 6), ("x", 7), ("x", 8)]);
        let mut merged = |from, to| room.dispatch(&slice(&all, from, to), 0, Mode::Quiet).unwrap().merged.len();
        let merged = [merged(0, 1), merged(2, 3), merged(1, 2), merged(4, 6), merged(7, 8), merged(6, 7), merged(3, 4)];
        assert_eq!(merged, [1, 0, 2, 0, 0, 0, 5]);
        assert_eq!(objects(&mut room, "x"), one("0", 8));
        let again = room.dispatch(&all, 0, Mode::Quiet).unwrap();
        assert_eq!((again.merged.len(), again.decisions), (0, vec![Decision::Merged(Merged::Known); 8]));
    }
}

#[test]
fn what_is_rejected_ends_a_feed_and_changes_nothing() {
    for backend in backends() {
        let mut room = on(&*backend, vec![Fake::collection("x", count)]);
        let bad = feed(1, &[("x", 1), ("x", 5), ("x", 2)]);
        let done = room.dispatch(&bad, 0, Mode::Quiet).unwrap();
        assert_eq!(done.merged.len(), 1);
        let [NEW, Decision::Rejected(why), Decision::Rejected(after)] = done.decisions.as_slice() else { panic!() };
        assert_eq!((why, why.slice.as_str(), why.reason.as_str()), (after, "x", "expected 2"));
        assert_eq!(objects(&mut room, "x"), one("0", 1));
        let loud = room.dispatch(&bad, 0, Mode::Loud).unwrap();
        assert_eq!(loud.failure.as_deref(), Some("InvalidBlock: expected 2"));
        // Nobody knows these; they are rejected like any other.
        for (author, text, reason) in
            [(2, body("nope", 1), "unknown collection nope"), (3, b"hi".to_vec(), "not a block of a collection")]
        {
            let mut other = Feed::new(Format::V8);
            other.append(&text, &secret(author)).unwrap();
            let done = room.dispatch(&other, 0, Mode::Quiet).unwrap();
            let [Decision::Rejected(why)] = done.decisions.as_slice() else { panic!() };
            assert_eq!((why.slice.as_str(), why.reason.as_str()), ("", reason));
        }
        // A fork, and a second chain of the same author: the slice is not asked, and what it would say changes nothing.
        let mut fork = slice(&bad, 0, 1);
        fork.append(&body("x", 2), &secret(1)).unwrap();
        let main = fork.clone();
        assert_eq!(room.dispatch(&main, 0, Mode::Quiet).unwrap().merged.len(), 1);
        let mut fork = slice(&bad, 0, 1);
        fork.append(&body("x", 3), &secret(1)).unwrap();
        assert_eq!(room.dispatch(&fork, 0, Mode::Quiet).unwrap().decisions[1], Decision::Merged(Merged::Fork));
        assert_eq!(room.dispatch(&fork, 0, Mode::Loud).unwrap().failure.as_deref(), Some("diverged"));
        let second = room.dispatch(&feed(1, &[("x", 3)]), 0, Mode::Quiet).unwrap();
        assert_eq!(second.decisions, [Decision::Merged(Merged::SecondGenesis)]);
        assert_eq!(objects(&mut room, "x"), one("0", 2));
    }
}

#[test]
fn of_slices_that_see_everything_one_must_accept_and_none_may_veto() {
    let all = |name, decide: Asked<Verdict>| -> Box<dyn Slice> {
        Box::new(Fake {
            reduce: |_, view| {
                let before = view.object("n", "")?.map_or(0, |object| number(&object.value));
                Ok(put("", before + 1))
            },
            ..Fake::new(name, Sees::Everything, decide)
        })
    };
    let no = |_: &Context<'_>, _: &mut dyn View| Ok(Verdict::Reject("no".into()));
    let yes = |_: &Context<'_>, _: &mut dyn View| Ok(Verdict::Accept(Effects::default()));
    let pass = |_: &Context<'_>, _: &mut dyn View| Ok(Verdict::Pass);
    let veto = |_: &Context<'_>, _: &mut dyn View| Ok(Verdict::Veto("never".into()));
    let fails = |_: &Context<'_>, _: &mut dyn View| Err(Fault { kind: FaultKind::Threw, message: "kaboom".into() });
    let anything = feed(1, &[("?", 1)]);
    for (slices, expected) in [
        (vec![all("list", no), all("n", yes)], Ok(1)),
        (vec![all("list", fails), all("n", yes)], Ok(1)),
        (vec![all("list", pass), all("n", pass)], Err("no slice accepts it")),
        (vec![all("list", pass), all("n", no)], Err("no")),
        (vec![all("list", fails), all("n", no)], Err("kaboom")),
        (vec![all("n", yes), all("list", veto)], Err("never")),
    ] {
        let mut room = Offline::new(slices, Limits::default()).unwrap();
        let done = room.dispatch(&anything, 0, Mode::Quiet).unwrap();
        match (expected, done.decisions.as_slice()) {
            (Ok(n), [NEW]) => assert_eq!(objects(&mut room, "n"), one("", n)),
            (Err(reason), [Decision::Rejected(why)]) => {
                assert_eq!(why.reason, reason);
                assert_eq!(objects(&mut room, "n"), []);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut room = Offline::new(vec![all("list", no), all("n", yes)], Limits::default()).unwrap();
    let loud = room.dispatch(&anything, 0, Mode::Loud).unwrap();
    assert_eq!((loud.merged.len(), loud.failure.as_deref()), (0, Some("InvalidBlock: no")));
}

#[test]
fn signals_reach_every_slice() {
    for backend in backends() {
        let x = Fake::collection("x", |block, view| {
            let mut verdict = count(block, view)?;
            if let (Verdict::Accept(effects), 0) = (&mut verdict, payload(block) % 2) {
                let signal = Signal { code: "even".into(), payload: payload(block).to_string().into() };
                effects.signals.push(signal);
            }
            Ok(verdict)
        });
        let y = Box::new(Fake {
            trap: |signal, view| {
                let before = view.object("y", "0")?.map_or(0, |object| number(&object.value));
                Ok(put("0", before + number(&signal.payload)))
            },
            ..Fake::new("y", Sees::Collection, |_, _| Ok(Verdict::Reject("signals only".into())))
        });
        let mut room = on(&*backend, vec![x, y]);
        let done = room.dispatch(&feed(1, &[("x", 1), ("x", 2), ("x", 3), ("x", 4)]), 0, Mode::Quiet).unwrap();
        assert_eq!(done.merged.len(), 4);
        assert_eq!((objects(&mut room, "x"), objects(&mut room, "y")), (one("0", 4), one("0", 6)));
    }
}

#[test]
fn slices_that_signal_without_end_are_stopped() {
    let mut loud = Fake::new("x", Sees::Everything, |_, _| {
        let signal = Signal { code: "again".into(), payload: Bytes::new() };
        Ok(Verdict::Accept(Effects { signals: vec![signal], ..Effects::default() }))
    });
    loud.trap = |signal, _| Ok(Effects { signals: vec![signal.clone()], ..Effects::default() });
    let mut room = Offline::new(vec![Box::new(loud)], Limits::default()).unwrap();
    let done = room.dispatch(&feed(1, &[("x", 1)]), 0, Mode::Quiet).unwrap();
    let [Decision::Rejected(why)] = done.decisions.as_slice() else { panic!() };
    assert_eq!(why.fault, Some(FaultKind::Result));
    assert_eq!(room.engine().standing().objects, 0);
}

#[test]
fn keys_find_blocks_until_they_are_gone() {
    for backend in backends() {
        let named = Fake::collection("x", |block, view| {
            let key = Bytes::from(payload(block).to_string());
            if view.lookup("x", &key)?.is_some() {
                return Ok(Verdict::Reject("taken".into()));
            }
            Ok(Verdict::Accept(Effects { index: vec![key], ..put(&block.owner.to_string(), payload(block)) }))
        });
        let mut room = on(&*backend, vec![named]);
        let both = [feed(1, &[("x", 7)]), feed(2, &[("x", 7)])];
        // In one go, so that the second sees what is not committed yet.
        let blocks: Vec<Block> = both.iter().flat_map(Feed::blocks).cloned().collect();
        let outcome = room.engine().dispatch(&blocks, 0, Mode::Quiet).unwrap();
        assert!(matches!(outcome.decisions.as_slice(), [NEW, Decision::Rejected(_)]), "{outcome:?}");
        let scope = room.scope().clone();
        let found = room.engine().reader().lookup(&scope, "x", b"7").unwrap();
        assert_eq!(found, Some(blocks[0].id()));
        assert_eq!(room.engine().reader().lookup(&scope, "x", b"8").unwrap(), None);
    }
}

/// Objects that say themselves when they expire.
fn expiring(name: &'static str) -> Box<dyn Slice> {
    Box::new(Fake {
        expires: |value, _| Ok(Some(number(value))),
        ..Fake::new(name, Sees::Collection, |block, view| own(block, view))
    })
}

#[test]
fn objects_expire_and_take_their_chains_along() {
    for backend in backends() {
        let mut room = on(&*backend, vec![expiring("x")]);
        let [a, b] = [feed(1, &[("x", 900)]), feed(2, &[("x", 5000)])];
        for feed in [&a, &b] {
            assert_eq!(room.dispatch(feed, 1, Mode::Quiet).unwrap().merged.len(), 1);
        }
        let scope = room.scope().clone();
        let chain = |feed: &Feed| feed.blocks()[0].id();
        assert_eq!(room.engine().reader().references(&scope, &chain(&a)).unwrap(), 1);
        assert_eq!(room.gc(800).unwrap(), []);
        let gone = room.gc(900).unwrap();
        assert_eq!(gone.iter().map(|chain| chain.genesis).collect::<Vec<_>>(), [chain(&a)]);
        assert_eq!(objects(&mut room, "x"), one(&secret(2).key().to_string(), 5000));
        // It does not come back, and neither does what follows it.
        let mut longer = a.clone();
        longer.append(&body("x", 99_000), &secret(1)).unwrap();
        assert_eq!(
            room.dispatch(&longer, 1000, Mode::Quiet).unwrap().decisions,
            [Decision::Evicted, Decision::Evicted]
        );
        // A new chain of the same author is welcome.
        assert_eq!(room.dispatch(&feed(1, &[("x", 7000)]), 1000, Mode::Quiet).unwrap().merged.len(), 1);
        assert_eq!(room.gc(9_000).unwrap().len(), 2);
        assert_eq!(objects(&mut room, "x"), []);
        assert_eq!(room.engine().standing().bytes, 0);
        assert_eq!(room.engine().next_due(), None);
    }
}

#[test]
fn what_expired_before_a_block_is_gone_when_it_is_decided() {
    let mut room = Offline::new(vec![expiring("x")], Limits::default()).unwrap();
    let all = feed(1, &[("x", 900), ("x", 5000)]);
    room.dispatch(&slice(&all, 0, 1), 1, Mode::Quiet).unwrap();
    let late = room.dispatch(&slice(&all, 1, 2), 1000, Mode::Quiet).unwrap();
    assert_eq!(late.decisions, [Decision::Merged(Merged::Orphan)], "its chain is gone");
}

#[test]
fn objects_latch_onto_others() {
    for backend in backends() {
        // `c` lives as long as the object of its owner in `p`.
        let c = Box::new(Fake {
            expires: |value, view| Ok(view.expiry("p", std::str::from_utf8(value).unwrap())?),
            ..Fake::new("c", Sees::Collection, |block, _| {
                let put = Put {
                    id: block.block.id().to_string(),
                    value: Some(block.owner.to_string().into()),
                    expires: Expires::Ask,
                };
                Ok(Verdict::Accept(Effects { puts: vec![put], ..Effects::default() }))
            })
        });
        let mut room = on(&*backend, vec![expiring("p"), c]);
        let all = feed(1, &[("p", 1000), ("c", 0), ("p", 2000)]);
        assert_eq!(room.dispatch(&slice(&all, 0, 2), 1, Mode::Quiet).unwrap().merged.len(), 2);
        let scope = room.scope().clone();
        let chain = all.blocks()[0].id();
        assert_eq!(room.engine().reader().references(&scope, &chain).unwrap(), 2);
        // The parent is extended: nothing goes at the first time.
        assert_eq!(room.dispatch(&slice(&all, 2, 3), 2, Mode::Quiet).unwrap().merged.len(), 1);
        assert_eq!(room.gc(1500).unwrap(), []);
        assert_eq!((objects(&mut room, "p").len(), objects(&mut room, "c").len()), (1, 1));
        assert_eq!(room.gc(2001).unwrap().len(), 1);
        assert_eq!((objects(&mut room, "p"), objects(&mut room, "c")), (vec![], vec![]));
    }
}

#[test]
fn the_timer_set_last_waits_for_the_next_millisecond() {
    // gc-latch of store-v3.json.
    let c = Box::new(Fake {
        expires: |value, view| Ok(view.expiry("p", std::str::from_utf8(value).unwrap())?),
        ..Fake::new("c", Sees::Collection, |block, _| {
            let put = Put { id: "c".into(), value: Some(block.owner.to_string().into()), expires: Expires::Ask };
            Ok(Verdict::Accept(Effects { puts: vec![put], ..Effects::default() }))
        })
    });
    let mut room = Offline::new(vec![expiring("p"), c], Limits::default()).unwrap();
    room.dispatch(&feed(1, &[("p", 1000), ("c", 0)]), 1, Mode::Quiet).unwrap();
    assert_eq!(room.gc(1000).unwrap(), []);
    assert_eq!((objects(&mut room, "p").len(), objects(&mut room, "c").len()), (0, 1));
    assert_eq!(room.gc(1001).unwrap().len(), 1);
    assert_eq!(objects(&mut room, "c"), []);
}

#[test]
fn latches_in_a_circle_never_expire() {
    let circle = |name, decide, expires| -> Box<dyn Slice> {
        Box::new(Fake { expires, ..Fake::new(name, Sees::Collection, decide) })
    };
    let decide = |block: &Context<'_>, _: &mut dyn View| Ok(Verdict::Accept(put("0", payload(block))));
    let a = circle("a", decide, |_, view| Ok(view.expiry("b", "0")?.map(|at| at + 1)));
    let b = circle("b", decide, |_, view| Ok(view.expiry("a", "0")?.map(|at| at + 1)));
    let mut room = Offline::new(vec![a, b], Limits::default()).unwrap();
    room.dispatch(&feed(1, &[("a", 1), ("b", 1), ("a", 2)]), 1, Mode::Quiet).unwrap();
    assert_eq!(objects(&mut room, "a"), one("0", 2));
    let lost = Fake { expires: |_, view| Ok(view.expiry("nowhere", "0")?), ..Fake::new("x", Sees::Collection, decide) };
    let mut room = Offline::new(vec![Box::new(lost)], Limits::default()).unwrap();
    let done = room.dispatch(&feed(1, &[("x", 1)]), 1, Mode::Quiet).unwrap();
    let [Decision::Rejected(why)] = done.decisions.as_slice() else { panic!() };
    assert_eq!(why.reason, "cannot latch: there is no slice nowhere");
}

#[test]
fn marks_call_back_and_drop_chains() {
    for backend in backends() {
        let list = Box::new(Fake {
            reduce: |block, view| {
                let before = view.object("list", "")?.map_or(0, |object| number(&object.value));
                let mark = Mark { at: 1000 + 500 * block.height as Millis, payload: block.height.to_string().into() };
                Ok(Effects { marks: vec![mark], ..put("", before + 1) })
            },
            sweep: |due, view| {
                assert_eq!(due.block.map(Block::id), Some(due.id));
                assert!(due.now > due.at);
                let before = view.object("list", "")?.map_or(0, |object| number(&object.value));
                let drops = (due.payload == b"1").then_some(Removal { chain: due.chain, stop_at: None });
                Ok(Effects { drops: drops.into_iter().collect(), ..put("", before - 1) })
            },
            ..Fake::new("list", Sees::Everything, |_, _| Ok(Verdict::Accept(Effects::default())))
        });
        let mut room = on(&*backend, vec![list]);
        room.dispatch(&feed(1, &[("", 1), ("", 2)]), 1, Mode::Quiet).unwrap();
        assert_eq!(objects(&mut room, "list"), one("", 2));
        assert_eq!(room.gc(999).unwrap(), []);
        assert_eq!(room.gc(1000).unwrap(), []);
        assert_eq!(objects(&mut room, "list"), one("", 1));
        assert_eq!(room.gc(9000).unwrap().len(), 1);
        assert_eq!(objects(&mut room, "list"), one("", 0));
    }
}

/// Accepts once the object of the block's owner in `p` is there.
fn patient() -> Box<dyn Slice> {
    Fake::collection("x", |block, view| {
        if view.object("p", &block.owner.to_string())?.is_none() && view.object("p", "all")?.is_none() {
            return Ok(Verdict::Postpone { after: 1000, reason: "later".into(), retries: 2 });
        }
        own(block, view)
    })
}

#[test]
fn postponed_blocks_are_asked_about_again_also_after_a_restart() {
    for backend in backends() {
        let open = Fake::collection("p", |block, _| Ok(Verdict::Accept(put("all", payload(block)))));
        let mut room = on(&*backend, vec![patient(), open]);
        let late = feed(1, &[("x", 5)]);
        let from = [crate::store::carry::Origin::Event];
        let dispatch =
            |room: &mut Offline, now| room.engine().dispatch_carried(late.blocks(), &from, now, Mode::Quiet).unwrap();
        assert_eq!(dispatch(&mut room, 10).decisions, [Decision::Postponed(1010)]);
        assert_eq!(dispatch(&mut room, 20).decisions, [Decision::Postponed(1010)], "once");
        assert_eq!(objects(&mut room, "x"), []);
        drop(room);
        let open = Fake::collection("p", |block, _| Ok(Verdict::Accept(put("all", payload(block)))));
        let mut room = on(&*backend, vec![patient(), open]);
        assert_eq!(room.engine().next_due(), Some(1010));
        assert_eq!(room.tick(1009).unwrap(), []);
        assert_eq!(room.tick(1010).unwrap(), [], "it is postponed once more");
        assert_eq!(room.engine().next_due(), Some(2010));
        room.dispatch(&feed(2, &[("p", 1)]), 1500, Mode::Quiet).unwrap();
        assert_eq!(room.tick(2010).unwrap(), late.blocks());
        assert_eq!(objects(&mut room, "x").len(), 1);
        assert_eq!(room.engine().next_due(), None);
        // It came in an event, and goes out as that.
        let outgoing = room.engine().reader().outgoing(9, usize::MAX).unwrap();
        let outgoing: Vec<_> = outgoing.iter().map(|one| (one.id, one.origin)).collect();
        assert_eq!(outgoing, [(late[0].id(), from[0])]);
    }
}

#[test]
fn nothing_happens_while_the_slices_are_not_loaded() {
    for backend in backends() {
        let rules = || vec![patient(), expiring("e")];
        let late = feed(1, &[("x", 5)]);
        let mut room = on(&*backend, rules());
        room.dispatch(&late, 10, Mode::Quiet).unwrap();
        room.dispatch(&feed(2, &[("e", 50)]), 10, Mode::Quiet).unwrap();
        assert_eq!(objects(&mut room, "e").len(), 1);
        drop(room);
        let mut room = on(&*backend, Vec::new());
        assert_eq!(room.engine().next_due(), None);
        assert_eq!(room.tick(1_000_000).unwrap(), []);
        let came = feed(3, &[("e", 5_000_000), ("e", 6_000_000)]);
        let done = room.dispatch(&came, 1_000_000, Mode::Quiet).unwrap();
        assert_eq!(done.decisions, [Decision::NotLoaded, Decision::NotLoaded]);
        assert_eq!(objects(&mut room, "e").len(), 1, "its time has come, but nobody says so");
        drop(room);
        let mut room = on(&*backend, rules());
        room.tick(1_000_001).unwrap();
        assert_eq!(objects(&mut room, "e"), []);
        assert_eq!(room.engine().next_due(), Some(1_001_001), "it is postponed once more");
        let done = room.dispatch(&came, 1_000_001, Mode::Quiet).unwrap();
        assert_eq!(done.merged, came.blocks());
    }
}

#[test]
fn a_block_is_postponed_only_so_often_and_only_so_many_are() {
    for backend in backends() {
        let limits = Limits { postponed_blocks_max: 2, ..Limits::default() };
        let mut room = Offline::on(&*backend, vec![patient()], Bounds::NONE, limits).unwrap();
        let blocks: Vec<Block> = (1..=3).flat_map(|author| feed(author, &[("x", 5)]).into_blocks()).collect();
        let outcome = room.engine().dispatch(&blocks, 0, Mode::Quiet).unwrap();
        assert!(
            matches!(
                outcome.decisions.as_slice(),
                [Decision::Postponed(1000), Decision::Postponed(1000), Decision::Rejected(_)]
            ),
            "{outcome:?}"
        );
        assert_eq!(room.tick(1000).unwrap(), []);
        let (_, outcome) = room.engine().tick(2000).unwrap();
        assert!(outcome.decisions.iter().all(|decision| matches!(decision, Decision::Rejected(_))), "{outcome:?}");
        assert_eq!(room.engine().next_due(), None);
    }
}

#[test]
fn a_block_that_the_store_refuses_changes_no_state() {
    for backend in backends() {
        let bounds = Bounds { blocks_max: 2, ..Bounds::NONE };
        let limits = Limits::default();
        let mut room =
            Offline::on(&*backend, vec![Fake::collection("x", count), expiring("y")], bounds, limits).unwrap();
        let blocks = [feed(1, &[("x", 1), ("x", 2), ("x", 3)]), feed(2, &[("x", 3)])];
        let blocks: Vec<Block> = blocks.iter().flat_map(Feed::blocks).cloned().collect();
        let outcome = room.engine().dispatch(&blocks, 0, Mode::Quiet).unwrap();
        let full = Decision::Merged(Merged::OverQuota(Quota::Blocks));
        assert_eq!(outcome.decisions, [NEW, NEW, full.clone(), full]);
        assert_eq!(objects(&mut room, "x"), one("0", 2));
    }
}

#[test]
fn the_lesser_chains_go_when_a_room_is_full() {
    for (backend, weighs) in backends().into_iter().flat_map(|backend| [(backend.clone(), false), (backend, true)]) {
        // With the hook, chains of others' interest are worth more.
        let weight = if weighs { |chain: &ChainSummary| Some(chain.blocks as f64) } else { |_: &ChainSummary| None };
        let slice = Box::new(Fake { weight, ..Fake::new("x", Sees::Collection, own) });
        let bounds = Bounds { blocks_max: 4, full: Full::Discard, ..Bounds::NONE };
        let backend = if weighs { picorelay_testing::sqlite(RelayUrls::default()) } else { backend };
        let mut room = Offline::on(&*backend, vec![slice], bounds, Limits::default()).unwrap();
        for feed in [feed(1, &[("x", 1), ("x", 2)]), feed(2, &[("x", 1)]), feed(3, &[("x", 1)])] {
            room.dispatch(&feed, 0, Mode::Quiet).unwrap();
        }
        let outcome = room.engine().dispatch(feed(4, &[("x", 1)]).blocks(), 0, Mode::Quiet).unwrap();
        assert_eq!(outcome.decisions, [NEW]);
        // The oldest, or the shortest one that is oldest.
        let gone = secret(if weighs { 2 } else { 1 }).key();
        assert_eq!(outcome.evicted.iter().map(|chain| chain.owner).collect::<Vec<_>>(), [gone]);
        let owners: Vec<String> = objects(&mut room, "x").into_iter().map(|(id, _)| id).collect();
        assert!(!owners.contains(&gone.to_string()) && owners.len() == 3, "its objects went with it");
        // It may come back: it did not expire.
        let back = if weighs { feed(2, &[("x", 1)]) } else { feed(1, &[("x", 1)]) };
        assert_eq!(room.dispatch(&back, 0, Mode::Quiet).unwrap().merged.len(), 1);
    }
}

#[test]
fn a_state_has_its_limit() {
    for backend in backends() {
        let limits = Limits { state_bytes_max: 150, object_bytes_max: 100, ..Limits::default() };
        let sized = Fake::collection("x", |block, _| {
            let len = usize::try_from(payload(block)).unwrap();
            let put = Put {
                id: block.owner.to_string()[..4].into(),
                value: (len > 0).then(|| vec![0; len].into()),
                expires: Expires::Never,
            };
            Ok(Verdict::Accept(Effects { puts: vec![put], ..Effects::default() }))
        });
        let mut room = Offline::on(&*backend, vec![sized], Bounds::NONE, limits).unwrap();
        let mut tried = |author, sizes: &[i64]| {
            let bodies: Vec<(&str, i64)> = sizes.iter().map(|size| ("x", *size)).collect();
            room.dispatch(&feed(author, &bodies), 0, Mode::Quiet).unwrap().merged.len()
        };
        assert_eq!(tried(1, &[101]), 0, "the object is too large");
        assert_eq!(tried(1, &[96, 90]), 2);
        assert_eq!(tried(2, &[53]), 0, "the room is full");
        assert_eq!(tried(2, &[52]), 1);
        assert_eq!(tried(3, &[0]), 1, "nothing needs no space");
        assert_eq!(room.engine().standing().bytes, 94 + 56);
    }
}

#[test]
fn native_slices() {
    let pace = Pace { blocks_per_minute: 60, burst: 3 };
    let slices = ["rate", "archive"].map(|name| native(name, pace).unwrap());
    let mut room = Offline::new(slices.into(), Limits::default()).unwrap();
    let all = feed(1, &[("", 1), ("", 2), ("", 3), ("", 4), ("", 5)]);
    assert_eq!(room.dispatch(&all, 1_000_000, Mode::Quiet).unwrap().merged.len(), 3);
    assert_eq!(room.dispatch(&all, 1_001_000, Mode::Quiet).unwrap().merged.len(), 1);
    assert_eq!(room.dispatch(&feed(2, &[("", 1)]), 1_001_000, Mode::Quiet).unwrap().merged.len(), 1);
    assert_eq!(room.objects("rate").unwrap().len(), 2);
    assert_eq!(room.gc(1_010_000).unwrap(), []);
    assert_eq!(room.objects("rate").unwrap().len(), 0, "nobody is remembered for long");
    let (_, usage) = room.engine().reader().rooms().unwrap().pop().unwrap();
    assert_eq!(usage.blocks, 5);
}

#[test]
fn a_chain_can_be_its_authors_alone() {
    let slices = ["owners", "archive"].map(|name| native(name, Pace { blocks_per_minute: 1, burst: 1 }).unwrap());
    let mut room = Offline::new(slices.into(), Limits::default()).unwrap();
    let own = feed(1, &[("", 1), ("", 2)]);
    let mut strange = own.clone();
    strange.append(b"in your place", &Secret::ed25519([2; 32])).unwrap();
    room.dispatch(&own, 0, Mode::Quiet).unwrap();
    let refused = room.dispatch(&strange, 0, Mode::Quiet).unwrap();
    assert!(matches!(&refused.decisions[2], Decision::Rejected(why) if why.slice == "owners"), "{refused:?}");
    let more = feed(1, &[("", 1), ("", 2), ("", 3)]);
    assert_eq!(room.dispatch(&more, 0, Mode::Quiet).unwrap().merged.len(), 1, "its place is free");
}

/// Body of generation 1.
fn packed(fields: &[(&str, rmpv::Value)]) -> Vec<u8> {
    let map = fields.iter().map(|(key, value)| (rmpv::Value::from(*key), value.clone())).collect();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &rmpv::Value::Map(map)).unwrap();
    bytes
}

#[test]
fn tasks_are_shared() {
    let mut room =
        Offline::new(vec![native("tasks", Pace { blocks_per_minute: 1, burst: 1 }).unwrap()], Limits::default())
            .unwrap();
    let mut alice = Feed::new(Format::V3);
    let task = |title: &str, date: f64| {
        packed(&[
            ("title", title.into()),
            ("status", "todo".into()),
            ("type", "task".into()),
            ("seq", 0.into()),
            ("date", date.into()),
        ])
    };
    let update = |task: &Block, status: &str| {
        let id = rmpv::Value::Binary(task.id().as_ref().to_vec());
        packed(&[
            ("taskId", id),
            ("status", status.into()),
            ("type", "update".into()),
            ("seq", 0.into()),
            ("date", 60.0.into()),
        ])
    };
    let plants = alice.append(&task("Water plants", 50.0), &secret(1)).unwrap();
    let mut bob = Feed::new(Format::V3);
    bob.append(&update(&plants, "done"), &secret(2)).unwrap();
    let reason = |room: &mut Offline, author: u8, body: &[u8]| {
        let mut feed = Feed::new(Format::V3);
        feed.append(body, &secret(author)).unwrap();
        match room.dispatch(&feed, 100, Mode::Quiet).unwrap().decisions.as_slice() {
            [Decision::Rejected(why)] => why.reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(&mut room, 2, &update(&plants, "done")), "no such task");
    assert_eq!(room.dispatch(&alice, 100, Mode::Quiet).unwrap().merged.len(), 1);
    assert_eq!(room.dispatch(&bob, 100, Mode::Quiet).unwrap().merged.len(), 1);
    for (body, expected) in [
        (update(&plants, "done"), "it has that status already"),
        (update(&plants, "eaten"), "no such status"),
        (task("", 50.0), "a task must have a title"),
        (task("Fly", 101.0), "a task from the future"),
        (packed(&[("type", "chat".into())]), "no slice accepts it"),
        (b"text".to_vec(), "no slice accepts it"),
    ] {
        assert_eq!(reason(&mut room, 3, &body), expected);
    }
    let alice = secret(1).key();
    let expected =
        format!(r#"{{"title":"Water plants","status":"done","author":"{alice}","created":50.0,"updated":60.0}}"#);
    assert_eq!(objects(&mut room, "tasks"), [(plants.id().to_string(), expected)]);
}

#[test]
fn those_who_watch_hear_every_change_in_order() {
    let backend = picorelay_testing::sqlite(RelayUrls::default());
    let (updates, mut watch) = broadcast::channel(10);
    let store = Store::own(backend.reader().unwrap(), backend.writer().unwrap());
    let scope = crate::store::repo::RoomName::main().into();
    let mut engine = Engine::new(scope, vec![expiring("x")], store, Bounds::NONE, Limits::default(), updates).unwrap();
    engine.dispatch(feed(1, &[("x", 500)]).blocks(), 1, Mode::Quiet).unwrap();
    engine.dispatch(feed(2, &[("x", 900)]).blocks(), 1, Mode::Quiet).unwrap();
    engine.gc(600).unwrap();
    let mut seen = Vec::new();
    while let Ok(updates) = watch.try_recv() {
        seen.extend(updates.iter().map(|update| (update.id[..2].to_owned(), update.value.clone())));
    }
    let id = |author| secret(author).key().to_string()[..2].to_owned();
    assert_eq!(seen, [(id(1), Some("500".into())), (id(2), Some("900".into())), (id(1), None)]);
}

#[test]
fn blocks_that_are_stored_can_be_loaded_with_their_chain() {
    let mut room = Offline::new(vec![Fake::collection("x", count)], Limits::default()).unwrap();
    let all = feed(1, &[("x", 1), ("x", 2)]);
    room.dispatch(&all, 0, Mode::Quiet).unwrap();
    let room_name = room.scope().room.clone();
    let run = Run::Owned(Format::V8, secret(1).key());
    assert_eq!(room.engine().reader().load(&room_name, run, Part::ALL).unwrap().unwrap(), all);
}
