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
use rquickjs::{Context, Ctx, Module, Object, Persistent, Runtime, Value};

use super::error::ScriptError;
use super::fault::FaultKind;
use super::fuel::{Fuel, STEPS_PER_TICK, Ticks};
use super::health::Health;
use super::limits::Limits;
use super::modules::{MAIN, Modules, Sources};
use super::natives::{Around, natives};
use super::reader::DecodeError;
use super::value::Unusable;
use crate::clock::Millis;
use crate::pulse::Pulse;

/// Which of our modules starts the script: `host:nostr.js` or `host:pico.js`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
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
pub struct Program {
    /// Exports of our module that started it.
    host: Persistent<Object<'static>>,
    /// What its `start` returned.
    started: Persistent<Value<'static>>,
    context: Context,
    file: String,
    around: Rc<Around>,
    limits: Limits,
    pulse: Arc<Pulse>,
    spoilt: bool,
}

impl Program {
    /// Runs the files, and our module with what they export. If it gets stuck, that is the fault of `health`.
    pub fn load(
        sources: &mut Sources,
        host: Host,
        limits: &Limits,
        pulse: &Arc<Pulse>,
        health: &Arc<Health>,
    ) -> Result<Self, ScriptError> {
        let _beat = pulse.enter(health);
        let file = sources.main().to_owned();
        let failed = |error: rquickjs::Error| {
            ScriptError::new(FaultKind::Memory, &file, format!("{error} (script.memory_bytes_max)"))
        };
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_memory_limit(limits.memory_bytes);
        runtime.set_max_stack_size(limits.stack_bytes);
        let shared = Rc::new(RefCell::new(sources.clone()));
        runtime.set_loader(Modules(Rc::clone(&shared)), Modules(Rc::clone(&shared)));
        let around = Rc::new(Around {
            now: Cell::new(0),
            chance: Cell::new(1),
            fuel: Fuel {
                ticks: Rc::new(Cell::new(u64::MAX)),
                until: Cell::new(Instant::now() + limits.load),
                limit: Cell::new("script.load_ms_max"),
            },
            log: RefCell::default(),
            value_bytes: limits.value_bytes,
        });
        runtime.set_interrupt_handler(Some(Box::new({
            let around = Rc::clone(&around);
            move || around.fuel.burn()
        })));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(failed)?;
        let kept = caught(&file, || {
            context.with(|ctx| {
                let start = || {
                    ctx.store_userdata(Rc::clone(&around.fuel.ticks)).map_err(|_| rquickjs::Error::Unknown)?;
                    ctx.store_userdata(limits.value_depth).map_err(|_| rquickjs::Error::Unknown)?;
                    ctx.globals().set("__native", natives(&ctx, &around)?)?;
                    start(&ctx, host, &file)
                };
                start().map_err(|error| fault(&ctx, &file, &around, &error))
            })
        });
        *sources = shared.borrow().clone();
        sources.seal();
        let (host, started) = kept?;
        Ok(Self { host, started, context, file, around, limits: *limits, pulse: Arc::clone(pulse), spoilt: false })
    }

    /// What `start` returned.
    pub fn started<T>(
        &self,
        read: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, ScriptError> {
        caught(&self.file, || {
            self.context.with(|ctx| {
                let value = self.started.clone().restore(&ctx);
                value.and_then(|value| read(&ctx, value)).map_err(|error| ScriptError::of(&ctx, &self.file, &error))
            })
        })
    }

    /// Calls into the script, at a time, within its limits. `call` gets the exports of our module. If it gets stuck, that is
    /// the fault of `health`.
    pub fn call<T>(
        &mut self,
        now: Millis,
        health: &Arc<Health>,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, ScriptError> {
        let _beat = self.pulse.enter(health);
        let Around { now: clock, chance, fuel, log, .. } = &*self.around;
        clock.set(now);
        chance.set(1);
        fuel.ticks.set(self.limits.steps / STEPS_PER_TICK + 1);
        fuel.until.set(Instant::now() + self.limits.call);
        fuel.limit.set("script.call_ms_max");
        let result = caught(&self.file, || {
            self.context.with(|ctx| {
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
                while !fuel.is_empty() && ctx.execute_pending_job() {}
                result
            })
        });
        for line in log.take() {
            tracing::debug!(slice = %self.file, "{line}");
        }
        let is_late = fuel.is_empty() || self.pulse.is_stuck();
        let result = if is_late { Err(too_long(&self.file, fuel)) } else { result };
        let kind = result.as_ref().err().map(|error| error.kind);
        self.spoilt |= matches!(kind, Some(FaultKind::Time | FaultKind::Memory | FaultKind::Panic));
        result
    }

    /// A number that our module exports now. Runs nothing.
    #[inline]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.context.with(|ctx| self.host.clone().restore(&ctx)?.get::<_, f64>(name)).ok().and_then(whole)
    }

    /// True when it must not be used any more.
    #[inline]
    pub fn is_spoilt(&self) -> bool {
        self.spoilt
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` takes the nearest number there is")]
fn whole(number: f64) -> Option<usize> {
    (number >= 0.0).then_some(number as usize)
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Failure {
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

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Script(error) => Self::Script(error),
            DecodeError::Malformed(error) => Self::Unusable(Unusable::Type(error.to_string())),
        }
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
pub fn settle<'js>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    mut serve: impl FnMut() -> Result<bool, Failure>,
) -> Result<Value<'js>, Failure> {
    let Some(promise) = value.as_promise() else { return Ok(value) };
    let ticks = Ticks::clone(&*ctx.userdata::<Ticks>().ok_or(rquickjs::Error::Unknown)?);
    loop {
        // An interrupt may end a job that nobody waits for, and the next one go on.
        if ticks.get() == 0 {
            return Err(rquickjs::Error::WouldBlock.into());
        }
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
    if around.fuel.is_empty() { too_long(file, &around.fuel) } else { error }
}

fn too_long(file: &str, fuel: &Fuel) -> ScriptError {
    ScriptError::new(FaultKind::Time, file, format!("it took too long ({})", fuel.limit.get()))
}

/// What a script can bring about must not end the thread on which others are asked. No panic is known; one would be a fault
/// of ours, or of the runtime's bindings.
fn caught<T>(file: &str, work: impl FnOnce() -> Result<T, ScriptError>) -> Result<T, ScriptError> {
    // The runtime is thrown away afterwards, and with it all that was left half done.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let why = "the relay has a fault: it panicked when it was asked, and the log says where";
        Err(ScriptError::new(FaultKind::Panic, file, why.to_owned()))
    })
}

type Started = (Persistent<Object<'static>>, Persistent<Value<'static>>);

fn start<'js>(ctx: &Ctx<'js>, host: Host, file: &str) -> rquickjs::Result<Started> {
    let host = match host {
        Host::Nostr => "host:nostr.js",
        Host::Pico => "host:pico.js",
    };
    let file = serde_json::to_string(file).unwrap_or_default();
    let source = format!(
        "import 'host:realm.js'\nimport 'host:buffer.js'\nimport * as host from '{host}'\nimport * as main from {file}\n\
         const started = await host.start(main)\nexport {{ host, started }}"
    );
    let (module, promise) = Module::declare(ctx.clone(), MAIN, source)?.eval()?;
    settle(ctx, promise.into_value(), || Ok(false)).map_err(|failure| match failure {
        Failure::Script(error) => error,
        _ => rquickjs::Error::Unknown,
    })?;
    let host: Object<'js> = module.get("host")?;
    let started: Value<'js> = module.get("started")?;
    Ok((Persistent::save(ctx, host), Persistent::save(ctx, started)))
}
