//! What is counted. Names and labels of all metrics are listed here; code elsewhere counts with
//! `metrics::counter!(EVENTS, "outcome" => "accepted")` and the like. Labels never carry addresses, keys or ids.

/// Connections that are open.
pub const CONNECTIONS: &str = "picorelay_connections";
/// Connections since the start, by `outcome`: accepted, full, full_address, false_events.
pub const CONNECTIONS_TOTAL: &str = "picorelay_connections_total";
/// Requests by HTTP that were refused, by `reason`: requests (too many from the address), handshake (for a WebSocket, and not
/// as it must be), room (there is none of that name), watchers (too many watch the state of rooms), not_loaded (the slices of
/// the room). Connections for which there is no place are counted in [`CONNECTIONS_TOTAL`], peers for which a room has none
/// in [`PICO_CLOSES`].
pub const HTTP_REFUSED: &str = "picorelay_http_refused_total";
/// Connections that had not said what they want and were ended because others came.
pub const WAITING_CLOSES: &str = "picorelay_waiting_closes_total";
/// Messages of clients, by `type`: EVENT, REQ, CLOSE, AUTH, COUNT, NEG-OPEN, NEG-MSG, NEG-CLOSE, other.
pub const MESSAGES: &str = "picorelay_messages_total";
/// Events that came in, by `outcome` (accepted, ephemeral, duplicate, superseded, deleted, vanished, expired, invalid,
/// rejected, failed) and `reason` (empty unless invalid or rejected).
pub const EVENTS: &str = "picorelay_events_total";
/// Events sent to clients, by `phase`: stored, live.
pub const EVENTS_SENT: &str = "picorelay_events_sent_total";
/// Queries, by `type`: REQ, COUNT, NEG-OPEN.
pub const QUERIES: &str = "picorelay_queries_total";
/// Index entries and events that queries looked at, whether they matched or not.
pub const QUERY_EXAMINED: &str = "picorelay_query_examined_total";
/// Seconds from a query to the end of its stored events, by `type`.
pub const QUERY_SECONDS: &str = "picorelay_query_seconds";
/// Seconds of a commit, fsync included.
pub const COMMIT_SECONDS: &str = "picorelay_commit_seconds";
/// Events of a commit.
pub const COMMIT_EVENTS: &str = "picorelay_commit_events";
/// Clients closed because they read more slowly than events came.
pub const OUTBOX_CLOSES: &str = "picorelay_outbox_closes_total";
/// Connections that were let go because the other end took nothing of what waited for it.
pub const STALLED_CLOSES: &str = "picorelay_stalled_closes_total";
/// Peers that are connected to pico rooms.
pub const PICO_PEERS: &str = "picorelay_pico_peers";
/// Rooms that are open.
pub const PICO_ROOMS: &str = "picorelay_pico_rooms";
/// Frames of peers, by `outcome`: read, malformed, or why they were ignored (unknown_port, unknown_type, node_id_twice,
/// stray_answer, unanswered, upload_refused, text, too_many_queries, slowed).
pub const PICO_FRAMES: &str = "picorelay_pico_frames_total";
/// Blocks that were merged, by `outcome`: new, known, orphan, fork, second_genesis, over_.., rejected, postponed, evicted,
/// dropped, failed.
pub const PICO_BLOCKS: &str = "picorelay_pico_blocks_total";
/// Feeds that were refused before that, by `reason`: signature, key, author, parent, header, size, ..
pub const PICO_REFUSED: &str = "picorelay_pico_refused_total";
/// Blocks that the slices of a room rejected, by `room`, `slice` (empty: no slice was asked) and `reason`, of which only the
/// first few of a slice are told apart.
pub const PICO_REJECTED: &str = "picorelay_pico_rejected_total";
/// Feeds sent to peers, by `phase`: stored, live.
pub const PICO_FEEDS_SENT: &str = "picorelay_pico_feeds_sent_total";
/// Connections that ended, by `reason`.
pub const PICO_CLOSES: &str = "picorelay_pico_closes_total";
/// Failures of slices that are scripts: exceptions, too much time or memory, results without meaning.
pub const SLICE_FAULTS: &str = "picorelay_script_faults_total";
/// Slices that failed too often and are not asked for a while.
pub const SLICES_DISABLED: &str = "picorelay_script_disabled";
/// Threads that are held up by a slice that cannot be stopped.
pub const SCRIPTS_STUCK: &str = "picorelay_script_stuck";
/// Starts of the program that judges events.
pub const PLUGIN_STARTS: &str = "picorelay_policy_plugin_starts_total";
/// Events of blocks that were published, by `outcome`: saved, duplicate, superseded, refused.
pub const BRIDGE_EVENTS: &str = "picorelay_bridge_events_total";
/// Blocks in events, by `outcome`: offered (to their room), false_chain, no_room, invalid.
pub const BRIDGE_BLOCKS: &str = "picorelay_bridge_blocks_total";
/// Events that were chosen for a room, by `outcome`: written, known, too_long, too_many, no_room, refused.
pub const BRIDGE_NOTES: &str = "picorelay_bridge_notes_total";
/// 1 for each upstream relay that is connected, 0 for one that is not, by `upstream`: its host.
pub const UPSTREAM_CONNECTED: &str = "picorelay_upstream_connected";
/// Connections to upstream relays, by `upstream` and `outcome`: connected, and why they ended (unreachable, gone, silent,
/// refused, rate_limited, lies, too_long, failed, stopped).
pub const UPSTREAM_CONNECTIONS: &str = "picorelay_upstream_connections_total";
/// Events between this relay and upstream relays, by `upstream` and `outcome`: received, known, refused, failed, missing
/// (offered and not given), sent, sent_refused.
pub const UPSTREAM_EVENTS: &str = "picorelay_upstream_events_total";
/// Subscriptions that are open.
pub const SUBSCRIPTIONS: &str = "picorelay_subscriptions";
/// Events in the store, roughly.
pub const STORE_EVENTS: &str = "picorelay_store_events";
/// Bytes of the database on disk.
pub const STORE_BYTES: &str = "picorelay_store_bytes";

const SECONDS: &[f64] = &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
const BATCH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10_000.0];

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down, 0 at the start.
    Gauge,
    /// A gauge that has no value until there is something to label it with.
    LabelledGauge,
    /// How often a value fell below each of these bounds.
    Histogram(&'static [f64]),
}

/// Every metric: its kind and its help text.
pub const LIST: &[(&str, Kind, &str)] = &[
    (CONNECTIONS, Kind::Gauge, "Connections that are open"),
    (CONNECTIONS_TOTAL, Kind::Counter, "Connections since the start, by outcome"),
    (HTTP_REFUSED, Kind::Counter, "Requests by HTTP that were refused, by reason"),
    (WAITING_CLOSES, Kind::Counter, "Connections that had said nothing and were ended because others came"),
    (MESSAGES, Kind::Counter, "Messages of clients, by type"),
    (EVENTS, Kind::Counter, "Events that came in, by outcome and reason"),
    (EVENTS_SENT, Kind::Counter, "Events sent to clients, by phase (stored or live)"),
    (QUERIES, Kind::Counter, "Queries, by type"),
    (QUERY_EXAMINED, Kind::Counter, "Index entries and events that queries looked at"),
    (QUERY_SECONDS, Kind::Histogram(SECONDS), "Seconds from a query to the end of its stored events"),
    (COMMIT_SECONDS, Kind::Histogram(SECONDS), "Seconds of a commit, fsync included"),
    (COMMIT_EVENTS, Kind::Histogram(BATCH), "Events of a commit"),
    (OUTBOX_CLOSES, Kind::Counter, "Clients closed because they read too slowly"),
    (STALLED_CLOSES, Kind::Counter, "Connections let go because the other end took nothing"),
    (PICO_PEERS, Kind::Gauge, "Peers that are connected to pico rooms"),
    (PICO_ROOMS, Kind::Gauge, "Pico rooms that are open"),
    (PICO_FRAMES, Kind::Counter, "Frames of peers, by outcome"),
    (PICO_BLOCKS, Kind::Counter, "Blocks of peers that were merged, by outcome"),
    (PICO_REFUSED, Kind::Counter, "Feeds of peers that were refused, by reason"),
    (PICO_REJECTED, Kind::Counter, "Blocks that slices rejected, by room, slice and reason"),
    (PICO_FEEDS_SENT, Kind::Counter, "Feeds sent to peers, by phase (stored or live)"),
    (PICO_CLOSES, Kind::Counter, "Connections of peers that ended, by reason"),
    (SLICE_FAULTS, Kind::Counter, "Failures of slices that are scripts, by room (or nostr) and slice"),
    (
        SLICES_DISABLED,
        Kind::LabelledGauge,
        "Slices that failed too often and are not asked for a while, by room (or nostr)",
    ),
    (SCRIPTS_STUCK, Kind::Gauge, "Threads that are held up by a slice that cannot be stopped"),
    (PLUGIN_STARTS, Kind::Counter, "Starts of the program that judges events"),
    (BRIDGE_EVENTS, Kind::Counter, "Events made of blocks of pico rooms, by outcome"),
    (BRIDGE_BLOCKS, Kind::Counter, "Blocks in events, by outcome"),
    (BRIDGE_NOTES, Kind::Counter, "Events chosen for pico rooms, by outcome"),
    (UPSTREAM_CONNECTED, Kind::LabelledGauge, "Whether an upstream relay is connected"),
    (UPSTREAM_CONNECTIONS, Kind::Counter, "Connections to upstream relays, by outcome"),
    (UPSTREAM_EVENTS, Kind::Counter, "Events from and to upstream relays, by outcome"),
    (SUBSCRIPTIONS, Kind::Gauge, "Subscriptions that are open"),
    (STORE_EVENTS, Kind::Gauge, "Events in the store, roughly"),
    (STORE_BYTES, Kind::Gauge, "Bytes of the database on disk"),
];

/// Declares all metrics; those without labels are shown as 0 from the start.
pub fn describe() {
    for (name, kind, help) in LIST {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => {
                metrics::describe_gauge!(*name, *help);
                metrics::gauge!(*name).set(0.0);
            }
            Kind::LabelledGauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram(_) => metrics::describe_histogram!(*name, *help),
        }
    }
    metrics::counter!(OUTBOX_CLOSES).absolute(0);
    metrics::counter!(PLUGIN_STARTS).absolute(0);
    metrics::counter!(WAITING_CLOSES).absolute(0);
}

/// Counts an event that came in.
pub fn event(outcome: &'static str, reason: &'static str) {
    metrics::counter!(EVENTS, "outcome" => outcome, "reason" => reason).increment(1);
}

/// Counts events that came in, all with the same outcome.
pub fn events(outcome: &'static str, count: u64) {
    metrics::counter!(EVENTS, "outcome" => outcome, "reason" => "").increment(count);
}

/// Counts a request by HTTP that is refused.
pub fn refused(reason: &'static str) {
    metrics::counter!(HTTP_REFUSED, "reason" => reason).increment(1);
}

/// Counts a query and its time.
pub fn query(kind: &'static str, took: std::time::Duration) {
    metrics::counter!(QUERIES, "type" => kind).increment(1);
    metrics::histogram!(QUERY_SECONDS, "type" => kind).record(took);
}

/// Counts events sent.
pub fn sent(phase: &'static str, count: usize) {
    metrics::counter!(EVENTS_SENT, "phase" => phase).increment(count as u64);
}

/// Counts a commit.
pub fn commit(took: std::time::Duration, events: usize) {
    metrics::histogram!(COMMIT_SECONDS).record(took);
    metrics::histogram!(COMMIT_EVENTS).record(events as f64);
}
