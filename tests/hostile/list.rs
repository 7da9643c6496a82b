//! The attacks.

use crate::attack::{Also, Attack, attack, play};
use crate::play::{
    beside, frames, http, memory, negentropy, queries, rooms, rubbish, signatures, slow, timing, traffic,
};

/// A relay that notices within seconds what otherwise takes minutes.
const LET_GO_SOON: &str = "[server]\nsend_seconds = 5\n[limits]\nping_seconds = 2\n";

const FEW_PLACES: &str = "[limits]\nconnections_max = 100\n";

const BOARD: &str = "[[pico.room]]\nname = 'board'\nslices = ['tasks']\n";

/// All of them, each by itself.
pub(crate) const ATTACKS: &[Attack] = &[
    // Signatures.
    attack("false signatures", "falsely signed events, without end", 40, play!(signatures::steady))
        .and_from_20()
        .short(1),
    attack("false signatures, reconnecting", "5,600, leave, come again", 20, play!(signatures::reconnecting))
        .and_from_20()
        .short(20),
    attack("false signatures, one at a time", "5,600, leave, come again", 1, play!(signatures::reconnecting)),
    // Queries.
    attack("search 12 common words", "12 filters of one word", 1, play!(queries::common_words)).short(1),
    attack("search 12 common words, calm publisher", "12 filters of one word", 1, play!(queries::common_words)).calm(),
    attack("search 12 common words, many", "12 filters of one word", 20, play!(queries::common_words)).and_from_20(),
    attack("search 8 words together", "one filter of 8 common words", 20, play!(queries::many_words))
        .and_from_20()
        .short(1),
    attack("query 7,600 authors, one", "20 filters of 380 authors", 1, play!(queries::many_authors)),
    attack("query 7,600 authors", "20 filters of 380 authors", 20, play!(queries::many_authors)).and_from_20().short(1),
    attack("query nothing, one", "20 filters that match nothing", 1, play!(queries::nothing)),
    attack("query nothing", "20 filters that match nothing", 20, play!(queries::nothing)).and_from_20().short(20),
    attack("count everything", "COUNT {}", 20, play!(queries::count_everything)).and_from_20().short(1),
    attack("deep scans", "deep until, the commonest topic", 20, play!(queries::deep_scans)).and_from_20(),
    // Negentropy.
    attack("NEG-OPEN flood", "sessions about everything", 20, play!(negentropy::open_flood)).and_from_20().short(1),
    attack("NEG-MSG flood", "sums of everything", 10, play!(negentropy::message_flood)).and_from_20(),
    attack("NEG sessions held", "100 sessions and silence", 1, play!(negentropy::hold)).also(Also::Negentropy).short(1),
    attack("NEG memory", "100 sessions about very many events", 4, play!(negentropy::hoard))
        .large()
        .for_memory()
        .seconds(30),
    // Rubbish.
    attack("JSON bombs", "512 KiB of deep or wide JSON", 20, play!(rubbish::json_bombs)).and_from_20().short(1),
    attack("garbage", "what is no message", 20, play!(rubbish::garbage)).and_from_20(),
    attack("giant messages", "up to 2 MB", 20, play!(rubbish::giants)).and_from_20(),
    attack("pings", "pings", 20, play!(frames::pings)).and_from_20(),
    attack("fragments of 1 byte", "frames of 1 byte", 20, play!(frames::one_byte)).and_from_20(),
    attack("fragments of 0 bytes", "empty frames", 20, play!(frames::empty)).and_from_20(),
    // What is allowed, in masses.
    attack("duplicates", "events that are stored", 40, play!(traffic::duplicates)).and_from_20(),
    attack("ephemeral", "ephemeral events", 20, play!(traffic::ephemeral)).and_from_20(),
    attack("AUTH flood", "AUTH for other challenges", 20, play!(traffic::auth)).and_from_20(),
    attack("come and go", "connect, leave", 20, play!(traffic::come_and_go)).and_from_20(),
    attack("subscribe and close", "REQ, CLOSE", 20, play!(traffic::subscribe_and_close)).and_from_20(),
    attack(
        "10,000 live subscriptions, 100 each",
        "all match everything",
        100,
        play!(traffic::subscriptions_to_everything),
    )
    .and_from_20(),
    attack(
        "10,000 live subscriptions, 10 each",
        "all match everything",
        1_000,
        play!(traffic::ten_subscriptions_to_everything),
    )
    .and_from_20(),
    // Those who are slow.
    attack("never read", "4 REQ of 5,000 events, unread", 100, play!(slow::never_read)).and_from_20(),
    attack("never read, 1,000", "4 REQ of 5,000 events, unread", 1_000, play!(slow::never_read))
        .and_from_20()
        .also(Also::Stops)
        .short(20),
    attack("never read, let go", "unread, silent", 40, play!(slow::never_read))
        .with(LET_GO_SOON)
        .also(Also::LetsGo(20))
        .short(1),
    attack("never read, live, let go", "unread, with pongs", 40, play!(slow::never_read_but_live))
        .with(LET_GO_SOON)
        .also(Also::LetsGo(20)),
    attack("never read, let go by default", "unread, silent", 20, play!(slow::never_read)).also(Also::LetsGo(150)),
    attack("all places", "150 unread connections where 100 have a place", 150, play!(slow::idle))
        .with(FEW_PLACES)
        .short(1),
    attack("all places, unread", "150 unread connections where 100 have a place", 150, play!(slow::never_read))
        .with(FEW_PLACES),
    attack("10,500 connections", "all stay", 10_500, play!(slow::idle)).and_from_20().seconds(15),
    attack("half open", "TCP and nothing else", 5_000, play!(slow::half_open)).and_from_20().also(Also::Stops).short(1),
    attack("slowloris", "a byte of a request a second", 3_000, play!(slow::slowloris)).and_from_20().also(Also::Stops),
    attack("unfinished messages", "510 of 520 kB, then silence", 1_000, play!(slow::unfinished))
        .and_from_20()
        .also(Also::Stops),
    // Memory.
    attack("memory of subscriptions", "100 x 7,600 values each", 60, play!(memory::subscriptions))
        .and_from_20()
        .for_memory()
        .seconds(30),
    attack("memory of events", "860 small and 139 of 500 kB in flight", 60, play!(memory::events_in_flight))
        .and_from_20()
        .for_memory()
        .short(1)
        .seconds(15),
    attack("memory of peers", "2 false feeds of 7 MB each", 150, play!(rooms::large_false_feeds))
        .and_from_20()
        .for_memory()
        .seconds(15),
    // HTTP.
    attack("huge headers", "heads of 100 kB", 50, play!(http::huge_headers)).and_from_20(),
    attack("large posts", "bodies of 1 MiB", 50, play!(http::large_posts)).and_from_20(),
    attack("pages", "GET / and what is not there", 50, play!(http::pages)).and_from_20(),
    attack("metrics", "GET /metrics", 20, play!(http::metrics)).and_from_20(),
    attack("room pages", "GET /pico/<room>", 20, play!(http::room_pages)).and_from_20(),
    attack("streams of state", "1,100 event streams", 1_100, play!(http::streams)).with(BOARD).and_from_20(),
    // Rooms.
    attack("room squatting", "1,000 rooms with a tiny block, one by one", 1, play!(rooms::squat))
        .also(Also::NewApp)
        .seconds(15),
    attack("room squatting, at once", "1,000 rooms with a tiny block", 50, play!(rooms::squat))
        .and_from_20()
        .also(Also::NewApp)
        .short(1),
    attack("false feeds", "blocks with false signatures", 20, play!(rooms::small_false_feeds))
        .and_from_20()
        .also(Also::Closes),
    attack("true feeds", "feeds of 1,000 blocks", 20, play!(rooms::true_feeds)).and_from_20(),
    attack("pings of peers", "pings in a room", 20, play!(rooms::pings)).and_from_20(),
    attack("questions of peers", "QUERY, without end", 20, play!(rooms::questions)).and_from_20(),
    // Beside the relay.
    attack("open read transaction", "BEGIN and SELECT of another process", 1, play!(beside::open_transaction))
        .calm()
        .short(1),
    attack("slow export", "`picorelay export` into a slow pipe", 1, play!(beside::slow_export)).calm(),
    attack("time tells", "who has private messages", 1, play!(timing::questions)).also(Also::SameTime).short(1),
];
