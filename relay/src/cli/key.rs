//! `picorelay key`.

use nostr::nips::nip19::ToBech32;

use super::{KeyArgs, Outcome, say};
use crate::config::Config;
use crate::keys;

/// Shows the relay's own key, made if there is none.
pub(super) fn run(args: KeyArgs, config: &Config) -> Outcome {
    let keys = keys::load_or_create(&config.server.data)?;
    if args.secret {
        let Ok(nsec) = keys.secret_key().to_bech32();
        say(nsec)?;
    } else {
        let Ok(npub) = keys.public_key().to_bech32();
        say(npub)?;
        say(keys.public_key())?;
    }
    Ok(())
}
