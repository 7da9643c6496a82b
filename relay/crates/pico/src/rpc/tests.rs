use picofeed::{Feed, Secret};
use serde_json::Value;

use super::*;
use crate::wire::FRAME_BYTES_MIN;

const RULES: Rules = Rules { ports_max: 16, patience: Duration::from_secs(30), both: false };
const NOW: Elapsed = Duration::ZERO;
const HUB: NodeId = [0x5e; 8];

fn hex(text: &str) -> Bytes {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().into()
}

fn acts(talk: &mut Conversation) -> Vec<Act> {
    std::iter::from_fn(|| talk.act()).collect()
}

/// What it sends, as hex; other acts by their names.
fn told(talk: &mut Conversation) -> Vec<String> {
    let name = |act: Act| match act {
        Act::Send(frame) => {
            assert!(frame.len() >= FRAME_BYTES_MIN, "JavaScript nodes die of shorter ones");
            data_encoding::HEXLOWER.encode(&frame)
        }
        Act::Introduced(_) => "introduced".into(),
        Act::Hears(format) => format!("hears {format}"),
        Act::Upload(number, format) => format!("upload {number} {format}"),
        Act::Part(number) => format!("part {number}"),
        Act::Uploaded => "uploaded".into(),
        Act::Dispatch(received) => format!("dispatch {} answer={}", received.feed.len(), received.answer),
        Act::Downloaded => "downloaded".into(),
        Act::Ignored(reason) => format!("ignored {reason}"),
    };
    acts(talk).into_iter().map(name).collect()
}

fn hear(talk: &mut Conversation, frame: &str) -> Vec<String> {
    talk.receive(&hex(frame), NOW).unwrap();
    told(talk)
}

fn begun() -> Conversation {
    let mut talk = Conversation::new(HUB, RULES, NOW);
    assert_eq!(told(&mut talk), ["0000000101035e5e5e5e5e5e5e5e"]);
    talk
}

/// One that has been introduced and asked.
fn introduced() -> Conversation {
    let mut talk = begun();
    assert_eq!(hear(&mut talk, "000000010103aaaaaaaaaaaaaaaa"), ["000100000000", "introduced"]);
    assert_eq!(hear(&mut talk, "000100000000"), ["000000020101a0"]);
    talk
}

fn received(talk: &mut Conversation, frame: &str) -> Received {
    talk.receive(&hex(frame), NOW).unwrap();
    let dispatch = acts(talk).into_iter().find_map(|act| match act {
        Act::Dispatch(received) => Some(received),
        _ => None,
    });
    dispatch.expect("a feed")
}

fn v8() -> Vec<u8> {
    let mut feed = Feed::new(Format::V8);
    feed.append(b"x", &Secret::ed25519([1; 32])).unwrap();
    feed.encode()
}

fn v3() -> Vec<u8> {
    let mut feed = Feed::new(Format::V3);
    feed.append(b"x", &Secret::ed25519([1; 32])).unwrap();
    feed.encode()
}

fn blocks(header: &str, feed: &[u8]) -> String {
    format!("{header}02{}", data_encoding::HEXLOWER.encode(feed))
}

/// Plays the recorded hub against what real nodes sent it: our side sends the same frames, in the same order, except
/// that we never send a block back or twice.
#[test]
fn what_was_recorded_between_real_nodes() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/wire.json")).unwrap();
    for generation in ["generation_1", "generation_2"] {
        for name in ["connect-alice", "connect-bob", "connect-empty"] {
            let steps = vectors[generation]["steps"].as_array().unwrap();
            let step = steps.iter().find(|step| step["step"] == name).unwrap();
            let connection = name.trim_start_matches("connect-");
            let frames: Vec<&Value> =
                step["frames"].as_array().unwrap().iter().filter(|frame| frame["connection"] == connection).collect();
            let is_live = |frame: &&&Value| frame["dst"] == 0 && frame["type"] == "BLOCKS";
            let text = |frame: &Value| frame["hex"].as_str().unwrap().to_owned();
            // What the recorded hub had, in the order in which it told it.
            let mut room: Vec<Bytes> = Vec::new();
            for frame in frames.iter().filter(|frame| frame["from"] == "server" && frame["type"] == "BLOCKS") {
                if frame["dst"] != 0 {
                    room.push(hex(&text(frame)).slice(6..));
                }
            }
            let mut talk = Conversation::new(HUB, RULES, NOW);
            let (mut ours, mut next) = (Vec::new(), 0);
            let mut step_on = |talk: &mut Conversation, ours: &mut Vec<String>| {
                while let Some(act) = talk.act() {
                    match act {
                        Act::Send(frame) => ours.push(data_encoding::HEXLOWER.encode(&frame)),
                        Act::Upload(number, _) | Act::Part(number) => {
                            let feed = room[next].clone();
                            next += 1;
                            talk.part(number, Some((&feed, next < room.len())), NOW);
                        }
                        Act::Dispatch(received) => talk.dispatched(&received, None, NOW),
                        _ => {}
                    }
                }
            };
            step_on(&mut talk, &mut ours);
            for frame in frames.iter().filter(|frame| frame["from"] == "client") {
                talk.receive(&hex(&text(frame)), NOW).unwrap();
                step_on(&mut talk, &mut ours);
            }
            // We ask everybody with `a0`, which both generations answer.
            let theirs: Vec<String> = frames
                .iter()
                .filter(|frame| frame["from"] == "server" && !is_live(frame))
                .map(|frame| text(frame).replace("000000020101de0000", "000000020101a0"))
                .collect();
            let sorted = |mut frames: Vec<String>| {
                frames.sort();
                frames
            };
            assert_eq!(sorted(ours), sorted(theirs), "{generation} {name}");
        }
    }
}

#[test]
fn a_room_without_blocks_answers_ok() {
    let mut talk = introduced();
    assert_eq!(hear(&mut talk, "000000020101a0"), ["hears v8", "upload 1 v8"]);
    talk.part(1, None, NOW);
    assert_eq!(told(&mut talk), ["000200000000", "uploaded"]);
}

#[test]
fn generations_are_told_apart() {
    for (parameters, expected) in [
        ("a0", &["hears v8", "upload 1 v8"][..]),
        ("bfff", &["hears v8", "upload 1 v8"]),
        ("de0000", &["hears v3", "upload 1 v3"]),
        ("80", &["hears v3", "upload 1 v3"]),
        ("", &["0002000000ff", "ignored unknown_type"]),
        ("00", &["0002000000ff", "ignored unknown_type"]),
        ("c0", &["0002000000ff", "ignored unknown_type"]),
    ] {
        let mut talk = introduced();
        assert_eq!(hear(&mut talk, &format!("000000020101{parameters}")), expected, "{parameters}");
    }
    for (feed, format) in [(v8(), "hears v8"), (v3(), "hears v3")] {
        let mut talk = introduced();
        let told = hear(&mut talk, &blocks("0000000000", &feed));
        assert_eq!(told[0], format);
        assert_eq!(told.len(), 2);
        assert_eq!(hear(&mut talk, &blocks("0000000000", &feed)).len(), 1, "said once");
    }
    // Rubbish teaches nothing, and is left to those who verify.
    assert_eq!(hear(&mut introduced(), "00000000000242").len(), 1);
}

/// A relay asks for both, so it is told both, and asked for both.
#[test]
fn relays_exchange_both_generations() {
    let mut talk = introduced();
    assert_eq!(hear(&mut talk, "000000020101a0"), ["hears v8", "upload 1 v8"]);
    talk.part(1, None, NOW);
    assert_eq!(told(&mut talk), ["000200000000", "uploaded"]);
    assert_eq!(hear(&mut talk, "000200000000"), ["downloaded"], "it has nothing of generation 2");
    assert_eq!(
        hear(&mut talk, "000000030101de0000"),
        ["hears v3", "upload 2 v3", "000000030101de0000"],
        "now it is known to be a relay"
    );

    let mut out = Conversation::new(HUB, Rules { both: true, ..RULES }, NOW);
    told(&mut out);
    assert_eq!(hear(&mut out, "000100000000"), ["000000020101a0"]);
    assert_eq!(hear(&mut out, "000200000000"), ["downloaded", "000000030101de0000"]);
    assert_eq!(hear(&mut out, "000300000000"), ["downloaded"]);
}

/// The next feed is asked for before the last one is merged.
#[test]
fn downloads_go_on_feed_by_feed() {
    let mut talk = introduced();
    let feed = v8();
    let dispatch = format!("dispatch {} answer=true", feed.len());
    assert_eq!(hear(&mut talk, &blocks("0002000501", &feed)), ["hears v8", &dispatch, "000500030100"]);
    assert_eq!(hear(&mut talk, &blocks("0003000601", &feed)), [&dispatch, "000600040100"]);
    // One bad feed does not keep the others from us.
    talk.dispatched(&answer(&feed), Some("why"), NOW);
    talk.dispatched(&answer(&feed), None, NOW);
    assert_eq!(hear(&mut talk, &blocks("0004000000", &feed)), [&dispatch, "downloaded"]);
    talk.dispatched(&answer(&feed), None, NOW);
    assert_eq!(told(&mut talk), [""; 0]);
    assert!(talk.ports.is_empty());
}

fn answer(feed: &[u8]) -> Received {
    Received { feed: Bytes::copy_from_slice(feed), reply: None, answer: true }
}

#[test]
fn enough_is_enough() {
    let mut talk = introduced();
    let feed = v8();
    for n in 0..=REFUSALS_MAX {
        let port = 2 + n;
        let told = hear(&mut talk, &blocks(&format!("{port:04x}000501"), &feed));
        if n < REFUSALS_MAX {
            assert_eq!(*told.last().unwrap(), format!("0005{:04x}0100", port + 1));
            talk.dispatched(&answer(&feed), Some("why"), NOW);
        } else {
            assert_eq!(told[1..], ["0005000000ff", "downloaded"]);
        }
    }
    // Out of the blue the first bad one is refused.
    let feed = received(&mut talk, &blocks("0000000701", &feed));
    talk.dispatched(&feed, Some("why"), NOW);
    assert_eq!(told(&mut talk), [format!("0007000000ff{}", data_encoding::HEXLOWER.encode(b"why"))]);
}

/// Several feeds out of the blue: each is asked for.
#[test]
fn live_feeds_may_come_as_a_chain() {
    let mut talk = introduced();
    assert_eq!(hear(&mut talk, "000200000000"), ["downloaded"]);
    let first = received(&mut talk, &blocks("0000000901", &v8()));
    assert!(!first.answer);
    talk.dispatched(&first, None, NOW);
    assert_eq!(told(&mut talk), ["000900030100"]);
    let last = received(&mut talk, &blocks("0003000000", &v8()));
    assert!(!last.answer);
    talk.dispatched(&last, None, NOW);
    assert_eq!(told(&mut talk), [""; 0]);
}

#[test]
fn uploads_stop_when_they_are_not_asked_for() {
    for (answer, expected) in [
        ("000300070100", &["part 1"][..]),
        ("000300000000", &["uploaded"]),
        ("0003000701ff", &["ignored upload_refused", "uploaded"]),
        ("0003000000ff", &["ignored upload_refused", "uploaded"]),
        ("00030000000250494330", &["ignored upload_refused", "uploaded"]),
    ] {
        let mut talk = introduced();
        hear(&mut talk, "000000020101a0");
        talk.part(1, Some((b"feed", true)), NOW);
        assert_eq!(told(&mut talk), ["0002000301026665656 4".replace(' ', "")]);
        assert_eq!(hear(&mut talk, answer), expected, "{answer}");
        assert_eq!(hear(&mut talk, answer), ["ignored unknown_port"], "each port is used once");
    }
}

#[test]
fn a_new_query_ends_the_answer_to_the_one_before() {
    let mut talk = introduced();
    for n in 1..1000 {
        assert_eq!(hear(&mut talk, &format!("0000{n:04x}0101a0")).last().unwrap(), &format!("upload {n} v8"));
        talk.part(n, Some((b"feed", true)), NOW);
        assert_eq!(told(&mut talk).len(), 1);
        assert!(talk.ports.len() <= 3, "{}", talk.ports.len());
    }
    // What was read for an older one is not sent.
    talk.part(998, Some((b"feed", true)), NOW);
    assert_eq!(told(&mut talk), [""; 0]);
}

#[test]
fn node_ids_are_said_once() {
    let mut talk = introduced();
    assert_eq!(hear(&mut talk, "000000030103bbbbbbbbbbbbbbbb"), ["ignored node_id_twice"]);
    assert_eq!(hear(&mut begun(), "000000010103bbbb"), ["0001000000ff", "ignored unknown_type"]);
    assert_eq!(begun().receive(&hex("0000000101035e5e5e5e5e5e5e5e"), NOW), Err(Fault::Itself));
    assert_eq!(begun().receive(&hex("0001000000ff"), NOW), Err(Fault::Refused));
}

#[test]
fn what_is_not_understood_is_answered_with_err_or_not_at_all() {
    let mut talk = introduced();
    for (frame, expected) in [
        ("000000050109", &["0005000000ff", "ignored unknown_type"][..]),
        ("000000000009", &["ignored unknown_type"]),
        ("000000000000", &["ignored stray_answer"]),
        ("0000000000ff", &["ignored stray_answer"]),
        ("03e700000000", &["ignored unknown_port"]),
        ("0000000501ff", &["0005000000ff", "ignored unknown_type"]),
    ] {
        assert_eq!(hear(&mut talk, frame), expected, "{frame}");
    }
    assert!(matches!(talk.receive(&hex("0000"), NOW), Err(Fault::NoFrame(_))));
}

#[test]
fn replies_that_never_come() {
    let late = Duration::from_secs(31);
    assert_eq!(begun().tick(late), Err(Fault::Silent));
    // The QUERY: the peer can still hear new blocks.
    let mut talk = introduced();
    talk.tick(Duration::from_secs(29)).unwrap();
    assert_eq!(told(&mut talk), [""; 0]);
    talk.tick(late).unwrap();
    assert_eq!(told(&mut talk), ["downloaded", "ignored unanswered"]);
    // Ports run out, and come back.
    let feed = v8();
    for n in 0..100 {
        let feed = received(&mut talk, &blocks("0000000901", &feed));
        talk.dispatched(&feed, None, late);
        let told = told(&mut talk);
        assert_eq!(told[0].starts_with("0009000000ff"), n >= RULES.ports_max, "{n}: {told:?}");
    }
    assert_eq!(talk.ports.len(), RULES.ports_max);
    talk.tick(late * 2).unwrap();
    assert!(talk.ports.is_empty());
}

#[test]
fn asking_again() {
    let mut talk = introduced();
    talk.ask_again(NOW);
    assert_eq!(told(&mut talk), [""; 0], "an answer is under way");
    assert_eq!(hear(&mut talk, "000200000000"), ["downloaded"]);
    talk.ask_again(NOW);
    assert_eq!(told(&mut talk), ["000000030101a0"]);
}

#[test]
fn asking_for_all_waits_for_what_is_under_way() {
    let mut talk = introduced();
    talk.ask_for_all(NOW);
    assert_eq!(told(&mut talk), [""; 0], "an answer is under way");
    assert_eq!(hear(&mut talk, "000200000000"), ["downloaded", "000000030101a0"]);
    // Once.
    assert_eq!(hear(&mut talk, "000300000000"), ["downloaded"]);
    talk.ask_for_all(NOW);
    assert_eq!(told(&mut talk), ["000000040101a0"]);
    assert_eq!(hear(&mut talk, "000400000000"), ["downloaded"]);
}

proptest::proptest! {
    /// Whatever a peer sends, in whatever order: no panic, few ports, only whole frames.
    #[test]
    fn any_frames(frames in proptest::collection::vec(proptest::collection::vec(0u8..8, 0..20), 0..50)) {
        let mut talk = introduced();
        for (at, frame) in frames.into_iter().enumerate() {
            let now = Duration::from_secs(at as u64);
            if talk.receive(&frame.into(), now).is_err() {
                break;
            }
            for act in acts(&mut talk) {
                match act {
                    Act::Send(frame) => proptest::prop_assert!(frame.len() >= FRAME_BYTES_MIN),
                    Act::Upload(number, _) | Act::Part(number) => talk.part(number, Some((b"f", true)), now),
                    Act::Dispatch(received) => talk.dispatched(&received, (at % 2 == 0).then_some("why"), now),
                    _ => {}
                }
            }
            proptest::prop_assert!(talk.ports.len() <= RULES.ports_max);
        }
    }
}
