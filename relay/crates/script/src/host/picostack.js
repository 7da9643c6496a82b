// The part of picostack that slices use.

import { pack, unpack } from 'host:msgpackr.js'
import { Feed } from 'host:picofeed.js'
import { Store } from 'host:picostore.js'

export const decodeBlock = body => unpack(body)
export const encodeBlock = (type, seq, payload) => pack({ ...payload, type, seq, date: Date.now() })
export { Feed, Store }

const absent = name => function () { throw new Error(`${name} is not there for slices`) }
export const SimpleKernel = absent('SimpleKernel')
SimpleKernel.decodeBlock = decodeBlock
SimpleKernel.encodeBlock = encodeBlock
SimpleKernel.blockType = body => decodeBlock(body).type
export const Hub = absent('Hub')
export const Repo = absent('Repo')
export const SimpleRPC = absent('SimpleRPC')
export const n = new Proxy({}, { get: (_, name) => absent(`n.${String(name)}`) })
export default { Feed, Store, SimpleKernel, Hub, Repo, SimpleRPC, decodeBlock, encodeBlock, n }
