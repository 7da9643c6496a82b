//! Whose request this is: behind a proxy, the address that the proxy tells; nobody else is believed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The header in which proxies tell the addresses they got a request from.
pub const HEADER: &str = "x-forwarded-for";

/// The address of the client who sent a request with these headers.
///
/// Headers are read as bytes: were a value with strange bytes left out, the one before it, which the client wrote, would
/// be believed.
pub fn of_request(socket: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let values: Vec<_> =
        headers.get_all(HEADER).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    client_addr(socket, values.iter().map(AsRef::as_ref), trusted)
}

/// The address of the client. `forwarded`: the values of all `X-Forwarded-For` headers, in order.
///
/// If `socket` is a trusted proxy, it is the right-most entry that is not a trusted proxy: everything further left was
/// written by that client. If there is none, or it is no address, it is `socket`. IPv4 in IPv6 counts as IPv4.
pub fn client_addr<'h>(
    socket: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'h str>,
    trusted: &[IpNet],
) -> IpAddr {
    let socket = socket.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&socket) {
        return socket;
    }
    let entries = forwarded.rev().flat_map(|value| value.rsplit(','));
    entries.map(address).find(|entry| !entry.is_some_and(|address| is_trusted(&address))).flatten().unwrap_or(socket)
}

/// The address by which clients are counted and limited: itself, for IPv6 the first address of its /64, which is what
/// one customer usually gets.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// An entry as proxies write it: an address, also in brackets or quotes and with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let parsed = bare.parse::<IpAddr>().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_most_entry_that_no_trusted_proxy_wrote_of_itself() {
        let long = format!("{} 203.0.113.7", "1.1.1.1,".repeat(10_000));
        for (socket, forwarded, client) in [
            // Not a proxy: what it says of itself does not count.
            ("198.51.100.1", vec!["203.0.113.7"], "198.51.100.1"),
            ("198.51.100.1", vec!["127.0.0.1"], "198.51.100.1"),
            // A proxy.
            ("127.0.0.1", vec!["203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec![" 203.0.113.7 "], "203.0.113.7"),
            ("::ffff:127.0.0.1", vec!["203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec!["::ffff:203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec!["2001:db8::1"], "2001:db8::1"),
            ("127.0.0.1", vec!["[2001:db8::1]:4711"], "2001:db8::1"),
            ("127.0.0.1", vec!["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", vec!["\"203.0.113.7:80\""], "203.0.113.7"),
            // Two proxies, in one header or two.
            ("127.0.0.1", vec!["203.0.113.7, 10.0.0.3"], "203.0.113.7"),
            ("127.0.0.1", vec!["203.0.113.7", "10.0.0.3"], "203.0.113.7"),
            ("fd00::1", vec!["203.0.113.7, fd00::2, 10.0.0.3"], "203.0.113.7"),
            // What the client wrote itself is further left.
            ("127.0.0.1", vec!["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec!["9.9.9.9", "8.8.8.8, 203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec!["'; DROP TABLE, \u{0}, 203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", vec![long.as_str()], "203.0.113.7"),
            // Nothing to go by.
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec![""], "127.0.0.1"),
            ("127.0.0.1", vec![",,"], "127.0.0.1"),
            ("127.0.0.1", vec!["unknown"], "127.0.0.1"),
            ("127.0.0.1", vec!["203.0.113.7, unknown"], "127.0.0.1"),
            ("127.0.0.1", vec!["203.0.113.7, unknown, 10.0.0.3"], "127.0.0.1"),
            ("127.0.0.1", vec!["999.0.0.1"], "127.0.0.1"),
            ("127.0.0.1", vec!["10.0.0.1, 10.0.0.2"], "127.0.0.1"),
        ] {
            let trusted = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
            let found = client_addr(socket.parse().unwrap(), forwarded.iter().copied(), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{socket} {:.60}", forwarded.join(" | "));
        }
        let socket = "127.0.0.1".parse().unwrap();
        assert_eq!(client_addr(socket, ["203.0.113.7"].into_iter(), &[]), socket);
    }

    #[test]
    fn strange_bytes_do_not_hide_an_entry() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, "6.6.6.6".parse().unwrap());
        headers.append(HEADER, axum::http::HeaderValue::from_bytes(b"\xff, 203.0.113.7").unwrap());
        let trusted = ["127.0.0.1/32".parse().unwrap()];
        let found = of_request("127.0.0.1".parse().unwrap(), &headers, &trusted);
        assert_eq!(found, "203.0.113.7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn clients_are_limited_by_network() {
        for (address, key) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(limit_key(address.parse().unwrap()), key.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
