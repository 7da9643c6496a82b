//! The names of a relay: `server.public_url`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// URLs by which clients know this relay, the usual one first. None: it has no name but its address.
///
/// In the file it is a string or a list of strings, in the environment a string with commas or a TOML list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrls(Vec<String>);

impl PublicUrls {
    /// True when none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The usual one.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for PublicUrls {
    fn from_iter<I: IntoIterator<Item = S>>(urls: I) -> Self {
        Self(urls.into_iter().map(Into::into).filter(|url| !url.is_empty()).collect())
    }
}

impl From<&str> for PublicUrls {
    fn from(text: &str) -> Self {
        text.split(',').map(str::trim).collect()
    }
}

impl Serialize for PublicUrls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_str(""),
            [url] => serializer.serialize_str(url),
            urls => urls.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PublicUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a URL or a list of URLs")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Many(urls) => urls.into_iter().collect(),
            // A variable of the environment is text, whatever it holds.
            Written::One(text) => match text.trim().starts_with('[').then(|| text.parse::<toml::Value>()) {
                Some(Ok(list)) => {
                    Vec::<String>::deserialize(list).map_err(serde::de::Error::custom)?.into_iter().collect()
                }
                Some(Err(error)) => return Err(serde::de::Error::custom(error.message())),
                None => text.as_str().into(),
            },
        })
    }
}
