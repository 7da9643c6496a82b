//! One file of slices for events, in the hands of one thread.

use std::sync::Arc;

use rquickjs::function::Args;
use rquickjs::{Array, Ctx, Function, Object, Value};

use super::Refusal;
use crate::clock::Timestamp;
use crate::engine::script::cbor;
use crate::engine::script::error::ScriptError;
use crate::engine::script::health::Health;
use crate::engine::script::limits::Limits;
use crate::engine::script::modules::Sources;
use crate::engine::script::program::{Failure, Host, Program, Watched, settle};
use crate::engine::script::pulse::Pulse;
use crate::engine::slice::Millis;
use crate::event::PublicKey;
use crate::verify::Verified;

/// Prefixes of NIP-01 that a slice may give itself; any other reason is `blocked`.
const PREFIXES: [&str; 9] =
    ["auth-required", "blocked", "duplicate", "error", "invalid", "mute", "pow", "rate-limited", "restricted"];

/// Longer reasons are cut.
const REASON_CHARS_MAX: usize = 200;

/// One file, ready to be loaded by any thread.
#[derive(Clone)]
pub(super) struct File {
    pub(super) sources: Sources,
    pub(super) health: Arc<Health>,
    /// Events are refused while it is out of order.
    pub(super) is_required: bool,
}

/// A file with its runtime, if it was needed yet.
pub(super) struct Running {
    file: File,
    pulse: Arc<Pulse>,
    program: Option<Program>,
    /// CBOR of its states, as they were saved last.
    pub(super) saved: Option<Vec<u8>>,
    pub(super) is_dirty: bool,
}

impl Running {
    pub(super) fn new(file: File, pulse: &Arc<Pulse>) -> Self {
        Self { file, pulse: Arc::clone(pulse), program: None, saved: None, is_dirty: false }
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
        if !self.file.health.runs() {
            let name = self.name();
            return self.file.is_required.then(|| format!("error: the slice {name} is out of order").into());
        }
        let verdict = self.call(now, limits, |ctx, host| {
            let judge: Function<'_> = host.get("judge")?;
            let verdict = settle(ctx, judge.call_arg(arguments(ctx, event, auth, now)?)?, || Ok(false))?;
            Ok(if verdict.is_undefined() {
                None
            } else {
                Some(crate::engine::script::value::text(&verdict).map_err(|_| rquickjs::Error::Unknown)?)
            })
        });
        match verdict {
            Ok(None) => None,
            Ok(Some(why)) => Some(refusal(&why)),
            Err(_) => Some(format!("error: the slice {} failed", self.name()).into()),
        }
    }

    /// Takes the event that was judged last into the state.
    pub(super) fn reduce(&mut self, now: Timestamp, limits: &Limits) -> Option<Refusal> {
        let changed = self.call(now, limits, |ctx, host| {
            let reduce: Function<'_> = host.get("reduce")?;
            Ok(settle(ctx, reduce.call(())?, || Ok(false))?.as_bool().unwrap_or_default())
        });
        match changed {
            Ok(changed) => {
                self.is_dirty |= changed;
                None
            }
            Err(_) => Some(format!("error: the slice {} failed", self.name()).into()),
        }
    }

    fn call<T>(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> Result<T, Failure>,
    ) -> Result<T, ScriptError> {
        let result = match self.ready(limits) {
            Ok(program) => program.call(Millis::try_from(now).unwrap_or_default().saturating_mul(1_000), call),
            Err(error) => Err(error),
        };
        if self.program.as_ref().is_some_and(Program::is_spoilt) {
            self.program = None;
        }
        match &result {
            Ok(_) => self.file.health.worked(),
            Err(error) => self.file.health.failed(error),
        }
        result
    }

    /// The program, loaded if need be, with the state that was saved last.
    fn ready(&mut self, limits: &Limits) -> Result<&mut Program, ScriptError> {
        match &mut self.program {
            Some(program) => Ok(program),
            none => {
                let watched = Watched { pulse: Arc::clone(&self.pulse), health: Arc::clone(&self.file.health) };
                let mut program = Program::load(&mut self.file.sources, Host::Nostr, limits, &watched)?;
                if let Some(saved) = &self.saved {
                    program.call(0, |ctx, host| {
                        let states = cbor::decode(ctx, saved)?;
                        Ok(host.get::<_, Function<'_>>("restore")?.call::<_, ()>((states,))?)
                    })?;
                }
                Ok(none.insert(program))
            }
        }
    }

    /// The states as CBOR, if they changed since the last time.
    pub(super) fn save(&mut self, limits: &Limits) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_dirty) || self.program.is_none() {
            return None;
        }
        let max = limits.value_bytes;
        let states = self.call(0, limits, |ctx, host| {
            let states: Value<'_> = host.get::<_, Function<'_>>("save")?.call(())?;
            cbor::encode(ctx, &states, max).map_err(Failure::from)
        });
        match states {
            Ok(states) => {
                self.saved = Some(states.clone());
                Some(states)
            }
            Err(_) => {
                // A state that cannot be kept goes back to what was kept last.
                self.program = None;
                None
            }
        }
    }
}

/// What `judge` takes.
fn arguments<'js>(ctx: &Ctx<'js>, event: &Verified, auth: &[PublicKey], now: Timestamp) -> rquickjs::Result<Args<'js>> {
    let known = Array::new(ctx.clone())?;
    for (index, key) in auth.iter().enumerate() {
        known.set(index, key.to_hex())?;
    }
    let mut args = Args::new(ctx.clone(), 9);
    args.push_arg(now as f64)?;
    args.push_arg(known)?;
    args.push_args([event.id.to_hex(), event.pubkey.to_hex()])?;
    args.push_arg(event.created_at as f64)?;
    args.push_arg(event.kind)?;
    args.push_args([event.tags_json(), &*event.content()])?;
    args.push_arg(data_encoding::HEXLOWER.encode(&event.sig))?;
    Ok(args)
}

fn refusal(why: &str) -> Refusal {
    let why: String = why.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    let has_prefix = why.split_once(": ").is_some_and(|(prefix, _)| PREFIXES.contains(&prefix));
    if has_prefix { why.into() } else { format!("blocked: {why}").into() }
}
