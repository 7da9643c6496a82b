//! Options of syncing with other relays.

use serde::{Deserialize, Serialize};

/// How this relay talks to other relays: those in `[[bridge.upstream]]`, and the one that `picorelay sync` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sync {
    /// Bytes of one message of another relay. A larger one ends the connection.
    pub message_bytes_max: usize,
    /// Events asked for in one REQ.
    pub page_events_max: usize,
    /// Such REQs that may be open at once.
    pub requests_max: usize,
    /// Events asked for in one REQ if a page has one second only, which may go on behind its end.
    pub second_page_events_max: usize,
    /// Events of one such second that are fetched, also in pieces.
    pub second_events_max: usize,
    /// Events of ours that are compared at a time, and events the other has more of, before the range of time is halved.
    pub range_events_max: usize,
    /// Bytes of one negentropy message, before hex.
    pub frame_bytes_max: u64,
    /// Messages to compare one range before REQs are used instead.
    pub rounds_max: u32,
    /// Received events that wait to be saved; more are not read from the socket until some are.
    pub intake_events_max: usize,
    /// Bytes of such events.
    pub intake_bytes_max: usize,
    /// Events that are taken from one upstream in a minute. One that sends more is read slower. 0: as fast as they come,
    /// as `picorelay sync` does.
    pub events_per_minute: u32,
    /// The same for bytes of events in a second.
    pub bytes_per_second: usize,
    /// Sent events that wait for their OK.
    pub events_in_flight_max: usize,
    /// Bytes of events to be sent.
    pub outbox_bytes_max: usize,
    /// Ids remembered of what another relay has, and of what it or this one refused, so that it is not sent again.
    pub known_ids_max: usize,
    /// Events that `picorelay sync` asks for again after it has sent them, chosen at random, to see whether the other relay
    /// keeps what it says it has taken. 0: none.
    pub sample_events_max: usize,
    /// False or unasked messages after which a relay is cut off.
    pub faults_max: u32,
    /// Times that a relay may say `rate-limited:` on end before it is given up for a while. Each makes the pause longer.
    pub retries_max: u32,
    /// Seconds that a handshake may take.
    pub connect_seconds: u64,
    /// Seconds without any answer to a request after which a relay is silent, and the connection ends.
    pub answer_seconds: u64,
    /// Seconds that one request may take in all, however slowly answers drip.
    pub request_seconds: u64,
    /// Seconds without a message after which the other is pinged; after twice that the connection ends.
    pub ping_seconds: u64,
    /// The longest pause between two attempts to connect, in seconds. The first is one second.
    pub pause_seconds_max: u64,
    /// Seconds after which everything is compared with an upstream again. One without negentropy that is connected to anew
    /// sooner than that is only asked for what is new.
    pub full_seconds: u64,
    /// Attempts of `picorelay sync`, one after the other without any progress, before it fails.
    pub attempts_max: u32,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            message_bytes_max: 1 << 20,
            page_events_max: 500,
            requests_max: 4,
            second_page_events_max: 5_000,
            second_events_max: 50_000,
            range_events_max: 50_000,
            frame_bytes_max: 64 * 1024,
            rounds_max: 500,
            intake_events_max: 1_000,
            intake_bytes_max: 16 << 20,
            events_per_minute: 30_000,
            bytes_per_second: 4 << 20,
            events_in_flight_max: 200,
            outbox_bytes_max: 4 << 20,
            known_ids_max: 100_000,
            sample_events_max: 200,
            faults_max: 100,
            retries_max: 8,
            connect_seconds: 15,
            answer_seconds: 30,
            request_seconds: 300,
            ping_seconds: 25,
            pause_seconds_max: 300,
            full_seconds: 3_600,
            attempts_max: 5,
        }
    }
}
