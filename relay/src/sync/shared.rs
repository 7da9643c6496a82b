//! What is shared with upstream relays: blocks and heads of bridged rooms.

use pico_bridge::kind;

use crate::bridge::lookup::tagged;
use crate::config::{self, Bridge};
use crate::event::Event;
use crate::filter::Filter;
use crate::pico::carry::Modes;

/// What goes to upstreams and comes from them.
const KINDS: [u16; 2] = [kind::BLOCK, kind::HEAD];

/// What names the room in an `i` tag.
const ROOM: &str = "pico:room:";

/// The room that always exists.
const MAIN: &str = "main";

/// Events of these rooms; of all, if any room may come into being, and of those declared, if not.
pub(super) fn filter(config: &config::Config, rooms: &[String]) -> Filter {
    let (pico, bridge) = (&config.pico, &config.bridge);
    let rooms: Vec<&str> = if !rooms.is_empty() {
        rooms.iter().map(String::as_str).collect()
    } else if pico.open_rooms && bridge.undeclared != Bridge::Off {
        return Filter { kinds: Some(KINDS.into()), ..Filter::default() };
    } else {
        let declared = pico.room.iter().filter(|room| room.bridge != Bridge::Off).map(|room| room.name.as_str());
        let has_main = pico.room.iter().any(|room| room.name == MAIN) || bridge.undeclared == Bridge::Off;
        declared.chain((!has_main).then_some(MAIN)).collect()
    };
    tagged(&KINDS, None, b'i', rooms.iter().map(|room| format!("{ROOM}{room}")).collect())
}

/// Whether an event of ours is one that this upstream may have.
pub(super) fn is_shared(modes: &Modes, rooms: &[String], event: &Event) -> bool {
    let room = event.tags.values("i").find_map(|value| value.strip_prefix(ROOM));
    room.is_some_and(|room| {
        modes.of(room) != Bridge::Off && (rooms.is_empty() || rooms.iter().any(|shared| shared == room))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(toml: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("picorelay.toml");
        std::fs::write(&file, toml).unwrap();
        Config::load(Some(&file), std::iter::empty()).unwrap()
    }

    #[test]
    fn the_rooms_that_are_asked_for() {
        let declared = "[[pico.room]]\nname = 'a'\n[[pico.room]]\nname = 'b'\nbridge = 'off'\n";
        for (pico, bridge, rooms, asked) in [
            ("", "", &[][..], None),
            ("", "", &["a", "z"], Some(&["a", "z"][..])),
            ("[pico]\nopen_rooms = false\n", "", &[], Some(&["a", "main"])),
            ("", "[bridge]\nundeclared = 'off'\n", &[], Some(&["a"])),
        ] {
            let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
            let filter = filter(&config(&format!("{pico}{declared}{bridge}")), &rooms);
            let named = filter.tags.first().map(|tag| tag.values.to_vec());
            let asked = asked.map(|rooms| rooms.iter().map(|room| format!("{ROOM}{room}")).collect());
            assert_eq!((filter.kinds.as_deref(), named), (Some(&KINDS[..]), asked), "{pico}{bridge}{rooms:?}");
        }
    }

    #[test]
    fn only_what_is_shared_goes_out() {
        let config = config("[[pico.room]]\nname = 'off'\nbridge = 'off'\n");
        let modes = Modes::new(&config.pico, config.bridge.undeclared);
        let event = |tags: &str| {
            let (id, sig) = ("0".repeat(64), "0".repeat(128));
            let json = format!(
                r#"{{"id":"{id}","pubkey":"{id}","created_at":1,"kind":7420,"tags":{tags},"content":"","sig":"{sig}"}}"#
            );
            Event::parse(&json).unwrap()
        };
        for (rooms, tags, shared) in [
            (&[][..], r#"[["i","pico:block:aa"],["i","pico:room:a"]]"#, true),
            (&[], r#"[["i","pico:room:off"]]"#, false),
            (&["off"], r#"[["i","pico:room:off"]]"#, false),
            (&["a"], r#"[["i","pico:room:a"]]"#, true),
            (&["a"], r#"[["i","pico:room:b"]]"#, false),
            (&[], "[]", false),
        ] {
            let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
            assert_eq!(is_shared(&modes, &rooms, &event(tags)), shared, "{tags} {rooms:?}");
        }
    }
}
