//! One swarm: found by a key of its own, from joining to leaving.

use std::sync::Arc;
use std::time::Duration;

use peeroxide::{JoinOpts, KeyPair, SwarmConfig, SwarmConnection, SwarmHandle};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Meeting, carrier};
use crate::metrics::PICO_CLOSES;

/// How long it may take to find the first nodes of the DHT.
const BOOTSTRAP: Duration = Duration::from_secs(30);

/// Between two looks at least.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Between two looks at most, whatever is configured.
const LOOK_MAX: Duration = Duration::from_hours(24);

/// How long the nodes of the DHT may take to forget us.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long connections may take to end when the relay stops.
const PATIENCE: Duration = Duration::from_secs(7);

/// Why a swarm no longer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The relay stops.
    Stopped,
    /// Somebody is gone who could not come back: another swarm must take its place.
    Worn,
}

/// What a swarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Announces the room, and is dialled.
    Found,
    /// Looks for others, and dials.
    Finds,
}

impl Role {
    fn options(self) -> JoinOpts {
        let mut options = JoinOpts::default();
        options.server = self == Self::Found;
        options.client = self == Self::Finds;
        options
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Membership {
    meeting: Arc<Meeting>,
    role: Role,
    /// Which of our swarms.
    number: u64,
    task: JoinHandle<()>,
    handle: SwarmHandle,
    incoming: mpsc::Receiver<SwarmConnection>,
    connections: TaskTracker,
    left: Arc<Notify>,
    /// Ends its connections.
    pub(super) close: CancellationToken,
}

impl Membership {
    /// Announces the room or looks for others.
    pub(super) async fn join(meeting: &Arc<Meeting>, role: Role) -> Result<Self, Failure> {
        let options = &meeting.rooms.config;
        let mut config = SwarmConfig::with_public_bootstrap();
        if !options.hyperswarm_bootstrap.is_empty() {
            config.dht.dht.bootstrap.clone_from(&options.hyperswarm_bootstrap);
        }
        // It asks the DHT, and does not store for it.
        config.dht.dht.ephemeral = Some(true);
        config.dht.dht.firewalled = !options.hyperswarm_reachable;
        config.key_pair = Some(KeyPair::generate());
        // It counts all that there ever were. Those that are connected are counted here.
        config.max_peers = options.hyperswarm_connections_max.saturating_mul(4);
        let (task, handle, incoming) = timeout(BOOTSTRAP, peeroxide::spawn(config)).await??;
        let close = CancellationToken::new();
        let (connections, left) = (TaskTracker::new(), Arc::default());
        let (meeting, number) = (Arc::clone(meeting), meeting.rooms.next_peer());
        let membership = Self { meeting, role, number, task, handle, incoming, connections, left, close };
        if membership.handle.dht().table_size().await? == 0 {
            membership.destroy().await;
            return Err("no node of the DHT answers".into());
        }
        membership.meeting.own.lock().insert(membership.handle.key_pair().public_key);
        membership.handle.join(membership.meeting.topic, role.options()).await?;
        Ok(membership)
    }

    /// Takes connections, for `pause` at least.
    pub(super) async fn serve(&mut self, pause: Duration) -> End {
        let stop = self.meeting.rooms.stop.clone();
        let earliest = Instant::now() + pause;
        let mut is_worn = false;
        let pace = Duration::from_secs(self.meeting.rooms.config.hyperswarm_look_seconds).clamp(LOOK_MIN, LOOK_MAX);
        let mut look = tokio::time::interval_at(Instant::now() + pace, pace);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                connection = self.incoming.recv() => match connection {
                    Some(connection) => self.take(connection),
                    None => return End::Worn,
                },
                () = self.left.notified() => is_worn = true,
                _ = look.tick(), if self.role == Role::Finds => {
                    // To join is to look at once.
                    let _ = self.handle.leave(self.meeting.topic).await;
                    let _ = self.handle.join(self.meeting.topic, self.role.options()).await;
                }
                () = tokio::time::sleep_until(earliest), if is_worn => return End::Worn,
            }
        }
    }

    /// Is found no more, and ends when its last connection does.
    pub(super) async fn leave(mut self) {
        let stop = self.meeting.rooms.stop.clone();
        let key = self.handle.key_pair().clone();
        let unannounced = self.handle.dht().unannounce(self.meeting.topic, &key);
        let (_, _) =
            tokio::join!(timeout(FAREWELL, unannounced), timeout(FAREWELL, self.handle.leave(self.meeting.topic)));
        while !self.connections.is_empty() {
            tokio::select! {
                // Some were on their way.
                Some(connection) = self.incoming.recv() => self.take(connection),
                () = self.left.notified() => {}
                () = self.close.cancelled() => break,
                () = stop.cancelled() => break,
            }
        }
        self.connections.close();
        if timeout(PATIENCE, self.connections.wait()).await.is_err() {
            self.close.cancel();
        }
        self.destroy().await;
    }

    async fn destroy(self) {
        self.meeting.own.lock().remove(&self.handle.key_pair().public_key);
        let _ = timeout(FAREWELL, self.handle.destroy()).await;
        let stop = self.task.abort_handle();
        if timeout(FAREWELL, self.task).await.is_err() {
            stop.abort();
        }
    }

    fn take(&self, connection: SwarmConnection) {
        if self.meeting.own.lock().contains(connection.remote_public_key()) {
            self.connections.spawn(carrier::refuse(connection));
            return;
        }
        let place = Arc::clone(&self.meeting.places).try_acquire_owned().ok();
        let sit = |place| Some((place, self.meeting.sit(*connection.remote_public_key(), self.number)?));
        let Some((place, seat)) = place.and_then(sit) else {
            metrics::counter!(PICO_CLOSES, "reason" => "swarm_full").increment(1);
            self.connections.spawn(carrier::refuse(connection));
            return;
        };
        let (meeting, close, left) = (Arc::clone(&self.meeting), self.close.clone(), Arc::clone(&self.left));
        self.connections.spawn(async move {
            let closed = async {
                tokio::select! {
                    () = close.cancelled() => {}
                    () = seat.close.cancelled() => {}
                }
            };
            Box::pin(carrier::carry(connection, &meeting.rooms, &meeting.room, closed)).await;
            drop((seat, place));
            left.notify_one();
        });
    }
}
