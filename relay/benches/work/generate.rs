//! Events and filters from a fixed seed: the same on every machine.

use picorelay::clock::Timestamp;
use picorelay::event::{Event, Id};
use picorelay::verify::{Verified, verify};
use secp256k1::{Keypair, SECP256K1};
use sha2::{Digest as _, Sha256};

/// When the events are asked for.
pub(super) const NOW: Timestamp = START + 20_000 * STEP;

const START: Timestamp = 1_700_000_000;
/// Seconds from one event to the next.
const STEP: Timestamp = 30;
const AUTHORS: usize = 400;
const HASHTAGS: usize = 100;

/// Signed events, oldest first: a profile and an article of each author, then notes (two of three answer another, two of
/// three have hashtags) and reactions.
pub(super) fn events(count: usize) -> Vec<Verified> {
    let mut random = Random(1);
    let authors: Vec<Keypair> = (0..AUTHORS).map(|_| random.key()).collect();
    let mut events: Vec<Verified> = Vec::with_capacity(count);
    for number in 0..count {
        let created_at = START + number as Timestamp * STEP;
        let event = if number < AUTHORS {
            let about = random.text(100);
            let profile = serde_json::json!({"name": format!("author {number}"), "about": about}).to_string();
            sign(at(&authors, number), created_at, 0, &[], &profile)
        } else if number < AUTHORS * 2 {
            let tags = [vec!["d".to_owned(), format!("article-{number}")], vec!["title".to_owned(), random.text(30)]];
            sign(at(&authors, number), created_at, 30_023, &tags, &random.text(1_500))
        } else {
            // Some write much more than others.
            let author = at(&authors, random.small(AUTHORS));
            let about = at(&events, events.len() - 1 - random.small(events.len()));
            let mut tags = Vec::new();
            let is_reaction = random.below(4) == 0;
            if is_reaction || random.below(3) > 0 {
                tags.push(vec!["e".to_owned(), about.id.to_hex()]);
                tags.push(vec!["p".to_owned(), about.pubkey.to_hex()]);
            }
            if is_reaction {
                sign(author, created_at, 7, &tags, "+")
            } else {
                for _ in 0..random.below(3) {
                    tags.push(vec!["t".to_owned(), hashtag(random.small(HASHTAGS))]);
                }
                let len = 20 + random.small(600);
                sign(author, created_at, 1, &tags, &random.text(len))
            }
        };
        events.push(event);
    }
    events
}

/// A filter of this type, as JSON: the `number`th.
pub(super) fn request(name: &str, stored: &[Verified], number: usize) -> String {
    let mut random = Random(1_000 + number as u64);
    let author = |random: &mut Random| at(stored, random.below(AUTHORS)).pubkey.to_hex();
    let any = |random: &mut Random| at(stored, random.below(stored.len())).id.to_hex();
    let filter = match name {
        "profile" => serde_json::json!({"authors": [author(&mut random)], "kinds": [0]}),
        "timeline" => {
            let authors: Vec<_> = (0..50 + random.below(151)).map(|_| author(&mut random)).collect();
            serde_json::json!({"authors": authors, "kinds": [1, 6], "limit": 100})
        }
        "thread" => serde_json::json!({"#e": [answered(stored, &mut random, "e")], "kinds": [1, 7]}),
        "notifications" => {
            serde_json::json!({"#p": [answered(stored, &mut random, "p")], "kinds": [1, 6, 7], "limit": 50})
        }
        "ids" => serde_json::json!({"ids": (0..20).map(|_| any(&mut random)).collect::<Vec<_>>()}),
        "kinds and since" => {
            let since = START + (stored.len() / 2 + random.below(stored.len() / 4)) as Timestamp * STEP;
            serde_json::json!({"kinds": [1, 7], "since": since, "limit": 100})
        }
        "addressable" => {
            let article = at(stored, AUTHORS + random.below(AUTHORS));
            serde_json::json!({"authors": [article.pubkey.to_hex()], "kinds": [30_023], "#d": [article.d()]})
        }
        "hashtag" => serde_json::json!({"#t": [hashtag(number)], "kinds": [1], "limit": 50}),
        other => unreachable!("no requests of type {other}"),
    };
    filter.to_string()
}

/// The `number`th live filter, as JSON: home feeds, notifications, threads and hashtags.
pub(super) fn live(stored: &[Verified], number: usize) -> String {
    let mut random = Random(1_000_000 + number as u64);
    let author = |random: &mut Random| at(stored, random.below(AUTHORS)).pubkey.to_hex();
    let filter = match number % 10 {
        0..=2 => {
            let authors: Vec<_> = (0..10).map(|_| author(&mut random)).collect();
            serde_json::json!({"authors": authors, "kinds": [1, 6]})
        }
        3..=5 => serde_json::json!({"#p": [author(&mut random)], "kinds": [1, 6, 7]}),
        6..=8 => serde_json::json!({"#e": [at(stored, random.below(stored.len())).id.to_hex()], "kinds": [1, 7]}),
        _ => serde_json::json!({"#t": [hashtag(random.below(HASHTAGS))], "kinds": [1]}),
    };
    filter.to_string()
}

fn sign(author: &Keypair, created_at: Timestamp, kind: u16, tags: &[Vec<String>], content: &str) -> Verified {
    let pubkey = author.x_only_public_key().0.to_string();
    let id: [u8; 32] =
        Sha256::digest(serde_json::json!([0, pubkey, created_at, kind, tags, content]).to_string()).into();
    let sig = SECP256K1.sign_schnorr_no_aux_rand(&id, author);
    let event = serde_json::json!({
        "id": Id(id).to_hex(), "pubkey": pubkey, "created_at": created_at, "kind": kind, "tags": tags,
        "content": content, "sig": sig.to_string(),
    });
    verify(Event::parse(&event.to_string()).unwrap()).unwrap()
}

/// What some event names with this tag.
fn answered(stored: &[Verified], random: &mut Random, tag: &str) -> String {
    loop {
        if let Some(value) = at(stored, random.below(stored.len())).tags.value(tag) {
            return value.to_owned();
        }
    }
}

fn hashtag(number: usize) -> String {
    format!("topic{number}")
}

fn at<T>(list: &[T], number: usize) -> &T {
    list.get(number % list.len()).unwrap()
}

/// SplitMix64: short, and the same for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without it.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// The same, small ones more often.
    fn small(&mut self, end: usize) -> usize {
        self.below(end).min(self.below(end)).min(self.below(end))
    }

    fn text(&mut self, len: usize) -> String {
        let mut text = String::new();
        while text.len() < len {
            for _ in 0..2 + self.below(8) {
                text.push(char::from(b'a' + u8::try_from(self.below(26)).unwrap()));
            }
            text.push(if self.below(20) == 0 { '\n' } else { ' ' });
        }
        text
    }

    fn key(&mut self) -> Keypair {
        let mut secret = [0; 32];
        for part in secret.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes());
        }
        Keypair::from_seckey_slice(SECP256K1, &secret).unwrap()
    }
}
