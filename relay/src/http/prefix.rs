//! A relay at a path: `server.public_url` may have one, and a proxy may keep it or take it away. Everything that is answered
//! at `/` is answered below that path, too.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Uri;

use crate::config::PublicUrls;

/// The path by which a request came that was taken off.
#[derive(Clone, Debug)]
pub(super) struct Prefix(pub(super) String);

/// The paths of these URLs but `/`, longest first.
pub(super) fn prefixes(urls: &PublicUrls) -> Arc<[String]> {
    let mut paths: Vec<String> = urls.iter().map(|url| path(url).to_owned()).filter(|path| !path.is_empty()).collect();
    paths.sort_unstable_by_key(|path| std::cmp::Reverse(path.len()));
    paths.into()
}

/// The path of a URL, without the slash at its end.
pub(super) fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().trim_end_matches('/')
}

/// Takes one of these paths off a request that is below it.
pub(super) fn strip(mut request: Request, prefixes: &[String]) -> Request {
    for prefix in prefixes {
        if let Some(uri) = without(request.uri(), prefix) {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(Prefix(prefix.clone()));
            break;
        }
    }
    request
}

fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path().strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let path = if rest.is_empty() { "/" } else { rest };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{path}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_url_is_taken_off() {
        let urls: PublicUrls =
            ["wss://a.example/nostr/", "ws://b.local", "wss://c.example/nostr/deep"].into_iter().collect();
        let prefixes = prefixes(&urls);
        assert_eq!(*prefixes, ["/nostr/deep", "/nostr"]);
        for (uri, wanted, prefix) in [
            ("/nostr", "/", Some("/nostr")),
            ("/nostr/", "/", Some("/nostr")),
            ("/nostr?x=1", "/?x=1", Some("/nostr")),
            ("/nostr/pico/notes?after=ab", "/pico/notes?after=ab", Some("/nostr")),
            ("/nostr/deep/health", "/health", Some("/nostr/deep")),
            ("/nostrum", "/nostrum", None),
            ("/", "/", None),
            ("/pico/nostr", "/pico/nostr", None),
        ] {
            let request = Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap();
            let request = strip(request, &prefixes);
            assert_eq!(request.uri(), wanted, "{uri}");
            assert_eq!(request.extensions().get::<Prefix>().map(|prefix| prefix.0.as_str()), prefix, "{uri}");
        }
    }
}
