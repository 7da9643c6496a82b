use std::time::Instant;

use super::*;
use picorelay_testing::{Draft, key};

/// A folder with files for events.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join("slices/nostr").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn start(&self) -> std::io::Result<(EventSlices, EventSlicesThread)> {
        self.start_with(&config())
    }

    fn start_with(&self, config: &config::Script) -> std::io::Result<(EventSlices, EventSlicesThread)> {
        let (lookout, _) = Lookout::start(Duration::from_millis(config.stuck_ms_max)).unwrap();
        EventSlices::start(self.0.path(), config, &lookout)
    }
}

fn config() -> config::Script {
    config::Script { reload_seconds: 0, ..config::Script::default() }
}

fn note(author: u8, content: &str) -> Verified {
    Draft { author, kind: 1, created_at: 1000, content: content.into(), tags: vec![vec!["t".into(), "x".into()]] }
        .sign()
}

/// What the slices say of an event.
fn ask(judge: &mut Judge, event: &Verified, auth: &[PublicKey]) -> Option<String> {
    let events = [Some(event.clone())];
    judge.is_idle();
    let mut refusals = judge.stateless(&events, auth, 5000);
    if refusals[0].is_none() {
        refusals = judge.stateful(&events, auth, 5000);
    }
    refusals.remove(0).map(|refusal| refusal.to_string())
}

/// A file with one filter of this body.
fn filter(body: &str) -> String {
    format!(
        "export default store => store.register({{ name: 'f', filter ({{ event, AUTHOR, state, now, auth }}) {{ {body} }} }})"
    )
}

#[test]
fn what_a_filter_returns() {
    for (body, said) in [
        ("", None),
        ("return false", None),
        ("return null", None),
        ("return 0", None),
        ("return ''", None),
        ("return true", None),
        ("return 'no links please'", Some("blocked: no links please")),
        ("return 'rate-limited: slow down'", Some("rate-limited: slow down")),
        ("return 'note: no prefix of NIP-01'", Some("blocked: note: no prefix of NIP-01")),
        ("return new Error('not now')", Some("blocked: not now")),
        ("return 'two\\nlines'", Some("blocked: twolines")),
        ("throw new Error('x')", Some("error: the slice f failed")),
        ("throw undefined", Some("error: the slice f failed")),
        ("return Promise.resolve('later')", Some("blocked: later")),
        ("return new Promise(() => {})", Some("error: the slice f failed")),
        ("return `${event.kind} ${event.tags[0][1]} ${event.content}`", Some("blocked: 1 x hello")),
        ("return String(AUTHOR === event.pubkey)", Some("blocked: true")),
        (
            "return `${now} ${Date.now()} ${new Date().toISOString()}`",
            Some("blocked: 5000 5000000 1970-01-01T01:23:20.000Z"),
        ),
        ("return `${typeof state} ${auth.length} ${auth[0] === event.pubkey}`", Some("blocked: undefined 1 true")),
        ("return String(Math.random() < 1 && Math.random() !== Math.random())", Some("blocked: true")),
        (
            "return typeof fetch + typeof setTimeout + typeof process + typeof __native",
            Some("blocked: undefinedundefinedundefinedundefined"),
        ),
    ] {
        let files = Files::new(&[("f.js", &filter(body))]);
        let (slices, _thread) = files.start().unwrap();
        assert_eq!(ask(&mut slices.judge(Arc::default()), &note(1, "hello"), &[key(1)]).as_deref(), said, "{body}");
    }
}

#[test]
fn half_a_character_is_no_failure() {
    let files = Files::new(&[("f.js", &filter("return 'not here: ' + event.content.slice(0, 2)"))]);
    let (slices, _thread) = files.start().unwrap();
    let mut judge = slices.judge(Arc::default());
    for _ in 0..50 {
        assert_eq!(ask(&mut judge, &note(1, "a😀"), &[]).unwrap(), "blocked: not here: a\u{fffd}");
    }
}

#[test]
fn chance_is_the_same_in_each_call() {
    let files = Files::new(&[("f.js", &filter("return `${Math.random()} ${Math.random()}`"))]);
    let (slices, _thread) = files.start().unwrap();
    let mut judge = slices.judge(Arc::default());
    let first = ask(&mut judge, &note(1, "a"), &[]).unwrap();
    assert_eq!(ask(&mut judge, &note(1, "b"), &[]).unwrap(), first);
}

#[test]
fn hostile_filters_are_stopped_and_then_left_out() {
    let hostile = [
        "for (;;) {}",
        "const f = () => f(); f()",
        "return 'x'.repeat(2 ** 30)",
        "const all = []; for (;;) all.push(new Uint8Array(1000))",
        "try { for (;;) {} } catch { } return",
        "try { for (;;) {} } finally { return }",
        "return (async () => { for (;;) await 0 })()",
        "Promise.resolve().then(function f () { return Promise.resolve().then(f) }); return",
        "return /(a+)+$/.test('a'.repeat(40) + 'b')",
        "return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)",
        "return ('a'.repeat(4e6)).includes('a'.repeat(2e6) + 'b')",
        "const a = []; a.length = 2 ** 32 - 1; return a.join('')",
        "const o = {}; o.o = o; return JSON.stringify(o)",
        "throw { get message () { for (;;) {} } }",
        "return { toString () { for (;;) {} } }",
        "eval('for (;;) {}')",
        "return new Function('for (;;) {}')()",
        "let s = 'x'; for (;;) s += s",
        "return Array.from({ length: 1e9 }, () => 'x').length",
        "return new Proxy({}, { get () { for (;;) {} } }) + ''",
    ];
    let config = config::Script { call_ms_max: 100, failures_max: 3, ..config() };
    for body in hostile {
        let good = filter("if (event.content === 'bad') return 'bad word'");

        let files = Files::new(&[("a.js", &filter(body)), ("b.js", &good)]);
        let (slices, _thread) = files.start_with(&config).unwrap();
        let mut judge = slices.judge(Arc::default());
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(ask(&mut judge, &note(1, "x"), &[]).as_deref(), Some("error: the slice f failed"), "{body}");
        }
        assert_eq!(ask(&mut judge, &note(1, "x"), &[]), None, "{body}");
        assert_eq!(ask(&mut judge, &note(1, "bad"), &[]).as_deref(), Some("blocked: bad word"), "{body}");
        assert!(started.elapsed() < Duration::from_secs(8), "{body}: {:?}", started.elapsed());
    }
}

#[test]
fn what_is_required_refuses_while_it_is_out_of_order() {
    let file = "export default store => store.register({ name: 'f', required: true, filter () { throw 1 } })";
    let files = Files::new(&[("f.js", file)]);
    let (slices, _thread) =
        files.start_with(&config::Script { failures_max: 1, pause_seconds: 1_000, ..config() }).unwrap();
    let mut judge = slices.judge(Arc::default());
    assert_eq!(ask(&mut judge, &note(1, "x"), &[]).as_deref(), Some("error: the slice f failed"));
    assert_eq!(ask(&mut judge, &note(1, "x"), &[]).as_deref(), Some("error: the slice f is out of order"));
}

#[test]
fn one_slice_does_not_reach_another() {
    let evil = "
        Object.prototype.content = 'polluted'
        Array.prototype.find = () => 'polluted'
        JSON.parse = () => ({})
        globalThis.Promise = null
        Uint8Array.prototype.toHex = () => '00'
        export default store => store.register({ name: 'e', filter ({ event }) { Object.prototype.polluted = 1; event.content = 'x' } })";
    let good = filter("return `${event.content} ${{}.polluted} ${typeof Promise}`");
    let files = Files::new(&[("a.js", evil), ("b.js", &good)]);
    let (slices, _thread) = files.start().unwrap();
    assert_eq!(
        ask(&mut slices.judge(Arc::default()), &note(1, "hello"), &[]).as_deref(),
        Some("blocked: hello undefined function")
    );
}

#[test]
fn an_event_is_made_anew_and_is_what_nip_01_says() {
    let event = note(1, "hello \u{1f600} \"\n");
    let whole = serde_json::to_string(event.json()).unwrap();
    for (body, said) in [
        (format!("return String(JSON.stringify(event) === {whole})"), "true"),
        ("return Object.keys(event).join()".to_owned(), "id,pubkey,created_at,kind,tags,content,sig"),
        ("return JSON.stringify({ ...event }.tags)".to_owned(), r#"[["t","x"]]"#),
        ("return String(event.tags === event.tags && Array.isArray(event.tags))".to_owned(), "true"),
        (
            "event.tags = event.tags.concat([['a']]); return JSON.stringify(event.tags)".to_owned(),
            r#"[["t","x"],["a"]]"#,
        ),
        ("event.tags.push(1); Object.freeze(event); return JSON.stringify(event.tags)".to_owned(), r#"[["t","x"],1]"#),
        (
            "globalThis.all ??= []; all.push(event); return all.map(e => e.content + e.tags.length).pop()".to_owned(),
            "hello",
        ),
    ] {
        let files = Files::new(&[("f.js", &filter(&body))]);
        let (slices, _thread) = files.start().unwrap();
        let mut judge = slices.judge(Arc::default());
        for _ in 0..2 {
            let answer = ask(&mut judge, &event, &[]).unwrap();
            assert!(answer.starts_with(&format!("blocked: {said}")), "{body}: {answer}");
        }
    }
}

#[test]
fn nothing_stays_of_an_event_for_the_next() {
    let files = Files::new(&[(
        "f.js",
        &filter(
            "const was = arguments[0].was ?? event.was ?? event.tags.was ?? auth.was ?? Object.prototype.hasOwnProperty.call(event, 'was')
             arguments[0].was = event.was = event.tags.was = auth.was = event.tags[0][1]
             delete event.content
             return `${was} ${event.tags[0][1]}`",
        ),
    )]);
    let (slices, _thread) = files.start().unwrap();
    let mut judge = slices.judge(Arc::default());
    for _ in 0..3 {
        assert_eq!(ask(&mut judge, &note(1, "a"), &[key(1)]).unwrap(), "blocked: false x");
    }
}

#[test]
fn an_event_that_is_kept_keeps_its_tags() {
    let file = "export default store => store.register({ name: 'f', initialValue: null,
        filter ({ state }) { return state && state.content === 'b' ? `${state.content} ${JSON.stringify(state.tags)}` : false },
        reducer: ({ event }) => event })";
    let files = Files::new(&[("f.js", file)]);
    for content in ["a", "b"] {
        let (slices, thread) = files.start().unwrap();
        let mut judge = slices.judge(Arc::default());
        assert_eq!(ask(&mut judge, &note(1, content), &[]), None);
        drop((slices, judge));
        thread.join();
    }
    let (slices, _thread) = files.start().unwrap();
    let said = ask(&mut slices.judge(Arc::default()), &note(1, "c"), &[]);
    assert_eq!(said.as_deref(), Some(r#"blocked: b [["t","x"]]"#));
}

/// Texts in and out of the fast ways of `realm.js`: short and long, ASCII and not, found and not.
#[test]
fn searching_and_lower_case_are_those_of_the_language() {
    let body = "
        const long = 'The Quick Brown Fox Jumps'
        const all = {
          short: 'ABC'.toLowerCase() === 'abc',
          long: long.toLowerCase() === 'the quick brown fox jumps',
          umlaut: (long + 'ÄÖÜ İ').toLowerCase() === 'the quick brown fox jumpsäöü i\\u0307',
          sigma: (long + ' ΑΣ').toLowerCase() === 'the quick brown fox jumps ας',
          half: (long + '\\ud83d').toLowerCase() === 'the quick brown fox jumps\\ud83d',
          object: String.prototype.toLowerCase.call({ toString: () => long }) === 'the quick brown fox jumps',
          empty: 'abc'.includes('') && 'abc'.includes('', 10) && ''.includes(''),
          at: 'abcabc'.includes('abc', 3) && !'abcabc'.includes('abc', 4) && 'abc'.includes('a', -1) && 'abc'.includes('a', NaN),
          none: !'abc'.includes('abcd') && 'undefined'.includes() && 'null'.includes(null) && '12'.includes(1),
          wide: '😀 ab'.includes('ab') && '😀 ab'.indexOf('ab') === 3 && !'ab'.includes('😀'),
          last: 'abab'.lastIndexOf('ab') === 2 && 'abab'.lastIndexOf('ab', 1) === 0,
          split: 'a,b,c'.split(',').length === 3 && 'a,b,c'.split(',', 2).length === 2 && 'ab'.split().length === 1,
          replace: 'aXbX'.replace('X', '$&$&') === 'aXXbX' && 'aXbX'.replaceAll('X', m => m + 1) === 'aX1bX1' && 'a'.replace('a') === 'undefined',
          regexp: 'aXb'.replace(/x/i, 'y') === 'ayb' && 'a1b2'.split(/\\d/).length === 3,
          own: 'x'.replace({ [Symbol.replace]: (text, by) => text + by }, 'y') === 'xy',
          name: ''.includes.name === 'includes' && ''.toLowerCase.name === 'toLowerCase'
        }
        for (const [f, a] of [['includes', [/a/]], ['toLowerCase', []]]) {
          for (const self of f === 'includes' ? ['a', null] : [null, undefined]) {
            try { String.prototype[f].apply(self, a); all[`${f} ${self}`] = false } catch (error) { all[f] = error instanceof TypeError }
          }
        }
        const wrong = Object.keys(all).filter(name => !all[name])
        return wrong.join() || 'all is well'";
    let files = Files::new(&[("f.js", &filter(body))]);
    let (slices, _thread) = files.start().unwrap();
    let said = ask(&mut slices.judge(Arc::default()), &note(1, "x"), &[]);
    assert_eq!(said.as_deref(), Some("blocked: all is well"));
}

/// `toLocaleLowerCase` is what the interpreter has for `toLowerCase`, too.
#[test]
fn every_letter_has_the_lower_case_of_the_interpreter() {
    let body = "
        for (let from = 0; from < 0x110000; from += 0x400) {
          let text = ''
          for (let c = from; c < from + 0x400; c++) if (c !== 0x3a3 && (c < 0xd800 || c > 0xdfff)) text += String.fromCodePoint(c)
          if (text.toLowerCase() === text.toLocaleLowerCase()) continue
          const wrong = [...text].filter(c => c.repeat(20).toLowerCase() !== c.repeat(20).toLocaleLowerCase())
          return wrong.map(c => c.codePointAt(0).toString(16)).join()
        }";
    let files = Files::new(&[("f.js", &filter(body))]);
    let config = config::Script { call_ms_max: 60_000, call_steps_max: 1 << 40, stuck_ms_max: 120_000, ..config() };
    let (slices, _thread) = files.start_with(&config).unwrap();
    assert_eq!(ask(&mut slices.judge(Arc::default()), &note(1, "x"), &[]), None);
}

#[test]
fn a_state_that_cannot_be_kept_goes_back() {
    let file = "export default store => store.register({ name: 'places', initialValue: [],
        filter ({ event, state }) { if (event.content === 'which') return `${state.length}` },
        reducer ({ event, state }) { const next = [...state]; next[event.content] = 1; return next } })";
    let files = Files::new(&[("places.js", file)]);
    let config = config::Script { state_events_max: 1, ..config() };
    let (slices, thread) = files.start_with(&config).unwrap();
    let mut judge = slices.judge(Arc::default());
    let mut say = |content: &str| ask(&mut judge, &note(1, content), &[]);
    for _ in 0..3 {
        assert_eq!(say("1"), None);
        // More than there is room for, and more than any array of the runtime that can be written down has.
        for place in ["100000000", "2147483647", "4294967294"] {
            let _ = say(place);
            assert_eq!(say("which").as_deref(), Some("blocked: 2"), "{place}");
        }
    }
    drop((slices, judge));
    thread.join();
}

#[test]
fn a_strangers_events_turn_no_slice_off() {
    let file = "export default store => {
        store.register({ name: 'tags', filter ({ event }) { if (event.content === 'bad') event.tags[7][1].trim() } })
        store.register({ name: 'loops', filter ({ event }) { if (event.content === 'loop') for (;;) {} } })
        store.register({ name: 'words', filter ({ event }) { if (event.content === 'worse') return 'not that' } })
        store.register({ name: 'broken', filter () { throw new Error('as always') } })
    }";
    let files = Files::new(&[("f.js", file)]);
    let config = config::Script { call_ms_max: 50, failures_max: 3, pause_seconds: 1_000, ..config() };
    let (slices, _thread) = files.start_with(&config).unwrap();
    let mut judge = slices.judge(Arc::default());
    let mut say = |content: &str| ask(&mut judge, &note(1, content), &[]);
    // What never works is left out, and nothing else.
    for _ in 0..3 {
        assert_eq!(say("good").as_deref(), Some("error: the slice broken failed"));
    }
    assert_eq!(say("good"), None);
    // What threw at some events is asked about each.
    for _ in 0..20 {
        assert_eq!(say("bad").as_deref(), Some("error: the slice tags failed"));
    }
    assert_eq!(say("bad").as_deref(), Some("error: the slice tags failed"));
    assert_eq!(say("worse").as_deref(), Some("blocked: not that"));
    assert_eq!(say("good"), None);
    // What had to be stopped too often is left out alone.
    for _ in 0..3 {
        assert_eq!(say("loop").as_deref(), Some("error: the slice loops failed"));
    }
    assert_eq!(say("loop"), None);
    assert_eq!(say("bad").as_deref(), Some("error: the slice tags failed"));
    assert_eq!(say("worse").as_deref(), Some("blocked: not that"));
}

#[test]
fn a_stopped_call_loses_only_its_own_event() {
    let file = "export default store => store.register({ name: 'n', initialValue: { sum: 0, random: 0 },
        filter ({ event, state, auth, now }) {
          if (event.content === 'how many') return `${state.sum} ${state.random} ${now} ${auth.length}`
          if (event.content === 'loop') for (;;) {}
          if (event.content === 'grow') { const all = []; for (;;) all.push(new Uint8Array(100_000)) }
        },
        reducer ({ event, state, now, auth }) {
          if (event.content === 'half') for (;;) {}
          return { sum: state.sum + event.tags.length * auth.length, random: state.random + Math.random() }
        } })";
    let files = Files::new(&[("n.js", file)]);
    // Few copies, and many.
    for state_events_max in [1_000, 2, 1] {
        let config = config::Script { call_ms_max: 50, state_seconds: 1_000, state_events_max, ..config() };
        let (slices, thread) = files.start_with(&config).unwrap();
        let mut judge = slices.judge(Arc::default());
        let mut say = |content: &str| ask(&mut judge, &note(1, content), &[key(1)]);
        for _ in 0..5 {
            assert_eq!(say("more"), None);
        }
        let before = say("how many").unwrap();
        assert!(before.starts_with("blocked: 5 "), "{before}");
        for stops in ["loop", "grow", "half", "half", "loop"] {
            assert_eq!(say(stops).as_deref(), Some("error: the slice n failed"));
            assert_eq!(say("how many").unwrap(), before, "{stops}, {state_events_max}");
        }
        assert_eq!(say("more"), None);
        assert!(say("how many").unwrap().starts_with("blocked: 6 "));
        // A stop is the last that happens before the relay ends.
        assert_eq!(say("half").as_deref(), Some("error: the slice n failed"));
        drop((slices, judge));
        thread.join();
        let (slices, thread) = files.start_with(&config).unwrap();
        let said = ask(&mut slices.judge(Arc::default()), &note(1, "how many"), &[]).unwrap();
        assert!(said.starts_with("blocked: 6 "), "{said}");
        drop(slices);
        thread.join();
        std::fs::remove_dir_all(files.0.path().join("state")).unwrap();
    }
}

#[test]
fn what_a_slice_changes_no_other_sees() {
    // Each says what it sees, then changes all of it; the reducers count only events that nobody has changed.
    let rule = |name: &str, more: &str| {
        format!(
            "store.register({{ name: '{name}', {more}
              async filter ({{ event, AUTHOR, state, auth }}) {{
                const saw = JSON.stringify([event.kind, event.content, event.tags, auth.length, state])
                event.content = 'changed'; event.kind = 7; event.tags[0].push('changed'); event.tags = 1; auth.push('x')
                for (const change of [() => {{ state.sum = -1 }}, () => state.list.push(1), () => {{ delete state.list }}])
                  try {{ change() }} catch {{}}
                if (saw.includes('say {name}')) return saw
              }} }})"
        )
    };
    let reducer = "initialValue: { sum: 0, list: [0] }, reducer ({ event, state: { sum, list }, auth }) {
        if (event.kind !== 1 || event.tags.length !== 1 || event.tags[0].length !== 2 || auth.length !== 1) return { sum: 99, list }
        return { sum: sum + 1, list }
      },";
    for is_async in [true, false] {
        let text = |rules: &[String]| {
            let text = format!("export default store => {{ {} }}", rules.join("\n"));
            if is_async { text } else { text.replace("async filter", "filter") }
        };
        let files = Files::new(&[
            ("a.js", &text(&[rule("a", ""), rule("b", ""), rule("c", "")])),
            ("d.js", &text(&[rule("d", reducer), rule("e", reducer)])),
        ]);
        let (slices, thread) = files.start().unwrap();
        let mut judge = slices.judge(Arc::default());
        for name in ["a", "b", "c"] {
            let said = ask(&mut judge, &note(1, &format!("say {name}")), &[key(1)]);
            let expected = format!("blocked: [1,\"say {name}\",[[\"t\",\"x\"]],1,null]");
            assert_eq!(said.as_deref(), Some(&*expected), "{name}, {is_async}");
        }
        for (name, sum) in [("d", 0), ("e", 0), ("e", 0), ("", 0), ("", 1), ("d", 2), ("e", 2)] {
            let said = ask(&mut judge, &note(1, &format!("say {name}")), &[key(1)]);
            if name.is_empty() {
                assert_eq!(said, None);
                continue;
            }
            let state = format!("{{\"sum\":{sum},\"list\":[0]}}");
            let expected = format!("blocked: [1,\"say {name}\",[[\"t\",\"x\"]],1,{state}]");
            assert_eq!(said.as_deref(), Some(&*expected), "{name}, {is_async}");
        }
        drop((slices, judge));
        thread.join();
    }
}

#[test]
fn a_limit_that_is_too_low_is_named() {
    let many = "const all = []; for (let i = 0; i < 50_000; i++) all.push({ i })";
    let files = Files::new(&[("f.js", &format!("{many}\n{}", filter("")))]);
    let mut refused = 0;
    for kilobytes in (1_024..8_192).step_by(61) {
        let config = config::Script { memory_bytes_max: kilobytes << 10, ..config() };
        let Err(error) = files.start_with(&config) else { continue };
        assert!(error.to_string().contains("(script.memory_bytes_max)"), "{kilobytes} kB: {error}");
        refused += 1;
    }
    assert!((10..110).contains(&refused), "{refused}");
}

#[test]
fn state_is_kept_and_seen_by_the_next_event() {
    let counting = "
        const seen = { name: 'seen', initialValue: {},
          filter ({ event, state }) { if ((state[event.pubkey] ?? 0) >= 2) return 'rate-limited: two are enough' },
          reducer ({ event, state }) { return { ...state, [event.pubkey]: (state[event.pubkey] ?? 0) + 1 } }
        }
        export default store => store.register(seen)";
    let other = filter("if (event.content === 'no') return 'no'");
    let files = Files::new(&[("count.js", counting), ("z.js", &other)]);
    for (author, said) in [(1, None), (2, None), (1, None), (1, Some("rate-limited: two are enough")), (2, None)] {
        // A restart between any two.
        let (slices, thread) = files.start().unwrap();
        let mut judge = slices.judge(Arc::default());
        // What another slice refuses is not counted.
        assert_eq!(ask(&mut judge, &note(author, "no"), &[]).as_deref(), Some("blocked: no"));
        assert_eq!(ask(&mut judge, &note(author, "yes"), &[]).as_deref(), said);
        drop((slices, judge));
        thread.join();
    }
}

#[test]
fn a_state_that_grows_too_large_goes_back() {
    let growing = "export default store => store.register({ name: 'g', initialValue: [], filter ({ state }) { return `${state.length}` === '3' ? 'three' : false },
        reducer ({ event, state }) { return event.content === 'big' ? [...state, 'x'.repeat(1e8)] : [...state, 1] } })";
    let files = Files::new(&[("g.js", growing)]);
    let config = config::Script { memory_bytes_max: 300 << 20, state_seconds: 1, ..config() };
    let (slices, thread) = files.start_with(&config).unwrap();
    let mut judge = slices.judge(Arc::default());
    assert_eq!(ask(&mut judge, &note(1, "a"), &[]), None);
    assert_eq!(ask(&mut judge, &note(1, "big"), &[]), None);
    drop((slices, judge));
    thread.join();
    assert!(!files.0.path().join("state/nostr/g.js.cbor").exists(), "100 MB were written");
}

#[test]
fn files_change_and_what_does_not_load_changes_nothing() {
    let files = Files::new(&[]);
    let (slices, thread) = files.start().unwrap();
    let mut judge = slices.judge(Arc::default());
    assert!(judge.is_idle());
    // The thread works in order: an answer of it says that it has looked.
    let look = |slices: &EventSlices| {
        slices.reload();
        let (done, looked) = crossbeam_channel::bounded(1);
        slices.stateful.send(Work::Judge { events: vec![None], auth: [].into(), now: 0, done }).unwrap();
        looked.recv().unwrap();
    };
    for (text, said) in [
        (filter("return 'one'"), "blocked: one"),
        (filter("return 'two' +"), "blocked: one"),
        ("export default 1".to_owned(), "blocked: one"),
        ("export default store => {}".to_owned(), "blocked: one"),
        ("export default store => store.register({ name: 'x' })".to_owned(), "blocked: one"),
        ("for (;;) {}".to_owned(), "blocked: one"),
        ("import fs from 'fs'".to_owned(), "blocked: one"),
        ("import a from '../../secret.js'".to_owned(), "blocked: one"),
        (filter("return 'three'"), "blocked: three"),
        (format!("import {{ word }} from './lib/word.js'\n{}", filter("return word")), "blocked: four"),
    ] {
        files.write("lib/word.js", "export const word = 'four'");
        files.write("f.js", &text);
        look(&slices);
        assert!(!judge.is_idle());
        assert_eq!(ask(&mut judge, &note(1, "x"), &[]).as_deref(), Some(said), "{text}");
    }
    files.write("lib/word.js", "export const word = 'a longer word'");
    look(&slices);
    assert_eq!(ask(&mut judge, &note(1, "x"), &[]).as_deref(), Some("blocked: a longer word"));
    std::fs::remove_file(files.0.path().join("slices/nostr/f.js")).unwrap();
    look(&slices);
    assert!(judge.is_idle());
    drop((slices, judge));
    thread.join();
}

#[test]
fn what_does_not_load_at_the_start_is_told_with_its_line() {
    for (text, told) in [
        ("export default 1", "f.js: TypeError: The file has no default export that is a function"),
        ("\n\nlet x = ;", "f.js:3: SyntaxError"),
        ("\nthrow new Error('at load')\nexport default 1", "f.js:2: Error: at load"),
        ("import fs from 'fs'\nexport default 1", "only @telamon/picostore, picostore"),
        ("import fs from './missing.js'", "missing.js"),
        ("import fs from '../x.js'", "outside"),
        ("await new Promise(() => {})\nexport default 1", "never resolved"),
        ("for (;;) {}", "f.js: it took too long (script.load_ms_max)"),
        ("export default () => 'x'.repeat(1e9)", "out of memory (script.memory_bytes_max)"),
    ] {
        let files = Files::new(&[("f.js", text)]);
        let error = files.start_with(&config::Script { load_ms_max: 200, ..config() }).err().unwrap().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let files = Files::new(&[("f.js", &format!("{}//{}", filter(""), "x".repeat(1000)))]);
    let error = files.start_with(&config::Script { source_bytes_max: 500, ..config() }).err().unwrap().to_string();
    assert!(error.contains("script.source_bytes_max"), "{error}");
}

#[test]
fn no_single_built_in_function_takes_long() {
    let bodies = [
        "new Array(1e9).fill(1)",
        "new Array(2 ** 32 - 1).join('')",
        "String(new Array(2 ** 32 - 1))",
        "new Array(2 ** 32 - 1).includes(1)",
        "new Array(2 ** 32 - 1).indexOf(1)",
        "new Array(2 ** 32 - 1).lastIndexOf(1)",
        "new Array(2 ** 32 - 1).sort()",
        "new Array(2 ** 32 - 1).reverse()",
        "new Array(2 ** 32 - 1).concat([1])",
        "[].concat(new Array(2 ** 32 - 1))",
        "[].concat({ length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true })",
        "new Array(2 ** 32 - 1).flat()",
        "[[], new Array(2 ** 32 - 1)].flat()",
        "new Array(2 ** 32 - 1).flatMap(x => x)",
        "[1].flatMap(() => new Array(2 ** 32 - 1))",
        "new Array(2 ** 32 - 1).forEach(x => x)",
        "new Array(2 ** 32 - 1).findLast(x => x)",
        "new Array(2 ** 32 - 1).slice(1)",
        "new Array(2 ** 32 - 1).splice(0, 10)",
        "new Array(2 ** 32 - 2).unshift(1)",
        "new Array(2 ** 32 - 1).shift()",
        "new Array(2 ** 32 - 1).toSorted()",
        "new Array(2 ** 32 - 1).with(0, 1)",
        "new Array(2 ** 32 - 1).toLocaleString()",
        "new Array(2 ** 32 - 1).copyWithin(0, 1)",
        "[].fill.call({ length: 2 ** 53 - 1 })",
        "[].pop.call({ length: 2 ** 53 - 1 })",
        "[].flat.call({ length: 2 ** 53 - 1 })",
        "[].flatMap.call({ length: 2 ** 53 - 1 }, x => x)",
        "[].at.call({ length: 2 ** 53 - 1 }, -1)",
        "[].push.call({ length: 2 ** 53 - 2 }, 1)",
        "[].join.call({ get length () { return 2 ** 53 - 1 } })",
        "{ let n = 0; return [].join.call({ get length () { return n++ ? 2 ** 53 - 1 : 1 } }) }",
        "[].join.call({ length: { valueOf: () => 2 ** 53 - 1 } })",
        "[].join.call({ length: '9007199254740991' })",
        "Array.from({ length: 2 ** 32 })",
        "Array.from(new Array(2 ** 32 - 1))",
        "[...new Array(2 ** 32 - 1)]",
        "[...new Array(1e7).keys()]",
        "new Set(new Array(1e7))",
        "new Map(new Array(1e7).entries())",
        "Object.keys(new Array(1e7).fill())",
        "Object.entries('x'.repeat(1e7))",
        "Object.getOwnPropertyNames('x'.repeat(5e7))",
        "Reflect.ownKeys(new Uint8Array(6e7))",
        "Object.freeze(new Uint8Array(0), new Uint8Array(6e7))",
        "Math.max.apply(null, { length: 2 ** 32 })",
        "Math.max.apply(null, new Array(6e4))",
        "String.raw({ raw: { length: 2 ** 53 - 1 } })",
        "String.raw({ raw: new Array(2 ** 32 - 1) }, '')",
        "String.fromCharCode.apply(null, { length: 1e9 })",
        "JSON.stringify(new Array(2 ** 32 - 1))",
        "JSON.stringify('\"'.repeat(2e7))",
        "JSON.parse('['.repeat(1e6))",
        "JSON.parse('[' + '1,'.repeat(2e6) + '1]')",
        "JSON.parse('9'.repeat(1e7))",
        "Number('9'.repeat(3e7))",
        "parseFloat('0.' + '0'.repeat(3e7) + '1')",
        "BigInt('0x' + 'f'.repeat(3e6))",
        "(2n ** 1000000n) ** 2n",
        "new Uint8Array(6e7).sort()",
        "new Float64Array(7e6).map((x, i) => i)",
        "new Float64Array(7e6).sort()",
        "new Uint8Array(6e7).join('')",
        "new Uint8Array(6e7).toHex()",
        "new Uint8Array(3e7).indexOf(1)",
        "new Uint8Array(3e7).reverse()",
        "Uint8Array.from({ length: 6e7 })",
        "new Uint8Array({ length: 6e7 })",
        "new Uint8Array(6e7).set({ length: 6e7 })",
        "new Uint8Array(new Array(1e8))",
        "Uint8Array.fromHex('00'.repeat(1e7))",
        "Uint8Array.fromBase64('AAAA'.repeat(5e6))",
        "new Uint8Array(2e7).toBase64()",
        "'a'.repeat(4e6).includes('a'.repeat(2e6) + 'b')",
        "'a'.repeat(4e6).split('a'.repeat(2e6) + 'b')",
        "'a'.repeat(1e6).lastIndexOf('b' + 'a'.repeat(5e5))",
        "'a'.repeat(4e6).includes({ toString: () => 'a'.repeat(2e6) + 'b' })",
        "''.includes.call({ toString: () => 'a'.repeat(4e6) }, 'a'.repeat(2e6) + 'b')",
        "'a'.repeat(4e6).includes(['a'.repeat(2e6) + 'b'])",
        "'a'.repeat(1e7).split('')",
        "'a'.repeat(1e7).replaceAll('a', 'bb')",
        "'a'.repeat(1e7).replace(/a/g, 'bb')",
        "'a'.repeat(1e6).replaceAll('a', '$`')",
        "'a'.repeat(3e5).replace(/a/g, '$`')",
        "'a'.repeat(1e7).match(/a/g)",
        "'\\ufdfa'.repeat(1e6).normalize('NFKD')",
        "'a\\u0300\\u0316'.repeat(3e6).normalize('NFC')",
        "'\\u0316\\u0300'.repeat(3e6).normalize('NFD')",
        "'ß'.repeat(1e7).toUpperCase()",
        "'Σ'.repeat(1e7).toLowerCase()",
        "('a' + '\\u0307'.repeat(1e5) + 'Σ').repeat(100).toLowerCase()",
        "'a'.repeat(2e7).localeCompare('a'.repeat(2e7))",
        "' '.repeat(5e7).trim()",
        "'a'.padStart(5e7, 'bc').length",
        "'a'.repeat(3e7).at(-1)",
        "[...'a'.repeat(3e6)]",
        "encodeURIComponent('ä'.repeat(5e6))",
        "decodeURIComponent('%C3%A4'.repeat(2e6))",
        "escape('ä'.repeat(5e6))",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "/(?:a|aa)+$/.test('a'.repeat(1000) + 'b')",
        "/(.*)(.*)(.*)(.*)x/.test('a'.repeat(1e4))",
        "/(?=(a+))a*b\\1/.test('a'.repeat(5e4))",
        "new RegExp('(a?)'.repeat(200) + 'a'.repeat(200)).test('a'.repeat(200))",
        "new RegExp('['.repeat(1e6))",
        "new RegExp('(?:' .repeat(1e5) + ')'.repeat(1e5))",
        "new RegExp('a'.repeat(1e6))",
        "new RegExp('\\\\p{L}'.repeat(3e4), 'iv')",
        "new RegExp('(?:a{1000}){1000}').test('a')",
        "'x'.repeat(1e6).search(/x*y/)",
        "new Function('return ' + '('.repeat(1e5))",
        "new Function('x'.repeat(1e7))",
        "eval('1+'.repeat(1e6) + '1')",
        "eval('[' + '1,'.repeat(1e6) + ']')",
        "new Date('1'.repeat(1e7))",
        "new Array(4e6).fill('a').sort()",
        "Array.from({ length: 1e6 }, (_, i) => `${i}`).sort()",
        "Array.from({ length: 1e6 }, (_, i) => `${'x'.repeat(20)}${i}`).join().split(',')",
        "new TextEncoder().encode('ä'.repeat(1e7))",
        "new TextDecoder().decode(new Uint8Array(1e7))",
        "Buffer.from('00'.repeat(1e7), 'hex').toString('latin1')",
        "structuredClone",
        "console.log(new Array(1e8))",
        "console.log('x'.repeat(5e7))",
        "Object.assign({}, 'x'.repeat(1e7))",
        "Object.fromEntries(new Array(1e6).fill(['a', 1]))",
        "Object.groupBy(new Array(1e8), x => 1)",
        "Iterator.from(new Array(2 ** 32 - 1)).toArray()",
        "new Array(2 ** 32 - 1).values().drop(2 ** 32 - 2).next()",
        "new Array(2 ** 32 - 1)[Symbol.iterator]().some(x => x)",
    ];
    // Each is a second or two on a busy machine. Only large BigInts are slower; what is stuck in them is given up.
    let config = config::Script { call_ms_max: 100, failures_max: 1_000, ..config() };
    let mut slow = Vec::new();
    for body in bodies {
        let body = if body.starts_with('{') { body.to_owned() } else { format!("return `${{{body}}}`.slice(0, 9)") };
        let files = Files::new(&[("a.js", &filter(&body))]);
        let (slices, _thread) = files.start_with(&config).unwrap();
        let (done, answer) = crossbeam_channel::bounded(1);
        // One that never comes back is left behind.
        std::thread::spawn(move || {
            let mut judge = slices.judge(Arc::default());
            judge.is_idle();
            let began = Instant::now();
            let answer = ask(&mut judge, &note(1, "x"), &[]);
            let _ = done.send((began.elapsed(), answer));
        });
        match answer.recv_timeout(Duration::from_secs(30)) {
            Ok((took, _)) if took < Duration::from_secs(10) => {}
            other => slow.push((body, other)),
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
