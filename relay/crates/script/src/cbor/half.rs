//! Floats of 16 bits.

/// The number that 16 bits stand for.
pub(super) fn read(bits: u64) -> f64 {
    let (sign, exponent, mantissa) = (bits >> 15 & 1, bits >> 10 & 31, bits & 1023);
    let size = match exponent {
        0 => mantissa as f64 * 2f64.powi(-24),
        31 if mantissa == 0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024 + mantissa) as f64 * 2f64.powi(i32::try_from(exponent).unwrap_or_default() - 25),
    };
    if sign == 1 { -size } else { size }
}

/// The value in 16 bits, if nothing is lost.
pub(super) fn write(value: f64) -> Option<u16> {
    if value.is_nan() {
        return Some(0x7e00);
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if size.is_infinite() {
        return Some(sign | 0x7c00);
    }
    if size == 0.0 {
        return Some(sign);
    }
    let exponent = i32::try_from((size.to_bits() >> 52) & 0x7ff).unwrap_or_default() - 1023;
    let (unit, biased) = if exponent < -14 { (-24, 0) } else { (exponent - 10, exponent + 15) };
    let mantissa = size * 2f64.powi(-unit);
    if biased > 30 || mantissa.fract() != 0.0 || mantissa >= 2048.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and below 2048")]
    let mantissa = mantissa as u16;
    Some(sign | u16::try_from(biased).ok()? << 10 | mantissa & 1023)
}
