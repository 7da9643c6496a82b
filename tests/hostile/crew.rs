//! The attackers: a process that prepares, waits for the word "go", and plays until it is stopped.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::list::ATTACKS;
use crate::template::Files;

/// Nothing attacks for longer, whatever happens to the process that started it.
const SECONDS_MAX: u64 = 240;

/// What all attackers of one attack share.
pub(crate) struct Crew {
    pub(crate) relay: SocketAddr,
    /// Of all attackers together.
    pub(crate) connections: usize,
    addresses: usize,
    /// Prepared events.
    pub(crate) files: Files,
    /// The relay's data folder.
    pub(crate) data: PathBuf,
    pub(crate) stats: Stats,
    /// None: how fast they are makes no difference.
    link: Option<Link>,
    word: watch::Receiver<bool>,
}

/// What all attackers together can send: as much as a network of one gigabit a second carries. The loopback would carry
/// many times of that.
struct Link {
    began: Instant,
    /// When it is free again, in nanoseconds.
    free_at: AtomicU64,
}

impl Link {
    const NANOS_PER_BYTE: u64 = 8;

    /// Less than this is not waited for.
    const SLACK: Duration = Duration::from_millis(2);

    /// Waits until there is room for so many bytes.
    async fn carry(&self, bytes: u64) {
        let now = self.began.elapsed();
        let (now_nanos, takes) = (now.as_nanos() as u64, bytes * Self::NANOS_PER_BYTE);
        let begins = |free_at: u64| free_at.max(now_nanos);
        let update =
            self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| Some(begins(free_at) + takes));
        let wait = Duration::from_nanos(begins(update.unwrap_or_default())).saturating_sub(now);
        if wait > Self::SLACK {
            tokio::time::sleep(wait).await;
        }
    }
}

/// What the attackers saw.
#[derive(Default)]
pub(crate) struct Stats {
    /// Connections that were let in.
    pub(crate) opened: AtomicU64,
    /// Connections that were not.
    pub(crate) refused: AtomicU64,
    /// Connections that the relay ended.
    pub(crate) closed: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    /// Microseconds: of whom questions were about, and how long they took.
    pub(crate) times: Mutex<Vec<(String, u64)>>,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    fn json(&self) -> Value {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "opened": of(&self.opened),
            "refused": of(&self.refused),
            "closed": of(&self.closed),
            "bytes_sent": of(&self.bytes_sent),
            "times": *self.times.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }
}

impl Crew {
    /// The address that the connection of this number comes from.
    pub(crate) fn address(&self, number: usize) -> Ipv4Addr {
        match self.addresses {
            1 => Ipv4Addr::new(127, 0, 0, 2),
            many => Ipv4Addr::new(127, 0, 1, 1 + (number % many) as u8),
        }
    }

    /// Waits until so many bytes can be sent, and counts them.
    pub(crate) async fn send(&self, bytes: usize) {
        if let Some(link) = &self.link {
            link.carry(bytes as u64).await;
        }
        Stats::add(&self.stats.bytes_sent, bytes as u64);
    }

    /// Everything is prepared: says so, and waits for the word.
    pub(crate) async fn go(&self) {
        say("ready");
        let mut word = self.word.clone();
        let _ = word.wait_for(|go| *go).await;
    }
}

/// One line to who started the process.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who does not listen any more is gone, and the end of stdin says so.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Lines of stdin, until it ends.
pub(crate) fn each_line(mut heard: impl FnMut(&str) + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            heard(&line);
        }
        heard("stop");
    });
}

/// `NAME PORT CONNECTIONS ADDRESSES FILES DATA`.
pub(crate) fn main(arguments: &[&str]) -> ExitCode {
    let &[name, port, connections, addresses, files, data] = arguments else { panic!("{arguments:?}") };
    let attack = ATTACKS.iter().find(|attack| attack.name == name).expect("an attack");
    let (go, word) = watch::channel(false);
    let (stop, mut stopped) = watch::channel(false);
    each_line(move |line| match line {
        "go" => drop(go.send(true)),
        _ => drop(stop.send(true)),
    });
    let crew = Arc::new(Crew {
        relay: SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())),
        connections: connections.parse().unwrap(),
        addresses: addresses.parse().unwrap(),
        files: Files::in_folder(files.into()),
        data: data.into(),
        stats: Stats::default(),
        link: (!attack.is_for_memory).then(|| Link { began: Instant::now(), free_at: AtomicU64::new(0) }),
        word,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // A play that has come to its end has let go of what it held, and is over when it is stopped all the same.
        let play = async {
            (attack.play)(Arc::clone(&crew)).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = play => {}
            _ = stopped.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(Duration::from_secs(SECONDS_MAX)) => {}
        }
    });
    say(&crew.stats.json().to_string());
    // Thousands of tasks need not be taken down one by one.
    std::process::exit(0)
}
