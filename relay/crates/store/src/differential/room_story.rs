//! What is done to rooms in the stories.

use picofeed::{Block, Format, Id, Key, Secret};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::carry::Origin;
use crate::repo::{Bounds, Change, Full, Part, RoomName, Run};

const BLOCKS: usize = 80;

pub(super) const ROOMS: [&str; 3] = ["main", "chess", "a.b-c_9"];

pub(super) fn room(name: &str) -> RoomName {
    name.parse().unwrap()
}

/// Blocks, and what to do with them.
pub(super) struct Story {
    pub(super) rng: Xoshiro256PlusPlus,
    /// Each with the way to it from its genesis, itself last.
    paths: Vec<Vec<Block>>,
    people: [Vec<Secret>; 2],
}

impl Story {
    pub(super) fn new(seed: u64) -> Self {
        let ed25519 = (1..=4).map(|seed| Secret::ed25519([seed; 32])).collect();
        let secp256k1 = (1..=4).map(|seed| Secret::secp256k1([seed; 32]).unwrap()).collect();
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut story = Self { rng, paths: Vec::new(), people: [ed25519, secp256k1] };
        for number in 0..BLOCKS {
            story.grow(number);
        }
        story
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// Makes a block: mostly on one of the last, sometimes a fork, a genesis, or on a block of another format.
    fn grow(&mut self, number: usize) {
        let format = *[Format::V8, Format::V8, Format::V3, Format::V3, Format::Pop02].choose(&mut self.rng).unwrap();
        let secrets = &self.people[usize::from(format == Format::Pop02)];
        let same: Vec<usize> = (0..self.paths.len()).filter(|at| self.paths[*at][0].format() == format).collect();
        let parent = if self.rng.random_bool(0.03) {
            (0..self.paths.len()).collect::<Vec<_>>().choose(&mut self.rng).copied()
        } else if self.rng.random_bool(0.15) {
            None
        } else if self.rng.random_bool(0.7) {
            same.last().copied()
        } else {
            same.choose(&mut self.rng).copied()
        };
        let mut path = parent.map(|at| self.paths[at].clone()).unwrap_or_default();
        let author = match path.first().filter(|_| self.rng.random_bool(0.6)) {
            Some(genesis) => secrets.iter().find(|secret| secret.key() == genesis.author()),
            None => secrets.choose(&mut self.rng),
        };
        let Some(author) = author else { return };
        let mut body = format!("block {number}").into_bytes();
        body.resize(body.len() + self.rng.random_range(0..200), b'.');
        let parent = path.last().map(Block::id);
        let Ok(block) = Block::sign(format, parent.as_ref(), &body, author) else { return };
        path.push(block);
        self.paths.push(path);
    }

    pub(super) fn block(&mut self) -> Block {
        self.paths.choose(&mut self.rng).unwrap().last().unwrap().clone()
    }

    pub(super) fn change(&mut self) -> Change {
        if self.rng.random_bool(0.1) {
            return Change::CarriedOut(self.rng.random_range(0..40));
        }
        let room = room(ROOMS.choose(&mut self.rng).unwrap());
        if self.rng.random_bool(0.03) {
            return Change::GiveWay { keep: [room].into() };
        }
        if self.rng.random_bool(0.12) {
            let path = self.paths.choose(&mut self.rng).unwrap().clone();
            let stop = self.rng.random_bool(0.8);
            if self.rng.random_bool(0.2) {
                let last = path.last().unwrap().id();
                return Change::Rollback { room, chain: last, stop_at: Some(last) };
            }
            let stop_at =
                if self.rng.random_bool(0.9) { path.choose(&mut self.rng).unwrap().id() } else { self.block().id() };
            return Change::Rollback { room, chain: path.last().unwrap().id(), stop_at: stop.then_some(stop_at) };
        }
        let mut blocks = Vec::new();
        for _ in 0..=self.below(3) {
            let path = self.paths.choose(&mut self.rng).unwrap().clone();
            let from = if self.rng.random_bool(0.6) { 0 } else { self.below(path.len()) };
            blocks.extend_from_slice(&path[from..]);
        }
        if self.rng.random_bool(0.1) {
            blocks.shuffle(&mut self.rng);
        }
        let origins = match self.rng.random_bool(0.5) {
            true => blocks.iter().map(|_| if self.rng.random() { Origin::Peer } else { Origin::Event }).collect(),
            false => Vec::new(),
        };
        Change::Merge { room, bounds: self.bounds(), blocks, origins }
    }

    fn bounds(&mut self) -> Bounds {
        let mut max = |below: u64| if self.rng.random_bool(0.7) { u64::MAX } else { self.rng.random_range(0..below) };
        Bounds {
            blocks_max: max(30),
            bytes_max: max(8_000),
            chains_max: max(6),
            rooms_max: max(4),
            total_bytes_max: max(20_000),
            full: if self.rng.random_bool(0.6) { Full::Discard } else { Full::Refuse },
        }
    }

    pub(super) fn run(&mut self) -> (Run, Part) {
        let (format, key) = self.author();
        let id: Id = self.block().id();
        let run = match self.below(4) {
            0 => Run::Around(id),
            1 => Run::Owned(format, key),
            2 => Run::UpTo(id, self.below(5) as u64),
            _ => Run::Latest(format, key),
        };
        let part = match self.below(3) {
            0 => Part::ALL,
            1 => Part { skip: self.below(4) as u64, blocks_max: self.below(4) as u64, bytes_max: u64::MAX },
            _ => Part { skip: self.below(4) as u64, blocks_max: u64::MAX, bytes_max: self.below(1_500) as u64 },
        };
        (run, part)
    }

    fn author(&mut self) -> (Format, Key) {
        let format = *Format::ALL.choose(&mut self.rng).unwrap();
        let secrets = &self.people[usize::from(format == Format::Pop02)];
        (format, secrets.choose(&mut self.rng).unwrap().key())
    }
}
