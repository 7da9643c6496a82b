//! What an attack is.

use std::pin::Pin;
use std::sync::Arc;

use crate::crew::Crew;

/// What the attackers do from the word "go" until they are stopped.
pub(crate) type Play = fn(Arc<Crew>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// An async function as a [`Play`].
macro_rules! play {
    ($function:path) => {
        |crew| Box::pin($function(crew))
    };
}
pub(crate) use play;

/// One attack.
pub(crate) struct Attack {
    /// By which it is chosen and reported.
    pub(crate) name: &'static str,
    /// What the attackers do.
    pub(crate) what: &'static str,
    /// Of all attackers together.
    pub(crate) connections: usize,
    /// From how many addresses it comes: it runs once for each of these numbers.
    pub(crate) addresses: &'static [usize],
    pub(crate) play: Play,
    /// From how many addresses it comes in the short form; 0: it is not part of it.
    pub(crate) short: usize,
    /// Lines of the configuration. Empty: the default one.
    pub(crate) config: &'static str,
    /// Seconds of the attack in the long form; 0: as most.
    pub(crate) seconds: u64,
    /// The healthy publisher rests a while after each event, so that the writer of the relay is idle in between.
    pub(crate) is_calm: bool,
    /// What must hold beside the shares of the healthy clients.
    pub(crate) also: Also,
    /// It needs a relay with very many events.
    pub(crate) is_large: bool,
    /// It wants memory: what is left of it later is measured, too, and attackers are as fast as the loopback.
    pub(crate) is_for_memory: bool,
}

/// What must hold beside the shares of the healthy clients, the bound of memory and a clean stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Also {
    /// Nothing.
    No,
    /// Another address gets negentropy sessions.
    Negentropy,
    /// The relay lets go of the attackers within so many seconds, though they stay.
    LetsGo(u64),
    /// SIGTERM ends the relay in time while the attackers are connected.
    Stops,
    /// Afterwards a new app gets its block stored in a new room and served.
    NewApp,
    /// The relay closes connections of attackers.
    Closes,
    /// Questions about somebody take as long as those about nobody.
    SameTime,
}

/// An attack by so many connections, from one address.
pub(crate) const fn attack(name: &'static str, what: &'static str, connections: usize, play: Play) -> Attack {
    Attack {
        name,
        what,
        connections,
        addresses: &[1],
        play,
        short: 0,
        config: "",
        seconds: 0,
        is_calm: false,
        also: Also::No,
        is_large: false,
        is_for_memory: false,
    }
}

impl Attack {
    /// It also comes from twenty addresses.
    pub(crate) const fn and_from_20(self) -> Self {
        Self { addresses: &[1, 20], ..self }
    }

    /// It is part of the short form, from so many addresses.
    pub(crate) const fn short(self, addresses: usize) -> Self {
        Self { short: addresses, ..self }
    }

    /// The relay has these lines of configuration.
    pub(crate) const fn with(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    /// In the long form the attack takes so many seconds.
    pub(crate) const fn seconds(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// The publisher takes its time.
    pub(crate) const fn calm(self) -> Self {
        Self { is_calm: true, ..self }
    }

    /// This must hold, too.
    pub(crate) const fn also(self, also: Also) -> Self {
        Self { also, ..self }
    }

    /// The relay holds very many events.
    pub(crate) const fn large(self) -> Self {
        Self { is_large: true, ..self }
    }

    /// What it wants is memory.
    pub(crate) const fn for_memory(self) -> Self {
        Self { is_for_memory: true, ..self }
    }
}
