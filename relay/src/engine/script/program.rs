//! One script in a runtime of its own, and the calls into it.
//!
//! A runtime belongs to one thread. What a script may use is counted for each call; one that used up its time or memory may
//! have left anything behind, so its runtime is thrown away and made anew from the same sources.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rquickjs::context::intrinsic;
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Function, Module, Object, Persistent, Runtime, TypedArray, Value};

use super::error::ScriptError;
use super::health::Health;
use super::limits::Limits;
use super::modules::{MAIN, Modules, Sources};
use super::pulse::Pulse;
use super::reader::DecodeError;
use super::value::{Helpers, Hex, Unusable};
use super::{cbor, msgpack};
use crate::engine::slice::{FaultKind, Millis};

/// Lines of a script that are kept for the log, of one call.
const LOG_LINES_MAX: usize = 100;
/// Characters of such a line.
const LOG_CHARS_MAX: usize = 1_000;

/// Which of our modules starts the script: `host:nostr.js` or `host:pico.js`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host {
    /// Slices for events.
    Nostr,
    /// Slices of rooms.
    Pico,
}

type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// A loaded script.
pub(super) struct Program {
    /// Exports of our module that started it.
    host: Persistent<Object<'static>>,
    /// What its `start` returned.
    started: Persistent<Value<'static>>,
    context: Context,
    file: String,
    around: Rc<Around>,
    limits: Limits,
    watched: Watched,
    spoilt: bool,
}

/// Who is told of each call: the thread's pulse, and the health of the file.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) pulse: Arc<Pulse>,
    pub(super) health: Arc<Health>,
}

/// What the functions of the realm reach.
struct Around {
    now: Cell<Millis>,
    chance: Cell<u64>,
    fuel: Fuel,
    log: RefCell<Vec<String>>,
    value_bytes: usize,
}

/// What is left of the time of a call.
struct Fuel {
    /// Calls of the interrupt handler, each after [`STEPS_PER_TICK`] loops and calls.
    ticks: Cell<u64>,
    until: Cell<Instant>,
    empty: Cell<bool>,
}

/// How often QuickJS asks whether to go on.
const STEPS_PER_TICK: u64 = 10_000;

impl Fuel {
    fn burn(&self) -> bool {
        match self.ticks.get().checked_sub(1) {
            Some(left) if Instant::now() < self.until.get() => self.ticks.set(left),
            _ => self.empty.set(true),
        }
        self.empty.get()
    }
}

impl Program {
    /// Runs the files, and our module with what they export.
    pub(super) fn load(
        sources: &mut Sources,
        host: Host,
        limits: &Limits,
        watched: &Watched,
    ) -> Result<Self, ScriptError> {
        let _beat = watched.pulse.enter(&watched.health);
        let file = sources.main().to_owned();
        let failed = |error: rquickjs::Error| ScriptError::new(FaultKind::Memory, &file, error.to_string());
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_memory_limit(limits.memory_bytes);
        runtime.set_max_stack_size(limits.stack_bytes);
        let shared = Rc::new(RefCell::new(sources.clone()));
        runtime.set_loader(Modules(Rc::clone(&shared)), Modules(Rc::clone(&shared)));
        let around = Rc::new(Around {
            now: Cell::new(0),
            chance: Cell::new(1),
            fuel: Fuel {
                ticks: Cell::new(u64::MAX),
                until: Cell::new(Instant::now() + limits.load),
                empty: Cell::new(false),
            },
            log: RefCell::default(),
            value_bytes: limits.value_bytes,
        });
        runtime.set_interrupt_handler(Some(Box::new({
            let around = Rc::clone(&around);
            move || around.fuel.burn()
        })));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(failed)?;
        let kept = context.with(|ctx| {
            let start = || {
                ctx.globals().set("__native", natives(&ctx, &around)?)?;
                start(&ctx, host, &file)
            };
            start().map_err(|error| fault(&ctx, &file, &around, &error))
        });
        *sources = shared.borrow().clone();
        sources.seal();
        let (host, started) = kept?;
        Ok(Self { host, started, context, file, around, limits: *limits, watched: watched.clone(), spoilt: false })
    }

    /// What `start` returned.
    pub(super) fn started<T>(
        &self,
        read: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, ScriptError> {
        self.context.with(|ctx| {
            let value = self.started.clone().restore(&ctx);
            value.and_then(|value| read(&ctx, value)).map_err(|error| ScriptError::of(&ctx, &self.file, &error))
        })
    }

    /// Calls into the script, at a time, within its limits. `call` gets the exports of our module.
    pub(super) fn call<T>(
        &mut self,
        now: Millis,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, ScriptError> {
        let _beat = self.watched.pulse.enter(&self.watched.health);
        let Around { now: clock, chance, fuel, log, .. } = &*self.around;
        clock.set(now);
        chance.set(1);
        fuel.ticks.set(self.limits.steps / STEPS_PER_TICK + 1);
        fuel.until.set(Instant::now() + self.limits.call);
        fuel.empty.set(false);
        let result = self.context.with(|ctx| {
            let result = match self.host.clone().restore(&ctx) {
                Ok(host) => call(&ctx, &host),
                Err(error) => Err(error.into()),
            };
            let result = result.map_err(|failure| match failure {
                Failure::Script(error) => fault(&ctx, &self.file, &self.around, &error),
                Failure::Unusable(error) => ScriptError::unusable(&ctx, &self.file, &error),
                Failure::Other(kind, why) => ScriptError::new(kind, &self.file, why),
            });
            // What a script left to be done later is done now, or not at all.
            while !fuel.empty.get() && ctx.execute_pending_job() {}
            result
        });
        for line in log.take() {
            tracing::debug!(slice = %self.file, "{line}");
        }
        let is_late = fuel.empty.get() || self.watched.pulse.is_stuck();
        let result = if is_late { Err(too_long(&self.file)) } else { result };
        self.spoilt |= matches!(&result, Err(error) if matches!(error.kind, FaultKind::Time | FaultKind::Memory));
        result
    }

    /// True when it must not be used any more.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It threw, or the runtime refused.
    Script(rquickjs::Error),
    /// It returned what cannot be kept.
    Unusable(Unusable),
    /// Something else.
    Other(FaultKind, String),
}

impl From<rquickjs::Error> for Failure {
    fn from(error: rquickjs::Error) -> Self {
        Self::Script(error)
    }
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::Script(error) => Self::Script(error),
            other => Self::Unusable(other),
        }
    }
}

/// The value of a promise; any other value as it is. `serve` is called when nothing else is left to do, and says whether
/// it did something.
pub(super) fn settle<'js>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    mut serve: impl FnMut() -> Result<bool, Failure>,
) -> Result<Value<'js>, Failure> {
    let Some(promise) = value.as_promise() else { return Ok(value) };
    loop {
        if promise.state() != PromiseState::Pending {
            return promise.finish::<Value<'js>>().map_err(Failure::from);
        }
        if !ctx.execute_pending_job() && !serve()? {
            return Err(rquickjs::Error::WouldBlock.into());
        }
    }
}

fn fault(ctx: &Ctx<'_>, file: &str, around: &Around, error: &rquickjs::Error) -> ScriptError {
    let error = ScriptError::of(ctx, file, error);
    if around.fuel.empty.get() { too_long(file) } else { error }
}

fn too_long(file: &str) -> ScriptError {
    ScriptError::new(FaultKind::Time, file, "it took too long")
}

type Started = (Persistent<Object<'static>>, Persistent<Value<'static>>);

fn start<'js>(ctx: &Ctx<'js>, host: Host, file: &str) -> rquickjs::Result<Started> {
    let host = match host {
        Host::Nostr => "host:nostr.js",
        Host::Pico => "host:pico.js",
    };
    let file = serde_json::to_string(file).unwrap_or_default();
    let source = format!(
        "import 'host:realm.js'\nimport * as host from '{host}'\nimport * as main from {file}\n\
         const started = await host.start(main)\nexport {{ host, started }}"
    );
    let (module, promise) = Module::declare(ctx.clone(), MAIN, source)?.eval()?;
    promise.finish::<()>()?;
    let host: Object<'js> = module.get("host")?;
    let started: Value<'js> = module.get("started")?;
    Ok((Persistent::save(ctx, host), Persistent::save(ctx, started)))
}

/// The functions that our own modules reach the relay with.
fn natives<'js>(ctx: &Ctx<'js>, around: &Rc<Around>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let clock = Rc::clone(around);
    natives.set("now", Function::new(ctx.clone(), move || clock.now.get() as f64)?)?;
    let chance = Rc::clone(around);
    natives.set("random", Function::new(ctx.clone(), move || next(&chance.chance))?)?;
    let log = Rc::clone(around);
    natives.set("log", Function::new(ctx.clone(), move |line: String| keep_line(&log.log, line))?)?;
    let utf8 = |ctx: Ctx<'js>, text: String| TypedArray::<u8>::new_copy(ctx, text);
    natives.set("utf8", Function::new(ctx.clone(), utf8)?)?;
    let text = |bytes: Hex| String::from_utf8_lossy(&bytes.0).into_owned();
    natives.set("text", Function::new(ctx.clone(), text)?)?;
    // ASCII only: what else is a letter is for the interpreter to say.
    let lower = |text: rquickjs::String<'js>| {
        text.to_string().ok().filter(|text| text.is_ascii()).map(|mut text| {
            text.make_ascii_lowercase();
            text
        })
    };
    natives.set("lower", Function::new(ctx.clone(), lower)?)?;
    let keep = |ctx: Ctx<'js>, kept: Vec<Value<'js>>| match <[Value<'js>; 3]>::try_from(kept) {
        Ok(kept) => Helpers::keep(&ctx, kept),
        Err(_) => Err(rquickjs::Error::Unknown),
    };
    natives.set("keep", Function::new(ctx.clone(), keep)?)?;
    let max = around.value_bytes;
    let write = move |ctx: Ctx<'js>, value: Value<'js>| {
        let bytes = cbor::encode(&ctx, &value, max).map_err(|error| throw(&ctx, error))?;
        TypedArray::<u8>::new_copy(ctx, bytes)
    };
    natives.set("cborEncode", Function::new(ctx.clone(), write)?)?;
    let read = |ctx: Ctx<'js>, bytes: Hex| match cbor::decode(&ctx, &bytes.0) {
        Ok(value) => Ok(value),
        Err(DecodeError::Script(error)) => Err(error),
        Err(DecodeError::Malformed(error)) => Err(throw(&ctx, error)),
    };
    natives.set("cborDecode", Function::new(ctx.clone(), read)?)?;
    let write = move |ctx: Ctx<'js>, value: Value<'js>| {
        let bytes = msgpack::encode(&ctx, &value, max).map_err(|error| throw(&ctx, error))?;
        TypedArray::<u8>::new_copy(ctx, bytes)
    };
    natives.set("msgpackEncode", Function::new(ctx.clone(), write)?)?;
    let read = |ctx: Ctx<'js>, bytes: Hex| match msgpack::decode(&ctx, &bytes.0) {
        Ok(value) => Ok(value),
        Err(DecodeError::Script(error)) => Err(error),
        Err(DecodeError::Malformed(error)) => Err(throw(&ctx, error)),
    };
    natives.set("msgpackDecode", Function::new(ctx.clone(), read)?)?;
    Ok(natives)
}

fn throw(ctx: &Ctx<'_>, error: impl std::fmt::Display) -> rquickjs::Error {
    rquickjs::Exception::throw_type(ctx, &error.to_string())
}

fn keep_line(log: &RefCell<Vec<String>>, line: String) {
    let mut log = log.borrow_mut();
    if log.len() < LOG_LINES_MAX {
        log.push(line.chars().take(LOG_CHARS_MAX).collect());
    }
}

/// Numbers from 0 to 1, the same ones in each call (xorshift64).
fn next(chance: &Cell<u64>) -> f64 {
    let mut x = chance.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    chance.set(x);
    (x >> 11) as f64 / (1u64 << 53) as f64
}
