//! Runs the attacks, one after the other.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use picofeed::Format;
use serde_json::Value;
use tokio::time::timeout;

use crate::attack::{Also, Attack};
use crate::child::{Claim, Role};
use crate::harness::is_long;
use crate::harness::pico::Node;
use crate::list::ATTACKS;
use crate::target::{Stopped, Target, cpu_seconds};
use crate::template::{self, Size};
use crate::window::Window;
use crate::{report, verdict};

/// How long the phases take.
struct Times {
    before: Duration,
    during: Duration,
    /// After the attack, until what it left is judged.
    settle: Duration,
    after: Duration,
}

const SHORT: Times = Times {
    before: Duration::from_millis(2_000),
    during: Duration::from_millis(3_000),
    settle: Duration::from_millis(700),
    after: Duration::from_millis(2_000),
};

const LONG: Times = Times {
    before: Duration::from_millis(3_000),
    during: Duration::from_millis(6_000),
    settle: Duration::from_millis(1_000),
    after: Duration::from_millis(3_000),
};

const WARM_UP: Duration = Duration::from_millis(500);

/// From the word "go" to what is measured, so that the attackers are there.
const RAMP: Duration = Duration::from_millis(300);

/// What memory that was given back has had time for.
const RELEASE: Duration = Duration::from_secs(5);

/// What was seen of one attack.
pub(crate) struct Outcome {
    pub(crate) before: Window,
    pub(crate) during: Window,
    pub(crate) after: Window,
    pub(crate) rss_peak_mb: u64,
    /// Five seconds after the attack, where memory is what it wants.
    pub(crate) rss_after_mb: Option<u64>,
    /// Processors that the relay used, in hundredths of one.
    pub(crate) relay_cpu: f64,
    pub(crate) crew_cpu: f64,
    /// What the attackers say.
    pub(crate) crew: Value,
    /// Times of questions, in microseconds.
    pub(crate) times: Vec<(String, u64)>,
    /// Attackers that still have a connection.
    pub(crate) left: Option<u64>,
    pub(crate) new_app: Option<bool>,
    /// Acknowledged events that a subscriber was not sent.
    pub(crate) unheard: u64,
    pub(crate) stopped: Stopped,
    pub(crate) log: String,
}

impl Outcome {
    pub(crate) fn closed(&self) -> u64 {
        self.crew["closed"].as_u64().unwrap_or_default()
    }
}

/// What a run has made.
struct Made {
    files: PathBuf,
    data: PathBuf,
}

impl Made {
    fn new(folder: &Path, size: Size) -> Self {
        let began = Instant::now();
        std::fs::create_dir_all(folder).unwrap();
        let made = Self { data: template::make(folder, size), files: folder.to_owned() };
        eprintln!("a relay was filled within {:.0} s", began.elapsed().as_secs_f64());
        made
    }
}

/// Runs those whose name has one of the words; without words, those of the form that is wanted. A breach is tried a second
/// time, unless only `once`.
pub(crate) fn all(words: &[&str], once: bool) -> ExitCode {
    let is_long = is_long();
    let mut chosen: Vec<(&Attack, usize)> = Vec::new();
    for attack in ATTACKS {
        let is_named = words.iter().any(|word| attack.name.contains(word));
        match (is_long, words.is_empty()) {
            (true, true) => chosen.extend(attack.addresses.iter().map(|addresses| (attack, *addresses))),
            (_, false) if is_named => chosen.extend(attack.addresses.iter().map(|addresses| (attack, *addresses))),
            (false, true) if attack.short > 0 => chosen.push((attack, attack.short)),
            _ => {}
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let size = if is_long { Size::Long } else { Size::Short };
    let (usual, large) = (OnceCell::new(), OnceCell::new());
    let mut rows = Vec::new();
    let mut failed = 0;
    for (attack, addresses) in chosen {
        let made = if attack.is_large {
            large.get_or_init(|| Made::new(&folder.path().join("large"), Size::Large))
        } else {
            usual.get_or_init(|| Made::new(&folder.path().join("usual"), size))
        };
        let judge = || {
            let outcome = attempt(attack, addresses, made, is_long);
            let faults = verdict::faults(attack, addresses, &outcome, is_long);
            report::tell(attack, addresses, &outcome, &faults);
            (outcome, faults)
        };
        let (mut outcome, mut faults) = judge();
        if !faults.is_empty() && !once {
            // The machine may have been busy with something else.
            eprintln!("    once more");
            (outcome, faults) = judge();
        }
        failed += usize::from(!faults.is_empty());
        rows.push(report::row(attack, addresses, &outcome, &faults));
    }
    report::table(&rows);
    eprintln!("{failed} of {} attacks found a breach", rows.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lets the healthy clients act for a while.
fn window(healthy: &mut Role, time: Duration) -> Window {
    healthy.tell("run");
    sleep(time);
    Window::read(&healthy.ask("rest"))
}

fn attempt(attack: &Attack, addresses: usize, made: &Made, is_long: bool) -> Outcome {
    let times = if is_long { LONG } else { SHORT };
    let during_time = match attack.seconds {
        seconds if is_long && seconds > 0 => Duration::from_secs(seconds),
        _ => times.during,
    };
    let mut target = Target::start(&made.data, attack.config);
    let (port, files) = (target.port.to_string(), made.files.display().to_string());
    let pause = query_pause(WARM_UP + times.before + during_time + times.after).as_millis().to_string();
    let mut arguments = vec!["--healthy", &port, &files, &pause];
    if attack.also == Also::Negentropy {
        arguments.push("negentropy");
    }
    if attack.is_calm {
        arguments.push("calm");
    }
    let mut healthy = Role::start(&arguments, Claim::Full);
    assert_eq!(healthy.hear(), "ready");
    let mut crew = attackers(attack, addresses, made, &target);
    // Caches get warm.
    window(&mut healthy, WARM_UP);

    let before = window(&mut healthy, times.before);
    let healthy_connections = target.connections();
    let (relay_before, crew_before, began) = (target.cpu_seconds(), cpu_seconds(crew.pid()), Instant::now());
    crew.tell("go");
    sleep(RAMP);
    let during = window(&mut healthy, during_time);
    let cpu_share = |used: f64| used / began.elapsed().as_secs_f64() * 100.0;
    let relay_cpu = cpu_share(target.cpu_seconds() - relay_before);
    let crew_cpu = cpu_share(cpu_seconds(crew.pid()) - crew_before);
    let left = match attack.also {
        Also::LetsGo(seconds) => attackers_left(&target, healthy_connections, Duration::from_secs(seconds)),
        _ => None,
    };
    let mut said = crew.ask("stop");
    drop(crew);
    let ended = Instant::now();
    sleep(times.settle);
    let after = window(&mut healthy, times.after);

    let rss_after_mb = attack.is_for_memory.then(|| {
        sleep(RELEASE.saturating_sub(ended.elapsed()));
        target.rss_mb()
    });
    let new_app = (attack.also == Also::NewApp).then(|| new_app_is_served(&target));
    let unheard = if target.is_running() { healthy.ask("unheard").as_u64().unwrap() } else { 0 };
    drop(healthy);
    let again = (attack.also == Also::Stops).then(|| {
        let mut crew = attackers(attack, addresses, made, &target);
        crew.tell("go");
        sleep(times.during);
        crew
    });
    let rss_peak_mb = target.rss_peak_mb();
    let stopped = target.stop();
    drop(again);
    let times = said["times"].take();
    Outcome {
        before,
        during,
        after,
        rss_peak_mb,
        rss_after_mb,
        relay_cpu,
        crew_cpu,
        crew: said,
        times: serde_json::from_value(times).unwrap(),
        left,
        new_app,
        unheard,
        stopped,
        log: target.log(),
    }
}

/// Between two queries of the healthy reader who acts for so long: an address may ask 1,200 at once and 20 in a second,
/// and that must not be what is measured.
fn query_pause(acts: Duration) -> Duration {
    let allowed = 1_100 + 20 * acts.as_secs() as u32;
    (acts / allowed).max(Duration::from_millis(10))
}

/// Attackers that have prepared everything.
fn attackers(attack: &Attack, addresses: usize, made: &Made, target: &Target) -> Role {
    let numbers = [target.port.into(), attack.connections, addresses].map(|number: usize| number.to_string());
    let (files, data) = (made.files.display().to_string(), target.data().display().to_string());
    let crew =
        Role::start(&["--crew", attack.name, &numbers[0], &numbers[1], &numbers[2], &files, &data], Claim::Little);
    assert_eq!(crew.hear(), "ready");
    crew
}

/// How many connections beside the healthy ones there are, as soon as there are none, or after that time.
fn attackers_left(target: &Target, healthy: Option<u64>, time: Duration) -> Option<u64> {
    let began = Instant::now();
    loop {
        let left = target.connections()?.saturating_sub(healthy?);
        if left == 0 || began.elapsed() > time {
            return Some(left);
        }
        sleep(Duration::from_millis(200));
    }
}

/// Whether somebody who comes for the first time can leave a block in a room of their own, and somebody else find it.
fn new_app_is_served(target: &Target) -> bool {
    let url = format!("ws://127.0.0.1:{}/pico/new-app", target.port);
    let served = async {
        let mut writer = Node::connect(&url, Format::V8, 71).await;
        let block = writer.write("the first words").await;
        // What is refused is told before what comes next is answered.
        writer.listen(Duration::from_millis(300)).await;
        drop(writer);
        let mut reader = Node::connect(&url, Format::V8, 72).await;
        timeout(Duration::from_secs(5), reader.until_has(&block)).await.is_ok()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(served))).unwrap_or(false)
}
