//! A slice of a file, as the engine asks it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use picofeed::Id;
use rquickjs::function::Args;
use rquickjs::{Array, Ctx};

use super::script::{Registered, Script, call, serve};
use super::values::{
    UNDEFINED, block_value, count, decode, decode_first, encode, expiry, item, marks, millis, push_block, reason,
    root_object, signals, state_of, unusable,
};
use crate::script::cbor;
use crate::script::health::Health;
use crate::script::program::{Failure, settle};
use crate::script::value::from_hex;
use crate::slice::{
    ChainSummary, Context, Due, Effects, Expires, Fault, Millis, Put, Removal, Sees, Show, Signal, Slice, Unavailable,
    Verdict, View,
};

/// A slice that a file registered.
pub(super) struct ScriptSlice {
    script: Rc<Script>,
    /// Its place among those that the file registered.
    index: usize,
    is: Registered,
    /// What `root` holds: the states of all slices of the room of the same generation.
    roots: Rc<[Root]>,
    /// The state that the script has at hand: the epoch, and the version.
    at_hand: Option<(u64, Option<u64>)>,
    health: Arc<Health>,
}

/// A slice whose state others may see.
#[derive(Clone)]
pub(super) struct Root {
    name: String,
    initial: Option<Bytes>,
}

impl ScriptSlice {
    pub(super) fn new(script: &Rc<Script>, index: usize, is: Registered, health: Health) -> Self {
        Self { script: Rc::clone(script), index, is, roots: Rc::new([]), at_hand: None, health: Arc::new(health) }
    }

    /// The slices of the room that it may look at.
    pub(super) fn see(&mut self, roots: &Rc<[Root]>) {
        self.roots = Rc::clone(roots);
    }

    pub(super) fn root(&self) -> Option<Root> {
        self.is.is_first_generation.then(|| Root { name: self.is.name.clone(), initial: self.is.initial.clone() })
    }

    fn value_bytes(&self) -> usize {
        self.script.limits.value_bytes
    }

    /// The state of a slice of the first generation.
    fn state(&self, view: &mut dyn View) -> Result<(Bytes, Option<u64>), Unavailable> {
        Ok(match view.object(&self.is.name, "")? {
            Some(object) => (object.value, Some(object.version)),
            None => (self.is.initial.clone().unwrap_or(UNDEFINED), None),
        })
    }

    /// States of all slices of the room, if it looks at them.
    fn roots(&self, view: &mut dyn View) -> Result<Vec<(String, Bytes)>, Unavailable> {
        let seen = if self.is.uses_root { &*self.roots } else { &[] };
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
        self.script.run(&self.health, block.now, |ctx, host| {
            let (payload, date) = match (item(ctx, body.payload)?, item(ctx, body.date)?) {
                (Ok(payload), Ok(date)) => (payload, date),
                (Err(error), _) | (_, Err(error)) => {
                    return Ok(Verdict::Reject(format!("the body is malformed: {error}")));
                }
            };
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([payload, date])?;
            let verdict = call(ctx, host, "compute", args)?;
            let verdict: Array<'_> = settle(ctx, verdict, || serve(ctx, host, view))?.get()?;
            let kind: String = verdict.get(0)?;
            match kind.as_str() {
                "reject" => Ok(Verdict::Reject(reason(&verdict.get(1)?)?)),
                "postpone" => Ok(Verdict::Postpone {
                    after: millis(verdict.get(1)?).max(0),
                    reason: reason(&verdict.get(2)?)?,
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
        let verdict = self.script.run(&self.health, block.now, |ctx, host| {
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            let changed = Array::new(ctx.clone())?;
            if at_hand != Some((self.script.epoch.get(), version)) {
                changed.set(0, decode_first(ctx, &state)?)?;
            }
            args.push_args([changed.into_value(), root_object(ctx, &roots)?])?;
            let verdict = call(ctx, host, "filter", args)?;
            Ok(match verdict.as_bool() {
                Some(_) => Verdict::Pass,
                None if verdict.is_undefined() => Verdict::Accept(Effects::default()),
                None => Verdict::Reject(reason(&verdict)?),
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

impl Slice for ScriptSlice {
    fn name(&self) -> &str {
        &self.is.name
    }

    fn sees(&self) -> Sees {
        if self.is.is_first_generation { Sees::Everything } else { Sees::Collection }
    }

    fn initial(&self) -> Option<Bytes> {
        self.is.initial.clone()
    }

    fn decide(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Verdict, Fault> {
        if self.is.is_first_generation { self.filter(block, view) } else { self.compute(block, view) }
    }

    fn reduce(&mut self, block: &Context<'_>, view: &mut dyn View) -> Result<Effects, Fault> {
        if !self.is.is_first_generation {
            return Ok(Effects::default());
        }
        let (state, _) = self.state(view)?;
        let roots = self.roots(view)?;
        let max = self.value_bytes();
        self.script.run(&self.health, block.now, |ctx, host| {
            let mut args = self.args(ctx, 7)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([decode_first(ctx, &state)?, root_object(ctx, &roots)?])?;
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
        if !self.is.has_trap {
            return Ok(Effects::default());
        }
        let max = self.value_bytes();
        if !self.is.is_first_generation {
            return self.script.run(&self.health, block.now, |ctx, host| {
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
        self.script.run(&self.health, block.now, |ctx, host| {
            let mut args = self.args(ctx, 9)?;
            push_block(ctx, &mut args, block)?;
            args.push_args([decode_first(ctx, &state)?, root_object(ctx, &roots)?])?;
            args.push_args([decode_first(ctx, &signal.code)?, decode_first(ctx, &signal.payload)?])?;
            let result: Array<'_> = call(ctx, host, "trap2", args)?.get()?;
            let puts = state_of(ctx, &result, max)?.map(|value| self.own(value)).into_iter().collect();
            Ok(Effects { puts, ..Effects::default() })
        })
    }

    fn expires_at(&mut self, _: &str, value: &[u8], view: &mut dyn View) -> Result<Option<Millis>, Fault> {
        if self.is.is_first_generation {
            return Ok(None);
        }
        // The clock does not move for those who ask when something expires: the answer follows from the value.
        self.script.run(&self.health, 0, |ctx, host| {
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
        self.script.run(&self.health, due.now, |ctx, host| {
            let mut args = self.args(ctx, 11)?;
            args.push_args([block_value(ctx, due.block)?, block_value(ctx, due.parent)?])?;
            args.push_args([due.owner.to_string(), due.chain.to_string()])?;
            args.push_args([decode_first(ctx, &state)?, root_object(ctx, &roots)?, decode_first(ctx, due.payload)?])?;
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
        if !self.is.has_weight {
            return Ok(None);
        }
        self.script.run(&self.health, 0, |ctx, host| {
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
        if self.health.runs() { None } else { Some("it failed too often") }
    }
}
