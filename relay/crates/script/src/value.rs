//! What a value of the runtime is, for those who write it down.

use rquickjs::function::This;
use rquickjs::{Array, BigInt, Ctx, FromJs, Function, Object, String as JsString, Type, TypedArray, Value};

/// A value that can be written down.
pub enum Kind<'js> {
    /// `undefined`.
    Undefined,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as JavaScript has them.
    Number(f64),
    /// From -2^64 to 2^64 - 1: what CBOR has integers for.
    BigInt(i128),
    /// A text.
    Text(String),
    /// The bytes of a `Uint8Array` or an `ArrayBuffer`.
    Bytes(Vec<u8>),
    /// An array.
    Array(Array<'js>),
    /// Members in the order of the object.
    Object(Vec<(String, Value<'js>)>),
}

/// Why a value cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Nested more deeply than it may be, or holding itself.
    #[error("a value is nested too deeply (script.value_depth_max)")]
    Depth,
    /// Larger than it may be.
    #[error("a value is larger than {0} bytes")]
    Size(usize),
    /// A function, a symbol, a date and the like.
    #[error("a value is {0}, which cannot be kept")]
    Type(String),
    /// A getter threw, or there was no memory.
    #[error(transparent)]
    Script(#[from] rquickjs::Error),
}

/// Functions of the realm as they were before any slice ran.
pub struct Helpers<'js> {
    /// Bytes to hex: there is no other way to read them without a call for each byte.
    to_hex: Function<'js>,
    /// What is no array and no plain object as something that is, or throws.
    plain: Function<'js>,
    /// `Object.prototype`.
    object: Object<'js>,
    /// A BigInt `n` as `-1n - n`.
    below_zero: Function<'js>,
    /// A Date of milliseconds.
    date: Function<'js>,
}

impl<'js> Helpers<'js> {
    /// Keeps them for `Helpers::of`.
    pub fn keep(ctx: &Ctx<'js>, kept: [Value<'js>; 5]) -> rquickjs::Result<()> {
        ctx.store_userdata(kept.to_vec()).map_err(|_| rquickjs::Error::Unknown)?;
        Ok(())
    }

    fn of(ctx: &Ctx<'js>) -> rquickjs::Result<Self> {
        let kept = ctx.userdata::<Vec<Value<'js>>>().ok_or(rquickjs::Error::Unknown)?;
        let [to_hex, plain, object, below_zero, date] = kept.as_slice() else { return Err(rquickjs::Error::Unknown) };
        Ok(Self {
            to_hex: to_hex.get()?,
            plain: plain.get()?,
            object: object.get()?,
            below_zero: below_zero.get()?,
            date: date.get()?,
        })
    }
}

/// The integer `-1 - n`, which may be less than the runtime takes as a number of 64 bits.
pub fn below_zero<'js>(ctx: &Ctx<'js>, n: u64) -> rquickjs::Result<Value<'js>> {
    Helpers::of(ctx)?.below_zero.call((BigInt::from_u64(ctx.clone(), n)?,))
}

/// A Date.
pub fn date<'js>(ctx: &Ctx<'js>, millis: f64) -> rquickjs::Result<Value<'js>> {
    Helpers::of(ctx)?.date.call((millis,))
}

/// Makes a value of bytes.
pub type MakeBytes = for<'js> fn(&Ctx<'js>, &[u8]) -> rquickjs::Result<Value<'js>>;

/// Bytes as picostore 3 and cborg have them: an Uint8Array.
pub fn plain_bytes<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Value<'js>> {
    Ok(TypedArray::<u8>::new_copy(ctx.clone(), bytes)?.into_value())
}

/// Bytes as picostore 2 and msgpackr have them in node: a Buffer.
pub fn buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Value<'js>> {
    let value = plain_bytes(ctx, bytes)?;
    let prototype = ctx.userdata::<Vec<Object<'js>>>();
    let prototype = prototype.as_ref().and_then(|kept| kept.first());
    if let (Some(object), Some(prototype)) = (value.as_object(), prototype) {
        object.set_prototype(Some(prototype))?;
    }
    Ok(value)
}

/// Which kind of value this is, with what is in it.
#[inline]
pub fn kind<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Kind<'js>, Unusable> {
    Ok(match value.type_of() {
        Type::Undefined | Type::Uninitialized => Kind::Undefined,
        Type::Null => Kind::Null,
        Type::Bool => Kind::Bool(value.as_bool().unwrap_or_default()),
        Type::Int | Type::Float => Kind::Number(value.as_number().unwrap_or_default()),
        Type::BigInt => {
            let digits: String = Helpers::of(ctx)?.plain.call((value.clone(),))?;
            Kind::BigInt(digits.parse().map_err(|_| Unusable::Type("a large BigInt".into()))?)
        }
        Type::String => Kind::Text(text(value)?),
        Type::Array => array(value)?,
        Type::Object | Type::Proxy => return object(ctx, value),
        other => return Err(Unusable::Type(format!("a {}", other.as_str()))),
    })
}

/// The text of a string. Half a surrogate pair, as slicing leaves it, is U+FFFD, as when a node writes it as UTF-8.
pub fn text(value: &Value<'_>) -> Result<String, Unusable> {
    let none = || Unusable::Type("no well-formed string".into());
    let text = value.as_string().ok_or_else(none)?;
    if let Ok(text) = text.to_string() {
        return Ok(text);
    }
    // JSON has escapes for halves, and only for halves of that kind.
    let json = value.ctx().json_stringify(value.clone())?.ok_or_else(none)?.to_string()?;
    serde_json::from_str(&whole(&json)).map_err(|_| none())
}

/// Replaces the escapes of half surrogate pairs in JSON as `JSON.stringify` writes it.
fn whole(json: &str) -> String {
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.split_once('\\') {
        whole.push_str(before);
        let is_half = escape.starts_with("ud") && escape.as_bytes().get(2).is_some_and(|digit| *digit > b'7');
        let len = if escape.starts_with('u') { 5 } else { 1 };
        let (escape, after) = escape.split_at_checked(len).unwrap_or((escape, ""));
        whole.push('\\');
        whole.push_str(if is_half { "ufffd" } else { escape });
        rest = after;
    }
    whole.push_str(rest);
    whole
}

fn object<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Kind<'js>, Unusable> {
    let Some(object) = value.as_object() else { return Ok(Kind::Undefined) };
    let helpers = Helpers::of(ctx)?;
    if object.is_typed_array::<u8>() {
        return Ok(Kind::Bytes(bytes(&helpers, value)?));
    }
    if !value.is_proxy() && object.get_prototype().is_none_or(|prototype| prototype == helpers.object) {
        return Ok(Kind::Object(members(object)?));
    }
    let plain: Value<'js> = helpers.plain.call((value.clone(),))?;
    match plain.as_object() {
        Some(object) if object.is_typed_array::<u8>() => Ok(Kind::Bytes(bytes(&helpers, &plain)?)),
        Some(_) if plain.is_array() => array(&plain),
        Some(object) => Ok(Kind::Object(members(object)?)),
        None => Ok(Kind::Undefined),
    }
}

/// Longer arrays have lengths that are no small integers, for which the runtime has no means.
const ELEMENTS_MAX: f64 = i32::MAX as f64;

fn array<'js>(value: &Value<'js>) -> Result<Kind<'js>, Unusable> {
    let Some(array) = value.clone().into_array() else { return Ok(Kind::Undefined) };
    if array.as_object().get::<_, f64>("length")? > ELEMENTS_MAX {
        return Err(Unusable::Type(format!("an array of more than {ELEMENTS_MAX} elements")));
    }
    Ok(Kind::Array(array))
}

fn members<'js>(object: &Object<'js>) -> Result<Vec<(String, Value<'js>)>, Unusable> {
    // Not as texts of ours at once, which would end at the first NUL.
    let members = object.props::<JsString<'js>, Value<'js>>();
    members.map(|member| member.map_err(Unusable::from).and_then(|(key, value)| Ok((text(&key)?, value)))).collect()
}

fn bytes<'js>(helpers: &Helpers<'js>, value: &Value<'js>) -> Result<Vec<u8>, Unusable> {
    let hex: String = helpers.to_hex.call((This(value.clone()),))?;
    from_hex(&hex).ok_or_else(|| Unusable::Type("no bytes".into()))
}

/// Bytes from hex.
pub fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; hex.len() / 2];
    faster_hex::hex_decode(hex.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

/// Hex as functions of the realm hand it over.
pub struct Hex(pub(super) Vec<u8>);

impl<'js> FromJs<'js> for Hex {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Self> {
        let hex = String::from_js(ctx, value)?;
        from_hex(&hex).map(Self).ok_or(rquickjs::Error::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pairs_become_whole_texts() {
        for (json, expected) in [
            (r#""a\ud83d b""#, r#""a\ufffd b""#),
            (r#""\udc00\ud800""#, r#""\ufffd\ufffd""#),
            (r#""\\ud83d \n\u001f 😀""#, r#""\\ud83d \n\u001f 😀""#),
            (r#""\ud7ff""#, r#""\ud7ff""#),
        ] {
            assert_eq!(whole(json), expected);
        }
    }
}
