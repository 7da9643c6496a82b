//! What goes into the calls of a room's script, and what comes out of them.

use bytes::Bytes;
use picofeed::Block;
use rquickjs::function::Args;
use rquickjs::{Array, Ctx, IntoJs, Object, String as JsString, TypedArray, Value};

use crate::script::cbor;
use crate::script::program::Failure;
use crate::script::reader::{DecodeError, Malformed};
use crate::script::value::text;
use crate::slice::{Context, Expires, FaultKind, Mark, Millis, Signal};

/// CBOR of `undefined`.
pub(super) const UNDEFINED: Bytes = Bytes::from_static(&[0xf7]);

pub(super) fn push_block<'js>(ctx: &Ctx<'js>, args: &mut Args<'js>, context: &Context<'_>) -> rquickjs::Result<()> {
    args.push_args([block_value(ctx, Some(context.block))?, block_value(ctx, context.parent)?])?;
    args.push_args([context.owner.to_string(), context.chain.to_string()])
}

/// A block as our modules take it: id, key, id of its parent, body, bytes.
pub(super) fn block_value<'js>(ctx: &Ctx<'js>, block: Option<&Block>) -> rquickjs::Result<Value<'js>> {
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

/// The states of slices of the first generation by name, as an object without a prototype.
pub(super) fn root_object<'js>(ctx: &Ctx<'js>, roots: &[(String, Bytes)]) -> Result<Value<'js>, Failure> {
    let object = Object::new_proto(ctx.clone(), None)?;
    for (name, state) in roots {
        object.set(JsString::from_str(ctx.clone(), name)?.into_js(ctx)?, decode_first(ctx, state)?)?;
    }
    Ok(object.into_value())
}

/// A CBOR item that came with a block; an error of it is not ours.
pub(super) fn item<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Result<Value<'js>, Malformed>, Failure> {
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
pub(super) fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, Failure> {
    item(ctx, bytes)?.map_err(|error| Failure::Other(FaultKind::Result, error.to_string()))
}

/// What a slice of the first generation wrote before: its bytes are Buffers.
pub(super) fn decode_first<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>, Failure> {
    Ok(cbor::decode_with_buffers(ctx, bytes)?)
}

/// Why a slice refuses a block.
pub(super) fn reason(value: &Value<'_>) -> Result<String, Failure> {
    Ok(text(value)?.chars().take(REASON_CHARS_MAX).collect())
}

/// Longer reasons are cut.
const REASON_CHARS_MAX: usize = 1_000;

pub(super) fn encode<'js>(ctx: &Ctx<'js>, value: &Value<'js>, max: usize) -> Result<Bytes, Failure> {
    Ok(cbor::encode(ctx, value, max).map_err(Failure::from)?.into())
}

/// The new state, in a list of one; none in an empty list.
pub(super) fn state_of<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Option<Bytes>, Failure> {
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

pub(super) fn signals<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Vec<Signal>, Failure> {
    let mut room = max;
    let mut signals = Vec::new();
    for pair in pairs(list)? {
        let signal = Signal { code: encode(ctx, &pair.get(0)?, room)?, payload: encode(ctx, &pair.get(1)?, room)? };
        room = room.saturating_sub(signal.code.len() + signal.payload.len());
        signals.push(signal);
    }
    Ok(signals)
}

pub(super) fn marks<'js>(ctx: &Ctx<'js>, list: &Array<'js>, max: usize) -> Result<Vec<Mark>, Failure> {
    let mut room = max;
    let mut marks = Vec::new();
    for pair in pairs(list)? {
        let mark = Mark { payload: encode(ctx, &pair.get(0)?, room)?, at: millis(pair.get(1)?) };
        room = room.saturating_sub(mark.payload.len());
        marks.push(mark);
    }
    Ok(marks)
}

pub(super) fn expiry(value: Value<'_>) -> Result<Expires, Failure> {
    match value.as_number() {
        None if value.is_undefined() => Ok(Expires::Ask),
        Some(f64::INFINITY) => Ok(Expires::Never),
        Some(at) if at.is_finite() => Ok(Expires::At(millis(at))),
        _ => Err(unusable("expiresAt must give a number of milliseconds, or Infinity")),
    }
}

/// Milliseconds, of a fraction the next whole one. What is no number is 0.
#[expect(clippy::cast_possible_truncation, reason = "`as` takes the nearest number there is")]
pub(super) fn millis(value: f64) -> Millis {
    value.ceil() as Millis
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` takes the nearest number there is")]
pub(super) fn count(value: f64) -> u32 {
    value as u32
}

pub(super) fn unusable(why: &str) -> Failure {
    Failure::Other(FaultKind::Result, why.to_owned())
}
