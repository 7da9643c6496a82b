//! What was measured from one moment to another.

use std::time::Duration;

use serde_json::{Value, json};

/// What became of one thing that was done again and again.
#[derive(Default)]
pub(crate) struct Samples {
    /// Milliseconds of each one that came to an end, or was given up.
    millis: Vec<f64>,
    done: u64,
    /// Refused by the relay in so many words.
    refused: u64,
    /// Without an answer, or the connection ended.
    failed: u64,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Done,
    Refused,
    Failed,
}

impl Samples {
    pub(crate) fn add(&mut self, end: End, took: Duration) {
        self.millis.push(took.as_secs_f64() * 1000.0);
        match end {
            End::Done => self.done += 1,
            End::Refused => self.refused += 1,
            End::Failed => self.failed += 1,
        }
    }

    pub(crate) fn json(mut self) -> Value {
        self.millis.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let last = self.millis.len().saturating_sub(1) as f64;
            self.millis.get((last * part).round() as usize).copied().unwrap_or_default()
        };
        json!({
            "done": self.done,
            "refused": self.refused,
            "failed": self.failed,
            "p50": at(0.5),
            "p99": at(0.99),
            "max": at(1.0),
        })
    }
}

/// The same, read again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// In a second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Measured {
    pub(crate) fn read(json: &Value, seconds: f64) -> Self {
        let count = |name: &str| json[name].as_u64().unwrap();
        let millis = |name: &str| json[name].as_f64().unwrap();
        Self {
            done: count("done"),
            refused: count("refused"),
            failed: count("failed"),
            rate: count("done") as f64 / seconds,
            p50: millis("p50"),
            p99: millis("p99"),
            max: millis("max"),
        }
    }

    /// Of all attempts, those that worked.
    pub(crate) fn share_done(&self) -> f64 {
        let all = self.done + self.refused + self.failed;
        if all == 0 { 0.0 } else { self.done as f64 / all as f64 }
    }
}

/// What the healthy clients did in one window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) publish: Measured,
    pub(crate) query: Measured,
    pub(crate) connect: Measured,
    pub(crate) negentropy: Measured,
}

impl Window {
    pub(crate) fn read(json: &Value) -> Self {
        let seconds = json["seconds"].as_f64().unwrap();
        let of = |name: &str| Measured::read(&json[name], seconds);
        Self { publish: of("publish"), query: of("query"), connect: of("connect"), negentropy: of("negentropy") }
    }
}
