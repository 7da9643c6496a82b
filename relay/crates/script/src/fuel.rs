//! How long a call of a script may go on.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// What is left of the time of a call.
pub(super) struct Fuel {
    /// Calls of the interrupt handler that are left, each after [`STEPS_PER_TICK`] loops and calls. 0: the call is over.
    pub(super) ticks: Ticks,
    pub(super) until: Cell<Instant>,
    /// The option that ends it.
    pub(super) limit: Cell<&'static str>,
}

/// The context has them, too, for [`settle`].
pub(super) type Ticks = Rc<Cell<u64>>;

/// How often QuickJS asks whether to go on.
pub(super) const STEPS_PER_TICK: u64 = 10_000;

impl Fuel {
    /// Called by the interpreter now and then. True: the call is over.
    pub(super) fn burn(&self) -> bool {
        let left = self.ticks.get().saturating_sub(1);
        if left == 0 {
            self.limit.set("script.call_steps_max");
        }
        self.ticks.set(if Instant::now() < self.until.get() { left } else { 0 });
        self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ticks.get() == 0
    }
}
