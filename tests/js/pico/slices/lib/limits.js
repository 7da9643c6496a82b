export const MINUTES_MAX = 24 * 60
export const isWord = word => typeof word === 'string' && /^[a-z]{1,8}$/.test(word)
