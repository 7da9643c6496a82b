//! Two people write on one chain, and a third follows: what a server between them does.
//!
//! ```text
//! cargo run -p picofeed --example sync
//! ```
#![allow(clippy::print_stdout, reason = "printing is what this example does")]

use std::error::Error;

use picofeed::{Block, Diff, Feed, Format, Limits, Merged, Secret};

fn main() -> Result<(), Box<dyn Error>> {
    let limits = Limits::default();
    let receive = |bytes: Vec<u8>| Feed::decode(Format::V8, bytes, &limits)?.verify(&limits);
    let (alice, bob) = (Secret::ed25519([0xa1; 32]), Secret::ed25519([0xb2; 32]));

    // Alice begins a chain and sends it to the server.
    let mut at_alice = Feed::new(Format::V8);
    at_alice.append(b"Who is coming?", &alice)?;
    let mut at_server = Feed::new(Format::V8);
    let outcome = at_server.merge(&receive(at_alice.encode())?);
    println!("server, from alice:     {outcome:?}");

    // Bob gets the whole chain, answers, and sends just his block: a partial feed.
    let mut at_bob = receive(at_server.encode())?;
    at_bob.append(b"I am!", &bob)?;
    let update = receive(at_bob.slice(-1, None)?.encode())?;
    println!("server, from bob:       {:?}", at_server.merge(&update));

    // Meanwhile alice went on, without having seen it. One of the two blocks cannot stay.
    at_alice.append(b"Nobody?", &alice)?;
    let late = receive(at_alice.encode())?;
    assert_eq!(at_server.diff(&late), Diff::Diverged);
    println!("server, late alice:     {:?}", at_server.merge(&late));

    // Alice drops her block, takes what the server has, and says it again.
    at_alice.truncate(-1)?;
    assert_eq!(at_alice.merge(&receive(at_server.encode())?), Merged::Appended(1));
    at_alice.append(b"See you, Bob.", &alice)?;
    println!("server, alice again:    {:?}", at_server.merge(&receive(at_alice.encode())?));

    // A store keeps blocks one by one, and knows who wrote them.
    let stored: Vec<_> = at_server.iter().map(|block| (block.author(), block.bytes().to_vec())).collect();
    let blocks = stored.into_iter().map(|(author, bytes)| {
        let block = Block::decode(Format::V8, bytes, &limits)?;
        Ok(block.assume_verified(author)?)
    });
    let restored = Feed::from_blocks(blocks.collect::<Result<Vec<_>, Box<dyn Error>>>()?)?;
    assert_eq!(restored, at_server);
    for block in &restored {
        let name = if block.author() == alice.key() { "alice" } else { "bob" };
        println!("{name:>22}: {}", block.body().escape_ascii());
    }
    Ok(())
}
