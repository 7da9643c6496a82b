//! The scripts: what each case is about, and its steps.

/// What is saved, and what takes the place of what (NIP-01, NIP-40).
pub(super) const SAVING: &[(&str, &str)] = &[
    (
        "an event is stored once",
        "
        event a alice 1 @10
        event b alice 1 @11
        save a => new
        save a a b b a => dup dup new dup dup
        ask {} => b a finish
        stored a b
    ",
    ),
    (
        "the newest of a replaceable kind stays",
        "
        event old alice 0 @10
        event new alice 0 @11
        event contacts alice 3 @9
        event bobs bob 0 @9
        orders old new contacts bobs => new contacts bobs
        save old => new
        save new => new - old
        save old => superseded
        gone old
        save contacts bobs => new new
        ask {\"kinds\":[0],\"authors\":[\"$alice\"]} => new finish
    ",
    ),
    (
        "of replaceable events of one second the lowest id stays",
        "
        event x alice 10002 @10 1
        event y alice 10002 @10 2
        event z alice 10002 @10 3
        sort x y z
        orders x y z => x
        save y => new
        save z => superseded
        save x => new - y
        save y z x => superseded superseded dup
        ask {} => x finish
    ",
    ),
    (
        "of addressable events of one second the lowest id stays",
        "
        event x alice 30023 @10 [[\"d\",\"a\"]] 1
        event y alice 30023 @10 [[\"d\",\"a\"]] 2
        event z alice 30023 @10 [[\"d\",\"a\"]] 3
        event other alice 30023 @10 [[\"d\",\"b\"]] 4
        sort x y z
        orders x y z other => x other
    ",
    ),
    (
        "a newer version wins over a lower id",
        "
        event x alice 10002 @10 1
        event y alice 10002 @10 2
        sort x y
        event new alice 10002 @11
        orders x y new => new
    ",
    ),
    (
        "addressable events differ by kind, author and d",
        "
        event a alice 30023 @10 [[\"d\",\"x\"]]
        event b alice 30024 @11 [[\"d\",\"x\"]]
        event c bob 30023 @12 [[\"d\",\"x\"]]
        event d alice 30023 @13 [[\"d\",\"X\"]]
        event e alice 30023 @14 [[\"d\",\"x \"]]
        event f alice 30023 @15 [[\"t\",\"x\"],[\"d\",\"x\",\"y\"],[\"d\",\"X\"]]
        save a b c d e => new new new new new
        save f => new - a
        ask {} => f e d c b finish
    ",
    ),
    (
        "a missing d is an empty one",
        "
        event none alice 30000 @10
        event bare alice 30000 @11 [[\"d\"]]
        event empty alice 30000 @12 [[\"d\",\"\"]]
        event more alice 30000 @13 [[\"d\",\"\",\"x\"]]
        orders none bare empty more => more
        save none => new
        save bare => new - none
        save empty => new - bare
        save none bare => superseded superseded
    ",
    ),
    (
        "the d of a replaceable kind means nothing",
        "
        event a alice 10002 @10 [[\"d\",\"x\"]]
        event b alice 10002 @11 [[\"d\",\"y\"]]
        orders a b => b
    ",
    ),
    (
        "classes end where NIP-01 says",
        "
        event a1 alice 9999 @10 1
        event a2 alice 9999 @11 2
        event b1 alice 10000 @10 1
        event b2 alice 10000 @11 2
        event c1 alice 19999 @10 1
        event c2 alice 19999 @11 2
        event d1 alice 30000 @10 1
        event d2 alice 30000 @11 2
        event e1 alice 39999 @10 1
        event e2 alice 39999 @11 2
        event f1 alice 40000 @10 1
        event f2 alice 40000 @11 2
        event g1 alice 41 @10 1
        event g2 alice 41 @11 2
        event h1 alice 65535 @10 1
        event h2 alice 65535 @11 2
        save a1 b1 c1 d1 e1 f1 g1 h1 => new new new new new new new new
        save a2 b2 c2 d2 e2 f2 g2 h2 => new new new new new new new new - b1 c1 d1 e1
    ",
    ),
    (
        "events of one batch see each other",
        "
        event v1 alice 0 @10
        event v2 alice 0 @11
        event v3 alice 0 @12
        save v1 v3 v2 v1 => new new superseded superseded - v1
        event d alice 5 @13 [[\"a\",\"0:$alice:\"]]
        event v4 alice 0 @14
        save d v3 v4 => new deleted new - v3
        ask {} => v4 d finish
    ",
    ),
    (
        "times reach from 0 to the largest",
        "
        event zero alice 1 @0
        event last alice 1 @17179869182
        event replaced alice 0 @0
        event replacing alice 0 @17179869182
        save zero last replaced replacing => new new new new - replaced
        sort last replacing
        ask {} => last replacing zero finish
        ask {\"since\":17179869182} => last replacing finish
        ask {\"until\":0} => zero finish
        ask {\"since\":17179869184} => finish
        ask {\"until\":17179869184} => last replacing zero finish
        ask {\"since\":18446744073709551615} => finish
        ask {\"since\":0,\"until\":18446744073709551615} => last replacing zero finish
    ",
    ),
    (
        "expired events are refused",
        "
        event past alice 1 @10 [[\"expiration\",\"999\"]]
        event now alice 1 @10 [[\"expiration\",\"1000\"]]
        event next alice 1 @10 [[\"expiration\",\"1001\"]]
        event zero alice 1 @10 [[\"expiration\",\"0\"]]
        event first alice 1 @10 [[\"expiration\",\"1\"],[\"expiration\",\"2000\"]]
        save past now next zero first => expired expired new expired expired
    ",
    ),
    (
        "what is no number is no expiration",
        "
        event word alice 1 @5 [[\"expiration\",\"soon\"]]
        event none alice 1 @4 [[\"expiration\"]]
        event empty alice 1 @3 [[\"expiration\",\"\"]]
        event minus alice 1 @2 [[\"expiration\",\"-1\"]]
        event huge alice 1 @1 [[\"expiration\",\"18446744073709551615\"]]
        event beyond alice 1 @0 [[\"expiration\",\"18446744073709551616\"]]
        save word none empty minus huge beyond => new new new new new new
        now 17179869184
        ask {} => word none empty minus huge beyond finish
        sweep 10 =>
    ",
    ),
    (
        "events expire while they are stored",
        "
        event a alice 1 @10 [[\"expiration\",\"1001\"]]
        event b alice 1 @9 [[\"expiration\",\"1002\"]]
        event c alice 1 @8
        save a b c => new new new
        ask {\"limit\":1} => a more
        now 1001
        ask {} => b c finish
        ask {\"limit\":1} => b more
        ask {\"limit\":2} => b c limit
        ask {\"ids\":[\"$a\"]} => finish
        stored a
        save a => dup
        sweep 10 => a
        sweep 10 =>
        gone a
        save a => expired
        now 2000
        sweep 0 =>
        sweep 1 => b
        ask {} => c finish
    ",
    ),
    (
        "an expired version stands until it is swept",
        "
        event old alice 0 @10
        event new alice 0 @11 [[\"expiration\",\"1001\"]]
        save new => new
        now 1001
        save old => superseded
        sweep 10 => new
        save old => superseded
        ask {} => finish
    ",
    ),
    (
        "what was replaced does not come back when its successor has expired",
        "
        event v1 alice 30315 @10 [[\"d\",\"music\"]]
        event v2 alice 30315 @11 [[\"d\",\"music\"],[\"expiration\",\"1001\"]]
        event other alice 30315 @9 [[\"d\",\"general\"]]
        event bobs bob 30315 @9 [[\"d\",\"music\"]]
        event v3 alice 30315 @12 [[\"d\",\"music\"],[\"expiration\",\"1002\"]]
        event v4 alice 30315 @13 [[\"d\",\"music\"]]
        save v1 v2 => new new - v1
        now 1001
        sweep 10 => v2
        save v1 v2 other bobs => superseded expired new new
        save v3 => new
        save v1 => superseded
        now 1002
        sweep 10 => v3
        save v1 v2 v3 => superseded expired expired
        save v4 => new
        save v1 => superseded
        ask {\"authors\":[\"$alice\"]} => v4 other finish
    ",
    ),
    (
        "of one second the version of lowest id counts when it has expired, too",
        "
        event x alice 10002 @10 [[\"expiration\",\"1001\"]] 1
        event y alice 10002 @10 [[\"expiration\",\"1001\"]] 2
        event z alice 10002 @10 [[\"expiration\",\"1001\"]] 3
        sort x y z
        save y => new
        now 1001
        sweep 10 => y
        now 1000
        save z y => superseded superseded
        save x => new
        save y => superseded
    ",
    ),
    (
        "a newer version is welcome after one that left",
        "
        event p1 alice 0 @10
        event p2 alice 0 @20 [[\"expiration\",\"1001\"]]
        event p3 alice 0 @21
        event p4 alice 0 @22
        save p1 p2 => new new - p1
        now 1001
        sweep 10 => p2
        save p3 => new
        event d alice 5 @30 [[\"e\",\"$p3\"]]
        save d => new - p3
        save p1 p3 => superseded deleted
        save p4 => new
        ask {} => d p4 finish
    ",
    ),
];

/// What is removed on request, and never comes back (NIP-09, NIP-59, NIP-62).
pub(super) const DELETING: &[(&str, &str)] = &[
    ("an author deletes by id, whenever the target arrives", "
        event a alice 1 @10
        event later alice 1 @20
        event bobs bob 1 @10
        event d alice 5 @15 [[\"e\",\"$a\"],[\"e\",\"$later\",\"wss://x\"],[\"e\",\"$bobs\"]]
        orders a later bobs d => bobs d
        save a later bobs d => new new new new - a later
        save a later bobs d => deleted deleted dup dup
        ask {} => d bobs finish
        gone a later
    "),
    ("nobody else's deletion matters", "
        event a alice 1 @10
        event bobs bob 5 @15 [[\"e\",\"$a\"],[\"p\",\"$alice\"]]
        event carols carol 5 @16 [[\"e\",\"$a\"]]
        event own alice 5 @17 [[\"e\",\"$a\"]]
        orders a bobs carols => a bobs carols
        orders a bobs carols own => bobs carols own
    "),
    ("deletion requests cannot be deleted", "
        event a alice 1 @10
        event d alice 5 @15 [[\"e\",\"$a\"]]
        event dd alice 5 @16 [[\"e\",\"$d\"],[\"a\",\"5:$alice:\"]]
        orders a d dd => d dd
        save d dd a => new new deleted
    "),
    ("a deletion request may name nonsense", "
        event a alice 1 @10
        event d alice 5 @15 [[\"e\"],[\"e\",\"\"],[\"e\",\"zz\"],[\"a\"],[\"a\",\"\"],[\"a\",\"1:$alice:\"],[\"a\",\"0:$alice:x\"],[\"a\",\"x:y:z\"],[\"k\",\"1\"],[\"E\",\"$a\"],[\"p\",\"$alice\"],[\"x\",\"$a\"]]
        event p alice 0 @10
        orders a p d => a p d
    "),
    ("a deletion request may name the same twice", "
        event a alice 1 @10
        event v alice 0 @10
        event d1 alice 5 @15 [[\"e\",\"$a\"],[\"e\",\"$a\"],[\"e\",\"$v\"],[\"a\",\"0:$alice:\"]]
        event d2 alice 5 @16 [[\"e\",\"$a\"],[\"a\",\"0:$alice:\"]]
        save a v d1 d2 => new new new new - a v
        save a v => deleted deleted
    "),
    ("an address is deleted up to the time of the request", "
        event v1 alice 30023 @10 [[\"d\",\"x\"]]
        event v2 alice 30023 @20 [[\"d\",\"x\"]]
        event v3 alice 30023 @21 [[\"d\",\"x\"]]
        event d alice 5 @20 [[\"a\",\"30023:$alice:x\"]]
        orders v1 v2 d => d
        orders v1 v2 v3 d => v3 d
        save v1 d => new new - v1
        save v1 v2 v3 => deleted deleted new
        save v1 v2 => deleted deleted
    "),
    ("an address is one author's, one kind's and one d's", "
        event x alice 30023 @10 [[\"d\",\"x\"]]
        event y alice 30023 @11 [[\"d\",\"y\"]]
        event kind alice 30024 @12 [[\"d\",\"x\"]]
        event bobs bob 30023 @13 [[\"d\",\"x\"]]
        event d alice 5 @20 [[\"a\",\"30023:$alice:x\"],[\"a\",\"30023:$bob:x\"],[\"a\",\"30024:$alice:\"]]
        save x y kind bobs d => new new new new new - x
        save x => deleted
        ask {} => d bobs kind y finish
    "),
    ("an address may hold anything behind its second colon", "
        event colon alice 30023 @10 [[\"d\",\"a:b:\"]]
        event unicode alice 30023 @11 [[\"d\",\"\\\"ü\\\\\\n\u{1F980}\"]]
        event none alice 30023 @12
        event d alice 5 @20 [[\"a\",\"30023:$alice:a:b:\"],[\"a\",\"30023:$alice:\\\"ü\\\\\\n\u{1F980}\"],[\"a\",\"30023:$alice:\"]]
        orders colon unicode none d => d
    "),
    ("replaceable kinds have addresses, too", "
        event relays alice 10002 @10
        event profile alice 0 @10
        event contacts alice 3 @10
        event d alice 5 @20 [[\"a\",\"10002:$alice:\"],[\"a\",\"0:$alice\"]]
        orders relays profile contacts d => contacts d
        event again alice 10002 @21
        save relays d again => new new new - relays
        save relays => deleted
    "),
    ("the latest deletion of an address counts", "
        event v alice 30023 @15 [[\"d\",\"x\"]]
        event early alice 5 @10 [[\"a\",\"30023:$alice:x\"]]
        event late alice 5 @20 [[\"a\",\"30023:$alice:x\"]]
        orders v early late => early late
        orders v early => v early
    "),
    ("a replacement does not bring a deleted version back", "
        event v1 alice 0 @10
        event d alice 5 @11 [[\"e\",\"$v1\"]]
        event v2 alice 0 @12
        event d2 alice 5 @13 [[\"e\",\"$v2\"]]
        orders v1 d v2 => v2 d
        orders v1 d v2 d2 => d d2
        save v1 v2 d d2 => new new new new - v1 v2
        save v1 v2 => deleted deleted
    "),
    ("the deletion of a version by id does not bring back older ones", "
        event v1 alice 0 @10
        event v2 alice 0 @12
        event d alice 5 @13 [[\"e\",\"$v2\"]]
        save v1 v2 d => new new new - v1 v2
        save v1 v2 => superseded deleted
        ask {} => d finish
        event v3 alice 0 @13
        save v3 v1 => new superseded
    "),
    ("a deletion by address comes before what was the last version", "
        event v1 alice 30023 @10 [[\"d\",\"x\"]]
        event v2 alice 30023 @20 [[\"d\",\"x\"],[\"expiration\",\"1001\"]]
        event d alice 5 @15 [[\"a\",\"30023:$alice:x\"]]
        event v3 alice 30023 @19 [[\"d\",\"x\"]]
        save v2 => new
        now 1001
        sweep 10 => v2
        save d => new
        save v1 v3 => deleted superseded
    "),
    ("who vanished may begin anew, whatever was the last version", "
        event v1 alice 0 @10
        event v2 alice 0 @15 [[\"expiration\",\"1001\"]]
        event newer alice 0 @25 [[\"expiration\",\"1001\"]]
        event v alice 62 @20 [[\"relay\",\"ALL_RELAYS\"]]
        event v3 alice 0 @21
        event v4 alice 0 @26
        save v1 v2 => new new - v1
        now 1001
        sweep 10 => v2
        save v => new
        save v1 => vanished
        save v3 => new
        now 1000
        save newer => new - v3
        now 1001
        sweep 10 => newer
        save v3 v4 => superseded new
    "),
    ("a recipient deletes a gift wrap", "
        event w carol 1059 @30 [[\"p\",\"$alice\"],[\"p\",\"$bob\"]]
        event by_bob bob 5 @15 [[\"e\",\"$w\"]]
        event by_dave dave 5 @15 [[\"e\",\"$w\"]]
        event by_carol carol 5 @15 [[\"e\",\"$w\"]]
        orders w by_bob => by_bob
        orders w by_dave => w by_dave
        orders w by_carol => by_carol
        save w by_dave by_bob => new new new - w
        save w => deleted_by_recipient
        save by_carol w => new deleted
    "),
    ("a recipient deletes nothing but gift wraps", "
        event dm carol 4 @10 [[\"p\",\"$alice\"]]
        event note carol 1 @10 [[\"p\",\"$alice\"]]
        event seal carol 13 @10 [[\"p\",\"$alice\"]]
        event d alice 5 @15 [[\"e\",\"$dm\"],[\"e\",\"$note\"],[\"e\",\"$seal\"]]
        orders dm note seal d => dm note seal d
    "),
    ("an expired deletion request does nothing, a swept one did", "
        event a alice 1 @10
        event b alice 1 @11
        event late alice 5 @15 [[\"e\",\"$a\"],[\"expiration\",\"999\"]]
        event early alice 5 @16 [[\"e\",\"$b\"],[\"expiration\",\"1100\"]]
        save a b late early => new new expired new - b
        now 1100
        sweep 10 => early
        save a b early => dup deleted expired
    "),
    ("a request to vanish takes everything up to its time", "
        event a alice 1 @10
        event d alice 5 @11 [[\"e\",\"$a\"]]
        event p alice 0 @20
        event late alice 1 @21
        event bobs bob 1 @10
        event v alice 62 @20 [[\"relay\",\"wss://relay.example\"]]
        save d p late bobs v => new new new new new - d p
        save a d p late => vanished vanished vanished dup
        event newer alice 0 @22
        save newer v => new dup
        ask {} => newer late v bobs finish
        orders a p late v => late v
    "),
    ("a request to vanish takes gift wraps to its author", "
        event w carol 1059 @20 [[\"p\",\"$bob\"],[\"p\",\"$alice\"]]
        event late carol 1059 @21 [[\"p\",\"$alice\"]]
        event bobs carol 1059 @19 [[\"p\",\"$bob\"]]
        event note carol 1 @18 [[\"p\",\"$alice\"]]
        event dm carol 4 @17 [[\"p\",\"$alice\"]]
        event v alice 62 @20 [[\"relay\",\"ALL_RELAYS\"]]
        save w late bobs note dm v => new new new new new new - w
        save w => recipient_vanished
        ask {\"kinds\":[1059]} => late bobs finish
    "),
    ("a new gift wrap to who vanished is taken, whatever its time", "
        event w1 carol 1059 @5 [[\"p\",\"$alice\"]]
        event w2 carol 1059 @6 [[\"p\",\"$alice\"]]
        event own alice 1059 @7 [[\"p\",\"$bob\"]]
        event v alice 62 @20 [[\"relay\",\"ALL_RELAYS\"]]
        event again alice 62 @30 [[\"relay\",\"ALL_RELAYS\"]]
        save w1 v => new new - w1
        save w2 w1 own => new recipient_vanished vanished
        ask {\"kinds\":[1059]} => w2 finish
        save again => new - w2
        save w2 w1 => recipient_vanished recipient_vanished
        event d alice 5 @40 [[\"e\",\"$w2\"]]
        save d w2 => new recipient_vanished
    "),
    ("a request to vanish speaks to the relays it names", "
        event a alice 1 @10
        event b bob 1 @10
        event c carol 1 @10
        event d dave 1 @10
        event other alice 62 @20 [[\"relay\",\"wss://other.example\"],[\"r\",\"wss://relay.example\"],[\"relay\"]]
        event none bob 62 @20
        event upper carol 62 @20 [[\"relay\",\"wss://other.example\"],[\"relay\",\"WSS://RELAY.example:443/\"]]
        event second dave 62 @20 [[\"relay\",\"wss://second.example:444/\"]]
        save a b c d other none upper second => new new new new new new new new - c d
        save c d => vanished vanished
        orders a b other none => a b other none
    "),
    ("requests to vanish stay", "
        event v1 alice 62 @10 [[\"relay\",\"ALL_RELAYS\"]]
        event v2 alice 62 @20 [[\"relay\",\"ALL_RELAYS\"]]
        event d alice 5 @21 [[\"e\",\"$v1\"],[\"e\",\"$v2\"],[\"a\",\"62:$alice:\"]]
        event a alice 1 @15
        orders v1 v2 d a => v1 v2 d
        save v2 v1 d a => new new new vanished
        ask {} => d v2 v1 finish
    "),
    ("what was deleted stays so after a request to vanish", "
        event w carol 1059 @30 [[\"p\",\"$alice\"]]
        event a alice 1 @30
        event d alice 5 @10 [[\"e\",\"$w\"],[\"e\",\"$a\"]]
        event v alice 62 @20 [[\"relay\",\"ALL_RELAYS\"]]
        save d v w a => new new deleted_by_recipient deleted - d
    "),
    ("an expired request to vanish does nothing", "
        event a alice 1 @10
        event v alice 62 @20 [[\"relay\",\"ALL_RELAYS\"],[\"expiration\",\"999\"]]
        save a v => new expired
        ask {} => a finish
    "),
    ("reasons are given in a fixed order", "
        event a alice 0 @10 [[\"expiration\",\"1500\"]]
        event b alice 0 @11
        event d alice 5 @12 [[\"e\",\"$a\"],[\"a\",\"0:$alice:\"]]
        save a => new
        save b a => new superseded - a
        save d a => new deleted - b
        event v alice 62 @13 [[\"relay\",\"ALL_RELAYS\"]]
        save v a => new vanished - d
        now 1500
        save a v => expired dup
    "),
];

/// What is answered, in which order, and to whom (NIP-01, NIP-17, NIP-67).
pub(super) const READING: &[(&str, &str)] = &[
    ("an empty store answers nothing", "
        ask {} => finish
        ask {\"limit\":0} => limit
        ask [{\"kinds\":[1]},{\"limit\":3}] => finish
    "),
    ("newest first, equal times by lowest id", "
        event x alice 1 @10 1
        event y bob 7 @10 2
        event z carol 30000 @10 3
        sort x y z
        event new alice 1 @11
        event old alice 1 @9
        save old z new x y => new new new new new
        ask {} => new x y z old finish
        ask {\"limit\":1} => new more
        ask {\"limit\":2} => new x more
        ask {\"limit\":5} => new x y z old limit
        ask {\"limit\":6} => new x y z old finish
        ask {\"limit\":18446744073709551615} => new x y z old finish
        ask {\"ids\":[\"$old\",\"$y\",\"$new\"]} => new y old finish
        ask {\"authors\":[\"$carol\",\"$alice\",\"$bob\"],\"limit\":3} => new x y more
        ask {\"kinds\":[30000,7,1],\"since\":10} => new x y z finish
    "),
    ("since and until are inclusive", "
        event a alice 1 @10
        event b alice 1 @11
        event c alice 1 @12
        save a b c => new new new
        ask {\"since\":11} => c b finish
        ask {\"until\":11} => b a finish
        ask {\"since\":11,\"until\":11} => b finish
        ask {\"since\":12,\"until\":11} => finish
        ask {\"since\":13} => finish
        ask {\"until\":9} => finish
        ask {\"until\":11,\"limit\":1} => b more
        ask {\"since\":11,\"limit\":2} => c b limit
        ask {\"kinds\":[1],\"since\":11,\"until\":11,\"authors\":[\"$alice\"]} => b finish
    "),
    ("limit 0 asks for nothing", "
        event a alice 1 @10
        save a => new
        ask {\"limit\":0} => more
        ask {\"limit\":0,\"kinds\":[2]} => limit
        ask [{\"limit\":0},{\"kinds\":[1]}] => a more
        ask {\"limit\":0,\"ids\":[\"$a\"]} => more
    "),
    ("an empty list matches nothing", "
        event a alice 1 @10 [[\"t\",\"x\"]]
        save a => new
        ask {\"ids\":[]} => finish
        ask {\"authors\":[]} => finish
        ask {\"kinds\":[]} => finish
        ask {\"#t\":[]} => finish
        ask {\"kinds\":[1],\"#t\":[\"x\"],\"#p\":[]} => finish
        ask {\"kinds\":[],\"limit\":0} => finish
        ask [{\"kinds\":[]},{\"kinds\":[1]}] => a finish
    "),
    ("conditions are ANDed, values ORed", "
        event a alice 1 @10 [[\"t\",\"x\"],[\"t\",\"y\"],[\"r\",\"q\"]]
        event b alice 7 @11 [[\"t\",\"x\"]]
        event c bob 1 @12 [[\"t\",\"y\"],[\"r\",\"q\"],[\"r\",\"q\"]]
        event d bob 7 @13 [[\"T\",\"x\"]]
        save a b c d => new new new new
        ask {\"#t\":[\"x\"]} => b a finish
        ask {\"#t\":[\"x\",\"y\",\"z\"]} => c b a finish
        ask {\"#T\":[\"x\"]} => d finish
        ask {\"#t\":[\"x\",\"y\"],\"#r\":[\"q\"]} => c a finish
        ask {\"#t\":[\"x\"],\"#r\":[\"q\"]} => a finish
        ask {\"#t\":[\"x\"],\"#T\":[\"x\"]} => finish
        ask {\"#t\":[\"x\",\"y\"],\"kinds\":[1]} => c a finish
        ask {\"#t\":[\"x\",\"y\"],\"kinds\":[1],\"limit\":1} => c more
        ask {\"#t\":[\"x\",\"y\"],\"authors\":[\"$alice\"],\"until\":10} => a finish
        ask {\"ids\":[\"$a\",\"$b\",\"$c\"],\"kinds\":[1],\"authors\":[\"$alice\",\"$carol\"]} => a finish
        ask {\"ids\":[\"$a\"],\"#t\":[\"z\"]} => finish
        ask {\"authors\":[\"$alice\",\"$bob\"],\"kinds\":[7,1]} => d c b a finish
        ask {\"authors\":[\"$bob\"],\"kinds\":[7,9]} => d finish
        ask {\"authors\":[\"$carol\"],\"kinds\":[1]} => finish
        ask {\"#r\":[\"q\"],\"authors\":[\"$alice\",\"$bob\"],\"kinds\":[1,7],\"#t\":[\"x\",\"y\"],\"since\":1,\"until\":99,\"limit\":2} => c a limit
    "),
    ("only the first value of a tag counts", "
        event a alice 1 @10 [[\"t\",\"x\",\"y\"],[\"t\"],[\"tt\",\"z\"],[\"\",\"w\"],[\"1\",\"v\"]]
        event empty alice 1 @11 [[\"t\",\"\"]]
        save a empty => new new
        ask {\"#t\":[\"x\"]} => a finish
        ask {\"#t\":[\"y\",\"z\",\"w\",\"v\",\"t\"]} => finish
        ask {\"#t\":[\"\"]} => empty finish
    "),
    ("tag values are compared as they are", "
        event a alice 1 @10 [[\"t\",\"\\\"q\\\"\\\\\\n\\t/\"]]
        event b alice 1 @11 [[\"t\",\"ü\"]]
        event c alice 1 @12 [[\"t\",\"u\u{308}\"]]
        event d alice 1 @13 [[\"t\",\"\u{1F980}\"]]
        event e alice 1 @14 [[\"t\",\"\\u0001\\u0000\\u007f\"]]
        event f alice 1 @15 [[\"t\",\"Ü\"]]
        event g alice 1 @16 [[\"t\",\"a'b%_*?\"]]
        event h alice 1 @17 [[\"t\",\"\\u0000\"]]
        event i alice 1 @18 [[\"t\",\"],[\\\"t\\\",\\\"no\\\"\"]]
        event j alice 1 @19 [[\"x\",\"\\\",\\\"tags\\\":[[\\\"t\\\",\\\"no\\\"]]\"]] \",\"tags\":[[\"t\",\"no\"]]
        save a b c d e f g h i j => new new new new new new new new new new
        ask {\"#t\":[\"\\\"q\\\"\\\\\\n\\t/\"]} => a finish
        ask {\"#t\":[\"ü\"]} => b finish
        ask {\"#t\":[\"u\u{308}\"]} => c finish
        ask {\"#t\":[\"\u{1F980}\"]} => d finish
        ask {\"#t\":[\"\\ud83e\\udd80\"]} => d finish
        ask {\"#t\":[\"\\u0001\\u0000\\u007f\"]} => e finish
        ask {\"#t\":[\"Ü\"]} => f finish
        ask {\"#t\":[\"a'b%_*?\",\"a'b\"]} => g finish
        ask {\"#t\":[\"\\u0000\",\"\"]} => h finish
        ask {\"#t\":[\"no\"]} => finish
        ask {\"#t\":[\"],[\\\"t\\\",\\\"no\\\"\",\"ü\"]} => i b finish
    "),
    ("each filter has its own limit, each event comes once", "
        event a alice 1 @10
        event b bob 1 @11
        event c alice 7 @12
        event d bob 7 @13
        event e alice 1 @14
        save a b c d e => new new new new new
        ask [{\"kinds\":[1],\"limit\":1},{\"kinds\":[7],\"limit\":1}] => e d more
        ask [{\"limit\":1},{\"limit\":2}] => e d more
        ask [{\"limit\":2},{}] => e d c b a more
        ask [{},{}] => e d c b a finish
        ask [{\"kinds\":[1]},{\"authors\":[\"$alice\"]}] => e c b a finish
        ask [{\"kinds\":[1],\"limit\":2},{\"authors\":[\"$alice\"],\"limit\":2}] => e c b more
        ask [{\"authors\":[\"$alice\"],\"limit\":1},{\"ids\":[\"$a\"]}] => e a more
        ask [{\"kinds\":[9],\"limit\":1},{\"ids\":[\"$a\",\"$b\"]}] => b a finish
        ask [{\"kinds\":[7],\"limit\":2},{\"ids\":[\"$a\"]}] => d c a limit
        ask [{\"ids\":[\"$a\"]},{\"ids\":[\"$a\",\"$e\"],\"limit\":1},{\"kinds\":[]}] => e a more
    "),
    ("limits have a default and a maximum", "
        event a alice 1 @10
        event b alice 1 @11
        event c alice 1 @12
        event d alice 1 @13
        save a b c d => new new new new
        limits 2 3
        ask {} => d c more
        ask {\"limit\":1} => d more
        ask {\"limit\":100} => d c b more
        ask {\"kinds\":[1],\"limit\":100} => d c b more
        ask [{\"until\":11},{\"since\":12}] => d c b a limit
        limits 5 1
        ask {\"ids\":[\"$a\",\"$b\"]} => b more
    "),
    ("private events go to those they name", "
        event note alice 1 @10 [[\"p\",\"$bob\"]]
        event dm alice 4 @11 [[\"p\",\"$bob\"],[\"t\",\"x\"]]
        event wrap carol 1059 @12 [[\"p\",\"$bob\"]]
        event other alice 4 @13 [[\"p\",\"$dave\"]]
        save note dm wrap other => new new new new
        viewer operator
        ask {} => other wrap dm note finish
        viewer nobody
        ask {} => note finish
        ask {\"limit\":1} => note limit
        ask {\"limit\":0,\"kinds\":[4]} => limit
        ask {\"kinds\":[4,1059]} => finish
        ask {\"kinds\":[4],\"limit\":1} => finish
        ask {\"ids\":[\"$dm\",\"$wrap\",\"$other\",\"$note\"]} => note finish
        ask {\"#p\":[\"$bob\"]} => note finish
        ask {\"#t\":[\"x\"]} => finish
        ask [{\"kinds\":[1059]},{\"authors\":[\"$alice\"]}] => note finish
        viewer alice
        ask {} => other dm note finish
        viewer bob
        ask {} => wrap dm note finish
        ask {\"kinds\":[4],\"limit\":1} => dm limit
        ask {\"#p\":[\"$bob\"],\"kinds\":[1059]} => wrap finish
        viewer carol
        ask {} => note finish
        viewer carol dave
        ask {} => other note finish
        viewer alice bob
        ask {} => other wrap dm note finish
    "),
    ("events saved later than the question are left out, unless they took the place of others", "
        event a alice 1 @10
        event b alice 1 @5
        event c alice 1 @20
        event v1 alice 0 @7
        event v2 alice 0 @8
        save a b c => new new new
        seq_max 2
        ask {} => a b finish
        ask {\"limit\":2} => a b limit
        ask {\"ids\":[\"$c\"]} => finish
        ask {\"ids\":[\"$a\",\"$c\"],\"limit\":1} => a limit
        ask {\"authors\":[\"$alice\"],\"kinds\":[1],\"limit\":1} => a more
        seq_max 0
        ask {} => finish
        save v1 => new
        seq_max 4
        save v2 => new - v1
        ask {\"kinds\":[0]} => v2 finish
        ask {\"kinds\":[0],\"limit\":1} => v2 limit
    "),
];

/// What is found by words (NIP-50).
pub(super) const SEARCHING: &[(&str, &str)] = &[
    (
        "words are found by their beginning, in any case and order",
        "
        event a alice 1 @10 A nostr relay in Rust
        event b bob 1 @11 nostrich
        event c bob 7 @12 nostr
        event d alice 4 @13 nostr
        event e carol 1 @14 relays, not a relay!
        save a b c d e => new new new new new
        ask {\"search\":\"NOSTR\"} => a b any
        ask {\"search\":\"ostr\"} => any
        ask {\"search\":\"rust nostr\"} => a any
        ask {\"search\":\"relay nostrich\"} => any
        ask {\"search\":\"relay\",\"authors\":[\"$carol\"]} => e any
        ask {\"search\":\"relay language:en\",\"until\":13} => a any
        ask {\"search\":\"nostr\",\"kinds\":[7]} => any
        ask [{\"search\":\"rust\"},{\"since\":13}] => a e d any
        ask [{\"search\":\"rust\"},{\"kinds\":[1]}] => a e b any
        ask [{\"kinds\":[1],\"limit\":1},{\"search\":\"nostrich\"}] => b e any
        ask [{\"search\":\"rust\"},{\"search\":\"nostr\"}] => a b any
        viewer nobody
        ask {\"search\":\"nostr\"} => a b any
        seq_max 0
        ask {\"search\":\"nostr\"} => any
    ",
    ),
    (
        "any text can be searched for",
        "
        event a alice 1 @10 nostr relay
        save a => new
        ask {\"search\":\"nostr\\u0000relay\"} => a any
        ask {\"search\":\"\\\"nostr\"} => a any
        ask {\"search\":\"nostr* ^relay (nostr) -relay NEAR nostr+relay\"} => any
        ask {\"search\":\"nostr* ^relay (nostr) -relay nostr+relay\"} => a any
        ask {\"search\":\"AND OR NOT\"} => any
        ask {\"search\":\"content: {content}:nostr\"} => any
        ask {\"search\":\"\u{1F980} \u{e4}\u{308} \u{bd}\"} => any
    ",
    ),
    (
        "a search for nothing finds nothing",
        "
        event a alice 1 @10 nostr relay
        event b alice 1 @11 \u{1F980}
        save a b => new new
        ask {\"search\":\"\"} => any
        ask {\"search\":\"\u{1F980} \u{2026} !\"} => any
        ask {\"search\":\"language:en\"} => any
        ask {\"search\":\"nostr:npub1\"} => any
        ask [{\"search\":\"!\"},{\"until\":10}] => a any
    ",
    ),
    (
        "every script, and what of an event is searched",
        "
        event a alice 1 @10 \u{4eca}\u{591c}\u{306e}\u{691c}\u{7d22}\u{30c6}\u{30b9}\u{30c8}
        event b alice 30023 @11 [[\"d\",\"hidden\"],[\"title\",\"Caf\u{e9}\"],[\"t\",\"tagged\"],[\"alt\",\"hidden\"]] text
        event c alice 0 @12 {\"name\":\"alicewonder\",\"about\":\"caf\\u00e9\"}
        event d bob 1 @13 \u{691c}\u{67fb}\u{3068}\u{63a2}\u{7d22}
        save a b c d => new new new new
        ask {\"search\":\"\u{691c}\u{7d22}\"} => a any
        ask {\"search\":\"\u{691c}\"} => d a any
        ask {\"search\":\"cafe\"} => c b any
        ask {\"search\":\"tag\"} => b any
        ask {\"search\":\"hidden\"} => any
        ask {\"search\":\"alice\"} => c any
        ask {\"search\":\"name\"} => any
    ",
    ),
    (
        "the best of the newest, up to the limit",
        "
        event a alice 1 @10 nostr nostr
        event b alice 1 @11 nostr and many other words besides
        event c alice 1 @12 nostr nostr nostr
        event d alice 1 @13 nostrich nostrich
        event e alice 1 @14 nostr with other words besides
        event f alice 7 @15 nostr
        event g bob 1 @16 nostr
        save a b c d e f g => new new new new new new new
        ask {\"search\":\"nostr\"} => c a g e b d any
        ask {\"search\":\"nostr\",\"limit\":2} => c g any
        ask {\"search\":\"nostr\",\"limit\":5} => c g e b d any
        ask {\"search\":\"nostr\",\"limit\":1,\"until\":11} => a any
        ask {\"search\":\"nostr\",\"authors\":[\"$alice\"],\"limit\":4} => c e b d any
        ask {\"search\":\"nostr\",\"limit\":0} => any
        limits 1 1
        ask {\"search\":\"nostr\"} => c any
    ",
    ),
    (
        "what goes is not found, what replaces it is",
        "
        event a alice 0 @10 {\"name\":\"nostr one\"}
        event b alice 0 @11 {\"name\":\"nostr two\"}
        event c bob 1 @12 nostr
        event d bob 5 @13 [[\"e\",\"$c\"]]
        event e carol 1 @14 [[\"expiration\",\"1010\"]] nostr
        save a c e => new new new
        ask {\"search\":\"nostr\"} => e c a any
        save b d => new new - a c
        ask {\"search\":\"nostr\"} => e b any
        ask {\"search\":\"one\"} => any
        now 1010
        ask {\"search\":\"nostr\"} => b any
        sweep 10 => e
        now 1000
        ask {\"search\":\"nostr\"} => b any
    ",
    ),
];
