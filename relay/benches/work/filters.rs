//! Slices for events that are measured.

/// The least that there is.
pub(crate) const YES: &str = "export default store => store.register({ name: 'a', filter () {} })";

/// What an operator would write.
pub(crate) const LOOKS: &str = "
    const words = ['free money', 'casino', 'airdrop']
    export default store => store.register({
      name: 'nospam',
      filter ({ event, now }) {
        if (event.kind !== 1 && event.kind !== 30023) return true
        if (event.tags.filter(tag => tag[0] === 'p').length > 20) return 'too many people'
        const text = event.content.toLowerCase()
        if (words.some(word => text.includes(word))) return 'we have enough of that'
        if (event.created_at > now + 60) return 'from the future'
      }
    })";
