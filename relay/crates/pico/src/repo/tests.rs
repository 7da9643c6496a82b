//! What picorepo 2.2.5 did, told to the handle on both backends: `vectors/repo-v8.json`.

use std::collections::{BTreeMap, BTreeSet};

use picofeed::Limits;
use serde_json::Value;

use super::*;
use crate::store::Backend;
use crate::store::memory::Memory;
use crate::vanish::RelayUrls;

/// Scenarios that this relay does not follow, and why.
const NOT_FOLLOWED: &[(&str, &str)] = &[
    ("second-genesis-detached", "allowDetached: one chain for each author is what keeps a room bounded"),
    ("rollback-detached", "allowDetached"),
    ("rollback-detached-partial", "allowDetached; there a rollback by chain id loses the head of the author"),
    ("anonymous", "a block without an author cannot be verified, and breaks the answer to QUERY for ever"),
];

/// Scenarios in which picorepo throws in the middle of a write, where here the block is refused. What is stored in the end
/// is the same: forks never work.
const REFUSED_INSTEAD: &[&str] = &["fork-strategy-accept", "fork-inline-strategy", "fork-detached"];

#[tokio::test]
async fn memory_does_as_picorepo() {
    run(|| std::sync::Arc::new(Memory::new(RelayUrls::default()))).await;
}

#[tokio::test]
async fn sqlite_does_as_picorepo() {
    run(|| picorelay_testing::sqlite(RelayUrls::default())).await;
}

async fn run(make: impl Fn() -> std::sync::Arc<dyn Backend>) {
    let file: Value = serde_json::from_str(include_str!("../vectors/repo-v8.json")).unwrap();
    let names = Names::read(&file);
    let mut followed = 0;
    for scenario in file["scenarios"].as_array().unwrap() {
        let id = scenario["id"].as_str().unwrap();
        if NOT_FOLLOWED.iter().any(|(not, _)| *not == id) {
            continue;
        }
        let backend = make();
        let bench = Bench { repo: Repo::on(backend.as_ref()), room: RoomName::main(), names: &names, id };
        match scenario["steps"].as_array() {
            Some(steps) => {
                for step in steps {
                    bench.step(step).await;
                }
            }
            None => {
                assert_eq!(id, "single-block-merge");
                for (block, returns) in ["x0", "x1", "x1"].iter().zip(scenario["returns"].as_array().unwrap()) {
                    assert_eq!(bench.merge(vec![names.blocks[*block].clone()]).await, Ok(returns.as_u64().unwrap()));
                }
            }
        }
        bench.state(&scenario["state"]).await;
        followed += 1;
    }
    assert_eq!((followed, NOT_FOLLOWED.len()), (23, 4));
}

/// The people and blocks of the file.
struct Names {
    keys: BTreeMap<String, Key>,
    blocks: BTreeMap<String, Block>,
    labels: BTreeMap<Id, String>,
}

impl Names {
    fn read(file: &Value) -> Self {
        let people = file["identities"].as_array().unwrap().iter();
        let keys = people.map(|who| (text(&who["name"]), text(&who["pk"]).parse().unwrap())).collect();
        let blocks: BTreeMap<String, Block> =
            file["blocks"].as_object().unwrap().iter().map(|(label, hex)| (label.clone(), block(&text(hex)))).collect();
        let labels = blocks.iter().map(|(label, block)| (block.id(), label.clone())).collect();
        Self { keys, blocks, labels }
    }

    fn id(&self, label: &Value) -> Id {
        self.blocks[label.as_str().unwrap()].id()
    }

    fn label(&self, id: &Id) -> Value {
        self.labels[id].as_str().into()
    }

    fn labels(&self, feed: Option<&Feed>) -> Value {
        feed.map_or(Value::Null, |feed| feed.iter().map(|block| self.label(&block.id())).collect())
    }

    fn name(&self, key: &Key) -> String {
        self.keys.iter().find(|(_, known)| *known == key).unwrap().0.clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn block(hex: &str) -> Block {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    Block::decode(Format::V8, bytes, &Limits::default()).unwrap().verify().unwrap()
}

#[tokio::test]
async fn what_nobody_waits_for_is_done_all_the_same() {
    let repo = Repo::in_memory();
    let block = Block::sign(Format::V8, None, b"hello", &picofeed::Secret::ed25519([1; 32])).unwrap();
    let room = RoomName::main();
    {
        let merge = std::pin::pin!(repo.merge(&room, &Bounds::NONE, vec![block.clone()]));
        assert!(futures_util::poll!(merge).is_pending());
    }
    let again = repo.merge(&room, &Bounds::NONE, vec![block.clone()]).await.unwrap();
    assert_eq!(again.merged, [Merged::Known]);
    assert!(repo.contains(&room, block.id()).await.unwrap());
    assert_eq!(repo.rooms().await.unwrap(), [(room.clone(), repo.usage(&room).await.unwrap())]);
    assert_eq!(repo.pick(&room, 1_000).await.unwrap(), [(Format::V8, block.author())]);
}

struct Bench<'a> {
    repo: Repo,
    room: RoomName,
    names: &'a Names,
    id: &'a str,
}

impl Bench<'_> {
    /// Blocks stored, or that a parent was missing.
    async fn merge(&self, blocks: Vec<Block>) -> Result<u64, Merged> {
        let Merging { merged, discarded } = self.repo.merge(&self.room, &Bounds::NONE, blocks).await.unwrap();
        assert_eq!(discarded, []);
        if merged.first() == Some(&Merged::Orphan) {
            return Err(Merged::Orphan);
        }
        Ok(merged.iter().filter(|outcome| **outcome == Merged::New).count() as u64)
    }

    async fn step(&self, step: &Value) {
        let (names, room) = (self.names, &self.room);
        let returns = &step["returns"];
        let id = |field: &str| names.id(&step[field]);
        let feed = |feed: Option<Feed>| names.labels(feed.as_ref());
        match step["op"].as_str().unwrap() {
            "merge" => {
                let hex = data_encoding::HEXLOWER.decode(text(&step["feed_hex"]).as_bytes()).unwrap();
                let received = Feed::decode(Format::V8, hex, &Limits::default()).unwrap();
                let received = received.verify(&Limits::default()).unwrap();
                let done = self.merge(received.into_blocks()).await;
                match step["error"].as_str() {
                    Some("CannotMerge: Unknown Chain") => assert_eq!(done, Err(Merged::Orphan), "{}", self.id),
                    Some("NotFound") => {
                        assert!(REFUSED_INSTEAD.contains(&self.id), "{}", self.id);
                        assert_eq!(done, Ok(0), "{}", self.id);
                    }
                    error => {
                        assert_eq!(error, None);
                        assert_eq!(done, Ok(returns.as_u64().unwrap()), "{}", self.id);
                    }
                }
            }
            "rollback" => {
                let owner = names.keys[step["head"].as_str().unwrap()];
                let Some(chain) = self.repo.load_head(room, Format::V8, owner).await.unwrap() else {
                    return assert_eq!(step["returns_evicted"], Value::Null, "{}", self.id);
                };
                let stop_at = (!step["stop_at"].is_null()).then(|| id("stop_at"));
                match self.repo.rollback(room, chain[0].id(), stop_at).await.unwrap() {
                    RolledBack::Removed(blocks) => {
                        assert_eq!(names.labels(Feed::from_blocks(blocks).ok().as_ref()), step["returns_evicted"]);
                    }
                    RolledBack::BlockUnknown => assert_eq!(step["error"], "ReferenceNotFound"),
                    RolledBack::ChainUnknown => panic!("{}", self.id),
                }
            }
            "resolveFeed" => assert_eq!(feed(self.repo.resolve_feed(room, id("id")).await.unwrap()), *returns),
            "loadFeed" => {
                let blocks = step["limit"].as_u64().unwrap_or(u64::MAX);
                assert_eq!(feed(self.repo.load_from(room, id("ptr"), blocks).await.unwrap()), *returns);
            }
            "ownerOf" => {
                let owner = self.repo.find(room, id("id")).await.unwrap().map(|(chain, _)| names.name(&chain.owner));
                assert_eq!(owner.as_deref(), returns.as_str(), "{}", self.id);
            }
            other => panic!("{}: no op {other}", self.id),
        }
    }

    async fn state(&self, expected: &Value) {
        let (names, repo, room) = (self.names, &self.repo, &self.room);
        let chains = repo.chains(room, Format::V8, None, 100).await.unwrap();
        let pairs = |of: fn(&Chain) -> (Named, Id)| -> Value {
            let pairs = chains.iter().map(of).map(|(key, value)| (key.show(names), names.label(&value)));
            Value::Object(pairs.collect())
        };
        assert_eq!(pairs(|chain| (Named::Key(chain.owner), chain.head)), expected["heads"], "{}", self.id);
        assert_eq!(pairs(|chain| (Named::Key(chain.owner), chain.genesis)), expected["tails"], "{}", self.id);
        assert_eq!(pairs(|chain| (Named::Id(chain.head), chain.genesis)), expected["feeds_tip_to_chain"]);
        assert_eq!(pairs(|chain| (Named::Id(chain.genesis), chain.head)), expected["chain_to_tip"]);
        let mut latest = serde_json::Map::new();
        for (name, key) in &names.keys {
            let feed = repo.load_latest(room, Format::V8, *key).await.unwrap();
            if let Some(last) = feed.as_ref().and_then(|feed| feed.last()) {
                latest.insert(name.clone(), names.label(&last.id()));
            }
            if let Some(expected) = expected["load_latest"].get(name) {
                assert_eq!(names.labels(feed.as_ref()), *expected, "{}", self.id);
            }
            if let Some(expected) = expected["load_head"].get(name) {
                let head = repo.load_head(room, Format::V8, *key).await.unwrap();
                assert_eq!(names.labels(head.as_ref()), *expected, "{}", self.id);
            }
        }
        assert_eq!(Value::Object(latest), expected["latest"], "{}", self.id);
        let mut stored = BTreeSet::new();
        for (label, block) in &names.blocks {
            if repo.contains(room, block.id()).await.unwrap() {
                stored.insert(label.as_str());
            }
        }
        let expected: BTreeSet<_> = expected["blocks_stored"].as_array().unwrap().iter().map(text).collect();
        assert!(stored.iter().copied().eq(expected.iter().map(String::as_str)), "{}: {stored:?}", self.id);
    }
}

enum Named {
    Key(Key),
    Id(Id),
}

impl Named {
    fn show(&self, names: &Names) -> String {
        match self {
            Self::Key(key) => names.name(key),
            Self::Id(id) => names.labels[id].clone(),
        }
    }
}
