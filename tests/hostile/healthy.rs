//! The healthy clients: one publishes, one asks, one looks whether connections are let in, and one listens to the first.
//! Each does the next thing when the last one is answered. They come from 127.0.0.1.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::crew::{each_line, say};
use crate::line::websocket;
use crate::template::Files;
use crate::window::{End, Samples};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// One without an answer for so long tries anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// At the end of a window, what is under way may still come to its end.
const GRACE: Duration = Duration::from_millis(300);

/// Between an OK and the next event, so that the messages stay below the budget of an address.
const PUBLISH_PAUSE: Duration = Duration::from_millis(2);

/// The same for a publisher who takes its time.
const CALM_PAUSE: Duration = Duration::from_millis(60);

const CONNECT_PAUSE: Duration = Duration::from_millis(250);
const NEGENTROPY_PAUSE: Duration = Duration::from_millis(500);

type Socket = WebSocketStream<TcpStream>;

/// What all of them share.
struct Ward {
    port: u16,
    /// Whether they act. Between windows they rest.
    runs: watch::Receiver<bool>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    publish: Samples,
    query: Samples,
    connect: Samples,
    negentropy: Samples,
    /// Events with an OK that the listener has not been sent.
    unheard: HashSet<String>,
    /// Events that the listener was sent before their OK was read.
    early: HashSet<String>,
}

/// What is asked on one connection: gives the message of a number, and says what an answer to it means.
trait Asker: Send + Sync + 'static {
    /// Between an answer and the next question.
    fn pause(&self) -> Duration;
    fn message(&mut self, number: usize) -> String;
    /// None: it is no answer to that.
    fn end(&mut self, answer: &str) -> Option<End>;
    fn samples(tally: &mut Tally) -> &mut Samples;
    /// What is said when the answer has come.
    fn last_words(&self) -> Option<&'static str> {
        None
    }
    /// An attempt worked.
    fn done(&self, _tally: &mut Tally) {}
}

struct Publisher {
    events: Vec<String>,
    pause: Duration,
    /// Of the event that was sent last.
    id: String,
}

struct Reader {
    filters: Vec<String>,
    pause: Duration,
}

struct Reconciler(String);

impl Asker for Publisher {
    fn pause(&self) -> Duration {
        self.pause
    }

    fn message(&mut self, number: usize) -> String {
        let event = self.events.get(number).expect("enough events are prepared");
        self.id = id_of(event).to_owned();
        format!(r#"["EVENT",{event}]"#)
    }

    fn end(&mut self, answer: &str) -> Option<End> {
        let rest = answer.strip_prefix(r#"["OK",""#)?.strip_prefix(self.id.as_str())?;
        Some(if rest.starts_with(r#"",true"#) { End::Done } else { End::Refused })
    }

    fn samples(tally: &mut Tally) -> &mut Samples {
        &mut tally.publish
    }

    fn done(&self, tally: &mut Tally) {
        if !tally.early.remove(&self.id) {
            tally.unheard.insert(self.id.clone());
        }
    }
}

impl Asker for Reader {
    fn pause(&self) -> Duration {
        self.pause
    }

    fn message(&mut self, number: usize) -> String {
        // Each takes the place of the one before.
        format!(r#"["REQ","q",{}]"#, self.filters[number % self.filters.len()])
    }

    fn end(&mut self, answer: &str) -> Option<End> {
        match answer {
            _ if answer.starts_with(r#"["EOSE""#) => Some(End::Done),
            _ if answer.starts_with(r#"["CLOSED""#) || answer.starts_with(r#"["NOTICE""#) => Some(End::Refused),
            _ => None,
        }
    }

    fn samples(tally: &mut Tally) -> &mut Samples {
        &mut tally.query
    }
}

impl Asker for Reconciler {
    fn pause(&self) -> Duration {
        NEGENTROPY_PAUSE
    }

    fn message(&mut self, _number: usize) -> String {
        // The answer to a message of a version alone says that the session is open.
        format!(r#"["NEG-OPEN","n",{{"authors":["{}"]}},"61"]"#, self.0)
    }

    fn last_words(&self) -> Option<&'static str> {
        // Somebody else can have the place meanwhile.
        Some(r#"["NEG-CLOSE","n"]"#)
    }

    fn end(&mut self, answer: &str) -> Option<End> {
        match answer {
            _ if answer.starts_with(r#"["NEG-MSG""#) => Some(End::Done),
            _ if answer.starts_with(r#"["NEG-ERR""#) || answer.starts_with(r#"["NOTICE""#) => Some(End::Refused),
            _ => None,
        }
    }

    fn samples(tally: &mut Tally) -> &mut Samples {
        &mut tally.negentropy
    }
}

/// Asks, and waits for the answer. None: the connection ended.
async fn answer<A: Asker>(socket: &mut Socket, asker: &mut A, number: usize) -> Option<End> {
    socket.send(Message::text(asker.message(number))).await.ok()?;
    loop {
        if let Message::Text(answer) = socket.next().await?.ok()?
            && let Some(end) = asker.end(&answer)
        {
            if let Some(words) = asker.last_words() {
                socket.send(Message::text(words)).await.ok()?;
            }
            return Some(end);
        }
    }
}

/// The id of an event as the tests write it.
fn id_of(event: &str) -> &str {
    let (_, rest) = event.split_once(r#""id":""#).expect("an event has an id");
    &rest[..64]
}

impl Ward {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(&self) -> Option<Socket> {
        websocket(self.port, HERE, "/").await
    }

    /// Waits until the next window, or until this one ends.
    async fn until(&self, is_running: bool) {
        let mut runs = self.runs.clone();
        let _ = runs.wait_for(|runs| *runs == is_running).await;
    }

    /// What comes of an attempt; none if it takes too long, or its window ends long before it.
    async fn attempt<T>(&self, attempt: impl Future<Output = Option<T>>) -> Option<T> {
        let window_ends = async {
            self.until(false).await;
            sleep(GRACE).await;
        };
        tokio::select! {
            result = timeout(PATIENCE, attempt) => result.ok().flatten(),
            () = window_ends => None,
        }
    }

    /// Asks one thing after the other, for ever.
    async fn ask<A: Asker>(self: Arc<Self>, mut asker: A) {
        let mut socket = None;
        for number in 0.. {
            self.until(true).await;
            let began = Instant::now();
            let answered = self.attempt(async {
                if socket.is_none() {
                    socket = self.connected().await;
                }
                answer(socket.as_mut()?, &mut asker, number).await
            });
            let end = answered.await.unwrap_or(End::Failed);
            if end == End::Failed {
                socket = None;
            }
            self.note(&asker, end, began.elapsed());
            sleep(asker.pause()).await;
        }
    }

    fn note<A: Asker>(&self, asker: &A, end: End, took: Duration) {
        let mut tally = self.tally();
        A::samples(&mut tally).add(end, took);
        if end == End::Done {
            asker.done(&mut tally);
        }
    }

    /// Looks now and then whether somebody new is let in.
    async fn knock(self: Arc<Self>) {
        loop {
            self.until(true).await;
            let began = Instant::now();
            let connected = self.attempt(self.connected()).await;
            let end = if connected.is_some() { End::Done } else { End::Failed };
            self.tally().connect.add(end, began.elapsed());
            sleep(CONNECT_PAUSE).await;
        }
    }

    /// Hears what the publisher publishes.
    async fn listen(self: Arc<Self>, mut socket: Socket) {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && text.starts_with(r#"["EVENT""#)
            {
                let id = id_of(&text);
                let mut tally = self.tally();
                if !tally.unheard.remove(id) {
                    tally.early.insert(id.to_owned());
                }
            }
        }
    }

    /// What was done since the last window.
    fn window(&self, began: Instant) -> Value {
        let mut tally = self.tally();
        let take = |samples: &mut Samples| std::mem::take(samples).json();
        json!({
            "seconds": began.elapsed().as_secs_f64(),
            "publish": take(&mut tally.publish),
            "query": take(&mut tally.query),
            "connect": take(&mut tally.connect),
            "negentropy": take(&mut tally.negentropy),
        })
    }

    /// How many events with an OK the listener is not sent, though there is time.
    async fn unheard(&self) -> usize {
        let end = tokio::time::Instant::now() + PATIENCE;
        let heard = async {
            while !self.tally().unheard.is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout_at(end, heard).await;
        self.tally().unheard.len()
    }
}

/// `PORT FILES QUERY_PAUSE_MS [negentropy] [calm]`. Answers to lines: `run`, after which they act; `rest`, with what they did since; `unheard`.
pub(crate) fn main(arguments: &[&str]) -> ExitCode {
    let [port, files, query_pause, extra @ ..] = arguments else { panic!("{arguments:?}") };
    let files = Files::in_folder(Path::new(files).to_owned());
    let (orders, mut heard) = tokio::sync::mpsc::channel(16);
    each_line(move |line| drop(orders.blocking_send(line.to_owned())));
    let (run, runs) = watch::channel(false);
    let ward = Arc::new(Ward { port: port.parse().unwrap(), runs, tally: Mutex::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let events = files.healthy();
        let author: Value = serde_json::from_str(&events[0]).unwrap();
        let author = author["pubkey"].as_str().unwrap().to_owned();
        let mut listener = ward.connected().await.expect("a new relay lets clients in");
        let request = json!(["REQ", "live", {"authors": [author], "limit": 0}]);
        listener.send(Message::text(request.to_string())).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&ward).listen(listener));
        let pause = if extra.contains(&"calm") { CALM_PAUSE } else { PUBLISH_PAUSE };
        tasks.spawn(Arc::clone(&ward).ask(Publisher { events, pause, id: String::new() }));
        let reader = Reader { filters: files.questions(), pause: Duration::from_millis(query_pause.parse().unwrap()) };
        tasks.spawn(Arc::clone(&ward).ask(reader));
        tasks.spawn(Arc::clone(&ward).knock());
        if extra.contains(&"negentropy") {
            tasks.spawn(Arc::clone(&ward).ask(Reconciler(files.author())));
        }
        say("ready");
        let mut began = Instant::now();
        while let Some(order) = heard.recv().await {
            match order.as_str() {
                "run" => {
                    began = Instant::now();
                    let _ = run.send(true);
                }
                "rest" => {
                    let ended = began.elapsed();
                    let _ = run.send(false);
                    sleep(GRACE + Duration::from_millis(50)).await;
                    let mut window = ward.window(began);
                    window["seconds"] = ended.as_secs_f64().into();
                    say(&window.to_string());
                }
                "unheard" => say(&ward.unheard().await.to_string()),
                _ => break,
            }
        }
    });
    std::process::exit(0)
}
