// The part of cborg that slices use. What it writes and reads is in cbor.rs.

import { asBytes, cborDecode, cborEncode } from 'host:realm.js'

export const encode = value => cborEncode(value)
export const decode = bytes => cborDecode(asBytes(bytes))
export default { encode, decode }
