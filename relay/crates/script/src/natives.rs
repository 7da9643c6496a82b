//! The functions that our own modules reach the relay with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rquickjs::{Ctx, Function, Object, TypedArray, Value};

use super::fuel::Fuel;
use super::lower::lower;
use super::reader::DecodeError;
use super::value::{self, Helpers, Hex};
use super::{cbor, msgpack};
use crate::clock::Millis;

/// Lines of a script that are kept for the log, of one call.
const LOG_LINES_MAX: usize = 100;
/// Characters of such a line.
const LOG_CHARS_MAX: usize = 1_000;

/// What the functions of the realm reach.
pub(super) struct Around {
    pub(super) now: Cell<Millis>,
    pub(super) chance: Cell<u64>,
    pub(super) fuel: Fuel,
    pub(super) log: RefCell<Vec<String>>,
    pub(super) value_bytes: usize,
}

/// The functions that our own modules reach the relay with.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, around: &Rc<Around>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let clock = Rc::clone(around);
    natives.set("now", Function::new(ctx.clone(), move || clock.now.get() as f64)?)?;
    let chance = Rc::clone(around);
    natives.set("random", Function::new(ctx.clone(), move || next(&chance.chance))?)?;
    let log = Rc::clone(around);
    natives.set("log", Function::new(ctx.clone(), move |line: String| keep_line(&log.log, line))?)?;
    let utf8 = |ctx: Ctx<'js>, text: rquickjs::String<'js>| {
        let bytes = value::text(&text).map_err(|error| throw(&ctx, error))?;
        TypedArray::<u8>::new_copy(ctx, bytes)
    };
    natives.set("utf8", Function::new(ctx.clone(), utf8)?)?;
    let text = |bytes: Hex| String::from_utf8_lossy(&bytes.0).into_owned();
    natives.set("text", Function::new(ctx.clone(), text)?)?;
    let lower = |text: rquickjs::String<'js>| lower(text.to_string().ok()?);
    let includes = |text: rquickjs::String<'js>, needle: rquickjs::String<'js>| {
        // None if one of them has half a character.
        let (text, needle) = (text.to_string().ok()?, needle.to_string().ok()?);
        Some(memchr::memmem::find(text.as_bytes(), needle.as_bytes()).is_some())
    };
    natives.set("includes", Function::new(ctx.clone(), includes)?)?;
    natives.set("lower", Function::new(ctx.clone(), lower)?)?;
    let keep = |ctx: Ctx<'js>, kept: Vec<Value<'js>>| match <[Value<'js>; 5]>::try_from(kept) {
        Ok(kept) => Helpers::keep(&ctx, kept),
        Err(_) => Err(rquickjs::Error::Unknown),
    };
    natives.set("keep", Function::new(ctx.clone(), keep)?)?;
    let keep = |ctx: Ctx<'js>, prototype: Object<'js>| {
        ctx.store_userdata(vec![prototype]).map(drop).map_err(|_| rquickjs::Error::Unknown)
    };
    natives.set("keepBuffer", Function::new(ctx.clone(), keep)?)?;
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
