//! Slices of pico rooms written in JavaScript: `store.register('notes', Notes)` with a class that extends `Memory`
//! (picostore 3), `store.register({ name, initialValue, filter, reducer, .. })` (picostore 2).
//!
//! What a script reads while it computes (`lookup`, `latch`, `mutate`, `readState`) are promises: they are put in a list, and
//! served from the [`View`] when nothing else is left to do.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use picofeed::{Block, Id};
use rquickjs::function::Args;
use rquickjs::{Array, Ctx, Function, IntoJs, Object, String as JsString, TypedArray, Value};

use super::cbor::{self, DecodeError};
use super::error::ScriptError;
use super::health::Health;
use super::limits::Limits;
use super::modules::Sources;
use super::program::{Failure, Host, Program, Watched, settle};
use super::pulse::Pulse;
use super::value::{Unusable, from_hex};
use crate::engine::slice::{
    ChainSummary, Context, Due, Effects, Expires, Fault, FaultKind, LoadError, Loader, Mark, Millis, Put, Removal,
    Sees, Show, Signal, Slice, Unavailable, Verdict, View,
};

/// Loads slices from files.
#[derive(Clone, Copy, Debug)]
pub struct Scripts {
    limits: Limits,
}

impl Scripts {
    /// With these limits for each file.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Slices of one script.
    ///
    /// # Errors
    ///
    /// It does not run, or registers nothing usable.
    pub fn load_sources(&self, sources: Vec<Sources>, pulse: &Arc<Pulse>) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        self.load_all(sources, pulse, &mut Vec::new())
    }

    fn load_all(
        &self,
        sources: Vec<Sources>,
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        let mut slices: Vec<ScriptSlice> = Vec::new();
        for mut sources in sources {
            let file = sources.main().to_owned();
            let refused = |error: ScriptError| LoadError { file: error.place.clone(), message: error.message };
            let loaded = Script::load(&mut sources, &self.limits, pulse);
            read.extend(sources.paths());
            for slice in loaded.map_err(refused)? {
                if slices.iter().any(|other| other.name == slice.name) {
                    let message = format!("another file of the room registers `{}`", slice.name);
                    return Err(LoadError { file, message });
                }
                slices.push(slice);
            }
        }
        let roots: Rc<[Root]> = slices.iter().filter_map(ScriptSlice::root).collect();
        for slice in &mut slices {
            slice.roots = Rc::clone(&roots);
        }
        Ok(slices.into_iter().map(|slice| Box::new(slice) as Box<dyn Slice>).collect())
    }
}

impl Loader for Scripts {
    fn load(
        &self,
        files: &[PathBuf],
        pulse: &Arc<Pulse>,
        read: &mut Vec<PathBuf>,
    ) -> Result<Vec<Box<dyn Slice>>, LoadError> {
        let sources = files.iter().map(|file| Sources::file(file, self.limits.source_bytes));
        self.load_all(sources.collect(), pulse, read)
    }
}

/// One file, shared by the slices that it registered.
struct Script {
    program: RefCell<Option<Program>>,
    /// Counts how often it was loaded.
    epoch: Cell<u64>,
    sources: RefCell<Sources>,
    watched: Watched,
    limits: Limits,
}

struct ScriptSlice {
    script: Rc<Script>,
    /// Its place among those that the file registered.
    index: usize,
    name: String,
    is_first_generation: bool,
    initial: Option<Bytes>,
    has_trap: bool,
    has_weight: bool,
    uses_root: bool,
    /// What `root` holds: the states of all slices of the room of the same generation.
    roots: Rc<[Root]>,
    /// The state that the script has at hand: the epoch, and the version.
    at_hand: Option<(u64, Option<u64>)>,
    disabled: String,
}

/// A slice whose state others may see.
#[derive(Clone)]
struct Root {
    name: String,
    initial: Option<Bytes>,
}

impl Script {
    fn load(sources: &mut Sources, limits: &Limits, pulse: &Arc<Pulse>) -> Result<Vec<ScriptSlice>, ScriptError> {
        let file = sources.main().to_owned();
        let watched = Watched { pulse: Arc::clone(pulse), health: Arc::new(Health::new(&file, limits)) };
        let program = Program::load(sources, Host::Pico, limits, &watched)?;
        let found = program.started(|ctx, started| {
            let registered: Vec<Array<'_>> = started.get()?;
            registered.iter().map(|slice| Registered::read(ctx, slice, limits)).collect::<rquickjs::Result<Vec<_>>>()
        })?;
        let script = Rc::new(Self {
            program: RefCell::new(Some(program)),
            epoch: Cell::new(0),
            sources: RefCell::new(sources.clone()),
            watched,
            limits: *limits,
        });
        let slices = found.into_iter().enumerate().map(|(index, found)| ScriptSlice {
            script: Rc::clone(&script),
            index,
            disabled: format!("{file} failed too often"),
            name: found.name,
            is_first_generation: found.is_first_generation,
            initial: found.initial,
            has_trap: found.has_trap,
            has_weight: found.has_weight,
            uses_root: found.uses_root,
            roots: Rc::new([]),
            at_hand: None,
        });
        Ok(slices.collect())
    }

    /// Calls into the script, which is loaded anew if it was thrown away.
    fn run<T>(
        &self,
        now: Millis,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        if !self.watched.health.runs() {
            return Err(Fault { kind: FaultKind::Disabled, message: "it failed too often".to_owned() });
        }
        let mut program = self.program.borrow_mut();
        let result = match self.ready(&mut program) {
            Ok(program) => program.call(now, |ctx, host| {
                host.get::<_, Function<'_>>("forget")?.call::<_, ()>(())?;
                call(ctx, host)
            }),
            Err(error) => Err(error),
        };
        if program.as_ref().is_some_and(Program::is_spoilt) {
            *program = None;
        }
        match &result {
            Ok(_) => self.watched.health.worked(),
            Err(error) if error.kind == FaultKind::Unavailable => {}
            Err(error) => self.watched.health.failed(error),
        }
        result.map_err(Fault::from)
    }

    fn ready<'p>(&self, program: &'p mut Option<Program>) -> Result<&'p mut Program, ScriptError> {
        match program {
            Some(program) => Ok(program),
            none => {
                self.epoch.set(self.epoch.get() + 1);
                Ok(none.insert(Program::load(&mut self.sources.borrow_mut(), Host::Pico, &self.limits, &self.watched)?))
            }
        }
    }
}

/// What `start` says of a slice.
struct Registered {
    name: String,
    is_first_generation: bool,
    initial: Option<Bytes>,
    has_trap: bool,
    has_weight: bool,
    uses_root: bool,
}

impl Registered {
    fn read<'js>(ctx: &Ctx<'js>, slice: &Array<'js>, limits: &Limits) -> rquickjs::Result<Self> {
        let initial: Array<'js> = slice.get(2)?;
        let initial = match initial.len() {
            0 => None,
            _ => {
                let value: Value<'js> = initial.get(0)?;
                let bytes = cbor::encode(ctx, &value, limits.value_bytes);
                Some(bytes.map_err(|error| rquickjs::Exception::throw_type(ctx, &format!("initialValue: {error}")))?)
            }
        };
        Ok(Self {
            name: slice.get(0)?,
            is_first_generation: slice.get::<i32>(1)? == 2,
            initial: initial.map(Bytes::from),
            has_trap: slice.get(3)?,
            has_weight: slice.get(4)?,
            uses_root: slice.get::<Option<bool>>(5)?.unwrap_or_default(),
        })
    }
}

impl ScriptSlice {
    fn root(&self) -> Option<Root> {
        self.is_first_generation.then(|| Root { name: self.name.clone(), initial: self.initial.clone() })
    }

    fn value_bytes(&self) -> usize {
        self.script.limits.value_bytes
    }

    /// The state of a slice of the first generation.
    fn state(&self, view: &mut dyn View) -> Result<(Bytes, Option<u64>), Unavailable> {
        Ok(match view.object(&self.name, "")? {
            Some(object) => (object.value, Some(object.version)),
            None => (self.initial.clone().unwrap_or(UNDEFINED), None),
        })
    }

    /// States of all slices of the room, if it looks at them.
    fn roots(&self, view: &mut dyn View) -> Result<Vec<(String, Bytes)>, Unavailable> {
        let seen = if self.uses_root { &*self.roots } else { &[] };
        let state = |root: &Root| {
            let object = view.object(&root.name, "")?;
            let value = object.map(|object| object.value).or_else(|| root.initial.clone()).unwrap_or(UNDEFINED);
            Ok((root.name.clone(), value))
        };
        seen.iter().map(state).collect()
    }

    fn compute(&self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        let Some(body) = block.body else { return Ok(Verdict::Reject("the body has no collection".to_owned())) };
        let max = self.value_bytes();
        self.script.run(block.now, |ctx, host| {
            let (Ok(payload), Ok(date)) = (item(ctx, body.payload)?, item(ctx, body.date)?) else {
                return Ok(Verdict::Reject("the body is malformed".to_owned()));
            };
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([payload, date])?;
            let verdict = call(ctx, host, "compute", args)?;
            let verdict: Array<'_> = settle(ctx, verdict, || serve(ctx, host, view))?.get()?;
            let kind: String = verdict.get(0)?;
            match kind.as_str() {
                "reject" => Ok(Verdict::Reject(verdict.get(1)?)),
                "postpone" => Ok(Verdict::Postpone {
                    after: millis(verdict.get(1)?).max(0),
                    reason: verdict.get(2)?,
                    retries: count(verdict.get(3)?),
                }),
                _ => {
                    let put = Put {
                        id: verdict.get(1)?,
                        value: Some(encode(ctx, &verdict.get(2)?, max)?),
                        expires: expiry(verdict.get(3)?)?,
                    };
                    let keys: Vec<String> = verdict.get(4)?;
                    Ok(Verdict::Accept(Effects {
                        puts: vec![put],
                        index: keys.iter().map(|key| from_hex(key).unwrap_or_default().into()).collect(),
                        signals: signals(ctx, &verdict.get(5)?, max)?,
                        ..Effects::default()
                    }))
                }
            }
        })
    }

    fn filter(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        let (state, version) = self.state(view)?;
        let roots = self.roots(view)?;
        let at_hand = self.at_hand;
        let verdict = self.script.run(block.now, |ctx, host| {
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            let changed = Array::new(ctx.clone())?;
            if at_hand != Some((self.script.epoch.get(), version)) {
                changed.set(0, decode(ctx, &state)?)?;
            }
            args.push_args([changed.into_value(), root_object(ctx, &roots)?])?;
            let verdict = call(ctx, host, "filter", args)?;
            Ok(match verdict.as_bool() {
                Some(_) => Verdict::Pass,
                None if verdict.is_undefined() => Verdict::Accept(Effects::default()),
                None => Verdict::Reject(verdict.get()?),
            })
        });
        // After a fault nobody knows what the script has at hand.
        self.at_hand = verdict.is_ok().then(|| (self.script.epoch.get(), version));
        verdict
    }

    fn args<'js>(&self, ctx: &Ctx<'js>, len: usize) -> rquickjs::Result<Args<'js>> {
        let mut args = Args::new(ctx.clone(), len);
        args.push_arg(i32::try_from(self.index).unwrap_or_default())?;
        Ok(args)
    }

    fn own(&self, value: Bytes) -> Put {
        Put { id: String::new(), value: Some(value), expires: Expires::Never }
    }
}

/// CBOR of `undefined`.
const UNDEFINED: Bytes = Bytes::from_static(&[0xf7]);

impl Slice for ScriptSlice {
    fn name(&self) -> &str {
        &self.name
    }

    fn sees(&self) -> Sees {
        if self.is_first_generation { Sees::Everything } else { Sees::Collection }
    }

    fn initial(&self) -> Option<Bytes> {
        self.initial.clone()
    }

    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        if self.is_first_generation { self.filter(block, view) } else { self.compute(block, view) }
    }

    fn reduce(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        if !self.is_first_generation {
            return Ok(Effects::default());
        }
        let (state, _) = self.state(view)?;
        let roots = self.roots(view)?;
        let max = self.value_bytes();
        self.script.run(block.now, |ctx, host| {
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([decode(ctx, &state)?, root_object(ctx, &roots)?])?;
            let result: Array<'_> = call(ctx, host, "reducer", args)?.get()?;
            Ok(Effects {
                puts: state_of(ctx, &result.get(0)?, max)?.map(|value| self.own(value)).into_iter().collect(),
                signals: signals(ctx, &result.get(1)?, max)?,
                marks: marks(ctx, &result.get(2)?, max)?,
                ..Effects::default()
            })
        })
    }

    fn trap(&mut self, signal: &Signal, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        if !self.has_trap {
            return Ok(Effects::default());
        }
        let max = self.value_bytes();
        if !self.is_first_generation {
            return self.script.run(block.now, |ctx, host| {
                let mut args = self.args(ctx, 3)?;
                args.push_args([decode(ctx, &signal.code)?, decode(ctx, &signal.payload)?])?;
                let changed = call(ctx, host, "trap3", args)?;
                let changed: Vec<Array<'_>> = settle(ctx, changed, || serve(ctx, host, view))?.get()?;
                let mut puts = Vec::new();
                for entry in &changed {
                    let value = encode(ctx, &entry.get(1)?, max)?;
                    puts.push(Put { id: entry.get(0)?, value: Some(value), expires: Expires::Never });
                }
                Ok(Effects { puts, ..Effects::default() })
            });
        }
        let (state, _) = self.state(view)?;
        let roots = self.roots(view)?;
        self.script.run(block.now, |ctx, host| {
            let mut args = self.args(ctx, 9)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([decode(ctx, &state)?, root_object(ctx, &roots)?])?;
            args.push_args([decode(ctx, &signal.code)?, decode(ctx, &signal.payload)?])?;
            let result: Array<'_> = call(ctx, host, "trap2", args)?.get()?;
            let puts = state_of(ctx, &result, max)?.map(|value| self.own(value)).into_iter().collect();
            Ok(Effects { puts, ..Effects::default() })
        })
    }

    fn expires_at(&mut self, _: &str, value: &[u8], view: &mut dyn View) -> Result<Option<Millis>, Fault> {
        if self.is_first_generation {
            return Ok(None);
        }
        // The clock does not move for those who ask when something expires: the answer follows from the value.
        self.script.run(0, |ctx, host| {
            let mut args = self.args(ctx, 2)?;
            args.push_arg(decode(ctx, value)?)?;
            let at = call(ctx, host, "expires", args)?;
            let at = settle(ctx, at, || serve(ctx, host, view))?;
            match expiry(at)? {
                Expires::At(at) => Ok(Some(at)),
                Expires::Never | Expires::Ask => Ok(None),
            }
        })
    }

    fn sweep(&mut self, due: &Due<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        let (state, _) = self.state(view)?;
        let roots = self.roots(view)?;
        let max = self.value_bytes();
        self.script.run(due.now, |ctx, host| {
            let mut args = self.args(ctx, 11)?;
            args.push_args([block_value(ctx, due.block)?, block_value(ctx, due.parent)?])?;
            args.push_args([due.owner.to_string(), due.chain.to_string()])?;
            args.push_args([decode(ctx, &state)?, root_object(ctx, &roots)?, decode(ctx, due.payload)?])?;
            args.push_args([due.at as f64, due.now as f64])?;
            args.push_arg(due.id.to_string())?;
            let result = call(ctx, host, "sweep", args)?;
            let result: Array<'_> = settle(ctx, result, || serve(ctx, host, view))?.get()?;
            let drops: Vec<Option<String>> = result.get(2)?;
            let removal = |stop: Option<String>| {
                let stop_at = stop.map(|stop| stop.parse::<Id>()).transpose();
                let stop_at = stop_at.map_err(|_| unusable("drop() takes a block or its id"))?;
                Ok::<_, Failure>(Removal { chain: due.chain, stop_at })
            };
            Ok(Effects {
                puts: state_of(ctx, &result.get(0)?, max)?.map(|value| self.own(value)).into_iter().collect(),
                marks: marks(ctx, &result.get(1)?, max)?,
                drops: drops.into_iter().map(removal).collect::<Result<_, _>>()?,
                ..Effects::default()
            })
        })
    }

    fn weight(&mut self, chain: &ChainSummary, view: &mut dyn View) -> Result<Option<f64>, Fault> {
        if !self.has_weight {
            return Ok(None);
        }
        self.script.run(0, |ctx, host| {
            let mut args = self.args(ctx, 7)?;
            args.push_args([chain.owner.to_string(), chain.chain.to_string(), chain.head.to_string()])?;
            args.push_args([chain.blocks as f64, chain.bytes as f64, chain.foreign as f64])?;
            let weight = call(ctx, host, "weight", args)?;
            let weight = settle(ctx, weight, || serve(ctx, host, view))?;
            match weight.as_number() {
                Some(weight) if !weight.is_nan() => Ok(Some(weight)),
                None if weight.is_undefined() || weight.is_null() => Ok(None),
                _ => Err(unusable("weight must give a number")),
            }
        })
    }

    fn show(&self) -> Show {
        cbor::to_json
    }

    fn disabled(&self) -> Option<&str> {
        if self.script.watched.health.runs() { None } else { Some(&self.disabled) }
    }
}

/// Answers one thing that the script asked for. False when it asked for nothing.
fn serve<'js>(ctx: &Ctx<'js>, host: &Object<'js>, view: &mut dyn View) -> Result<bool, Failure> {
    let asked: Value<'js> = host.get::<_, Function<'js>>("asked")?.call(())?;
    let Some(asked) = asked.as_array() else { return Ok(false) };
    let (what, slice, key): (String, String, String) = (asked.get(0)?, asked.get(1)?, asked.get(2)?);
    let unavailable = |why: Unavailable| Failure::Other(FaultKind::Unavailable, why.to_string());
    let answer = match what.as_str() {
        "object" => match view.object(&slice, &key).map_err(unavailable)? {
            Some(object) => {
                let found = Array::new(ctx.clone())?;
                found.set(0, decode(ctx, &object.value)?)?;
                found.into_value()
            }
            None => Value::new_undefined(ctx.clone()),
        },
        "expiry" => {
            let at = view.expiry(&slice, &key).map_err(unavailable)?;
            Value::new_number(ctx.clone(), at.map_or(f64::INFINITY, |at| at as f64))
        }
        _ => match view.lookup(&slice, &from_hex(&key).unwrap_or_default()).map_err(unavailable)? {
            Some(id) => TypedArray::<u8>::new_copy(ctx.clone(), id.as_bytes())?.into_value(),
            None => Value::new_undefined(ctx.clone()),
        },
    };
    host.get::<_, Function<'js>>("answer")?.call::<_, ()>((answer,))?;
    Ok(true)
}

fn call<'js>(ctx: &Ctx<'js>, host: &Object<'js>, name: &str, args: Args<'js>) -> Result<Value<'js>, Failure> {
    let _ = ctx;
    Ok(host.get::<_, Function<'js>>(name)?.call_arg(args)?)
}

fn push_block<'js>(ctx: &Ctx<'js>, args: &mut Args<'js>, context: &Context<'_>) -> rquickjs::Result<()> {
    args.push_args([block_value(ctx, Some(context.block))?, block_value(ctx, context.parent)?])?;
    args.push_args([context.owner.to_string(), context.chain.to_string()])
}

/// A block as our modules take it: id, key, id of its parent, body, bytes.
fn block_value<'js>(ctx: &Ctx<'js>, block: Option<&Block>) -> rquickjs::Result<Value<'js>> {
    let Some(block) = block else { return Ok(Value::new_undefined(ctx.clone())) };
    let bytes = |bytes: &[u8]| TypedArray::<u8>::new_copy(ctx.clone(), bytes).map(TypedArray::into_value);
    let parts = Array::new(ctx.clone())?;
    parts.set(0, bytes(block.id().as_bytes())?)?;
    parts.set(1, bytes(block.author().as_bytes())?)?;
    let parent = match block.parent() {
        Some(parent) => bytes(parent.as_bytes())?,
        None => Value::new_undefined(ctx.clone()),
    };
    parts.set(2, parent)?;
    parts.set(3, bytes(block.body())?)?;
    parts.set(4, bytes(block.bytes())?)?;
    Ok(parts.into_value())
}

/// The states of slices by name, as an object without a prototype.
fn root_object<'js>(ctx: &Ctx<'js>, roots: &[(String, Bytes)]) -> Result<Value<'js>, Failure> {
    let object = Object::new_proto(ctx.clone(), None)?;
    for (name, state) in roots {
        object.set(JsString::from_str(ctx.clone(), name)?.into_js(ctx)?, decode(ctx, state)?)?;
    }
    Ok(object.into_value())
}

/// A CBOR item that came with a block; an error of it is not ours.
fn item<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Result<Value<'js>, cbor::Malformed>, Failure> {
    if bytes.is_empty() {
        return Ok(Ok(Value::new_undefined(ctx.clone())));
    }
    match cbor::decode(ctx, bytes) {
        Ok(value) => Ok(Ok(value)),
        Err(DecodeError::Malformed(error)) => Ok(Err(error)),
        Err(DecodeError::Script(error)) => Err(error.into()),
    }
}

/// A value that a slice wrote before.
fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, Failure> {
    item(ctx, bytes)?.map_err(|error| Failure::Other(FaultKind::Result, error.to_string()))
}

fn encode<'js>(ctx: &Ctx<'js>, value: &Value<'js>, max: usize) -> Result<Bytes, Failure> {
    Ok(cbor::encode(ctx, value, max).map_err(Failure::from)?.into())
}

/// The new state, in a list of one; none in an empty list.
fn state_of<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Option<Bytes>, Failure> {
    if list.is_empty() { Ok(None) } else { encode(ctx, &list.get(0)?, max).map(Some) }
}

/// Signals of one call, at the most. Their payloads together may have as many bytes as one value.
const SIGNALS_MAX: usize = 1_000;

fn pairs<'js>(list: &Array<'js>) -> Result<Vec<Array<'js>>, Failure> {
    if list.len() > SIGNALS_MAX {
        return Err(unusable("too many signals or marks"));
    }
    Ok(list.iter().collect::<rquickjs::Result<_>>()?)
}

fn signals<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Vec<Signal>, Failure> {
    let mut room = max;
    let mut signals = Vec::new();
    for pair in pairs(list)? {
        let signal = Signal { code: encode(ctx, &pair.get(0)?, room)?, payload: encode(ctx, &pair.get(1)?, room)? };
        room = room.saturating_sub(signal.code.len() + signal.payload.len());
        signals.push(signal);
    }
    Ok(signals)
}

fn marks<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Vec<Mark>, Failure> {
    let mut room = max;
    let mut marks = Vec::new();
    for pair in pairs(list)? {
        let mark = Mark { payload: encode(ctx, &pair.get(0)?, room)?, at: millis(pair.get(1)?) };
        room = room.saturating_sub(mark.payload.len());
        marks.push(mark);
    }
    Ok(marks)
}

fn expiry(value: Value<'_>) -> Result<Expires, Failure> {
    match value.as_number() {
        None if value.is_undefined() => Ok(Expires::Ask),
        Some(f64::INFINITY) => Ok(Expires::Never),
        Some(at) if at.is_finite() => Ok(Expires::At(millis(at))),
        _ => Err(unusable("expiresAt must give a number of milliseconds, or Infinity")),
    }
}

/// Milliseconds, of a fraction the next whole one. What is no number is 0.
#[expect(clippy::cast_possible_truncation, reason = "`as` takes the nearest number there is")]
fn millis(value: f64) -> Millis {
    value.ceil() as Millis
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` takes the nearest number there is")]
fn count(value: f64) -> u32 {
    value as u32
}

fn unusable(why: &str) -> Failure {
    Failure::Other(FaultKind::Result, why.to_owned())
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Script(error) => Self::Script(error),
            DecodeError::Malformed(error) => Self::Unusable(Unusable::Type(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
