//! The samples of POP-02 and feeds of picofeed 4.1.0, in `pop02.json`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail where it stands")]

mod common;

use common::{alice, bytes, cases, count, hex, read, salvage, text, vectors};
use data_encoding::HEXLOWER;
use picofeed::{Block, Defect, Feed, Format, Limits, Misuse, Secret};
use serde_json::Value;

const POP02: Format = Format::Pop02;

fn secret(vectors: &Value) -> Secret {
    let secret = bytes(vectors, "secret_in_spec_comment");
    Secret::secp256k1(secret.try_into().unwrap()).unwrap()
}

/// Compares a feed with the segments an independent reader found in it.
fn check(id: &str, sent: &[u8], segments: &Value) -> Feed {
    let feed = read(POP02, sent).unwrap_or_else(|err| panic!("{id}: {err}"));
    let segments = segments.as_array().unwrap();
    let key = segments.iter().find(|segment| segment["type"] == "key").unwrap();
    let expected = segments.iter().filter(|segment| segment["type"] == "block");
    assert_eq!(feed.len(), expected.clone().count(), "{id}");
    for (block, expect) in feed.iter().zip(expected) {
        assert_eq!(block.author().to_string(), text(key, "key"), "{id}");
        assert_eq!(block.id().to_string(), text(expect, "sig"), "{id}");
        assert_eq!(block.parent().map(hex), expect["psig"].as_str().map(str::to_owned), "{id}");
        assert_eq!(block.is_genesis(), expect["genesis"].as_bool().unwrap(), "{id}");
        assert_eq!(hex(block.body()), text(expect, "body"), "{id}");
        assert_eq!(block.body().len(), count(expect, "size"), "{id}");
        assert_eq!(u64::from(block.bytes()[0]), expect["fmt"].as_u64().unwrap(), "{id}");
    }
    assert_eq!(hex(feed.encode()), hex(sent), "{id}");
    assert_eq!(Format::detect(sent), Some(POP02), "{id}");
    assert_eq!(Feed::decode_any(sent.to_vec(), &Limits::NONE).unwrap().format(), POP02, "{id}");
    feed
}

#[test]
fn samples() {
    let vectors = vectors("pop02.json");
    let samples = &vectors["samples"];
    let key = bytes(&samples["key"], "hex");
    assert_eq!(hex(secret(&vectors).key()), hex(&key[1..]));
    assert_eq!(secret(&vectors).key().to_string(), text(&vectors, "public_key_from_secret"));

    let sent = bytes(&samples["chain"], "hex");
    let chain = check("chain", &sent, &samples["chain"]["decoded"]);
    assert_eq!(sent.len(), count(&samples["chain"], "consumed"));

    // The block sample is the first of the chain, but the last of its feed.
    let block = bytes(&samples["block"], "hex");
    let alone = Block::decode(POP02, block.clone(), &Limits::default()).unwrap();
    let alone = alone.verify_by(&secret(&vectors).key()).unwrap();
    assert_eq!(alone, chain[0]);
    assert_eq!(hex(chain.slice(0, Some(1)).unwrap().encode()), hex([&b"PIC0"[..], &key, &block].concat()));
    assert_eq!(read(POP02, &block).unwrap_err().defect, Defect::AuthorMissing);
    assert!(read(POP02, &key).unwrap().is_empty());
}

#[test]
fn feeds_of_4_1_0() {
    let vectors = vectors("pop02.json");
    let feeds = cases(&vectors["generated_by_4_1_0"], "feeds");
    for case in feeds {
        let id = text(case, "id");
        let body = match id {
            "size-65536" => {
                let refused = Feed::new(POP02).append(&vec![0x61; 65536], &secret(&vectors));
                assert!(case["error"].is_string());
                assert_eq!(refused, Err(Misuse::BodyLength(65536)));
                continue;
            }
            "size-65537" => vec![0x61; 65537],
            _ => {
                check(id, &bytes(case, "feed"), &case["decoded"]);
                continue;
            }
        };
        // Signatures of upstream are random, and this feed was not kept: compare the rest.
        let mut feed = Feed::new(POP02);
        feed.append(&body, &secret(&vectors)).unwrap();
        let written = feed.encode();
        assert_eq!(written.len(), count(case, "feed_len"));
        let first = bytes(case, "first_bytes");
        assert_eq!(hex(&written[..38]), hex(&first[..38]));
        assert_eq!(u64::from(written[37]), case["fmt_of_block"].as_u64().unwrap());
        assert_eq!(hex(&written[37 + 65..37 + 69]), text(case, "size_field"));
        assert_eq!(read(POP02, &written).unwrap(), feed);
    }
}

/// Where the end of the feed is, is not signed, and so it may be changed.
#[test]
fn the_end() {
    let vectors = vectors("pop02.json");
    let mut feed = Feed::new(POP02);
    for body in [&[0][..], b"two", b"three"] {
        feed.append(body, &secret(&vectors)).unwrap();
    }
    let sent = feed.encode();
    let flags = [37, 37 + 68, 37 + 68 + 134];
    assert_eq!(flags.map(|at| sent[at]), [0xb1, 0xb3, 0xbb]);

    let with = |at: usize, flags: u8| {
        let mut sent = sent.clone();
        sent[at] = flags;
        sent
    };
    assert_eq!(read(POP02, &with(flags[2], 0xb3)).unwrap(), feed);
    let early = with(flags[1], 0xbb);
    let invalid = read(POP02, &early).unwrap_err();
    assert_eq!((invalid.defect, invalid.block, invalid.at), (Defect::Trailing, 2, flags[2]));
    assert_eq!(salvage(POP02, &early), (feed.slice(0, Some(2)).unwrap(), false));
    assert_eq!(read(POP02, &[&sent[..], &[0; 100]].concat()).unwrap(), feed);

    // Neither genesis, nor width, nor kind can be changed here.
    for (at, other) in [(0, 0xb3), (0, 0xb5), (1, 0xb1), (1, 0xb7), (2, 0xbf), (1, 0xb2), (1, 0xa3), (2, 0x00)] {
        assert!(read(POP02, &with(flags[at], other)).is_err(), "{at} {other:#x}");
    }

    // A feed can be put together of blocks that were first, last and between; the flags follow.
    let joined = Feed::from_blocks(read(POP02, &sent).unwrap()).unwrap();
    assert_eq!(hex(joined.encode()), hex(&sent));
    let mut grown = feed.slice(0, Some(2)).unwrap();
    grown.append(b"other", &secret(&vectors)).unwrap();
    assert_eq!(read(POP02, &grown.encode()).unwrap(), grown);
    assert_eq!(feed.truncate(-1), Ok(2));
    assert_eq!(read(POP02, &feed.encode()).unwrap(), feed);
}

#[test]
fn strict() {
    let vectors = vectors("pop02.json");
    let key = secret(&vectors).key();
    let raw = |flags: u8, signed: &str| {
        let signed = HEXLOWER.decode(signed.as_bytes()).unwrap();
        [&[0xb0][..], key.as_bytes(), &[flags], &[7; 64], &signed].concat()
    };
    let zeros = "00".repeat(64);
    for (sent, defect) in [
        (raw(0xb9, "0000"), Defect::BodyEmpty),
        (raw(0xb9, "000161"), Defect::Signature),
        (raw(0xb9, "000261"), Defect::Truncated),
        (raw(0xbd, "0000000161"), Defect::Size),
        (raw(0xbd, "ffffffff61"), Defect::BodyTooLong),
        (raw(0xbb, &format!("{zeros}000161")), Defect::ParentZero),
        (raw(0xf9, "000161"), Defect::SegmentUnknown(0xf9)),
    ] {
        assert_eq!(read(POP02, &sent).unwrap_err().defect, defect, "{}", hex(&sent));
    }
    assert_eq!(Feed::new(POP02).append(b"x", &alice()), Err(Misuse::SecretKind(POP02)));
    assert_eq!(Secret::secp256k1([0; 32]).unwrap_err(), Misuse::SecretInvalid);
}

/// A feed that looks like v8, found by trying 319,143 bodies: the signature of its block has a v8 size and header where
/// they would be. It is not read as v8, and so it is recognised in the end.
#[test]
fn mistaken_for_v8() {
    let secret = Secret::secp256k1([1; 32]).unwrap();
    let mut body = vec![0x61; 200];
    body[..4].copy_from_slice(&319_143_u32.to_be_bytes());
    let mut feed = Feed::new(POP02);
    feed.append(&body, &secret).unwrap();
    let sent = feed.encode();
    assert_eq!(Format::detect(&sent), Some(Format::V8));
    let limits = Limits::default();
    assert_eq!(Feed::decode_any(sent, &limits).unwrap().verify(&limits).unwrap(), feed);
}
