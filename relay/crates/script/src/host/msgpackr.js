// The part of msgpackr that slices use. What it writes and reads is in msgpack.rs.

import { Buffer } from 'host:buffer.js'
import { asBytes, msgpackDecode, msgpackEncode } from 'host:realm.js'

export const pack = value => Buffer.from(msgpackEncode(value))
export const unpack = bytes => msgpackDecode(asBytes(bytes))
export const encode = pack
export const decode = unpack

export class Packr {
  pack (value) { return pack(value) }
  unpack (bytes) { return unpack(bytes) }
  encode (value) { return pack(value) }
  decode (bytes) { return unpack(bytes) }
}
export class Unpackr extends Packr {}
export class Encoder extends Packr {}
export class Decoder extends Packr {}
export default { pack, unpack, encode, decode, Packr, Unpackr, Encoder, Decoder }
