//! What must hold under an attack.

use std::collections::BTreeMap;

use crate::attack::{Also, Attack};
use crate::run::Outcome;
use crate::small::is_small;
use crate::window::Measured;

/// The most that the relay may have in memory at any time, and with the settings for a small machine.
const RSS_MB_MAX: u64 = 1_024;
const RSS_MB_MAX_SMALL: u64 = 512;

/// `server.drain_seconds`, and a little for what comes after it.
const STOP_SECONDS_MAX: f64 = 11.5;

/// Of new connections beside one attacking address, and of other attempts that are counted and not timed.
const DONE_MIN: f64 = 0.9;

/// What one address may make of the 99th percentile, in the long form.
const P99_MS_MAX: f64 = 250.0;

/// Of the rate before an attack, what is to be there again soon after it.
const RECOVERED_MIN: f64 = 0.4;

/// How much of its rate a healthy client must keep.
pub(crate) fn kept_min(addresses: usize, is_long: bool) -> f64 {
    if is_long && addresses == 1 { 0.6 } else { 0.4 }
}

/// The rate without the attack: what is the same before and after is well founded. Where they differ, one of them was
/// disturbed, by what the attack left behind or by something else on the machine, and the larger one counts.
fn undisturbed(before: f64, after: f64) -> f64 {
    let (least, most) = (before.min(after), before.max(after));
    if least >= 0.7 * most { f64::midpoint(before, after) } else { most }
}

/// What part of its rate is left under the attack.
pub(crate) fn kept(before: &Measured, during: &Measured, after: &Measured) -> f64 {
    let rate = undisturbed(before.rate, after.rate);
    if rate > 0.0 { during.rate / rate } else { 0.0 }
}

/// Everything that does not hold.
pub(crate) fn faults(attack: &Attack, addresses: usize, outcome: &Outcome, is_long: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unless = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let (before, during, after) = (&outcome.before, &outcome.during, &outcome.after);
    for (what, before, during, after) in [
        ("publish", &before.publish, &during.publish, &after.publish),
        ("query", &before.query, &during.query, &after.query),
    ] {
        let (kept, least) = (kept(before, during, after), kept_min(addresses, is_long));
        unless(kept >= least, format!("{what} keeps {:.0} % of {:.0} %", kept * 100.0, least * 100.0));
        if is_long && addresses == 1 {
            unless(during.p99 <= P99_MS_MAX, format!("{what} p99 {:.0} ms", during.p99));
        }
        let later = if before.rate > 0.0 { after.rate / before.rate } else { 0.0 };
        unless(later >= RECOVERED_MIN, format!("{what} is at {:.0} % when the attack has ended", later * 100.0));
        let refused = before.refused + during.refused + after.refused;
        unless(refused == 0, format!("{what} refused {refused} times"));
        unless(before.done > 0, format!("{what} does not work before"));
    }
    if addresses == 1 {
        let share = during.connect.share_done();
        unless(share >= DONE_MIN, format!("{:.0} % of new connections let in", share * 100.0));
    }
    let rss_mb_max = if is_small() { RSS_MB_MAX_SMALL } else { RSS_MB_MAX };
    unless(outcome.rss_peak_mb <= rss_mb_max, format!("{} MiB of memory", outcome.rss_peak_mb));
    unless(outcome.unheard == 0, format!("{} events not delivered", outcome.unheard));
    unless(outcome.stopped.code == Some(0), format!("ends with {:?}", outcome.stopped.code));
    let took = outcome.stopped.took.as_secs_f64();
    unless(took <= STOP_SECONDS_MAX, format!("takes {took:.1} s to stop"));
    unless(!outcome.log.contains("panicked"), "panics".into());
    match attack.also {
        Also::Negentropy => {
            let share = during.negentropy.share_done();
            unless(share >= DONE_MIN, format!("{:.0} % of sessions of others opened", share * 100.0));
        }
        Also::LetsGo(seconds) => {
            let left = outcome.left.map_or("unknown".into(), |left| left.to_string());
            unless(outcome.left == Some(0), format!("after {seconds} s {left} attackers are left"));
        }
        Also::NewApp => unless(outcome.new_app == Some(true), "a new app gets no room".into()),
        Also::Closes => unless(outcome.closed() > 0, "nobody is closed".into()),
        Also::SameTime => differences(outcome).into_iter().for_each(|difference| unless(false, difference)),
        Also::No | Also::Stops => {}
    }
    faults
}

/// Questions about the victim that took longer than those about nobody.
fn differences(outcome: &Outcome) -> Vec<String> {
    let mut times: BTreeMap<&str, [Vec<u64>; 2]> = BTreeMap::new();
    for (question, micros) in &outcome.times {
        let (shape, whom) = question.split_once('|').unwrap();
        times.entry(shape).or_default()[usize::from(whom == "nobody")].push(*micros);
    }
    let mut faults = Vec::new();
    for (shape, [mut victim, mut nobody]) in times {
        let median = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        };
        let (victim, nobody, count) = (median(&mut victim), median(&mut nobody), victim.len());
        if count < 10 {
            faults.push(format!("{shape}: only {count} answers"));
        } else if victim > nobody * 3 / 2 + 100 {
            faults.push(format!("{shape}: {victim} us about one with private messages, {nobody} us about nobody"));
        }
    }
    if outcome.times.is_empty() {
        faults.push("no answers".into());
    }
    faults
}
