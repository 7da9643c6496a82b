//! Questions that cost much to answer, or to find nothing.

use std::fmt::Write;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::crew::Crew;
use crate::harness::sha256_hex;
use crate::line::{Rounds, flood, pieces, text};

/// As many names of subscriptions as one connection may have: the next question then takes the place of the first.
const NAMES: usize = 100;

/// Words that are in most notes.
const COMMON: [&str; 12] = ["the", "a", "to", "of", "and", "in", "is", "it", "you", "that", "he", "was"];

/// Asks one question after the other on each connection, whether the last was answered or not.
async fn ask(crew: Arc<Crew>, verb: &str, questions: &[Vec<Value>]) {
    let frame = |n: usize| {
        let mut message = format!(r#"["{verb}","n{}""#, n % NAMES);
        for filter in &questions[n % questions.len()] {
            write!(message, ",{filter}").unwrap();
        }
        message.push(']');
        text(message)
    };
    // As many as are named, so that each question is asked under its own name.
    flood(Arc::clone(&crew), Some("/"), pieces((0..NAMES).map(frame)), Rounds::Endless).await;
}

/// Each of twelve filters searches for one common word.
pub(crate) async fn common_words(crew: Arc<Crew>) {
    let filters = COMMON.map(|word| json!({"search": word, "kinds": [1], "limit": 5000}));
    ask(crew, "REQ", &[filters.to_vec()]).await;
}

/// Eight common words at once.
pub(crate) async fn many_words(crew: Arc<Crew>) {
    let search = |words: &[&str]| vec![json!({"search": words.join(" "), "kinds": [1], "limit": 500})];
    let questions: Vec<_> = (0..5).map(|n| search(&COMMON[n..n + 8])).collect();
    ask(crew, "REQ", &questions).await;
}

/// 20 filters, each with 380 authors of whom the relay has events.
pub(crate) async fn many_authors(crew: Arc<Crew>) {
    let (authors, until) = (crew.files.authors(), crew.files.newest());
    let mut random = StdRng::seed_from_u64(1);
    let mut filter = || {
        let some: Vec<_> = authors.sample(&mut random, 380).collect();
        json!({"authors": some, "kinds": [1], "until": until - random.random_range(0..20_000), "limit": 500})
    };
    let questions: Vec<_> = (0..4).map(|_| (0..20).map(|_| filter()).collect()).collect();
    ask(crew, "REQ", &questions).await;
}

/// 20 filters of 200 authors, 20 values of `#t` and 20 of `#p`, which no event has together.
pub(crate) async fn nothing(crew: Arc<Crew>) {
    let authors = crew.files.authors();
    let mut random = StdRng::seed_from_u64(2);
    let mut filter = || {
        let some: Vec<_> = authors.sample(&mut random, 200).collect();
        let topics: Vec<_> = (0..20).map(|n| format!("topic{n}")).collect();
        let nobody: Vec<_> = (0..20).map(|n| sha256_hex(format!("{n}"))).collect();
        json!({"authors": some, "#t": topics, "#p": nobody, "limit": 5000})
    };
    let questions: Vec<_> = (0..4).map(|_| (0..20).map(|_| filter()).collect()).collect();
    ask(crew, "REQ", &questions).await;
}

/// Counts everything, with one filter and with three.
pub(crate) async fn count_everything(crew: Arc<Crew>) {
    ask(crew, "COUNT", &[vec![json!({})], vec![json!({}), json!({"since": 1}), json!({"since": 2})]]).await;
}

/// What is older than nearly everything, and has what nearly nothing has.
pub(crate) async fn deep_scans(crew: Arc<Crew>) {
    let until = crew.files.newest();
    let questions: Vec<_> = (0..50_u64)
        .map(|n| vec![json!({"until": until - n * 500, "limit": 5000}), json!({"kinds": [1], "#t": ["topic0"]})])
        .collect();
    ask(crew, "REQ", &questions).await;
}
