//! One file of slices for events, in the hands of one thread.

use std::sync::Arc;

use rquickjs::function::Args;
use rquickjs::{Array, Ctx, Function, Object, Value};

use super::NAME;
use crate::clock::Millis;
use crate::clock::Timestamp;
use crate::event::PublicKey;
use crate::outcome::{Prefix, Refusal};
use crate::pulse::Pulse;
use crate::script::cbor;
use crate::script::error::ScriptError;
use crate::script::health::Health;
use crate::script::limits::Limits;
use crate::script::modules::Sources;
use crate::script::program::{Failure, Host, Program, settle};
use crate::script::value::text;
use crate::verify::Verified;

/// Longer reasons are cut.
const REASON_CHARS_MAX: usize = 200;

/// One file, ready to be loaded by any thread.
#[derive(Clone)]
pub(super) struct File {
    pub(super) sources: Sources,
    /// Out of order once a call does not come to an end.
    pub(super) whole: Arc<Health>,
    /// What it registers, in order.
    pub(super) slices: Arc<[Rule]>,
}

/// One slice of a file.
pub(super) struct Rule {
    pub(super) health: Arc<Health>,
    /// Events are refused while it is out of order.
    pub(super) is_required: bool,
}

/// A file with its runtime, if it was needed yet.
pub(super) struct Running {
    file: File,
    pulse: Arc<Pulse>,
    program: Option<Program>,
    /// Who was not asked about the event that was judged last.
    skipped: Option<Vec<bool>>,
    /// The slice that failed in the last call that did, if that is known.
    blamed: Option<usize>,
    /// CBOR of its states, as they were copied last.
    pub(super) saved: Option<Vec<u8>>,
    /// What the states took in since then.
    since: Vec<Taken>,
    since_bytes: usize,
    /// The states are not those that were written.
    pub(super) is_dirty: bool,
}

/// An event that changed a state.
struct Taken {
    event: Verified,
    auth: Box<[PublicKey]>,
    now: Timestamp,
    skipped: Option<Vec<bool>>,
}

impl Running {
    pub(super) fn new(file: File, pulse: &Arc<Pulse>) -> Self {
        Self {
            file,
            pulse: Arc::clone(pulse),
            program: None,
            skipped: None,
            blamed: None,
            saved: None,
            since: Vec::new(),
            since_bytes: 0,
            is_dirty: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.file.sources.main()
    }

    /// None: nobody minds.
    pub(super) fn judge(
        &mut self,
        event: &Verified,
        auth: &[PublicKey],
        now: Timestamp,
        limits: &Limits,
    ) -> Option<Refusal> {
        let skipped = match self.paused() {
            Ok(skipped) => skipped,
            Err(refusal) => return Some(refusal),
        };
        self.skipped.clone_from(&skipped);
        if self.skips_all() {
            return None;
        }
        let skipped = skipped.as_deref();
        match self.call(now, limits, |ctx, host| judge(ctx, host, skipped, event, auth, now)) {
            Ok(None) => {
                self.worked(self.file.slices.len(), skipped);
                None
            }
            Ok(Some(why)) => {
                self.worked(self.at().map_or(0, |at| at + 1), skipped);
                Some(refusal(&why))
            }
            Err(_) => {
                self.worked(self.blamed.unwrap_or(0), skipped);
                Some(self.failed())
            }
        }
    }

    /// Takes the event that was judged last into the states.
    pub(super) fn reduce(
        &mut self,
        event: &Verified,
        auth: &[PublicKey],
        now: Timestamp,
        limits: &Limits,
    ) -> Option<Refusal> {
        if self.skips_all() {
            return None;
        }
        match self.call(now, limits, reduce) {
            Ok(false) => None,
            Ok(true) => {
                self.is_dirty = true;
                self.since_bytes += event.heap_bytes();
                let skipped = self.skipped.clone();
                self.since.push(Taken { event: event.clone(), auth: auth.into(), now, skipped });
                if self.since.len() >= limits.state_events || self.since_bytes > limits.value_bytes {
                    self.copy(limits);
                }
                None
            }
            Err(_) => Some(self.failed()),
        }
    }

    /// The states as CBOR, if they changed since the last time.
    pub(super) fn save(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        if !self.since.is_empty() {
            self.copy(limits);
        }
        self.saved.clone()
    }

    /// For each slice whether it is not to be asked; none if all are. Or why the event is refused.
    fn paused(&self) -> Result<Option<Vec<bool>>, Refusal> {
        let File { whole, slices, .. } = &self.file;
        if whole.runs() && slices.iter().all(|slice| slice.health.runs()) {
            return Ok(None);
        }
        let is_skipped = |slice: &Rule| match (whole.runs() && slice.health.runs(), slice.is_required) {
            (false, true) => Err(failure(format!("the slice {} is out of order", slice.health.slice()))),
            (runs, _) => Ok(!runs),
        };
        slices.iter().map(is_skipped).collect::<Result<_, _>>().map(Some)
    }

    /// Nobody was asked about the event that was judged last.
    fn skips_all(&self) -> bool {
        self.skipped.as_ref().is_some_and(|skipped| skipped.iter().all(|skip| *skip))
    }

    /// The slice that was asked last.
    fn at(&self) -> Option<usize> {
        if self.file.slices.len() == 1 {
            return Some(0);
        }
        self.program.as_ref().and_then(|program| program.number("at")).filter(|at| *at < self.file.slices.len())
    }

    /// So many slices have come to their end.
    fn worked(&self, count: usize, skipped: Option<&[bool]>) {
        for (index, slice) in self.file.slices.iter().enumerate().take(count) {
            if skipped.is_none_or(|skipped| skipped.get(index) != Some(&true)) {
                slice.health.worked();
            }
        }
    }

    fn failed(&self) -> Refusal {
        let slice = self.blamed.and_then(|at| self.file.slices.get(at));
        failure(format!("the slice {} failed", slice.map_or(self.name(), |slice| slice.health.slice())))
    }

    fn call<T>(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, ScriptError> {
        let whole = Arc::clone(&self.file.whole);
        let result = self.ready(limits).and_then(|program| program.call(millis(now), &whole, call));
        if let Err(error) = &result {
            // Without anybody to blame, all slices are.
            self.blamed = self.at();
            let blamed = |index: &usize| self.blamed.is_none_or(|at| at == *index);
            for (_, slice) in self.file.slices.iter().enumerate().filter(|(index, _)| blamed(index)) {
                slice.health.failed(error);
            }
        }
        self.program.take_if(|program| program.is_spoilt());
        result
    }

    /// The program, loaded if need be, with the states that it had after the last event that they took in.
    fn ready(&mut self, limits: &Limits) -> Result<&mut Program, ScriptError> {
        let program = match self.program.take() {
            Some(program) => program,
            None => self.load(limits)?,
        };
        Ok(self.program.insert(program))
    }

    fn load(&mut self, limits: &Limits) -> Result<Program, ScriptError> {
        let mut program = self.load_copy(limits)?;
        if !self.since.is_empty() {
            let caught_up = self.catch_up(&mut program).and_then(|()| states(&mut program, &self.file.whole, limits));
            let events = std::mem::take(&mut self.since).len();
            self.since_bytes = 0;
            match caught_up {
                Ok(states) => self.saved = Some(states),
                Err(error) => {
                    tracing::error!(file = self.name(), %error, events, "a state goes back to an older one");
                    program = self.load_copy(limits)?;
                }
            }
        }
        Ok(program)
    }

    /// The program with the states that were copied last.
    fn load_copy(&mut self, limits: &Limits) -> Result<Program, ScriptError> {
        let File { sources, whole, .. } = &mut self.file;
        let mut program = Program::load(sources, Host::Nostr, limits, &self.pulse, whole)?;
        if let Some(saved) = &self.saved {
            program.call(0, whole, |ctx, host| {
                let states = cbor::decode(ctx, saved)?;
                Ok(host.get::<_, Function<'_>>("restore")?.call::<_, ()>((states,))?)
            })?;
        }
        Ok(program)
    }

    /// The states take in again what they took in since they were copied.
    fn catch_up(&self, program: &mut Program) -> Result<(), ScriptError> {
        let whole = &self.file.whole;
        for Taken { event, auth, now, skipped } in &self.since {
            let at = millis(*now);
            let judged =
                program.call(at, whole, |ctx, host| judge(ctx, host, skipped.as_deref(), event, auth, *now))?;
            if judged.is_none() {
                program.call(at, whole, reduce)?;
            }
        }
        Ok(())
    }

    /// Copies the states, so that nothing before is needed any more.
    fn copy(&mut self, limits: &Limits) {
        let max = limits.value_bytes;
        match self.call(0, limits, |ctx, host| write(ctx, host, max)) {
            Ok(states) => self.saved = Some(states),
            // Those that cannot be kept go back to what was kept last.
            Err(_) => self.program = None,
        }
        self.since.clear();
        self.since_bytes = 0;
    }
}

fn states(program: &mut Program, whole: &Arc<Health>, limits: &Limits) -> Result<Vec<u8>, ScriptError> {
    let max = limits.value_bytes;
    program.call(0, whole, |ctx, host| write(ctx, host, max))
}

fn write<'js>(ctx: &Ctx<'js>, host: &Object<'js>, max: usize) -> Result<Vec<u8>, Failure> {
    let states: Value<'js> = host.get::<_, Function<'js>>("save")?.call(())?;
    cbor::encode(ctx, &states, max).map_err(Failure::from)
}

fn judge<'js>(
    ctx: &Ctx<'js>,
    host: &Object<'js>,
    skipped: Option<&[bool]>,
    event: &Verified,
    auth: &[PublicKey],
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    let judge: Function<'js> = host.get("judge")?;
    let args = arguments(ctx, skipped, event, auth, now)?;
    let verdict = settle(ctx, judge.call_arg(args)?, || Ok(false))?;
    Ok(if verdict.is_undefined() { None } else { Some(text(&verdict).map_err(|_| rquickjs::Error::Unknown)?) })
}

fn reduce<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<bool, Failure> {
    let reduce: Function<'js> = host.get("reduce")?;
    Ok(settle(ctx, reduce.call(())?, || Ok(false))?.as_bool().unwrap_or_default())
}

fn millis(now: Timestamp) -> Millis {
    Millis::try_from(now).unwrap_or_default().saturating_mul(1_000)
}

/// What `judge` takes.
fn arguments<'js>(
    ctx: &Ctx<'js>,
    skipped: Option<&[bool]>,
    event: &Verified,
    auth: &[PublicKey],
    now: Timestamp,
) -> rquickjs::Result<Args<'js>> {
    let known = Array::new(ctx.clone())?;
    for (index, key) in auth.iter().enumerate() {
        known.set(index, key.to_hex())?;
    }
    let mut args = Args::new(ctx.clone(), 10);
    args.push_arg(skipped.map(<[bool]>::to_vec))?;
    args.push_arg(now as f64)?;
    args.push_arg(known)?;
    let [id, pubkey, sig] = event.hexes();
    args.push_args([id, pubkey])?;
    args.push_arg(event.created_at as f64)?;
    args.push_arg(event.kind)?;
    args.push_args([event.tags_json(), &*event.content(), sig])?;
    Ok(args)
}

fn refusal(why: &str) -> Refusal {
    let why: String = why.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    Refusal::with_prefix(NAME, &why).unwrap_or_else(|| Refusal::new(Prefix::Blocked, NAME, why))
}

fn failure(why: String) -> Refusal {
    Refusal::new(Prefix::Error, NAME, why)
}
