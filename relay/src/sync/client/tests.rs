use proptest::prelude::*;

use super::*;

/// A conversation: what is heard and what must follow.
struct Talk {
    client: Client,
    now: Duration,
}

fn config() -> config::Sync {
    config::Sync { faults_max: 3, retries_max: 2, answer_seconds: 10, request_seconds: 60, ..config::Sync::default() }
}

fn talk() -> Talk {
    let sign: Signer = Box::new(|challenge| Some((id(99), format!("{{\"signed\":\"{challenge}\"}}"))));
    Talk { client: Client::new(config(), sign), now: Duration::ZERO }
}

fn id(n: u8) -> Id {
    Id([n; 32])
}

fn event(n: u8, kind: u16) -> String {
    let (id, sig) = (id(n).to_hex(), "0".repeat(128));
    format!(
        r#"{{"id":"{id}","pubkey":"{}","created_at":{n},"kind":{kind},"tags":[],"content":"","sig":"{sig}"}}"#,
        "0".repeat(64)
    )
}

fn filter() -> Filter {
    Filter { kinds: Some([1].into()), ..Filter::default() }
}

impl Talk {
    fn page(&mut self, limit: usize) -> Name {
        self.client.page(filter(), r#"{"kinds":[1]}"#, limit, self.now)
    }

    fn send(&mut self, n: u8) {
        self.client.send(id(n), event(n, 1), self.now);
    }

    fn after(&mut self, seconds: u64) -> Result<(), Fault> {
        self.now += Duration::from_secs(seconds);
        self.client.tick(self.now)
    }

    /// Everything said since, in short: verb and first words.
    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.take()).map(|text| text.chars().take(40).collect()).collect()
    }

    fn hears(&mut self, text: &str) -> Result<Vec<String>, Fault> {
        self.client.hear(text, self.now)?;
        Ok(self.told())
    }

    /// What the caller is told, in short.
    fn told(&mut self) -> Vec<String> {
        let heard = std::iter::from_fn(|| self.client.take_heard());
        heard
            .map(|heard| match heard {
                Heard::Event(event) => format!("event {}", event.created_at),
                Heard::End(name, page) => format!("end {name} {:?} {}", times(&page), page.finish),
                Heard::Closed(name, why) => format!("closed {name} {why}"),
                Heard::Sent(id, answer) => format!("sent {} {answer:?}", id.0[0]),
                Heard::Neg(message) => format!("neg {message:?}"),
                Heard::NegErr(why) => format!("neg-err {why}"),
                Heard::Notice(text) => format!("notice {text}"),
                Heard::Paused(pause) => format!("paused {}", pause.as_secs()),
                Heard::Resumed => "resumed".into(),
            })
            .collect()
    }

    /// Hears texts, each of which must come to this.
    fn check(&mut self, texts: &[(&str, &[&str])]) {
        for (text, told) in texts {
            assert_eq!(self.hears(text).unwrap(), *told, "{text}");
        }
    }
}

fn times(page: &Page) -> Vec<u64> {
    page.events.iter().map(|(at, _)| *at).collect()
}

fn says(name: &str, n: u8, kind: u16) -> String {
    format!(r#"["EVENT","{name}",{}]"#, event(n, kind))
}

fn ok(n: u8, accepted: bool, why: &str) -> String {
    format!(r#"["OK","{}",{accepted},"{why}"]"#, id(n).to_hex())
}

#[test]
fn a_page_has_what_was_asked_for() {
    let mut talk = talk();
    assert_eq!(talk.page(3), "r1");
    assert_eq!(talk.said(), [r#"["REQ","r1",{"kinds":[1]}]"#]);
    talk.check(&[
        (&says("r1", 5, 1), &["event 5"]),
        // Another kind, and one that came already.
        (&says("r1", 4, 7), &[]),
        (&says("r1", 5, 1), &[]),
        (&says("r1", 4, 1), &["event 4"]),
        (r#"["EOSE","r1",["finish"]]"#, &["end r1 [5, 4] true"]),
        (r#"["EOSE","r1"]"#, &[]),
    ]);
    assert_eq!(talk.said(), [r#"["CLOSE","r1"]"#]);

    // What follows after as many as were asked for is left aside.
    assert_eq!(talk.page(1), "r2");
    talk.check(&[(&says("r2", 5, 1), &["event 5"]), (&says("r2", 6, 1), &["end r2 [5] false"])]);
    assert_eq!(talk.said().last().unwrap(), r#"["CLOSE","r2"]"#);

    // A third lie, and one too many: one that was never asked for.
    talk.check(&[(r#"["EVENT","x",{}]"#, &[])]);
    assert!(matches!(talk.hears("[]"), Err(Fault::Lies)));
}

/// A relay that knows NIP-67 goes on to the end of the oldest second, beyond the limit.
#[test]
fn an_answer_may_go_on_to_the_end_of_its_second() {
    let mut talk = talk();
    talk.client.config.second_events_max = 2;
    let at_five = |name: &str, n: u8| says(name, n, 1).replace(&format!(r#""created_at":{n}"#), r#""created_at":5"#);
    assert_eq!(talk.page(2), "r1");
    talk.check(&[
        (&says("r1", 6, 1), &["event 6"]),
        (&at_five("r1", 1), &["event 5"]),
        (&at_five("r1", 2), &["event 5"]),
        (&at_five("r1", 3), &["event 5"]),
        (r#"["EOSE","r1",["finish"]]"#, &["end r1 [6, 5, 5, 5] true"]),
    ]);
    // Only so many, and the next page is asked for from there on.
    assert_eq!(talk.page(1), "r2");
    talk.check(&[
        (&at_five("r2", 1), &["event 5"]),
        (&at_five("r2", 2), &["event 5"]),
        (&at_five("r2", 3), &["event 5"]),
        (&at_five("r2", 4), &["end r2 [5, 5, 5] false"]),
    ]);
}

#[test]
fn faults_are_forgotten_in_time() {
    let mut talk = talk();
    for _ in 0..10 {
        for _ in 0..3 {
            talk.check(&[("nonsense", &[])]);
        }
        talk.after(3601).unwrap();
    }
}

#[test]
fn stragglers_are_no_lies_unless_they_never_end() {
    let mut talk = talk();
    for n in 1..=20 {
        let name = talk.page(1);
        talk.check(&[(&says(&name, n, 1), &[&format!("event {n}")])]);
        talk.check(&[(&says(&name, 99, 1), &[&format!("end {name} [{n}] false")]), (&says(&name, 98, 1), &[])]);
    }
    let all: Vec<_> = (0..20).map(|_| talk.hears(&says("r1", 99, 1)).is_ok()).collect();
    assert!(!all.iter().all(|fine| *fine), "a flood without end");
}

#[test]
fn live_events_go_on() {
    let mut talk = talk();
    let name = talk.client.live(filter(), r#"{"kinds":[1],"limit":1}"#, talk.now);
    talk.check(&[(&says(&name, 5, 1), &["event 5"]), (r#"["EOSE","r1"]"#, &["end r1 [] false"])]);
    talk.after(1_000).unwrap();
    talk.check(&[(&says(&name, 6, 1), &["event 6"]), (&says(&name, 6, 1), &[])]);
    talk.check(&[(r#"["CLOSED","r1","error: bored"]"#, &["closed r1 error: bored"])]);
    assert_eq!(talk.said(), [r#"["REQ","r1",{"kinds":[1],"limit":1}]"#]);
}

#[test]
fn authenticates_when_asked() {
    let mut talk = talk();
    talk.page(10);
    talk.send(1);
    talk.said();
    // A challenge alone asks for nothing.
    talk.check(&[(r#"["AUTH","hello"]"#, &[])]);
    assert_eq!(talk.said(), [""; 0]);
    talk.check(&[(r#"["CLOSED","r1","auth-required: who are you"]"#, &[])]);
    assert_eq!(talk.said(), [r#"["AUTH",{"signed":"hello"}]"#]);
    talk.check(&[(&ok(1, false, "auth-required: who are you"), &[])]);
    assert_eq!(talk.said(), [""; 0]);
    talk.check(&[(&ok(99, true, ""), &[])]);
    let again = talk.said();
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again[0].starts_with(r#"["REQ","r1""#) && again[1].starts_with(r#"["EVENT""#), "{again:?}");
    // Whoever still wants it refuses us.
    talk.check(&[(r#"["CLOSED","r1","auth-required: still"]"#, &["closed r1 auth-required: still"])]);
    talk.check(&[(&ok(1, true, ""), &["sent 1 Ok(())"])]);
}

#[test]
fn auth_that_leads_nowhere_ends() {
    let mut refused = talk();
    refused.page(10);
    refused.check(&[(r#"["AUTH","a"]"#, &[]), (r#"["CLOSED","r1","auth-required: x"]"#, &[])]);
    let fault = refused.hears(&ok(99, false, "restricted: not you")).unwrap_err();
    assert_eq!(fault.to_string(), "the other relay refuses: AUTH: restricted: not you");

    let mut unanswered = talk();
    unanswered.page(10);
    unanswered.check(&[(r#"["AUTH","a"]"#, &[]), (r#"["CLOSED","r1","auth-required: x"]"#, &[])]);
    assert!(matches!(unanswered.after(10), Err(Fault::Silent("AUTH"))));

    let mut without_challenge = talk();
    without_challenge.page(10);
    without_challenge.check(&[(r#"["CLOSED","r1","auth-required: x"]"#, &[])]);
    assert_eq!(without_challenge.client.deadline(), Some(Duration::from_secs(10)));
    assert!(matches!(without_challenge.after(10), Err(Fault::Silent("AUTH"))));

    // New challenges without end are lies.
    let mut endless = talk();
    endless.page(10);
    let ends = (0..10).find_map(|n| endless.hears(&format!(r#"["AUTH","{n}"]"#)).err());
    assert!(matches!(ends, Some(Fault::Lies)));
    assert!(endless.hears(&format!(r#"["AUTH","{}"]"#, "x".repeat(2_000))).is_err());
}

#[test]
fn a_notice_is_no_lie() {
    let mut talk = talk();
    (0..3).for_each(|_| talk.check(&[(r#"["NOTICE","hello"]"#, &["notice hello"])]));
    assert_eq!(talk.client.unasked(), 0);
    // But there may not be too many of them, either.
    assert!(matches!(talk.hears(r#"["NOTICE","hello"]"#), Err(Fault::Lies)));
    let mut talk = super::tests::talk();
    talk.check(&[(r#"["EVENT","x",{}]"#, &[]), (r#"["WHAT"]"#, &[])]);
    assert_eq!(talk.client.unasked(), 2);
}

#[test]
fn slows_down_when_told() {
    let mut talk = talk();
    talk.send(1);
    talk.said();
    assert!(talk.client.may_send());
    talk.check(&[(&ok(1, false, "rate-limited: slow down"), &["paused 1"])]);
    assert!(!talk.client.may_send());
    talk.after(1).unwrap();
    assert_eq!(talk.told(), ["resumed"]);
    assert_eq!(talk.said().len(), 1);
    // The second pause is longer, and the third time is one too many.
    talk.check(&[(&ok(1, false, "rate-limited: slower"), &["paused 2"])]);
    talk.after(1).unwrap();
    assert_eq!(talk.told(), [""; 0]);
    talk.after(1).unwrap();
    assert_eq!((talk.told().len(), talk.said().len()), (1, 1));
    assert!(matches!(talk.hears(&ok(1, false, "rate-limited: no")), Err(Fault::RateLimited)));
}

#[test]
fn goes_on_slowly_after_a_pause() {
    let mut talk = talk();
    (1..=10).for_each(|n| talk.send(n));
    assert_eq!(talk.said().len(), 10);
    talk.check(&[(&ok(3, false, "rate-limited: slow down"), &["paused 1"])]);
    (4..=10).for_each(|n| talk.check(&[(&ok(n, false, "rate-limited: slow down"), &[])]));
    talk.check(&[(&ok(1, true, ""), &["sent 1 Ok(())"]), (&ok(2, true, ""), &["sent 2 Ok(())"])]);
    assert_eq!(talk.said(), [""; 0]);
    talk.after(1).unwrap();
    assert_eq!(talk.told(), ["resumed"]);
    // As many as were taken since the pause began, and one.
    assert_eq!(talk.said().len(), 3);
    for (n, said) in [(3, 2), (4, 2), (5, 1), (6, 0)] {
        talk.check(&[(&ok(n, true, ""), &[&format!("sent {n} Ok(())")])]);
        assert_eq!(talk.said().len(), said, "{n}");
    }
    assert!(talk.client.may_send());
    (7..=10).for_each(|n| talk.check(&[(&ok(n, true, ""), &[&format!("sent {n} Ok(())")])]));
    assert_eq!((talk.client.in_flight(), talk.client.sent_bytes), (0, 0));
}

#[test]
fn a_success_between_forgives_the_pauses() {
    let mut talk = talk();
    for n in 1..20 {
        talk.send(n);
        talk.check(&[(&ok(n, false, "rate-limited: slow down"), &["paused 1"])]);
        talk.after(60).unwrap();
        talk.check(&[(&ok(n, true, ""), &["resumed", &format!("sent {n} Ok(())")])]);
    }
}

#[test]
fn answers_about_events() {
    let mut talk = talk();
    (1..=4).for_each(|n| talk.send(n));
    talk.send(1);
    assert_eq!((talk.said().len(), talk.client.in_flight()), (4, 4));
    talk.check(&[
        (&ok(1, true, ""), &["sent 1 Ok(())"]),
        (&ok(2, false, "duplicate: have it"), &["sent 2 Ok(())"]),
        (&ok(3, false, "blocked: no"), &[r#"sent 3 Err("blocked: no")"#]),
        (&ok(3, true, ""), &[]),
    ]);
    assert_eq!((talk.client.in_flight(), talk.client.sent_bytes), (1, event(4, 1).len()));
}

#[test]
fn bounds_what_is_under_way() {
    let mut talk = talk();
    talk.client.config.events_in_flight_max = 2;
    talk.send(1);
    assert!(talk.client.may_send());
    talk.send(2);
    assert!(!talk.client.may_send());
    talk.client.config.events_in_flight_max = 100;
    assert!(talk.client.may_send());
    talk.client.config.outbox_bytes_max = 100;
    assert!(!talk.client.may_send());
}

#[test]
fn silence_ends_a_connection() {
    let mut no_page = talk();
    no_page.page(10);
    no_page.after(9).unwrap();
    no_page.check(&[(&says("r1", 5, 1), &["event 5"])]);
    no_page.after(9).unwrap();
    assert!(matches!(no_page.after(1), Err(Fault::Silent("a REQ"))));

    // One that drips is not silent, but has no more than `request_seconds`.
    let mut drips = talk();
    drips.page(1_000);
    let ends = (1..100).find(|n| {
        drips.hears(&says("r1", *n, 1)).unwrap();
        drips.after(5).is_err()
    });
    assert_eq!(ends, Some(12));

    let mut no_ok = talk();
    no_ok.send(1);
    no_ok.send(2);
    assert!(matches!(no_ok.after(10), Err(Fault::Silent("an EVENT"))));

    // One that answers others gives up this one.
    let mut one_ok = talk();
    one_ok.send(1);
    one_ok.send(2);
    one_ok.after(9).unwrap();
    one_ok.check(&[(&ok(2, true, ""), &["sent 2 Ok(())"])]);
    one_ok.after(9).unwrap();
    one_ok.after(1).unwrap();
    assert_eq!(one_ok.told(), [r#"sent 1 Err("no answer")"#]);
    assert_eq!((one_ok.client.in_flight(), one_ok.client.sent_bytes), (0, 0));
    assert_eq!(one_ok.client.deadline(), None);
}

#[test]
fn negentropy_or_none() {
    let open = |talk: &mut Talk| {
        talk.client.neg_open("{}", &[0x61], talk.now);
        talk.said()
    };
    let mut can = talk();
    assert_eq!(open(&mut can), [r#"["NEG-OPEN","n1",{},"61"]"#]);
    can.check(&[(r#"["NEG-MSG","n1","6100"]"#, &["neg [97, 0]"]), (r#"["NEG-MSG","n1","6100"]"#, &[])]);
    can.client.neg_say(&[0x61, 1], can.now);
    assert_eq!(can.said(), [r#"["NEG-MSG","n1","6101"]"#]);
    can.check(&[(r#"["NEG-ERR","n1","closed: too slow"]"#, &["neg-err closed: too slow"])]);

    let mut says_so = talk();
    open(&mut says_so);
    says_so.check(&[(r#"["NOTICE","ERROR: bad msg: unknown cmd"]"#, &["notice ERROR: bad msg: unknown cmd"])]);
    says_so.after(1).unwrap();
    assert_eq!(says_so.told(), [""; 0]);
    assert_eq!(says_so.client.deadline(), Some(Duration::from_secs(2)));
    says_so.after(1).unwrap();
    assert_eq!(says_so.told(), ["neg-err unsupported: ERROR: bad msg: unknown cmd"]);

    // A notice that means something else.
    let mut greets = talk();
    open(&mut greets);
    greets.check(&[(r#"["NOTICE","welcome"]"#, &["notice welcome"]), (r#"["NEG-MSG","n1","61"]"#, &["neg [97]"])]);
    greets.after(5).unwrap();
    assert_eq!(greets.told(), [""; 0]);

    let mut silent = talk();
    open(&mut silent);
    silent.after(10).unwrap();
    assert_eq!(silent.told(), ["neg-err unsupported: no answer to NEG-OPEN"]);

    let mut stops = talk();
    open(&mut stops);
    stops.check(&[(r#"["NEG-MSG","n1","61"]"#, &["neg [97]"])]);
    stops.client.neg_say(&[0x61], stops.now);
    assert!(matches!(stops.after(10), Err(Fault::Silent("NEG-MSG"))));

    let mut auth = talk();
    open(&mut auth);
    auth.check(&[(r#"["AUTH","c"]"#, &[]), (r#"["NEG-ERR","n1","auth-required: x"]"#, &[])]);
    auth.check(&[(&ok(99, true, ""), &[])]);
    assert_eq!(auth.said(), [r#"["AUTH",{"signed":"c"}]"#, r#"["NEG-OPEN","n1",{},"61"]"#]);
}

#[derive(Clone, Debug)]
enum Move {
    Page(usize),
    Live,
    Send(u8),
    Open,
    Say,
    Close,
    Hear(String),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    let name = prop_oneof!["r[1-9]", "n[1-9]", "x"];
    let why = prop_oneof!["auth-required: x", "rate-limited: x", "duplicate: x", "blocked: x", "error: x", ""];
    let number = 0u8..6;
    let text = prop_oneof![
        (name.clone(), number.clone(), 1u16..3).prop_map(|(name, n, kind)| says(&name, n, kind)),
        name.clone().prop_map(|name| format!(r#"["EOSE","{name}"]"#)),
        (name.clone(), why.clone()).prop_map(|(name, why)| format!(r#"["CLOSED","{name}","{why}"]"#)),
        (prop_oneof![number.clone(), Just(99)], any::<bool>(), why.clone()).prop_map(|(n, yes, why)| ok(n, yes, &why)),
        Just(r#"["AUTH","c"]"#.to_owned()),
        Just(r#"["NOTICE","c"]"#.to_owned()),
        name.clone().prop_map(|name| format!(r#"["NEG-MSG","{name}","6100"]"#)),
        (name, why).prop_map(|(name, why)| format!(r#"["NEG-ERR","{name}","{why}"]"#)),
        ".{0,20}",
    ];
    prop_oneof![
        1 => (1usize..4).prop_map(Move::Page),
        1 => Just(Move::Live),
        2 => number.prop_map(Move::Send),
        1 => Just(Move::Open),
        1 => Just(Move::Say),
        1 => Just(Move::Close),
        10 => text.prop_map(Move::Hear),
        2 => (0u64..5).prop_map(Move::Wait),
    ]
}

proptest! {
    /// Whatever the other relay says: what is kept is what we asked for, what is told of a request is told once, the end
    /// comes at last, and bytes are counted right.
    #[test]
    fn whatever_it_says(moves in prop::collection::vec(moves(), 0..200)) {
        let mut talk = talk();
        talk.client.config.faults_max = 1_000;
        talk.client.config.retries_max = 1_000;
        let (mut asked, mut ended, mut sent, mut answered) = (0, 0, HashSet::new(), 0);
        let mut is_over = false;
        for one in moves {
            let done = match one {
                Move::Page(limit) => { asked += 1; talk.page(limit); Ok(()) }
                Move::Live => { asked += 1; talk.client.live(filter(), "{}", talk.now); Ok(()) }
                Move::Send(n) if talk.client.sent.contains_key(&id(n)) => Ok(()),
                Move::Send(n) => { sent.insert((sent.len(), n)); talk.send(n); Ok(()) }
                Move::Open => { talk.client.neg_open("{}", &[0x61], talk.now); Ok(()) }
                Move::Say => { talk.client.neg_say(&[0x61], talk.now); Ok(()) }
                Move::Close => { talk.client.neg_close(); Ok(()) }
                Move::Hear(text) => talk.client.hear(&text, talk.now),
                Move::Wait(seconds) => talk.after(seconds),
            };
            while let Some(heard) = talk.client.take_heard() {
                match heard {
                    Heard::Closed(..) => ended += 1,
                    Heard::End(name, _) if !talk.client.requests.contains_key(&name) => ended += 1,
                    Heard::Sent(..) => answered += 1,
                    _ => {}
                }
            }
            let json: usize = talk.client.sent.values().map(|sent| sent.json.len()).sum();
            prop_assert_eq!(talk.client.sent_bytes, json);
            prop_assert_eq!(talk.client.requests.len() + ended, asked);
            prop_assert_eq!(talk.client.sent.len() + answered, sent.len());
            if done.is_err() {
                is_over = true;
                break;
            }
        }
        // Left alone, everything is answered or over.
        for _ in 0..100 {
            if is_over { break; }
            is_over = talk.after(10).is_err();
            talk.said();
        }
        let waits = talk.client.waits().any(|wait| matches!(wait, Wait::Answer { .. }));
        prop_assert!(is_over || !waits);
    }
}
