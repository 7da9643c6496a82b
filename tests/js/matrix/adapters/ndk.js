import NDK, * as library from '@nostr-dev-kit/ndk'
import { adapter } from './ndk-any.js'

export const open = adapter(NDK, library)
