import NDK, * as library from 'ndk-2'
import { adapter } from './ndk-any.js'

export const open = adapter(NDK, library)
