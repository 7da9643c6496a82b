//! How much a feed from a stranger may cost.

/// Bounds on what is read from others.
///
/// The defaults suit a server that takes feeds from strangers in messages of a few MiB. The formats themselves have no
/// limits below the width of their size fields.
///
/// ```
/// let limits = picofeed::Limits { feed_bytes_max: 64 << 10, ..Default::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest feed, in bytes, with everything in it. 4 MiB.
    pub feed_bytes_max: usize,
    /// Longest body of a block, in bytes. 1 MiB.
    pub body_bytes_max: usize,
    /// Most blocks in a feed. 65,536.
    pub blocks_max: usize,
    /// Most distinct keys in a v3 or POP-02 feed. 256.
    ///
    /// Blocks of these formats do not say which of the keys before them is their author's: it has to be tried.
    pub keys_max: usize,
    /// Most failed signature checks in a v3 or POP-02 feed, beyond the one a block that succeeds. 4,096, well under a
    /// second.
    pub trials_max: usize,
}

impl Limits {
    /// No limits but those of the formats. For what the caller made or checked itself.
    pub const NONE: Self = Self {
        feed_bytes_max: usize::MAX,
        body_bytes_max: usize::MAX,
        blocks_max: usize::MAX,
        keys_max: usize::MAX,
        trials_max: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self { feed_bytes_max: 4 << 20, body_bytes_max: 1 << 20, blocks_max: 1 << 16, keys_max: 256, trials_max: 4096 }
    }
}
