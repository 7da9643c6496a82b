//! `GET /pico/<room>/state/<slice>`: what a slice has computed, once or as it changes. docs/ENGINE.md says how it is
//! asked for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::nip11::CORS_HEADERS;
use crate::door::Admission;
use crate::engine::Updates;
use crate::engine::host::{EngineHandle, SliceInfo};
use crate::metrics;
use crate::rarely::rarely;
use crate::store::Readers;
use crate::store::repo::RoomName;
use crate::store::state::Scope;

/// Between two signs of life of a quiet stream.
const ALIVE: Duration = Duration::from_secs(15);

/// When those may ask again who ask for the state of a room whose slices are not loaded.
const RETRY_AFTER_SECONDS: &str = "5";

/// What may be asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Only this object.
    id: Option<String>,
    /// Objects after this one.
    after: Option<String>,
    /// At most so many objects.
    limit: Option<usize>,
}

/// What stands behind the path, and how the answer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// As in the URL.
    pub query: &'a str,
    /// As a stream of events.
    pub stream: bool,
}

impl Question<'_> {
    /// What is asked, or what is wrong with it.
    fn params(&self) -> Result<Params, &'static str> {
        if !is_utf8(self.query) {
            return Err("a parameter is not UTF-8");
        }
        let uri = format!("/?{}", self.query).parse().map_err(|_| UNKNOWN)?;
        let Ok(Query(params)) = Query::<Params>::try_from_uri(&uri) else { return Err(UNKNOWN) };
        if params.limit == Some(0) {
            return Err("limit is at least 1");
        }
        if self.stream && (params.limit.is_some() || params.after.is_some()) {
            return Err("a stream sends all objects, or one with id; it has no limit and no after");
        }
        Ok(params)
    }
}

const UNKNOWN: &str = "known are the parameters id, after and limit";

/// Whether what is escaped in a query is UTF-8. (Those who read it put U+FFFD for what is not, and so ask for something else.)
fn is_utf8(query: &str) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match after {
            [high, low, after @ ..] if *first == b'%' => digit(*high).zip(digit(*low)).map(|byte| (byte, after)),
            _ => None,
        };
        match escaped {
            Some(((high, low), after)) => {
                bytes.push(high << 4 | low);
                rest = after;
            }
            None => bytes.push(*first),
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// How much one answer holds.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Objects.
    pub objects_max: usize,
    /// Bytes of values, roughly.
    pub bytes_max: usize,
}

/// Those who watch.
#[derive(Debug)]
pub struct Watchers {
    max: usize,
    open: AtomicUsize,
}

impl Watchers {
    /// At most so many.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: AtomicUsize::new(0) })
    }

    fn enter(self: &Arc<Self>) -> Option<Watcher> {
        let enter = |open: usize| (open < self.max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Watcher(Arc::clone(self)))
    }
}

/// One of them.
#[derive(Debug)]
struct Watcher(Arc<Watchers>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The slice of a room that is asked about.
#[derive(Clone)]
pub struct Asked {
    readers: Readers,
    scope: Scope,
    slice: SliceInfo,
    params: Params,
    page: Page,
}

impl Asked {
    /// Finds the slice.
    ///
    /// # Errors
    ///
    /// The answer to somebody who asks for what is not there, or wrongly.
    pub fn find(
        readers: Readers,
        (room, engine): (RoomName, Option<&EngineHandle>),
        slice: &str,
        question: &Question<'_>,
        page: Page,
    ) -> Result<Self, Box<Response>> {
        let refuse = |status: StatusCode, why: String| Box::new((status, CORS_HEADERS, why).into_response());
        let Some(engine) = engine else {
            return Err(refuse(StatusCode::NOT_FOUND, format!("the room {room} has no slices\n")));
        };
        let slices = engine.slices();
        if slices.is_empty() {
            metrics::refused("not_loaded");
            let why = format!("the slices of the room {room} are not loaded\n");
            let later = [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
            return Err(Box::new((StatusCode::SERVICE_UNAVAILABLE, CORS_HEADERS, later, why).into_response()));
        }
        let Some(slice) = slices.iter().find(|known| known.name == slice).cloned() else {
            let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
            let why = format!("the room {room} has no such slice; it has: {}\n", names.join(", "));
            return Err(refuse(StatusCode::NOT_FOUND, why));
        };
        let params = question.params().map_err(|why| refuse(StatusCode::BAD_REQUEST, format!("{why}\n")))?;
        Ok(Self { readers, scope: room.into(), slice, params, page })
    }

    /// Whether all state of the slice is one value.
    fn is_single(&self) -> bool {
        self.slice.initial.is_some()
    }

    fn show(&self, value: &[u8]) -> String {
        (self.slice.show)(value)
    }

    /// One object, or the value of a slice that has only one.
    async fn object(&self, id: &str) -> Option<Result<Option<String>, Response>> {
        let (scope, slice, id) = (self.scope.clone(), self.slice.name.clone(), id.to_owned());
        let found = self.readers.run(move |reader| reader.object(&scope, &slice, &id)).await.ok()?;
        Some(match found {
            Ok(Some(stored)) => Ok(Some(self.show(&stored.value))),
            Ok(None) => Ok(None),
            Err(error) => Err(failed(&error)),
        })
    }

    /// Objects from one on, as members of a JSON object, and the last of them if there may be more.
    async fn objects(&self, after: Option<String>, limit: usize) -> Option<Result<(String, Option<String>), Response>> {
        let (scope, slice, page) = (self.scope.clone(), self.slice.name.clone(), self.page);
        let max = limit.min(page.objects_max);
        let job = move |reader: &mut dyn crate::store::Reader| {
            let objects = reader.objects(&scope, &slice, after.as_deref(), max, page.bytes_max)?;
            let more = match objects.last() {
                Some((last, _)) => !reader.object_ids(&scope, &slice, Some(last), 1)?.is_empty(),
                None => false,
            };
            Ok((objects, more))
        };
        let (objects, more) = match self.readers.run(job).await.ok()? {
            Ok(found) => found,
            Err(error) => return Some(Err(failed(&error))),
        };
        let last = objects.last().filter(|_| more).map(|(id, _)| id.clone());
        let members: Vec<String> = objects.iter().map(|(id, stored)| member(id, &self.show(&stored.value))).collect();
        Some(Ok((format!("{{{}}}", members.join(",")), last)))
    }

    /// The answer, once.
    pub async fn once(self, path: &str) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        let single = if self.is_single() { Some(String::new()) } else { self.params.id.clone() };
        let (json, more) = match single {
            Some(id) => match self.object(&id).await {
                Some(Ok(Some(json))) => (json, None),
                Some(Ok(None)) => match &self.slice.initial {
                    Some(initial) => (self.show(initial), None),
                    None => return (StatusCode::NOT_FOUND, CORS_HEADERS, "there is no such object\n").into_response(),
                },
                Some(Err(response)) => return response,
                None => return stopping(),
            },
            None => match self.objects(self.params.after.clone(), self.params.limit.unwrap_or(usize::MAX)).await {
                Some(Ok(found)) => found,
                Some(Err(response)) => return response,
                None => return stopping(),
            },
        };
        let mut response = (headers, CORS_HEADERS, json + "\n").into_response();
        if let Some(last) = more {
            let limit = self.params.limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
            let link = format!("<{path}?after={}{limit}>; rel=\"next\"", escape(&last));
            if let Ok(link) = link.parse() {
                response.headers_mut().insert(header::LINK, link);
            }
            let exposed = header::HeaderValue::from_static("link");
            response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        response
    }

    /// The value now, then every change.
    pub fn stream(
        self,
        updates: broadcast::Receiver<Updates>,
        watchers: &Arc<Watchers>,
        admission: Admission,
        stop: CancellationToken,
    ) -> Response {
        let Some(watcher) = watchers.enter() else {
            metrics::refused("watchers");
            return (StatusCode::SERVICE_UNAVAILABLE, CORS_HEADERS, "too many watch already\n").into_response();
        };
        let next = if self.is_single() || self.params.id.is_some() { Next::One } else { Next::Part(None) };
        let state = Stream { asked: self, updates, stop, next, ready: VecDeque::new(), _held: (watcher, admission) };
        let events = stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((Ok::<_, Infallible>(event), state))
        });
        let headers = [(header::CACHE_CONTROL, "no-store")];
        (headers, CORS_HEADERS, Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE))).into_response()
    }
}

/// What a stream sends next.
enum Next {
    /// The one value.
    One,
    /// Objects after this one.
    Part(Option<String>),
    /// Changes.
    Changes,
    End,
}

struct Stream {
    asked: Asked,
    updates: broadcast::Receiver<Updates>,
    stop: CancellationToken,
    next: Next,
    ready: VecDeque<Event>,
    _held: (Watcher, Admission),
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match &self.next {
                Next::End => return None,
                Next::One => {
                    let id =
                        if self.asked.is_single() { "" } else { self.asked.params.id.as_deref().unwrap_or_default() };
                    let value = self.asked.object(id).await?.ok()?;
                    self.next = Next::Changes;
                    return Some(message(&value.unwrap_or_else(|| self.none())));
                }
                Next::Part(after) => {
                    let (json, last) = self.asked.objects(after.clone(), usize::MAX).await?.ok()?;
                    self.next = match last {
                        Some(last) => Next::Part(Some(last)),
                        None => Next::Changes,
                    };
                    return Some(message(&json));
                }
                Next::Changes => {
                    let updates = tokio::select! {
                        updates = self.updates.recv() => updates,
                        () = self.stop.cancelled() => return None,
                    };
                    match updates {
                        Ok(updates) => self.changed(&updates),
                        // Too slow, or the engine has stopped: who comes again gets the value anew.
                        Err(_) => {
                            self.next = Next::End;
                            let why = Event::default().event("end").data("reconnect for the value as it is now");
                            return Some(why);
                        }
                    }
                }
            }
        }
    }

    /// What is sent for an object that is not there.
    fn none(&self) -> String {
        self.asked.slice.initial.as_ref().map_or("null".into(), |initial| self.asked.show(initial))
    }

    fn changed(&mut self, updates: &Updates) {
        let asked = &self.asked;
        let value = |value: &Option<Bytes>| value.as_ref().map(|value| asked.show(value));
        let mine = updates.iter().filter(|update| update.slice == asked.slice.name);
        if asked.is_single() || asked.params.id.is_some() {
            let id = if asked.is_single() { "" } else { asked.params.id.as_deref().unwrap_or_default() };
            // Of several changes in one transaction, the last is how it was left.
            if let Some(last) = mine.filter(|update| update.id == id).last() {
                self.ready.push_back(message(&value(&last.value).unwrap_or_else(|| self.none())));
            }
            return;
        }
        let mut members = std::collections::BTreeMap::new();
        for update in mine {
            members.insert(update.id.as_str(), value(&update.value).unwrap_or_else(|| "null".into()));
        }
        if !members.is_empty() {
            let members: Vec<String> = members.iter().map(|(id, json)| member(id, json)).collect();
            let change = Event::default().event("change").data(lines(&format!("{{{}}}", members.join(","))));
            self.ready.push_back(change);
        }
    }
}

fn message(json: &str) -> Event {
    Event::default().data(lines(json))
}

/// An event cannot hold a carriage return. In JSON they only stand between values.
fn lines(json: &str) -> String {
    json.replace(['\r', '\n'], " ")
}

fn member(id: &str, json: &str) -> String {
    format!("{}:{json}", serde_json::Value::from(id))
}

/// An id as a part of a URL.
fn escape(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    id.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Whether an `Accept` header asks for a stream.
pub fn wants_stream(headers: &HeaderMap) -> bool {
    let asks = |value: &str| value.split(',').any(|range| range.trim().starts_with("text/event-stream"));
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(asks))
}

fn failed(error: &crate::store::StoreError) -> Response {
    rarely!(error, %error, "a state could not be read");
    (StatusCode::INTERNAL_SERVER_ERROR, CORS_HEADERS, "the state could not be read\n").into_response()
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, CORS_HEADERS, "the relay is shutting down\n").into_response()
}
