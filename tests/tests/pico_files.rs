//! Rooms as files, and the plain TCP port.

use std::path::Path;

use picofeed::{Feed, Format, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::pico::Node;
use crate::harness::{Output, PATIENCE, Relay, picorelay};

fn done(output: Output) -> Output {
    assert!(output.success, "{output:?}");
    output
}

fn feed(format: Format, seed: u8, len: usize) -> Feed {
    let mut feed = Feed::new(format);
    for n in 0..len {
        feed.append(format!("{n} of {seed}").as_bytes(), &Secret::ed25519([seed; 32])).unwrap();
    }
    feed
}

fn said(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn a_room_travels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Single feeds as the packages write them.
    for (name, feed) in
        [("a.pico", feed(Format::V8, 1, 30)), ("b.pico", feed(Format::V8, 2, 3)), ("c.pico", feed(Format::V3, 3, 3))]
    {
        std::fs::write(folder.join(name), feed.encode()).unwrap();
    }
    let import = |data: &str, room: &str, files: &[&str]| {
        let mut arguments = vec!["import", "--data", data, "--room", room];
        arguments.extend(files);
        done(picorelay(folder, &arguments))
    };
    let export = |data: &str, room: &str, file: &str, more: &[&str]| {
        let mut arguments = vec!["export", "--data", data, "--room", room, file];
        arguments.extend(more);
        done(picorelay(folder, &arguments));
        std::fs::read(folder.join(file)).unwrap()
    };
    assert!(said(&import("one", "notes", &["a.pico", "b.pico", "c.pico"])).contains("36 new"));
    assert!(said(&import("one", "notes", &["a.pico"])).contains("30 known"));
    let all = export("one", "notes", "all.pico", &[]);
    assert!(said(&import("two", "elsewhere", &["all.pico"])).contains("36 new"));
    assert_eq!(export("two", "elsewhere", "again.pico", &[]), all, "the same heads, byte for byte");
    // A budget takes whole chains.
    let len = all.len() as u64;
    for budget in [len, len - 1, len / 2, 1000, 300, 20, 8] {
        let file = export("one", "notes", "some.pico", &["--budget", &budget.to_string()]);
        assert!(file.len() as u64 <= budget, "{} of {budget}", file.len());
        assert_eq!(file.len() as u64 == len, budget >= len);
        import("three", &format!("b{budget}"), &["some.pico"]);
    }
    // Without --room, a .pico file is for main, and others are events.
    done(picorelay(folder, &["import", "--data", "four", "a.pico"]));
    done(picorelay(folder, &["export", "--data", "four", "main.pico"]));
    assert_eq!(std::fs::read(folder.join("main.pico")).unwrap().len(), feed(Format::V8, 1, 30).encode().len() + 12);
}

/// The newest chain, then the one that others wrote on most, even if what stands around the blocks takes the place of a
/// third.
#[test]
fn a_budget_takes_what_is_wanted_most() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut feeds: Vec<Feed> = (1..=4).map(|seed| feed(Format::V8, seed, 3)).collect();
    feeds.sort_by_key(|feed| feed[0].author());
    feeds[0].append(b"by a guest", &Secret::ed25519([9; 32])).unwrap();
    let mut arguments = vec!["import".to_owned(), "--room".into(), "notes".into()];
    for (at, feed) in feeds.iter().enumerate() {
        arguments.push(format!("{at}.pico"));
        std::fs::write(folder.join(format!("{at}.pico")), feed.encode()).unwrap();
    }
    done(picorelay(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let bytes = |at: usize| feeds[at].iter().map(|block| block.bytes().len()).sum::<usize>();
    let record = |at: usize| [&u32::try_from(bytes(at) + 4).unwrap().to_be_bytes()[..], &feeds[at].encode()].concat();
    let budget = (8 + bytes(3) + bytes(0) + bytes(2)).to_string();
    done(picorelay(folder, &["export", "--room", "notes", "some.pico", "--budget", &budget]));
    let expected = [b"PICROOM1".to_vec(), record(3), record(0)].concat();
    assert_eq!(std::fs::read(folder.join("some.pico")).unwrap(), expected);
}

#[test]
fn what_can_be_read_of_a_damaged_room_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut arguments = vec!["import".to_owned(), "--room".into(), "notes".into()];
    for seed in 1..=4 {
        let mut feed = Feed::new(Format::V8);
        for n in 1..=100 {
            feed.append(&[n; 4_000], &Secret::ed25519([seed; 32])).unwrap();
        }
        std::fs::write(folder.join(format!("{seed}.pico")), feed.encode()).unwrap();
        arguments.push(format!("{seed}.pico"));
    }
    done(picorelay(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    crate::import::damage(&folder.join("data"));
    let output = picorelay(folder, &["export", "--room", "notes", "all.pico"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("is damaged") && output.stderr.contains("all.pico.part"), "{output:?}");
    assert!(!folder.join("all.pico").exists());
    let taken = picorelay(folder, &["import", "--data", "other", "--room", "notes", "all.pico.part"]);
    assert!(done(taken).stdout.contains("300 new"), "three chains of four are whole");
}

#[test]
fn bad_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut bad = feed(Format::V8, 1, 3).encode();
    bad[100] ^= 1;
    std::fs::write(folder.join("bad.pico"), &bad).unwrap();
    std::fs::write(folder.join("cut.pico"), b"PICROOM1\0\0\0\x09abc").unwrap();
    let refused = picorelay(folder, &["import", "bad.pico"]);
    assert!(!refused.success && said(&refused).contains("refused as invalid"), "{refused:?}");
    std::fs::write(folder.join("good.pico"), feed(Format::V8, 1, 3).encode()).unwrap();
    assert_eq!(refused.code, Some(1), "nothing was taken: {refused:?}");
    let some = picorelay(folder, &["import", "bad.pico", "good.pico"]);
    assert!(some.code == Some(3) && said(&some).contains("3 new"), "{some:?}");
    // What is not written leaves alone what is there.
    for arguments in [&["--room", "typo"][..], &["--room", "main", "--budget", "7"]] {
        assert!(!picorelay(folder, &[&["export", "good.pico"], arguments].concat()).success);
        assert_eq!(std::fs::read(folder.join("good.pico")).unwrap(), feed(Format::V8, 1, 3).encode());
    }
    assert!(!picorelay(folder, &["import", "cut.pico"]).success);
    assert!(!picorelay(folder, &["import", "missing.pico"]).success);
    assert!(!picorelay(folder, &["import", "--room", "nostr", "bad.pico"]).success);
}

#[tokio::test]
async fn what_nodes_gave_is_exported() {
    let mut relay = Relay::start();
    let mut node = Node::connect(&format!("{}/pico/notes", relay.url), Format::V8, 1).await;
    node.write("one").await;
    let last = node.write("two").await;
    let mut other = Node::connect(&format!("{}/pico/notes", relay.url), Format::V8, 2).await;
    other.until_has(&last).await;
    let data = relay.data();
    let file = data.parent().unwrap().join("notes.pico");
    // While it runs, and after.
    for is_running in [true, false] {
        let arguments = ["export", "--room", "notes", "--data", path(&data), path(&file)];
        done(picorelay(data.parent().unwrap(), &arguments));
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes[12..], node.bytes()[0]);
        if is_running {
            relay.stop();
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The same conversation over plain TCP, each frame behind its length.
#[tokio::test]
async fn plain_tcp() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let relay = Relay::with(&format!("[pico]\ntcp_listen = '127.0.0.1:{port}'"));
    let mut web = Node::connect(&format!("{}/pico/wires", relay.url), Format::V8, 1).await;
    let block = web.write("by WebSocket").await;
    relay.until_blocks(1).await;
    let talk = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let record = |bytes: &[u8]| {
            let mut record = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            record.extend(bytes);
            record
        };
        // The room, a record that says nothing, and NODE_ID, byte by byte.
        let mut start = record(b"wires");
        start.extend(record(b""));
        start.extend(record(b"\0\0\0\x01\x01\x03tcp node"));
        for byte in start {
            stream.write_all(&[byte]).await.unwrap();
        }
        let mut frames = Vec::new();
        while frames.len() < 4 {
            let len = stream.read_u32().await.unwrap();
            let mut frame = vec![0; len as usize];
            stream.read_exact(&mut frame).await.unwrap();
            match frame[5] {
                // NODE_ID, then the OK to ours, then QUERY: we have nothing.
                3 => {
                    stream.write_all(&record(&[0, 1, 0, 0, 0, 0])).await.unwrap();
                    stream.write_all(&record(&[0, 0, 0, 2, 1, 1, 0xa0])).await.unwrap();
                }
                1 => stream.write_all(&record(&[0, 2, 0, 0, 0, 0])).await.unwrap(),
                _ => {}
            }
            frames.push(frame);
        }
        frames
    };
    let frames = tokio::time::timeout(PATIENCE, talk).await.unwrap();
    let blocks = frames.iter().find(|frame| frame[5] == 2).expect("the answer to the QUERY");
    // It asks whether that is stored: then the room has been told.
    assert_eq!((&blocks[..2], &blocks[4..6]), (&[0, 2][..], &[1, 2][..]));
    assert_eq!(blocks[10..], block.bytes()[..]);
    // A name that is none ends the connection.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"\0\0\0\x05nostr").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}
