//! Numbers for people.

use std::io::Write;

use crate::attack::Attack;
use crate::run::Outcome;
use crate::verdict::kept;
use crate::window::Measured;

/// The columns of the table.
const HEAD: [&str; 10] =
    ["attack", "from", "publish /s", "kept", "p50 / p99 ms", "query /s", "kept", "p50 / p99 ms", "RSS MiB", "result"];

fn rates(before: &Measured, during: &Measured, after: &Measured) -> String {
    format!("{:.0} > {:.0} > {:.0}", before.rate, during.rate, after.rate)
}

fn delays(during: &Measured) -> String {
    format!("{:.0} / {:.0}", during.p50, during.p99)
}

/// One line of the table.
pub(crate) fn row(attack: &Attack, addresses: usize, outcome: &Outcome, faults: &[String]) -> [String; 10] {
    let (before, during, after) = (&outcome.before, &outcome.during, &outcome.after);
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let rss = match outcome.rss_after_mb {
        Some(later) => format!("{}, later {later}", outcome.rss_peak_mb),
        None => outcome.rss_peak_mb.to_string(),
    };
    [
        attack.name.to_owned(),
        format!(
            "{} x {}",
            attack.connections,
            if addresses == 1 { "1 address".into() } else { format!("{addresses} addresses") }
        ),
        rates(&before.publish, &during.publish, &after.publish),
        percent(kept(&before.publish, &during.publish, &after.publish)),
        delays(&during.publish),
        rates(&before.query, &during.query, &after.query),
        percent(kept(&before.query, &during.query, &after.query)),
        delays(&during.query),
        rss,
        if faults.is_empty() { "holds".into() } else { faults.join("; ") },
    ]
}

/// Everything about one attempt, on stderr.
pub(crate) fn tell(attack: &Attack, addresses: usize, outcome: &Outcome, faults: &[String]) {
    let [name, from, publish, publish_kept, publish_ms, query, query_kept, query_ms, rss, result] =
        row(attack, addresses, outcome, faults);
    let (before, during, after) = (&outcome.before, &outcome.during, &outcome.after);
    eprintln!("{name}, {from} ({})", attack.what);
    eprintln!("    publish {publish} /s, kept {publish_kept}, {publish_ms} ms; before {} ms", delays(&before.publish));
    eprintln!("    query   {query} /s, kept {query_kept}, {query_ms} ms; before {} ms", delays(&before.query));
    let connect = &during.connect;
    eprintln!(
        "    connect {} of {} in {:.0} ms, at most {:.0}; RSS {rss} MiB; relay {:.0} %, attackers {:.0} % of a processor",
        connect.done,
        connect.done + connect.failed,
        connect.p50,
        connect.max,
        outcome.relay_cpu,
        outcome.crew_cpu,
    );
    let number = |name: &str| outcome.crew[name].as_u64().unwrap_or_default();
    eprintln!(
        "    attackers: {} connections, {} refused, {} closed, {} MB sent; stopped within {:.1} s; failed: {} publish, {} query, worst {:.0} and {:.0} ms",
        number("opened"),
        number("refused"),
        number("closed"),
        number("bytes_sent") / 1_000_000,
        outcome.stopped.took.as_secs_f64(),
        during.publish.failed + after.publish.failed,
        during.query.failed + after.query.failed,
        during.publish.max,
        during.query.max,
    );
    eprintln!("    {}", if faults.is_empty() { "holds" } else { "BREACH" });
    faults.iter().for_each(|fault| eprintln!("    - {fault}"));
    if result.contains("ends with") || result.contains("to stop") {
        outcome.log.lines().rev().take(10).for_each(|line| eprintln!("      {line}"));
    }
}

/// The table, in Markdown, on stdout.
pub(crate) fn table(rows: &[[String; 10]]) {
    let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
}
