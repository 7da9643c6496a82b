//! Random blocks at random times: both backends agree, a restart at any point changes nothing, and computing the state
//! anew gives the same. `PICORELAY_ENGINE_SEED` tells one story again.

#![allow(clippy::cast_possible_truncation, clippy::disallowed_methods, reason = "small numbers, and a seed")]

use picofeed::Id;

use super::*;
use crate::store::carry::Origin;
use crate::store::repo::Chain;
use crate::store::state::{Edit, Scope, Standing, Step};

/// Stories told in an ordinary run.
const STORIES: u64 = 30;

struct Dice(u64);

impl Dice {
    fn below(&mut self, max: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % max
    }
}

/// Collections that count together, that expire, that latch, that wait for another; and one that sees everything and marks.
fn rules() -> Vec<Box<dyn Slice>> {
    let latched = Fake {
        expires: |value, view| Ok(view.expiry("own", std::str::from_utf8(value).unwrap())?),
        ..Fake::new("latched", Sees::Collection, |block, view| {
            if view.object("own", &block.owner.to_string())?.is_none() {
                return Ok(Verdict::Reject("nothing to latch onto".into()));
            }
            let value = Some(block.owner.to_string().into());
            let put = Put { id: format!("{}", payload(block) % 7), value, expires: Expires::Ask };
            Ok(Verdict::Accept(Effects { puts: vec![put], ..Effects::default() }))
        })
    };
    let patient = Fake {
        expires: |value, _| Ok(Some(number(value))),
        ..Fake::new("patient", Sees::Collection, |block, view| {
            if view.object("own", &block.owner.to_string())?.is_none() {
                return Ok(Verdict::Postpone { after: 30, reason: "later".into(), retries: 3 });
            }
            own(block, view)
        })
    };
    let marks = Fake {
        reduce: |block, view| {
            let before = view.object("marks", "")?.map_or(0, |object| number(&object.value));
            let mark = Mark { at: payload(block), payload: block.height.to_string().into() };
            let signal = Signal { code: "marked".into(), payload: "3".into() };
            Ok(Effects { marks: vec![mark], signals: vec![signal], ..put("", before + 1) })
        },
        sweep: |due, view| {
            let before = view.object("marks", "")?.map_or(0, |object| number(&object.value));
            Ok(put("", before + 1000 + number(due.payload)))
        },
        ..Fake::new("marks", Sees::Everything, |block, _| {
            let mine = block.body.is_some_and(|body| body.collection == "m");
            Ok(if mine { Verdict::Accept(Effects::default()) } else { Verdict::Pass })
        })
    };
    let shared = Fake {
        trap: |signal, view| {
            let before = view.object("shared", "t")?.map_or(0, |object| number(&object.value));
            Ok(put("t", before + number(&signal.payload)))
        },
        ..Fake::new("shared", Sees::Collection, |block, view| {
            let before = view.object("shared", "0")?.map_or(0, |object| number(&object.value));
            if payload(block) % 3 == 0 {
                return Ok(Verdict::Reject("three".into()));
            }
            let index = vec![Bytes::from(format!("{}", payload(block) % 5))];
            Ok(Verdict::Accept(Effects { index, ..put("0", before * 2 % 1_000_003 + payload(block)) }))
        })
    };
    vec![expiring("own"), Box::new(latched), Box::new(patient), Box::new(marks), Box::new(shared)]
}

const NAMES: [&str; 5] = ["own", "latched", "patient", "marks", "shared"];

/// Everything there is to see.
#[derive(Debug, PartialEq)]
struct Seen {
    objects: Vec<Vec<(String, Bytes, Option<Millis>)>>,
    keys: Vec<Option<Id>>,
    chains: Vec<(Chain, u64)>,
    standing: Option<Standing>,
    next_due: Option<Millis>,
}

fn see(room: &mut Offline, scope: &Scope) -> Seen {
    let reader = room.engine().reader();
    let list = |name: &&str| reader.objects(scope, name, None, usize::MAX, usize::MAX).unwrap();
    let plain = |(id, stored): (String, Stored)| (id, stored.value, stored.expires);
    let objects = NAMES.iter().map(list).map(|objects| objects.into_iter().map(plain).collect()).collect();
    let keys = (0..5).map(|key| reader.lookup(scope, "shared", key.to_string().as_bytes()).unwrap()).collect();
    let chains = reader.chains(&scope.room, Format::V8, None, usize::MAX).unwrap();
    let refer = |chain: Chain| {
        let references = reader.references(scope, &chain.genesis).unwrap();
        (Chain { changed: 0, ..chain }, references)
    };
    let chains = chains.into_iter().map(refer).collect();
    let standing = reader.standing(scope).unwrap();
    Seen { objects, keys, chains, standing, next_due: reader.next_due(scope).unwrap() }
}

#[test]
fn any_story_ends_the_same() {
    let seed = std::env::var("PICORELAY_ENGINE_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in seed.map_or(0..STORIES, |seed| seed..seed + 1) {
        eprintln!("PICORELAY_ENGINE_SEED={seed}");
        tell(seed);
    }
}

fn tell(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (memory, disk) = (Memory::new(RelayUrls::default()), picorelay_testing::sqlite(RelayUrls::default()));
    let limits = Limits {
        batch_blocks_max: 1 + dice.below(5) as usize,
        batch_timers_max: 2 + dice.below(4) as usize,
        cache_bytes_max: [0, 600, 1 << 20][dice.below(3) as usize],
        ..Limits::default()
    };
    let open = |backend: &dyn Backend| Offline::on(backend, rules(), Bounds::NONE, limits).unwrap();
    let mut rooms = [open(&memory), open(&*disk)];
    let scope = rooms[0].scope().clone();
    let mut feeds: Vec<Feed> = (0..6).map(|_| Feed::new(Format::V8)).collect();
    let mut now: Millis = 5;
    for _ in 0..80 {
        now += 10 * dice.below(3) as Millis;
        match dice.below(12) {
            0 => rooms = [open(&memory), open(&*disk)],
            1 => {
                let gone = rooms.each_mut().map(|room| room.gc(now).unwrap());
                let [left, right] = gone.map(|gone| gone.iter().map(|chain| chain.genesis).collect::<Vec<_>>());
                assert_eq!(left, right);
            }
            2 => {
                let [left, right] = rooms.each_mut().map(|room| room.tick(now).unwrap());
                assert_eq!(left, right);
            }
            _ => {
                let author = dice.below(6) as usize;
                // Whoever was rejected or evicted begins anew, or goes on in vain.
                if dice.below(4) == 0 {
                    feeds[author] = rooms[0]
                        .engine()
                        .reader()
                        .load(&scope.room, Run::Owned(Format::V8, secret(author as u8).key()), Part::ALL)
                        .unwrap()
                        .unwrap_or_else(|| Feed::new(Format::V8));
                }
                let from = feeds[author].len() as u64;
                for _ in 0..=dice.below(4) {
                    let collection = ["own", "own", "latched", "patient", "m", "shared", "?"][dice.below(7) as usize];
                    let number = now - 5 + 10 * dice.below(20) as i64;
                    feeds[author].append(&body(collection, number), &secret(author as u8)).unwrap();
                }
                let sent = if dice.below(2) == 0 {
                    feeds[author].clone()
                } else {
                    slice(&feeds[author], from as isize, feeds[author].len() as isize)
                };
                let [left, right] = rooms.each_mut().map(|room| room.dispatch(&sent, now, Mode::Quiet).unwrap());
                assert_eq!(left, right);
            }
        }
        let [left, right] = rooms.each_mut().map(|room| see(room, &scope));
        assert_eq!(left, right);
        let sum =
            |seen: &Seen| seen.objects.iter().flatten().map(|(id, value, _)| id.len() + value.len()).sum::<usize>();
        assert!(left.standing.unwrap_or_default().bytes >= sum(&left) as u64);
    }
    rooms.iter_mut().for_each(|room| drop(room.tick(now).unwrap()));
    let before = see(&mut rooms[0], &scope);
    for (backend, name) in [(&memory as &dyn Backend, "memory"), (&*disk, "sqlite")] {
        let store = Store::own(backend.reader().unwrap(), backend.writer().unwrap());
        let (updates, _) = broadcast::channel(1);
        let engine = Engine::new(scope.clone(), rules(), store, Bounds::NONE, limits, updates).unwrap();
        let replayed = engine.replay(now, false).unwrap();
        assert_eq!((replayed.changed, replayed.rejected, replayed.adopted), (0, 0, true), "{name}: {replayed:?}");
        assert_eq!(replayed.objects, before.objects.iter().map(Vec::len).sum::<usize>() as u64, "{name}");
        let mut again = open(backend);
        let after = see(&mut again, &scope);
        assert_eq!(
            (&after.objects, &after.keys, &after.chains),
            (&before.objects, &before.keys, &before.chains),
            "{name}"
        );
        assert_eq!(after.next_due, before.next_due);
        // Nothing is left of the shadow, and time still passes.
        let shadow = Scope { shadow: true, ..scope.clone() };
        assert_eq!(again.engine().reader().standing(&shadow).unwrap(), None);
        again.gc(now + 100_000).unwrap();
        let last = see(&mut again, &scope);
        assert!(last.objects[..3].iter().all(Vec::is_empty), "{last:?}");
    }
}

/// What the engine would not do, so that the backends are compared in all they can be asked.
#[test]
fn backends_agree_on_any_edits() {
    for seed in 0..STORIES {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut rooms = backends().map(|backend| on(&*backend, Vec::new()));
        let scope = rooms[0].scope().clone();
        let feeds: Vec<Feed> = (1..=3).map(|author| feed(author, &[("x", 1), ("x", 2), ("x", 3)])).collect();
        let mut taken = [0; 3];
        for version in 1..60 {
            let mut steps = Vec::new();
            for _ in 0..=dice.below(2) {
                let of = dice.below(3) as usize;
                let block = feeds[of].blocks().get(taken[of]).cloned().filter(|_| dice.below(2) == 0);
                taken[of] += usize::from(block.is_some());
                let at = version * 100 + 10 * steps.len() as u64;
                let edits = (0..dice.below(5)).map(|n| edit(&mut dice, &feeds, at + n)).collect();
                let origin = [None, Some(Origin::Peer), Some(Origin::Event)][dice.below(3) as usize];
                steps.push(Step { block, origin, edits });
            }
            let bounds = Bounds { blocks_max: 4 + dice.below(4), ..Bounds::NONE };
            let [left, right] = rooms.each_mut().map(|room| {
                room.engine().bounds = bounds;
                let mut done = room.engine().commit(steps.clone(), version as Millis).unwrap();
                done.evicted.iter_mut().for_each(|chain| chain.changed = 0);
                done
            });
            assert_eq!(left, right, "{steps:?}");
            let [left, right] = rooms.each_mut().map(|room| {
                let outgoing = room.engine().reader().outgoing(usize::MAX, usize::MAX).unwrap();
                outgoing.into_iter().map(|one| (one.id, one.origin, one.found.is_some())).collect::<Vec<_>>()
            });
            assert_eq!(left, right, "what is to be carried after {steps:?}");
            // Chains that went can come again.
            for (of, feed) in feeds.iter().enumerate() {
                let reader = rooms[0].engine().reader();
                let stored = reader.load(&scope.room, Run::Owned(Format::V8, feed.blocks()[0].author()), Part::ALL);
                taken[of] = stored.unwrap().map_or(0, |feed| feed.len());
            }
            let [left, right] = rooms.each_mut().map(|room| {
                let seen = see_names(room, &scope);
                let reader = room.engine().reader();
                let mut due = reader.due(&scope, 40, 5).unwrap();
                due.extend(reader.due(&scope, Millis::MAX, usize::MAX).unwrap());
                let mut postponed = reader.postponed_due(&scope, Millis::MAX, usize::MAX).unwrap();
                postponed.sort_by_key(|postponed| postponed.block.id());
                let evicted: Vec<bool> =
                    feeds.iter().map(|feed| reader.is_evicted(&scope, &feed.blocks()[0].id()).unwrap()).collect();
                let stamps = reader.stamps(&scope.room).unwrap();
                (seen, due, postponed, evicted, stamps)
            });
            assert_eq!(left, right, "{steps:?}");
        }
    }
}

fn see_names(room: &mut Offline, scope: &Scope) -> (Seen, Vec<String>, Vec<String>) {
    let seen = see(room, scope);
    let reader = room.engine().reader();
    let all = reader.object_ids(scope, "own", None, usize::MAX).unwrap();
    let page = reader.objects(scope, "own", Some("1"), 2, 3).unwrap().into_iter().map(|(id, _)| id).collect();
    (seen, all, page)
}

fn edit(dice: &mut Dice, feeds: &[Feed], version: u64) -> Edit {
    let slice = NAMES[dice.below(2) as usize].to_owned();
    let id = ["", "1", "2", "ä"][dice.below(4) as usize].to_owned();
    let feed = &feeds[dice.below(3) as usize];
    let block = feed.blocks()[dice.below(3) as usize].clone();
    let chain = feed.blocks()[0].id();
    let at = dice.below(60) as Millis;
    match dice.below(15) {
        0..4 => {
            let value = vec![b'x'; dice.below(9) as usize].into();
            Edit::Put { slice, id, stored: Stored { value, version, expires: (dice.below(2) == 0).then_some(at) } }
        }
        4 => Edit::Remove { slice, id },
        5 => Edit::Sweep { slice, id },
        6 => Edit::Reschedule { slice, id, expires: Some(at), version },
        7 | 8 => Edit::Refer { slice, id, chain },
        9 => Edit::Hold { chain },
        10 => Edit::Index { slice: "shared".into(), key: dice.below(5).to_string().into(), block: block.id() },
        11 if dice.below(2) == 0 => Edit::Unmark(dice.below(5)),
        11 => Edit::Mark(crate::store::state::Mark {
            slice,
            at,
            payload: vec![1; dice.below(4) as usize].into(),
            block: block.id(),
            chain,
            owner: block.author(),
        }),
        12 if dice.below(2) == 0 => Edit::Settle(block.id()),
        12 => Edit::Postpone(crate::store::state::Postponed { block, due: at, tries: 1, origin: None }),
        13 => Edit::Evict { chain, remember: dice.below(2) == 0 },
        _ => Edit::Truncate { chain, stop_at: block.id() },
    }
}
