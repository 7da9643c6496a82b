// What picostack takes for granted.
export { Buffer } from 'buffer'
