//! What picostore itself did with the same rules and blocks is in `vectors/`; where we differ on purpose, it is said here.

use picofeed::{Feed, Format, Limits as FeedLimits, Secret};
use serde_json::{Value as Json, json};

use super::*;
use crate::offline::Offline;
use crate::script::cbor;
use crate::script::config;
use crate::script::value::from_hex;
use crate::slice::FaultKind;
use crate::store::memory::Memory;
use crate::store::repo::{Bounds, Full};
use crate::vanish::RelayUrls;
use crate::{Decision, Mode};

fn load(text: &str) -> Result<Vec<Box<dyn Slice>>, LoadError> {
    load_with(&config::Script::default(), text)
}

fn load_with(config: &config::Script, text: &str) -> Result<Vec<Box<dyn Slice>>, LoadError> {
    Scripts::new(config.into()).load_sources(vec![Sources::text("slice.js", text)], &Arc::default())
}

fn room(text: &str) -> Offline {
    Offline::new(load(text).unwrap(), crate::Limits::default()).unwrap()
}

fn unhex(hex: &Json) -> Vec<u8> {
    from_hex(hex.as_str().unwrap()).unwrap()
}

fn feed(format: Format, hex: &Json) -> Feed {
    let limits = FeedLimits::default();
    Feed::decode(format, unhex(hex), &limits).unwrap().verify(&limits).unwrap()
}

/// What is stored, as the vectors have it; a slice that has stored nothing has its initial value.
fn state(room: &mut Offline, slice: &str) -> Json {
    let objects = room.objects(slice).unwrap();
    let shown = |value: &[u8]| serde_json::from_str::<Json>(&cbor::to_json(value)).unwrap();
    match objects.iter().find(|(id, _)| id.is_empty()) {
        Some((_, stored)) => shown(&stored.value),
        None => objects
            .iter()
            .map(|(id, stored)| (id.clone(), shown(&stored.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// The value of a vector as `to_json` shows it: bytes as hex, numbers that JSON does not have as null.
fn shown(value: &Json) -> Json {
    match value {
        Json::Object(members) => match (members.get("$u8"), members.get("$num")) {
            (Some(hex), _) => hex.clone(),
            (_, Some(_)) => Json::Null,
            _ => {
                members.iter().map(|(key, value)| (key.clone(), shown(value))).collect::<serde_json::Map<_, _>>().into()
            }
        },
        Json::Array(elements) => elements.iter().map(shown).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// The classes that the vectors were made with.
fn source3(id: &str) -> String {
    const COUNTER: &str = "class Counter extends Memory {
        initialValue = 0
        idOf () { return 0 }
        compute (v, { payload, reject }) { return payload === v + 1 ? payload : reject(`Expected ${v + 1}`) }
      }";
    const PEERS: &str = "class Peers extends DiffMemory { initialValue = { name: '', hp: 10 } }";
    const LIST: &str = "store.register('x', class extends Memory {
        initialValue = []
        idOf () { return 0 }
        compute (v, { payload }) { return [...v, payload] }
      })";
    let register = match id {
        "diff-basic" | "diff-replay" | "diff-two-authors" | "diff-foreign-author" => "store.register('peers', Peers)",
        // There, with allowDetached, that is where objects are by default.
        "detached-id" => "store.register('peers', class extends Peers { idOf ({ CHAIN }) { return CHAIN } })",
        "diff-new-number" => "store.register('peers', DiffMemory)",
        "validate-own" => "store.register('peers', class extends Peers {
            async validate (v, ctx) { if (toHex(ctx.block.key) !== ctx.AUTHOR) return ctx.reject('NotOwner') } })",
        "second-genesis" | "second-genesis-detached" => LIST,
        "postpone" => "store.register('x', class extends Counter {
            compute (v, { postpone }) { return postpone(1000, 'later', 3) } })",
        "signal-trap" => "store.register('x', class extends Counter {
            compute (v, ctx) { if (ctx.payload % 2 === 0) ctx.signal('even', ctx.payload); return super.compute(v, ctx) } })
          store.register('y', class extends Memory {
            initialValue = 0
            idOf () { return 0 }
            compute (_, { reject }) { return reject('signals only') }
            async trap (type, payload, mutate) { if (type === 'even') await mutate(0, v => v + payload) } })",
        "index-lookup" => "store.register('x', class extends Memory {
            initialValue = null
            compute (_, { payload, index }) { index(s2b(payload)); return payload } })",
        "gc" => "store.register('x', class extends Counter {
            idOf ({ AUTHOR }) { return AUTHOR }
            compute (v, { payload }) { return payload }
            expiresAt (v) { return v } })",
        "gc-latch" => "store.register('p', class extends Memory {
            initialValue = 0
            compute (v, { payload }) { return payload }
            expiresAt (v) { return v } })
          store.register('c', class extends Memory {
            initialValue = null
            idOf ({ block }) { return toHex(block.id) }
            compute (v, { payload, AUTHOR }) { return { AUTHOR, payload } }
            async expiresAt (v, latch) { return latch('p', v.AUTHOR) } })",
        _ => "store.register('x', Counter)",
    };
    format!(
        "import {{ Memory, DiffMemory }} from '@telamon/picostore'\nimport {{ toHex, s2b }} from 'picofeed'\n\
         {COUNTER}\n{PEERS}\nexport default store => {{ {register} }}"
    )
}

/// What differs from picostore 3.0.4, and why.
fn differs3(id: &str, step: usize) -> Option<&'static str> {
    match (id, step) {
        ("second-genesis", 1) => Some("a block that is not stored changes no state; there it was changed before"),
        ("second-genesis-detached" | "detached-id", 1) => Some("a room has one chain of each author"),
        ("unknown-collection" | "not-cbor" | "cbor-not-array", _) => Some("rejected, where a quiet dispatch threw"),
        _ => None,
    }
}

#[test]
fn store_v3() {
    let vectors: Json = serde_json::from_str(include_str!("../vectors/store-v3.json")).unwrap();
    let mut steps_tried = 0;
    for scenario in vectors["scenarios"].as_array().unwrap() {
        let id = scenario["id"].as_str().unwrap();
        let mut room = room(&source3(id));
        let mut before = json!({});
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let what = format!("{id}, step {number}: {step}");
            steps_tried += 1;
            if let Some(full) = step.get("full_feed") {
                let feed = feed(Format::V8, full);
                assert_eq!(
                    room.dispatch(&feed, 1_700_000_000_000, Mode::Quiet).unwrap().merged.len(),
                    feed.len(),
                    "{what}"
                );
                let author = feed[0].author().to_string();
                assert_eq!(state(&mut room, "peers")[&author], step["final"], "{what}");
            } else if step.get("dispatch").is_some() {
                let feed = feed(Format::V8, &step["feed"]);
                let mode = if step["loud"] == true { Mode::Loud } else { Mode::Quiet };
                let done = room.dispatch(&feed, 1_700_000_000_000, mode).unwrap();
                let mut merged = step["returns"]["merged_blocks"].as_u64().unwrap_or_default();
                let mut error = step["error"].as_str().map(str::to_owned);
                let mut expected = shown(&step["state_after"]);
                if differs3(id, number).is_some() {
                    (merged, error) = (0, None);
                    expected = if number > 0 { before.clone() } else { expected };
                }
                assert_eq!(done.merged.len() as u64, merged, "{what}");
                assert_eq!(done.failure, error, "{what}");
                for (slice, expected) in expected.as_object().unwrap() {
                    assert_eq!(state(&mut room, slice), *expected, "{what}");
                }
                before = expected;
                if id == "postpone" {
                    // There the block was dropped.
                    assert!(matches!(done.decisions[..], [Decision::Postponed(_)]), "{what}: {:?}", done.decisions);
                }
            } else if let Some(now) = step.get("gc") {
                let evicted = room.gc(now.as_i64().unwrap()).unwrap();
                assert_eq!(evicted.len(), step["evicted"].as_array().unwrap().len(), "{what}");
                for slice in ["p", "state"] {
                    let Some(expected) = step.get(slice) else { continue };
                    let slice = if slice == "state" { "x" } else { slice };
                    assert_eq!(state(&mut room, slice), *expected, "{what}");
                }
                if let Some(count) = step.get("c") {
                    assert_eq!(room.objects("c").unwrap().len() as u64, count.as_u64().unwrap(), "{what}");
                }
            } else if let Some(found) = step.get("lookup_bob") {
                let scope = room.scope().clone();
                let mut lookup = |key: &[u8]| room.engine().reader().lookup(&scope, "x", key).unwrap();
                assert_eq!(lookup(b"bob").unwrap().to_string(), *found);
                assert_eq!(lookup(b"eve"), None);
            }
        }
    }
    assert_eq!(steps_tried, 45, "steps of the vectors");
}

#[test]
fn patches() {
    let vectors: Json = serde_json::from_str(include_str!("../vectors/store-v3.json")).unwrap();
    // One collection for each row: its value is what formatPatch and applyPatch gave.
    let rows = vectors["patch_table"].as_array().unwrap();
    let table = serde_json::to_string(&vectors["patch_table"]).unwrap();
    let text = format!(
        "import {{ Memory, formatPatch, applyPatch }} from '@telamon/picostore'
         import {{ encode, decode }} from 'cborg'
         import {{ toHex, fromHex }} from 'picofeed'
         const table = {table}
         const real = v => v?.$u8 ? fromHex(v.$u8) : Array.isArray(v) ? v.map(real) : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, real(x)])) : v
         const attempt = f => {{ try {{ return {{ value: f() }} }} catch (e) {{ return {{ error: e.message }} }} }}
         export default store => store.register('t', class extends Memory {{
           idOf ({{ payload }}) {{ return payload }}
           compute (_, {{ payload }}) {{
             const row = table[payload]
             // The first row has no value, and the one without n has undefined: JSON has neither.
             const a = payload === 0 ? undefined : real(row.a)
             const b = payload === 14 ? {{ n: undefined }} : real(row.b)
             const patch = attempt(() => formatPatch(a, b))
             const cbor = patch.error ? null : toHex(encode(patch.value))
             const applied = patch.error ? null : attempt(() => applyPatch(a, decode(encode(patch.value))))
             return {{ patch: patch.error ? {{ error: patch.error }} : patch.value, cbor, applied: applied && (applied.error ? {{ error: applied.error }} : applied.value) }}
           }}
         }})"
    );
    let mut room = room(&text);
    let secret = Secret::ed25519([1; 32]);
    let mut chain = Feed::new(Format::V8);
    for row in 0..rows.len() {
        let body = [&[0x83, 0x61, b't', if row < 24 { u8::try_from(row).unwrap() } else { unreachable!() }][..], &[0]]
            .concat();
        chain.append(&body, &secret).unwrap();
    }
    assert_eq!(room.dispatch(&chain, 0, Mode::Loud).unwrap().failure, None);
    let found = state(&mut room, "t");
    for (number, row) in rows.iter().enumerate() {
        let found = &found[&number.to_string()];
        assert_eq!(found["patch"], shown(&row["patch"]), "{row}");
        assert_eq!(found["cbor"], row["patch_cbor"], "{row}");
        assert_eq!(found["applied"], shown(&row["apply_to_a"]), "{row}");
    }
}

/// The slices that the vectors were made with.
fn source2(id: &str) -> String {
    let list = |filter: &str, more: &str| {
        format!(
            "store.register({{ name: 'list', initialValue: [], filter: {filter}, reducer: ({{ state, block }}) => [...state, block.body.toString()], {more} }})"
        )
    };
    let n = "store.register({ name: 'n', initialValue: 0, filter: () => false, reducer: ({ state }) => state + 1 })";
    let register = match id {
        "filter-returns-false" | "out-of-order" => list("() => false", ""),
        "filter-returns-undefined" => list("() => undefined", ""),
        "filter-returns-null" => list("() => null", ""),
        "filter-returns-zero" => list("() => 0", ""),
        "filter-returns-empty-string" => list("() => ''", ""),
        "filter-returns-true" => list("() => true", ""),
        "filter-returns-string" => list("() => 'NoGood'", ""),
        "filter-returns-error-object" => list("() => new Error('Boom')", ""),
        "filter-throws" => list("() => { throw new Error('kaboom') }", ""),
        "two-slices" => list("() => true", "") + "\n" + n,
        "one-rejects-one-accepts" => list("() => 'no'", "") + "\n" + n,
        "stop-at-first-bad" => list("({ block }) => block.body.toString() === 'bad' ? 'no' : false", ""),
        "trap" => "store.register({ name: 'a', initialValue: 0, filter: () => false, reducer: ({ state, signal }) => { signal('tick', state + 1); return state + 1 } })
            store.register({ name: 'b', initialValue: 0, filter: () => true, reducer: s => s, trap: ({ code, payload, state }) => code === 'tick' ? state + payload : undefined })".to_owned(),
        "sweep" => "store.register({ name: 'list', initialValue: [], filter: () => false,
            reducer: ({ state, block, mark, AUTHOR }) => { mark({ who: AUTHOR.toString('hex') }, 1000); return [...state, block.body.toString()] },
            sweep: ({ drop, state }) => { drop(); return [] } })".to_owned(),
        "arguments" => "const kind = v => v === null ? 'null' : Buffer.isBuffer(v) ? `Buffer(${v.length})` : Array.isArray(v) ? 'array' : typeof v
            const seen = {}
            const see = (hook, c) => { seen[hook] = Object.fromEntries(Object.entries(c).map(([k, v]) => [k, kind(v)])) }
            store.register({ name: 's', initialValue: 0,
              filter (c) { see('filter', c); return false },
              reducer (c) { see('reducer', c); c.signal('s', 1); c.mark({ a: 1 }, 5); return 1 },
              trap (c) { see('trap', c) },
              sweep (c) { see('sweep', c); if (c.now > 101) return seen; c.mark({ b: 1 }, 101) } })".to_owned(),
        _ => panic!("{id}"),
    };
    format!("export default store => {{ {register} }}")
}

#[test]
fn store_v2() {
    let vectors: Json = serde_json::from_str(include_str!("../vectors/store-v2.json")).unwrap();
    for scenario in vectors["scenarios"].as_array().unwrap() {
        let id = scenario["id"].as_str().unwrap();
        let mut room = room(&source2(id));
        let initial: Vec<(String, Json)> = scenario["steps"][0]["state"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| (name.clone(), if name == "list" { json!([]) } else { json!(0) }))
            .collect();
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let what = format!("{id}, step {number}: {step}");
            if step["step"] == "dispatch" {
                let feed = feed(Format::V3, &step["feed"]);
                let mode = if step["loud"] == true { Mode::Loud } else { Mode::Quiet };
                let done = room.dispatch(&feed, 100, mode).unwrap();
                // There the patch that is passed on has the first rejected block, too.
                let merged = match (id, step["modified"].as_array().is_none_or(Vec::is_empty)) {
                    (_, true) => 0,
                    ("stop-at-first-bad", _) => 1,
                    _ => step["patch_length"].as_u64().unwrap_or_default(),
                };
                assert_eq!(done.merged.len() as u64, merged, "{what}");
                let error = match (id, step["error"].as_str()) {
                    // What is quiet stays quiet, and what a filter returns as an Error is told like a text.
                    ("filter-throws", Some(_)) if mode == Mode::Quiet => None,
                    // A loud dispatch of which nothing came ended without a word.
                    ("filter-returns-true", None) if mode == Mode::Loud => Some("no slice accepts it".to_owned()),
                    ("filter-returns-error-object", Some(error)) => Some(format!("InvalidBlock: {error}")),
                    (_, error) => error.map(str::to_owned),
                };
                assert_eq!(done.failure, error, "{what}");
            } else {
                let evicted = room.gc(step["now"].as_i64().unwrap()).unwrap();
                assert_eq!(evicted.len(), step["evicted"].as_array().unwrap().len(), "{what}");
            }
            for (slice, initial) in &initial {
                let found = match room.objects(slice).unwrap().is_empty() {
                    true => initial.clone(),
                    false => state(&mut room, slice),
                };
                assert_eq!(found, step["state"][slice], "{what}");
            }
        }
        if id == "arguments" {
            room.gc(101).unwrap();
            assert_eq!(state(&mut room, "s"), vectors["callback_arguments"]);
        }
    }
}

/// A chain of one author whose bodies are `['x', payload, date]`, with payloads as CBOR.
fn chain(author: u8, payloads: &[&[u8]]) -> Feed {
    let mut feed = Feed::new(Format::V8);
    for payload in payloads {
        feed.append(&[&[0x83, 0x61, b'x'], *payload, &[0x00]].concat(), &Secret::ed25519([author; 32])).unwrap();
    }
    feed
}

#[test]
fn hostile_slices_lose_their_blocks_and_nothing_else() {
    let config = config::Script { call_ms_max: 100, failures_max: 3, ..config::Script::default() };
    for (compute, kind) in [
        ("for (;;) {}", FaultKind::Time),
        ("const f = () => f(); return f()", FaultKind::Memory),
        // Longer than any string can be, and longer than there is memory.
        ("return 'x'.repeat(2 ** 30)", FaultKind::Threw),
        ("return 'x'.repeat(2 ** 30 - 1)", FaultKind::Memory),
        ("return new Promise(() => {})", FaultKind::Result),
        ("return new Uint8Array(1e7)", FaultKind::Result),
        ("return Array.from({ length: 1000 }, () => 'x'.repeat(1e6))", FaultKind::Memory),
        ("const o = {}; o.o = o; return o", FaultKind::Result),
        ("return () => {}", FaultKind::Result),
        // Of more elements than fit into 31 bits.
        ("const a = []; a[2 ** 31 - 1] = 1; return a", FaultKind::Result),
        ("return { deep: Object.assign([], { length: 2 ** 32 - 1 }) }", FaultKind::Result),
        ("const a = []; a[2 ** 32 - 2] = 1; ctx.signal('s', a); return 1", FaultKind::Result),
        ("const a = []; a[2 ** 32 - 2] = 1; (await import('cborg')).encode(a)", FaultKind::Threw),
        ("const a = []; a[2 ** 32 - 2] = 1; return new Proxy(a, {})", FaultKind::Memory),
        ("return 2n ** 100n", FaultKind::Threw),
        ("return -(2n ** 64n) - 1n", FaultKind::Threw),
        ("throw new Error('no')", FaultKind::Threw),
        // As QuickJS does when there is no memory left for an error.
        ("throw null", FaultKind::Memory),
        ("return { get a () { throw new Error('getter') } }", FaultKind::Threw),
        ("value.x = 1; return value", FaultKind::Threw),
        ("ctx.reject('a'); ctx.reject('b')", FaultKind::Threw),
        ("for (;;) await ctx.lookup('word')", FaultKind::Time),
        ("for (let i = 0; ; i++) ctx.signal('s', i)", FaultKind::Time),
        ("for (let i = 0; i < 5000; i++) ctx.signal('s', i); return 1", FaultKind::Result),
    ] {
        let text = format!(
            "import {{ Memory }} from '@telamon/picostore'
             export default store => {{
               store.register('x', class extends Memory {{ initialValue = {{ x: 0 }}
                 async compute (value, ctx) {{ if (ctx.payload === 'good') return 'fine'; {compute} }} }})
             }}"
        );
        let mut room = Offline::new(load_with(&config, &text).unwrap(), crate::Limits::default()).unwrap();
        let bad = room.dispatch(&chain(1, &[b"\x63bad"]), 0, Mode::Quiet).unwrap();
        let Decision::Rejected(why) = &bad.decisions[0] else { panic!("{compute}: {bad:?}") };
        assert_eq!((why.slice.as_str(), why.fault), ("x", Some(kind)), "{compute}: {why:?}");
        assert!(why.reason.contains("slice.js"), "{compute}: {why:?}");
        assert!(room.objects("x").unwrap().is_empty(), "{compute}");
        let good = room.dispatch(&chain(2, &[b"\x64good"]), 0, Mode::Quiet).unwrap();
        assert_eq!(good.merged.len(), 1, "{compute}: {good:?}");
        // It worked: only if it has to be stopped again and again it is not asked any more.
        for author in 3..7 {
            room.dispatch(&chain(author, &[b"\x63bad"]), 0, Mode::Quiet).unwrap();
        }
        let good = room.dispatch(&chain(8, &[b"\x64good"]), 0, Mode::Quiet).unwrap();
        let is_stopped = matches!(kind, FaultKind::Time | FaultKind::Memory);
        match &good.decisions[0] {
            Decision::Rejected(why) if is_stopped => {
                assert_eq!(why.fault, Some(FaultKind::Disabled), "{compute}: {why:?}")
            }
            _ => assert!(!is_stopped && good.merged.len() == 1, "{compute}: {good:?}"),
        }
    }
}

/// Interrupts come after so many steps: wherever in a loop that is, it comes to an end.
#[test]
fn promises_without_end_are_stopped_at_any_step() {
    let config = config::Script { call_ms_max: 20, failures_max: 1_000, ..config::Script::default() };
    for body in
        ["await ctx.lookup('word')", "await 0", "await (async () => {})()", "await new Promise(resolve => resolve())"]
    {
        let text = format!(
            "import {{ Memory }} from '@telamon/picostore'
             const step = () => {{}}
             export default store => {{ store.register('x', class extends Memory {{
               async compute (_, ctx) {{ for (let i = 0; i < ctx.payload; i++) step(); for (;;) {body} }} }}) }}"
        );
        let mut room = Offline::new(load_with(&config, &text).unwrap(), crate::Limits::default()).unwrap();
        for steps in 0..20 {
            let done = room.dispatch(&chain(steps + 1, &[&[steps]]), 0, Mode::Quiet).unwrap();
            let Decision::Rejected(why) = &done.decisions[0] else { panic!("{body}: {done:?}") };
            assert_eq!(why.fault, Some(FaultKind::Time), "{body}: {why:?}");
        }
    }
}

#[test]
fn one_slice_of_a_file_is_turned_off_without_the_others() {
    let config = config::Script { call_ms_max: 100, failures_max: 3, ..config::Script::default() };
    let text = "
        const slice = (name, hook) => ({ name, initialValue: 0, filter: ({ block }) => {
          const body = String.fromCharCode(...block.body.subarray(3, -1))
          return body.startsWith(name) ? hook(body) ?? false : true
        }, reducer: ({ state }) => state + 1 })
        export default store => {
          store.register(slice('loops', body => { if (body === 'loops') for (;;) {} }))
          store.register(slice('throws', body => { if (body === 'throws') null.x }))
          store.register(slice('fails', () => { throw new Error('as always') }))
          store.register({ name: 'never', filter: () => { throw new Error('as always') }, reducer: () => 0 })
          store.register(slice('works', () => {}))
        }";
    let mut room = Offline::new(load_with(&config, text).unwrap(), crate::Limits::default()).unwrap();
    let mut author = 0;
    let mut say = |body: &[u8]| {
        author += 1;
        let done = room.dispatch(&chain(author, &[body]), 0, Mode::Quiet).unwrap();
        match &done.decisions[0] {
            Decision::Rejected(why) => Some((why.slice.clone(), why.fault)),
            _ => None,
        }
    };
    let told = |slice: &str, fault| Some((slice.to_owned(), Some(fault)));
    for _ in 0..4 {
        assert_eq!(say(b"works"), None);
    }
    for _ in 0..5 {
        assert_eq!(say(b"throws"), told("throws", FaultKind::Threw));
    }
    assert_eq!(say(b"throws well"), None);
    assert_eq!(say(b"fails"), told("fails", FaultKind::Threw));
    for _ in 0..3 {
        assert_eq!(say(b"loops"), told("loops", FaultKind::Time));
    }
    assert_eq!(say(b"loops well"), told("loops", FaultKind::Disabled));
    assert_eq!(say(b"throws well"), None);
    assert_eq!(say(b"works"), None);
}

#[test]
fn the_modules_of_the_relay_are_not_imported() {
    for name in ["host:pico.js", "./host:pico.js", "./lib/../host:realm.js", "./host:main.js"] {
        let text = format!("import * as host from '{name}'\nexport default store => store.register('x', host)");
        let error = load(&text).err().unwrap_or_else(|| panic!("{name} is imported"));
        let said = error.to_string();
        assert!(said.contains("only @telamon/picostore") || said.contains("have no ':'"), "{name}: {said}");
    }
}

#[test]
fn what_a_slice_does_to_its_own_world_stays_there() {
    let evil = "import * as picostore from '@telamon/picostore'
        import * as cborg from 'cborg'
        import { Buffer } from 'buffer'
        const spoil = () => {
          const nothing = () => 'spoilt'
          for (const { prototype } of [Object, Array, Function, String, Uint8Array, Promise, Map, Date, Buffer, picostore.Memory]) {
            for (const name of Reflect.ownKeys(prototype)) try { prototype[name] = nothing } catch {}
          }
          Object.prototype.then = function (f) { f() }
          Object.prototype.spoilt = true
          Array.prototype[Symbol.iterator] = null
          globalThis.Promise = globalThis.Uint8Array = globalThis.JSON = null
          for (const module of [picostore, cborg]) for (const name of Object.keys(module)) try { module[name] = nothing } catch {}
        }
        export default store => {
          store.register('x', class extends picostore.Memory { compute (_, { payload }) { if (payload) spoil(); return payload } })
        }";
    let good = "import { Memory, clone } from '@telamon/picostore'
        import { encode, decode } from 'cborg'
        export default store => store.register('y', class extends Memory {
          async compute (_, { payload, block }) {
            if ({}.spoilt || [...[1]].length !== 1 || typeof Promise !== 'function') throw new Error('spoilt')
            return { payload: clone(payload), same: decode(encode(payload)), size: block.body.length, at: new Date(0).toISOString() }
          } })";
    let sources = vec![Sources::text("one.js", evil), Sources::text("two.js", good)];
    let loaded = Scripts::new((&config::Script::default()).into()).load_sources(sources, &Arc::default());
    let mut room = Offline::new(loaded.unwrap(), crate::Limits::default()).unwrap();
    for author in 1..5 {
        room.dispatch(&chain(author, &[b"\x01"]), 0, Mode::Quiet).unwrap();
    }
    let mut feed = Feed::new(Format::V8);
    feed.append(&[0x83, 0x61, b'y', 0x07, 0x00], &Secret::ed25519([9; 32])).unwrap();
    assert_eq!(room.dispatch(&feed, 5, Mode::Loud).unwrap().failure, None);
    let found = state(&mut room, "y");
    let value = json!({"payload": 7, "same": 7, "size": 5, "at": "1970-01-01T00:00:00.000Z"});
    assert_eq!(found.as_object().unwrap().values().collect::<Vec<_>>(), [&value]);
}

#[test]
fn a_state_of_100_mb_has_its_limits_and_is_not_held_in_memory() {
    // A megabyte for each block; what others have is read again.
    let many = "import { Memory } from '@telamon/picostore'
        export default store => store.register('x', class extends Memory {
          idOf ({ payload }) { return payload }
          async compute (_, { payload }) {
            const before = payload && await this.readState(payload - 1)
            if (before && before.length !== 1e6 + payload - 1) throw new Error(`${before.length}`)
            return 'x'.repeat(1e6 + payload)
          } })";
    let limits = crate::Limits {
        state_bytes_max: 100 << 20,
        cache_bytes_max: 4 << 20,
        batch_blocks_max: 4,
        ..crate::Limits::default()
    };
    let mut room = Offline::new(load(many).unwrap(), limits).unwrap();
    let payloads: Vec<[u8; 2]> = (0..120).map(|n| [0x18, n]).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(|n| &n[usize::from(n[1] < 24)..]).collect();
    let done = room.dispatch(&chain(1, &payloads), 0, Mode::Quiet).unwrap();
    assert_eq!(done.merged.len(), 104, "104857600 bytes");
    let Decision::Rejected(why) = &done.decisions[104] else { panic!("{:?}", done.decisions[104]) };
    assert_eq!(why.reason, "the state of the room has reached its limit");
    assert_eq!(room.objects("x").unwrap().len(), 104);
    // All in one object: more than a value may have.
    let one = "export default store => store.register({ name: 'x', initialValue: '', filter: () => false,
        reducer: ({ state }) => state + 'x'.repeat(1e6) })";
    let mut room = Offline::new(load(one).unwrap(), limits).unwrap();
    let done = room.dispatch(&chain(1, &payloads), 0, Mode::Quiet).unwrap();
    assert_eq!(done.merged.len(), 4, "script.value_bytes_max is 4 MiB");
    let Decision::Rejected(why) = &done.decisions[4] else { panic!("{:?}", done.decisions[4]) };
    assert_eq!(why.fault, Some(FaultKind::Result), "{why:?}");
}

#[test]
fn an_exception_in_every_hook() {
    let throwing = |hook: &str| {
        let hooks = ["idOf", "compute", "expiresAt", "trap"];
        let body = |name: &&str| match (*name == hook, *name) {
            (true, name) => format!("{name} () {{ throw new Error('{name}') }}"),
            (_, "idOf") => "idOf () { return 0 }".to_owned(),
            (_, "compute") => "compute (v, { signal }) { signal('s', 1); return 1 }".to_owned(),
            (_, "expiresAt") => "expiresAt () { return Infinity }".to_owned(),
            (_, name) => format!("{name} () {{}}"),
        };
        let hooks: Vec<String> = hooks.iter().map(body).collect();
        format!(
            "import {{ Memory }} from '@telamon/picostore'
             export default store => store.register('x', class extends Memory {{ {} }})",
            hooks.join("\n")
        )
    };
    for hook in ["idOf", "compute", "expiresAt", "trap"] {
        let mut room = room(&throwing(hook));
        let done = room.dispatch(&chain(1, &[b"\x01"]), 0, Mode::Quiet).unwrap();
        let Decision::Rejected(why) = &done.decisions[0] else { panic!("{hook}: {done:?}") };
        assert!(why.fault == Some(FaultKind::Threw) && why.reason.contains(hook), "{hook}: {why:?}");
        assert!(room.objects("x").unwrap().is_empty(), "{hook}");
    }
    let fine = throwing("nothing");
    assert_eq!(room(&fine).dispatch(&chain(1, &[b"\x01"]), 0, Mode::Quiet).unwrap().merged.len(), 1);
    for (hook, is_kept) in [("filter", false), ("reducer", false), ("trap", false), ("sweep", true)] {
        let text = format!(
            "const hooks = {{ filter: () => false, reducer: ({{ signal, mark }}) => {{ signal('s', 1); mark(1, 50); return 1 }}, trap () {{}}, sweep () {{}} }}
             hooks.{hook} = () => {{ throw new Error('{hook}') }}
             export default store => store.register({{ name: 'x', initialValue: 0, ...hooks }})"
        );
        let mut room = room(&text);
        let done = room.dispatch(&chain(1, &[b"\x01"]), 0, Mode::Quiet).unwrap();
        assert_eq!(done.merged.len(), usize::from(is_kept), "{hook}: {done:?}");
        room.gc(100).unwrap();
        if let Decision::Rejected(why) = &done.decisions[0] {
            assert!(why.reason.contains(hook), "{why:?}");
        }
    }
}

#[test]
fn what_is_imported_works() {
    let text = "
        import { Memory } from '@telamon/picostore'
        import { toHex, fromHex, cmp, toU8, s2b, b2s, au8 } from 'picofeed'
        import * as cbor from 'cborg'
        import { pack, unpack } from 'msgpackr'
        import { decodeBlock, encodeBlock } from 'picostack'
        const value = { list: [1, -1, 0.5, 1.1, 2 ** 40, null, true], text: 'ä', bytes: new Uint8Array([1, 2]), deep: { a: {} } }
        const same = (a, b) => { if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${JSON.stringify(a)} is not ${JSON.stringify(b)}`) }
        export default store => store.register('x', class extends Memory {
          async compute (_, { block, parentBlock, AUTHOR, CHAIN, root, date, id, lookup }) {
            same(toHex(cbor.encode(value)), 'a46464656570a16161a0646c6973748701' + '20f93800fb3ff199999999999a' + '1b0000010000000000f6f56474657874' + '62c3a46562797465734201' + '02')
            same(cbor.decode(cbor.encode(value)).list, value.list)
            same(unpack(pack(value)).list, value.list)
            same(toHex(cbor.encode([2n ** 64n - 1n, -(2n ** 64n), 2n ** 53n, -1n])), '841bffffffffffffffff3bffffffffffffffff1b002000000000000020')
            same(cbor.decode(cbor.encode(2n ** 64n - 1n)) === 2n ** 64n - 1n, true)
            same(unpack(pack(2n ** 64n - 1n)) === 2n ** 64n - 1n, true)
            same(toHex(pack({ type: 'a', n: 300, date: 1700000000000 })), 'de0003a474797065a161a16ecd012ca464617465cb4278bcfe56800000')
            same(decodeBlock(encodeBlock('t', 1, { a: 1 })), { a: 1, type: 't', seq: 1, date: 5 })
            same(toHex(toU8('zz')), '7a7a'); try { toU8('Ada'); throw 1 } catch (e) { if (e === 1) throw new Error('three hex digits') } same(toHex(toU8('ff')), 'ff'); same(b2s(s2b('ä')), 'ä')
            same([cmp(fromHex('01'), fromHex('01')), cmp(fromHex('01'), fromHex('02')), cmp(fromHex('01'), fromHex('0102'))], [true, false, false])
            same(au8(block.key, 32) === block.key, true)
            same([toHex(block.key) === AUTHOR, id === AUTHOR, CHAIN === toHex(block.id), block.genesis, parentBlock, root, date], [true, true, true, true, null, 'x', 0])
            same([block.psig.length, toHex(block.body), block.buffer.length > 99], [64, '83617801' + '00', true])
            same(await lookup('nothing') ?? null, null)
            same([await this.hasState(id), await this.store.roots.x.readState(id) ?? null], [false, null])
            same(require('picofeed').toHex === toHex, true)
            same([Buffer.from('ff00', 'hex').toString('base64'), Buffer.concat([Buffer.from('a'), Buffer.from('b')]).toString(), Buffer.from([1]).equals(Buffer.from('01', 'hex'))], ['/wA=', 'ab', true])
            return 'ok'
          }
        })";
    let mut room = room(text);
    let done = room.dispatch(&chain(1, &[b"\x01"]), 5, Mode::Loud).unwrap();
    assert_eq!(done.failure, None);
    assert_eq!(done.merged.len(), 1);
}

#[test]
fn what_cborg_reads_is_read() {
    // As cborg 4.5.8 in node 22 reads each of them.
    let text = "import { Memory } from '@telamon/picostore'
        import { decode, encode } from 'cborg'
        const tell = value => typeof value === 'bigint' ? `${value}n` : value
        export default store => store.register('x', class extends Memory {
          compute (_, { payload }) {
            if (Array.isArray(payload)) {
              let depth = 0
              for (; Array.isArray(payload); payload = payload[0]) depth++
              return depth
            }
            if (typeof payload !== 'object') return [tell(payload), tell(decode(encode(payload)))]
            return [Object.keys(payload), payload.a ?? null, payload.admin ?? null, Object.keys({ ...payload }), {}.admin ?? null, payload]
          } })";
    let nested = |depth: usize| format!("{}00", "81".repeat(depth));
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let proto = "695f5f70726f746f5f5f";
    for (payload, read) in [
        ("64ff616263".into(), Some(json!(["\u{fffd}abc", "\u{fffd}abc"]))),
        ("63eda080".into(), Some(json!(["\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}"]))),
        ("64f09f98ff".into(), Some(json!(["\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"]))),
        ("a161ff01".into(), Some(json!([["\u{fffd}"], null, null, ["\u{fffd}"], null, {"\u{fffd}": 1}]))),
        ("3bffffffffffffffff".into(), Some(json!(["-18446744073709551616n", "-18446744073709551616n"]))),
        ("3b8000000000000000".into(), Some(json!(["-9223372036854775809n", "-9223372036854775809n"]))),
        ("3b7fffffffffffffff".into(), Some(json!(["-9223372036854775808n", "-9223372036854775808n"]))),
        // It becomes the prototype of this one object, and of nothing else; it is not kept.
        (format!("a1{proto}a16561646d696ef5"), Some(json!([[], null, true, [], null, {}]))),
        (format!("a1{proto}01"), Some(json!([[], null, null, [], null, {}]))),
        (format!("a2616101{proto}a1617801"), Some(json!([["a"], 1, null, ["a"], null, {"a": 1}]))),
        (nested(70), Some(json!(70))),
        (nested(100), Some(json!(100))),
        // Here there is a limit; node has that of its stack.
        (nested(101), None),
        ("c100".into(), None),
    ] {
        let mut room = room(text);
        let done = room.dispatch(&chain(1, &[&hex(&payload)]), 0, Mode::Quiet).unwrap();
        assert_eq!(!done.merged.is_empty(), read.is_some(), "{payload}: {:?}", done.decisions);
        if let Some(read) = read {
            let found = state(&mut room, "x");
            assert_eq!(found.as_object().unwrap().values().collect::<Vec<_>>(), [&read], "{payload}");
        }
    }
    // The limit has a name.
    let deep = |value_depth_max| config::Script { value_depth_max, ..config::Script::default() };
    for (limit, is_read) in [(70, true), (69, false), (256, true)] {
        let scripts = Scripts::new((&deep(limit)).into());
        let slices = scripts.load_sources(vec![Sources::text("x.js", text)], &Arc::default()).unwrap();
        let mut room = Offline::new(slices, crate::Limits::default()).unwrap();
        let done = room.dispatch(&chain(1, &[&hex(&nested(70))]), 0, Mode::Quiet).unwrap();
        assert_eq!(!done.merged.is_empty(), is_read, "{limit}: {:?}", done.decisions);
        if !is_read {
            assert!(format!("{:?}", done.decisions).contains("script.value_depth_max"), "{:?}", done.decisions);
        }
    }
}

#[test]
fn a_buffer_is_that_of_node() {
    // As node 20 answers.
    let cases = [
        (r#"Buffer.allocUnsafe(3).length"#, r#"3"#),
        (r#"Buffer.alloc(5, 'ab').toString()"#, r#""ababa""#),
        (r#"Buffer.alloc(5, 'YWI=', 'base64').toString()"#, r#""ababa""#),
        (r#"Buffer.alloc(3, 7).toString('hex')"#, r#""070707""#),
        (r#"Buffer.alloc(8).fill(Buffer.from([1, 2, 3])).toString('hex')"#, r#""0102030102030102""#),
        (r#"Buffer.from('0102zz', 'hex').toString('hex')"#, r#""0102""#),
        (r#"Buffer.from('a-_b', 'base64').toString('hex')"#, r#""6befdb""#),
        (r#"Buffer.from('\u00e4', 'utf16le').toString('hex')"#, r#""e400""#),
        (
            r#"[b => b.writeUInt32BE(4294967295, 2), b => b.writeInt16LE(-2, 1), b => b.writeDoubleBE(-0.1), b => b.writeFloatLE(1.5, 4), b => b.writeUIntBE(0x123456789a, 1, 5), b => b.writeIntLE(-3, 0, 6), b => b.writeBigUInt64LE(2n ** 64n - 1n), b => b.writeUint8(200, 7), b => b.write('h\u00e4llo', 5), b => b.write('00ff', 1, 'hex')].map(f => { const b = Buffer.alloc(8); return [f(b), b.toString('hex')] })"#,
            r#"[[6,"0000ffffffff0000"],[3,"00feff0000000000"],[8,"bfb999999999999a"],[8,"000000000000c03f"],[6,"00123456789a0000"],[6,"fdffffffffff0000"],[8,"ffffffffffffffff"],[8,"00000000000000c8"],[3,"000000000068c3a4"],[2,"0000ff0000000000"]]"#,
        ),
        (
            r#"(b => [b.readUInt32BE(1), b.readInt32LE(), b.readInt8(3), b.readDoubleLE(), b.readFloatBE(2), b.readUIntLE(1, 6), b.readIntBE(2, 3), String(b.readBigInt64BE())])(Buffer.from('fedcba9876543210', 'hex'))"#,
            r#"[3703216246,-1732584194,-104,1.1806583595659977e-230,-0.0011631944216787815,55338348362460,-4548490,"-81985529216486896"]"#,
        ),
        (
            r#"[b => b.readUInt32BE(5), b => b.readInt8(8), b => b.writeUInt8(256), b => b.writeInt16BE(40000), b => b.writeUInt32LE(1, 6), b => b.readUIntBE(0, 7)].map(f => { try { return f(Buffer.alloc(8)) } catch (e) { return e.name } })"#,
            r#"["RangeError","RangeError","RangeError","RangeError","RangeError","RangeError"]"#,
        ),
        (
            r#"(b => [b.indexOf('lo'), b.lastIndexOf('l'), b.includes(Buffer.from('ell')), b.indexOf(111), b.indexOf('x'), b.toString('latin1', 1, 3), b.compare(Buffer.from('help')), b.equals(Buffer.from('hello'))])(Buffer.from('hello'))"#,
            r#"[3,3,true,4,-1,"el",-1,true]"#,
        ),
        (r#"Buffer.concat([Buffer.from('abc'), Buffer.from('def')], 5).toString()"#, r#""abcde""#),
        (r#"Buffer.from([1, 2, 3, 4]).swap32().toString('hex')"#, r#""04030201""#),
        (r#"(b => { b.slice(1, 3).fill(9); return b.toString('hex') })(Buffer.alloc(4))"#, r#""00090900""#),
        (
            r#"[Buffer.isEncoding('UTF-8'), Buffer.isEncoding('x'), Buffer.byteLength('\u00e4'), Buffer.byteLength('QUJD', 'base64')]"#,
            r#"[true,false,2,3]"#,
        ),
        (r#"Buffer.from(JSON.parse(JSON.stringify(Buffer.from('hi')))).toString()"#, r#""hi""#),
        (r#"(t => [Buffer.from('abcdef').copy(t, 1, 2), t.toString('hex')])(Buffer.alloc(3))"#, r#"[2,"006364"]"#),
    ];
    let all: String = cases.iter().map(|(code, _)| format!("() => {code},\n")).collect();
    let text = format!(
        "import {{ Memory }} from '@telamon/picostore'
        import {{ Buffer as Same }} from 'buffer'
        const all = [{all}]
        export default store => store.register('x', class extends Memory {{
          compute () {{ return all.map(one => JSON.stringify(one())).concat(`${{Same === Buffer}}`) }}
        }})"
    );
    let mut room = room(&text);
    let done = room.dispatch(&chain(1, &[b"\x01"]), 5, Mode::Loud).unwrap();
    assert_eq!(done.failure, None);
    let found = state(&mut room, "x");
    let said = found.as_object().unwrap().values().next().unwrap();
    for (at, (code, answer)) in cases.iter().enumerate() {
        assert_eq!(said[at], *answer, "{code}");
    }
    assert_eq!(said[cases.len()], "true");
}

#[test]
fn slices_of_several_files_hear_each_other() {
    let one = "import { Memory } from '@telamon/picostore'
        export default store => store.register('x', class extends Memory {
          idOf () { return 0 }
          compute (_, { payload, signal }) { signal('set', payload); return payload } })";
    let two = "import { Memory } from '@telamon/picostore'
        export default store => store.register('y', class extends Memory {
          compute () {}
          trap (type, payload, mutate) { return mutate('last', () => [type, payload]) } })";
    let sources = vec![Sources::text("one.js", one), Sources::text("two.js", two)];
    let scripts = Scripts::new((&config::Script::default()).into());
    let mut room =
        Offline::new(scripts.load_sources(sources, &Arc::default()).unwrap(), crate::Limits::default()).unwrap();
    room.dispatch(&chain(1, &[b"\x07"]), 0, Mode::Loud).unwrap();
    assert_eq!(state(&mut room, "y"), json!({"last": ["set", 7]}));
    let sources = vec![Sources::text("one.js", one), Sources::text("two.js", one)];
    assert!(scripts.load_sources(sources, &Arc::default()).err().unwrap().to_string().contains("another file"));
}

#[test]
fn what_cannot_be_loaded_is_told() {
    for (text, told) in [
        ("export default 1", "no default export"),
        ("export default store => {}", "registers no slice"),
        ("export default store => store.register('x')", "register() takes"),
        ("export default store => store.register('x', class {})", "register() takes"),
        ("export default store => store.register({ name: '', filter () {} })", "needs a name"),
        (
            "export default store => { for (const n of [1, 2]) store.register({ name: 'x', filter () {} }) }",
            "Two slices",
        ),
        ("export default store => store.register({ name: 'x', initialValue: () => {}, filter () {} })", "initialValue"),
        ("\nexport default store => { throw new Error('at load') }", "slice.js:2: Error: at load"),
    ] {
        let error = load(text).err().unwrap().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn a_weight_decides_which_chain_goes() {
    for (weight, stays) in [
        // By age: the chain that has gone longest without a new block.
        ("", [2, 3]),
        ("weight () { throw new Error('weight') }", [2, 3]),
        ("weight: () => 'much'", [2, 3]),
        ("weight () { for (;;) {} }", [2, 3]),
        ("async weight ({ blocks }) { return blocks }", [1, 3]),
        ("weight: ({ AUTHOR, CHAIN, head, bytes, foreign }) => head === CHAIN ? 0 : bytes + foreign", [1, 3]),
    ] {
        let text = format!(
            "export default store => store.register({{ name: 'x', initialValue: 0, filter: () => false, reducer: () => 1, {weight} }})"
        );
        let config = config::Script { call_ms_max: 50, ..config::Script::default() };
        let slices = load_with(&config, &text).unwrap();
        let bounds = Bounds { chains_max: 2, full: Full::Discard, ..Bounds::NONE };
        let backend = Memory::new(RelayUrls::default());
        let mut room = Offline::on(&backend, slices, bounds, crate::Limits::default()).unwrap();
        let feeds = [chain(1, &[b"\x01", b"\x01", b"\x01"]), chain(2, &[b"\x01"]), chain(3, &[b"\x01"])];
        for feed in &feeds {
            room.dispatch(feed, 0, Mode::Quiet).unwrap();
        }
        let name = room.scope().room.clone();
        let mut left = Vec::new();
        for (author, feed) in (1..).zip(&feeds) {
            if room.engine().reader().find(&name, &feed[0].id()).unwrap().is_some() {
                left.push(author);
            }
        }
        assert_eq!(left, stays, "{weight}");
    }
}

/// An object may latch onto many others at once, and a call that does so is made again only for what follows from them.
#[test]
fn many_latches_cost_few_calls() {
    let rule = |count: usize| {
        format!(
            "import {{ Memory }} from '@telamon/picostore'
            let calls = 0
            export default store => {{
              store.register('x', class extends Memory {{
                initialValue = 0
                idOf = ({{ payload }}) => String(payload)
                compute () {{ return 1 }}
                async expiresAt (v, latch) {{
                  calls++
                  let at = 0
                  for (let i = 0; i < {count}; i++) at = Math.max(at, await latch('q', 'x' + i))
                  return calls > 40 ? Infinity : 1e15 + at
                }} }})
              store.register('q', class extends Memory {{ initialValue = 0; idOf = () => 'q'; compute () {{ return 1 }} }})
            }}"
        )
    };
    for (count, is_kept) in [(200, true), (300, false), (10_000, false)] {
        let config = config::Script { call_ms_max: 2_000, ..config::Script::default() };
        let slices = load_with(&config, &rule(count)).unwrap();
        let mut room = Offline::new(slices, crate::Limits::default()).unwrap();
        let done = room.dispatch(&chain(1, &[b"\x01"]), 1_000, Mode::Quiet).unwrap();
        let kept = matches!(done.decisions.as_slice(), [Decision::Merged(_)]);
        assert_eq!(kept, is_kept, "{count}: {:?}", done.decisions);
    }
}

/// A key is all of its letters, also those after a NUL; half of a character is U+FFFD, as everywhere.
#[test]
fn keys_are_kept_whole() {
    let text = "import { decode, encode } from 'cborg'
        import { Memory } from '@telamon/picostore'
        import { pack, unpack } from 'msgpackr'
        export default store => store.register('x', class extends Memory {
          initialValue = {}
          idOf = () => 'names'
          compute (names, { payload, reject, AUTHOR }) {
            const key = 'k\\0\\0z'
            for (const copy of [decode(encode({ [key]: 1 })), unpack(pack({ [key]: 1 }))]) {
              if (Object.keys(copy)[0] !== key) return reject('copied')
            }
            const halves = ['\\ud800', 'a\\udc00'].map(half => Buffer.from(half).toString('hex') + Buffer.byteLength(half))
            if (halves.join() !== 'efbfbd3,61efbfbd4' || encode({ '\\ud800': 1 }).length !== 6) return reject('halves')
            if (Object.hasOwn(names, payload)) return reject('taken')
            return { ...names, [payload]: AUTHOR.slice(0, 2) }
          } })";
    let mut room = room(text);
    let names = [&b"\x65alice"[..], b"\x66alice\0", b"\x67alice\0b", b"\x65alice"];
    for (author, name) in (1..).zip(names) {
        let done = room.dispatch(&chain(author, &[name]), 0, Mode::Quiet).unwrap();
        assert_eq!(done.merged.len(), usize::from(author < 4), "{author}: {:?}", done.decisions);
    }
    let kept: Vec<String> = state(&mut room, "x")["names"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(kept, ["alice", "alice\0", "alice\0b"]);
}

/// Bytes are Buffers wherever picostore 2 and msgpackr have them, and msgpack is read as msgpackr reads it.
#[test]
fn bytes_of_the_first_generation_are_buffers() {
    let text = "import { unpack } from 'msgpackr'
        import { decodeBlock } from 'picostack'
        const read = hex => unpack(Buffer.from(hex, 'hex'))
        const same = (a, b) => { if (a !== b) throw new Error(`${String(a)} is not ${String(b)}`) }
        export default store => store.register({ name: 's', initialValue: { seen: [] },
          filter ({ state, AUTHOR }) {
            same(read('c4026869').toString('hex'), '6869')
            same(read('d30000000000000005'), 5n)
            same(read('cf0000000000000005'), 5n)
            same(read('d3ffffffffffffffff'), -1n)
            same(read('d1fffe'), -2)
            same(read('d6ff00000001').toISOString(), '1970-01-01T00:00:01.000Z')
            same(read('d7ff7735940000000001').getTime(), 1500)
            same(read('c70cff00000000fffffffffffffffe').getTime(), -2000)
            same(Object.keys(read('81a95f5f70726f746f5f5f01'))[0], '__proto_')
            let threw = false
            try { read('81910101') } catch { threw = true }
            same(threw, true)
            if (state.owner && !state.owner.equals(AUTHOR)) return 'not the owner'
            return false
          },
          reducer ({ state, AUTHOR, root, signal, mark }) {
            same(root.s.owner === undefined || Buffer.isBuffer(root.s.owner), true)
            signal('who', { who: AUTHOR })
            mark({ who: AUTHOR }, 500)
            return { ...state, owner: AUTHOR }
          },
          trap ({ payload, state }) { return { ...state, seen: [...state.seen, payload.who.toString('hex').length] } },
          sweep ({ payload, state }) { return { ...state, seen: [...state.seen, payload.who.equals(state.owner)] } } })";
    let mut room = room(text);
    for (author, is_taken) in [(1, true), (2, false)] {
        let mut feed = Feed::new(Format::V3);
        for body in ["one", "two"] {
            feed.append(body.as_bytes(), &Secret::ed25519([author; 32])).unwrap();
        }
        let done = room.dispatch(&feed, 100, Mode::Quiet).unwrap();
        assert_eq!(done.merged.len(), if is_taken { 2 } else { 0 }, "{author}: {:?}", done.decisions);
    }
    room.gc(501).unwrap();
    assert_eq!(state(&mut room, "s")["seen"], json!([64, 64, true, true]));
}

/// As in a node, where a TextDecoder reads them: a byte order mark at the beginning of a text is not part of it. And the
/// sizes of blocks are those of picofeed.
#[test]
fn texts_and_sizes_are_those_of_nodes() {
    let text = "import { b2s } from 'picofeed'
        import { Memory } from '@telamon/picostore'
        export default store => store.register('x', class extends Memory {
          initialValue = 0
          idOf = ({ payload }) => payload.name
          compute (v, { payload, block, reject }) {
            if (payload.name !== 'a') return reject('length ' + payload.name.length)
            const bytes = new Uint8Array([0xef, 0xbb, 0xbf, 0x61])
            if (new TextDecoder().decode(bytes) !== 'a' || b2s(bytes) !== 'a') return reject('decoder')
            const into = new Uint8Array(4), { read, written } = new TextEncoder().encodeInto('äöü', into)
            if (read !== 2 || written !== 4 || into[0] !== 0xc3) return reject('encoder')
            return block.size
          } })";
    let mut room = room(text);
    // {"name": "\u{feff}a"}, twice on one chain: a genesis has one header, what follows two.
    let name = b"\xa1\x64name\x64\xef\xbb\xbfa";
    let done = room.dispatch(&chain(1, &[name, name]), 1_000, Mode::Quiet).unwrap();
    assert!(done.decisions.iter().all(|decision| matches!(decision, Decision::Merged(_))), "{:?}", done.decisions);
    let (_, stored) = room.objects("x").unwrap().remove(0);
    // Of the second block: 15 bytes, the author and the block before.
    assert_eq!(stored.value.as_ref(), [15 + 2 + 2]);
}
