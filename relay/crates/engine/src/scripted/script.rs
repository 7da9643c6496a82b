//! One file with slices of a room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rquickjs::function::Args;
use rquickjs::{Array, Ctx, Function, Object, TypedArray, Value};

use super::values::decode;
use crate::pulse::Pulse;
use crate::script::cbor;
use crate::script::error::ScriptError;
use crate::script::health::Health;
use crate::script::limits::Limits;
use crate::script::modules::Sources;
use crate::script::program::{Failure, Host, Program};
use crate::script::value::from_hex;
use crate::slice::{Fault, FaultKind, Millis, Unavailable, View};

/// One file, shared by the slices that it registered.
pub(super) struct Script {
    program: RefCell<Option<Program>>,
    /// Counts how often it was loaded.
    pub(super) epoch: Cell<u64>,
    sources: RefCell<Sources>,
    pulse: Arc<Pulse>,
    pub(super) limits: Limits,
}

impl Script {
    /// Runs a file. Gives what it registered, too.
    pub(super) fn load(
        room: &str,
        sources: &mut Sources,
        limits: &Limits,
        pulse: &Arc<Pulse>,
    ) -> Result<(Rc<Self>, Vec<Registered>), ScriptError> {
        // While it is loaded nobody knows what it will register.
        let whole = Arc::new(Health::new(room, sources.main(), limits));
        let program = Program::load(sources, Host::Pico, limits, pulse, &whole)?;
        let found = program.started(|ctx, started| {
            let registered: Vec<Array<'_>> = started.get()?;
            registered.iter().map(|slice| Registered::read(ctx, slice, limits)).collect::<rquickjs::Result<Vec<_>>>()
        })?;
        let script = Self {
            program: RefCell::new(Some(program)),
            epoch: Cell::new(0),
            sources: RefCell::new(sources.clone()),
            pulse: Arc::clone(pulse),
            limits: *limits,
        };
        Ok((Rc::new(script), found))
    }

    /// Calls into the script, which is loaded anew if it was thrown away.
    pub(super) fn run<T>(
        &self,
        health: &Arc<Health>,
        now: Millis,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        if !health.runs() {
            return Err(Fault { kind: FaultKind::Disabled, message: "it failed too often".to_owned() });
        }
        let mut program = self.program.borrow_mut();
        let result = match self.ready(&mut program, health) {
            Ok(program) => program.call(now, health, |ctx, host| {
                host.get::<_, Function<'_>>("forget")?.call::<_, ()>(())?;
                call(ctx, host)
            }),
            Err(error) => Err(error),
        };
        if program.as_ref().is_some_and(Program::is_spoilt) {
            *program = None;
        }
        match &result {
            Ok(_) => health.worked(),
            Err(error) if error.kind == FaultKind::Unavailable => {}
            Err(error) => health.failed(error),
        }
        result.map_err(Fault::from)
    }

    fn ready<'p>(
        &self,
        program: &'p mut Option<Program>,
        health: &Arc<Health>,
    ) -> Result<&'p mut Program, ScriptError> {
        match program {
            Some(program) => Ok(program),
            none => {
                self.epoch.set(self.epoch.get() + 1);
                let mut sources = self.sources.borrow_mut();
                let program = Program::load(&mut sources, Host::Pico, &self.limits, &self.pulse, health)?;
                Ok(none.insert(program))
            }
        }
    }
}

/// What `start` says of a slice.
pub(super) struct Registered {
    pub(super) name: String,
    pub(super) is_first_generation: bool,
    pub(super) initial: Option<Bytes>,
    pub(super) has_trap: bool,
    pub(super) has_weight: bool,
    pub(super) uses_root: bool,
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

/// Answers one thing that the script asked for. False when it asked for nothing.
pub(super) fn serve<'js>(ctx: &Ctx<'js>, host: &Object<'js>, view: &mut dyn View) -> Result<bool, Failure> {
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

pub(super) fn call<'js>(
    ctx: &Ctx<'js>,
    host: &Object<'js>,
    name: &str,
    args: Args<'js>,
) -> Result<Value<'js>, Failure> {
    let _ = ctx;
    Ok(host.get::<_, Function<'js>>(name)?.call_arg(args)?)
}
