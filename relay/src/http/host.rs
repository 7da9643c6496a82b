//! What a client says of whom it wants to reach: the `Host` of its request.
//!
//! By the `relay` tag of an AUTH event (NIP-42) a client is protected from a relay that passes the challenge of another on
//! to it, and its signature back to there. The protection is gone where a relay takes any name that is claimed: the one in
//! the middle claims its own. So the name counts only where somebody in the middle cannot have it: it must be a private
//! address, the address that the connection came to, or a name that exists in local networks only; and the client must be
//! in that network itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ends of names that no server of the internet gives out.
const LOCAL_ENDS: [&str; 7] = [".localhost", ".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain"];

/// The host and port, if it can only mean this relay to a client there. `here`: the address of ours that it connected to.
pub fn local_name(host: &str, client: IpAddr, here: Option<IpAddr>) -> Option<&str> {
    let here = here.map(|here| here.to_canonical());
    let is_here = match name(host)? {
        Name::Address(address) => is_private(address) || Some(address) == here,
        Name::Text(name) => is_local_name(name),
    };
    (is_here && is_near(client.to_canonical(), here)).then_some(host)
}

enum Name<'h> {
    Address(IpAddr),
    Text(&'h str),
}

/// What a `Host` names, without its port. `None`: it is not written as one.
fn name(host: &str) -> Option<Name<'_>> {
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_whole.then_some(Name::Address(IpAddr::V6(address).to_canonical()));
    }
    let name = match host.split_once(':') {
        Some((name, port)) => Some(name).filter(|_| is_port(port))?,
        None => host,
    };
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Some(Name::Address(address.into()));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(Name::Text(name))
}

fn is_local_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // A number is an address to some clients, however it is written.
    let is_number = name.starts_with(|first: char| first.is_ascii_digit()) && !name.contains('-');
    let is_bare = !name.contains('.') && !is_number;
    is_bare || LOCAL_ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// Whether an address has a meaning in a local network only.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // What providers and overlay networks give out (RFC 6598).
            let is_shared = address.octets().starts_with(&[100]) && (64..128).contains(&address.octets()[1]);
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Whether a client is on this machine or in a network with it.
fn is_near(client: IpAddr, here: Option<IpAddr>) -> bool {
    let is_neighbour = match (client, here) {
        (IpAddr::V6(client), Some(IpAddr::V6(here))) => client.segments()[..4] == here.segments()[..4],
        (client, here) => Some(client) == here,
    };
    is_neighbour || is_private(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_else_can_be() {
        let lan: IpAddr = "192.168.1.20".parse().unwrap();
        let here: IpAddr = "192.168.1.5".parse().unwrap();
        for host in [
            "192.168.1.5:7420",
            "192.168.1.5",
            "10.0.0.7:80",
            "127.0.0.1:7420",
            "100.64.3.2:7420",
            "[::1]:7420",
            "[fd12::1]",
            "[fe80::1]:7420",
            "localhost:7420",
            "relay.localhost",
            "box.local:7420",
            "Umbrel.LOCAL",
            "relay.home.arpa",
            "picorelay:7420",
        ] {
            assert_eq!(local_name(host, lan, Some(here)), Some(host), "{host}");
            for stranger in ["203.0.113.9", "2001:db8::9"] {
                assert_eq!(local_name(host, stranger.parse().unwrap(), Some(here)), None, "{host} from {stranger}");
            }
        }
        for host in [
            "",
            "relay.example",
            "evil.example:7420",
            "203.0.113.7:7420",
            "[2001:db8::1]:7420",
            "abcdefgh.onion",
            "box.local.evil.example",
            ".local",
            "3405803783",
            "0xcb007107",
            "box.local/path",
            "box.local:7420@evil.example",
            "me@box.local",
            "box.local:x",
            "[::1",
            "[::1]x",
            "box local",
        ] {
            assert_eq!(local_name(host, lan, Some(here)), None, "{host}");
        }
    }

    #[test]
    fn the_address_that_the_connection_came_to() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (host, here) = ("203.0.113.7:7420", Some(address("203.0.113.7")));
        assert_eq!(local_name(host, address("203.0.113.7"), here), Some(host), "from the same machine");
        assert_eq!(local_name(host, address("203.0.113.8"), here), None);
        assert_eq!(local_name(host, address("192.168.1.2"), None), None);
        let (host, here) = ("[2001:db8:0:1::5]:7420", Some(address("2001:db8:0:1::5")));
        assert_eq!(local_name(host, address("2001:db8:0:1::77"), here), Some(host), "from the same network");
        assert_eq!(local_name(host, address("2001:db8:0:2::77"), here), None);
        assert_eq!(local_name("127.0.0.1:80", address("::ffff:127.0.0.1"), None), Some("127.0.0.1:80"));
    }
}
