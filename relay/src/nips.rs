//! The list of NIPs. NIP-11's `supported_nips`, the landing page, the README and the table in `docs/NIPS.md` derive from it.
//!
//! Only NIPs that ask something of relays are in it: those of clients "should not be advertised" (NIP-11).

use crate::config::Config;

/// One NIP, and what this relay does about it.
#[derive(Clone, Copy, Debug)]
pub struct Nip {
    /// Its number.
    pub number: u16,
    /// Its title.
    pub title: &'static str,
    /// How it is supported, in a line.
    pub how: &'static str,
    /// False when it is switched off.
    pub active: fn(&Config) -> bool,
}

/// By number.
pub const NIPS: &[Nip] = &[
    relay(1, "Basic protocol", "events, filters, subscriptions, replaceable, addressable and ephemeral kinds"),
    relay(4, "Direct messages (old)", "kind 4 is sent only to its author and its recipient, after AUTH"),
    relay(9, "Deletion", "by id and by address; what was deleted stays deleted, also if it arrives later"),
    relay(11, "Information document", "made from the running configuration"),
    relay(13, "Proof of work", "`limits.pow_min`; the committed target counts too"),
    relay(17, "Private direct messages", "gift wraps are sent only to their recipient, after AUTH"),
    relay(40, "Expiration", "expired events, ephemeral ones too, are refused, not sent, and removed"),
    relay(42, "Authentication", "challenge when it is needed (`auth.challenge`); several keys on one connection"),
    relay(45, "Counting", "COUNT, with HyperLogLog where the NIP defines it"),
    relay(50, "Search", "words and beginnings of words in every script, best match first; `[search]`")
        .if_active(|config| config.search.enabled),
    relay(59, "Gift wrap", "see 17; ephemeral gift wraps are never stored"),
    relay(
        62,
        "Request to vanish",
        "removes everything of a key up to that time, and keeps it away, whatever the operator's rules say",
    ),
    relay(65, "Relay lists", "kept and answered like every replaceable event, from everybody"),
    relay(66, "Relay monitoring", "the reports of monitors are kept"),
    relay(67, "EOSE hints", "optional: `limits.eose_hints`; off, since some clients take no such EOSE")
        .if_active(|config| config.limits.eose_hints),
    relay(70, "Protected events", "taken only from their author, after AUTH; reposts that embed one are refused"),
    relay(77, "Negentropy", "set reconciliation; `negentropy.enabled`").if_active(|config| config.negentropy.enabled),
];

/// Those that are switched on, by number.
pub fn active(config: &Config) -> impl Iterator<Item = &'static Nip> {
    NIPS.iter().filter(|nip| (nip.active)(config))
}

/// The table of `docs/NIPS.md`, in Markdown.
pub fn table() -> String {
    let rows = NIPS.iter().map(|nip| format!("| {:02} | {} | {} |\n", nip.number, nip.title, nip.how));
    format!("| NIP | title | how |\n|---|---|---|\n{}", rows.collect::<String>())
}

const fn relay(number: u16, title: &'static str, how: &'static str) -> Nip {
    Nip { number, title, how, active: |_| true }
}

impl Nip {
    const fn if_active(self, active: fn(&Config) -> bool) -> Self {
        Self { active, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::nip11;

    #[test]
    fn the_list_is_sorted_and_has_each_once() {
        assert!(NIPS.is_sorted_by(|a, b| a.number < b.number));
    }

    #[test]
    fn the_documents_have_the_table() {
        let page = include_str!("../../docs/NIPS.md");
        assert!(page.contains(&table()), "the table of NIPs in docs/NIPS.md should be:\n\n{}", table());
        let readme = include_str!("../../README.md");
        let numbers: Vec<String> = NIPS.iter().map(|nip| nip.number.to_string()).collect();
        let (last, others) = numbers.split_last().unwrap();
        let list = format!("NIPs {} and {last}.", others.join(", "));
        assert!(readme.contains(&list), "README.md should say: {list}");
    }

    #[test]
    fn the_information_document_has_what_is_switched_on() {
        let supported = |config: &Config| -> Vec<u16> {
            serde_json::from_value(nip11::document(config, None)["supported_nips"].clone()).unwrap()
        };
        let mut config = Config::default();
        let all: Vec<u16> = NIPS.iter().map(|nip| nip.number).collect();
        let mut usual = supported(&config);
        config.limits.eose_hints = true;
        assert_eq!(supported(&config), all);
        // The README says which is off by default.
        usual.push(67);
        usual.sort_unstable();
        assert_eq!(usual, all);
    }
}
