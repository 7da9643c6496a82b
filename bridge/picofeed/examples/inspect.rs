//! Prints the blocks of a feed, and what is wrong with it if anything is.
//!
//! ```text
//! cargo run -p picofeed --example inspect FILE
//! ```
//!
//! Without a file it prints the chain that POP-02 shows as a sample.
#![allow(clippy::print_stdout, reason = "printing is what this example does")]

use std::{env, error::Error, fs};

use picofeed::{Feed, Limits};

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = match env::args().nth(1) {
        Some(path) => fs::read(path)?,
        None => data_encoding::HEXLOWER.decode(SAMPLE.as_bytes())?,
    };
    let limits = Limits { feed_bytes_max: 64 << 20, ..Limits::default() };

    // Which format it is, is found out; the signatures are checked in a second step.
    let feed = Feed::decode_any(bytes, &limits)?;
    println!("{} feed of {} blocks", feed.format(), feed.len());
    let (feed, invalid) = feed.verify_prefix(&limits);
    for block in &feed {
        println!();
        println!("id      {}", block.id());
        println!("author  {}", block.author());
        match block.parent() {
            Some(parent) => println!("parent  {parent}"),
            None => println!("genesis"),
        }
        println!("body    {}", block.body().escape_ascii());
    }
    match invalid {
        Some(invalid) => Err(invalid.into()),
        None => Ok(()),
    }
}

const SAMPLE: &str = concat!(
    "50494330b0ee2f22cacb2e49bbb0d54ff1d9d912323787d81f08e73bb61a215d04029299a1b18c4279609ff6b59ccd37272d6ea94b480255",
    "26b75b994476c96748883e23ca3ce1a7808ad8866b5a1db9d4d859431cc5f15b5a8ad0bbf82b3096b2029e92e8b400046861636bbb43c9fa",
    "f94770e7f38f5cbb5c4987412077ef5586844be9f76f9f9fe552c211a7a663afcc9d96f37435ae2f1732d2a5b7c4a31012094cc40581413f",
    "76da4d2dd18c4279609ff6b59ccd37272d6ea94b48025526b75b994476c96748883e23ca3ce1a7808ad8866b5a1db9d4d859431cc5f15b5a",
    "8ad0bbf82b3096b2029e92e8b40006706c616e6574",
);
