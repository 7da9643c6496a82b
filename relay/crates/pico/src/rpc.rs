//! The conversation with one peer: SimpleRPC of piconet, both roles, as a state machine without IO.
//!
//! | payload | data |
//! |---|---|
//! | `00` OK | none |
//! | `01` QUERY | an empty map: `a0` (CBOR) of generation 2, `de 00 00` (msgpack) of generation 1 |
//! | `02` BLOCKS | one feed |
//! | `03` NODE_ID | 8 random bytes |
//! | `ff` ERR | none; from us a reason in UTF-8, which upstream ignores |
//!
//! Both sides do the same, at once: NODE_ID, and when it is answered with OK, QUERY. The answer to a QUERY is OK if there
//! is nothing, else a chain of BLOCKS: each but the last asks for a reply, and the next comes when that is OK. New blocks
//! travel as BLOCKS out of the blue. (piconet 3.2.2, picostack 1.5.17 and 2.0.2; vector file wire.json)
//!
//! Input are frames, the time, and what came of the caller's work; output are [`Act`]s.

mod act;
mod formats;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use picofeed::Format;

pub use self::act::{Act, Received, UploadNumber};
pub use self::formats::Formats;
use super::wire::{Elapsed, Frame, NoFrame, Port, Ports};

const OK: u8 = 0;
const QUERY: u8 = 1;
const BLOCKS: u8 = 2;
const NODE_ID: u8 = 3;
const ERR: u8 = 255;

/// Name of a process, random; of the relay one for each room.
pub type NodeId = [u8; 8];

/// Bytes of the reason in an ERR.
const ERROR_BYTES_MAX: usize = 200;

/// Feeds of one download that may be refused before the rest is not asked for.
const REFUSALS_MAX: usize = 8;

/// Why a conversation cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer sent something else than frames.
    #[error("not piconet: {0}")]
    NoFrame(#[from] NoFrame),
    /// The peer did not answer NODE_ID in time.
    #[error("no answer to NODE_ID")]
    Silent,
    /// The peer does not want us: it is connected already.
    #[error("the peer refused us")]
    Refused,
    /// The peer is this relay.
    #[error("connected to itself")]
    Itself,
}

/// What a request of ours is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    NodeId,
    Query,
    /// The next feed; `true`: of the answer to our QUERY.
    Feed(bool),
    /// Whether our last part was welcome.
    Upload(UploadNumber),
}

/// Limits of one conversation.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Requests of ours that may wait.
    pub ports_max: usize,
    /// How long they wait.
    pub patience: Duration,
    /// Ask for feeds of both generations from the start: the peer is a relay, too.
    pub both: bool,
}

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    own: NodeId,
    rules: Rules,
    peer: Option<NodeId>,
    ports: Ports<Ask>,
    hears: Formats,
    /// What we have asked for.
    asked: Formats,
    /// An answer to our QUERY is under way.
    downloading: bool,
    /// It is to be asked for once more when that is over.
    again: bool,
    refusals: usize,
    uploads: UploadNumber,
    /// Where the next part of the upload at hand goes, once the peer has asked for it.
    upload_to: Option<Port>,
    acts: VecDeque<Act>,
}

/// New blocks for whoever hears them.
pub fn live(feed: &[u8]) -> Bytes {
    Frame::encode(0, None, &[&[BLOCKS], feed])
}

impl Conversation {
    /// Begins one: says who we are.
    pub fn new(own: NodeId, rules: Rules, now: Elapsed) -> Self {
        let mut conversation = Self {
            own,
            rules,
            peer: None,
            ports: Ports::new(rules.ports_max.max(4)),
            hears: Formats::default(),
            asked: Formats::default(),
            downloading: false,
            again: false,
            refusals: 0,
            uploads: 0,
            upload_to: None,
            acts: VecDeque::new(),
        };
        conversation.request(0, &[&[NODE_ID], &own], Ask::NodeId, now);
        conversation
    }

    /// The next thing to do.
    pub fn act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Takes a frame in.
    ///
    /// # Errors
    ///
    /// The conversation is over.
    pub fn receive(&mut self, bytes: &Bytes, now: Elapsed) -> Result<(), Fault> {
        let frame = Frame::decode(bytes)?;
        if frame.to == 0 {
            return self.message(&frame, now);
        }
        let Some(ask) = self.ports.take(frame.to) else {
            self.ignore("unknown_port");
            return Ok(());
        };
        self.reply(ask, &frame, now)
    }

    /// Lets time pass: gives up what nobody answered.
    ///
    /// Only an unanswered NODE_ID ends the conversation. Upstream closes whenever a reply is missing; but a node that
    /// fails over one feed, which JavaScript nodes do without a word, still wants to hear new blocks.
    ///
    /// # Errors
    ///
    /// [`Fault::Silent`].
    pub fn tick(&mut self, now: Elapsed) -> Result<(), Fault> {
        while let Some(ask) = self.ports.expired(now, self.rules.patience) {
            match ask {
                Ask::NodeId => return Err(Fault::Silent),
                Ask::Query | Ask::Feed(true) => self.downloaded(now),
                Ask::Upload(number) => self.uploaded(number),
                Ask::Feed(false) => {}
            }
            self.ignore("unanswered");
        }
        Ok(())
    }

    /// A feed was merged, or refused, and why. Whoever sent it out of the blue is told to go on, or that it was bad.
    pub fn dispatched(&mut self, received: &Received, refused: Option<&str>, now: Elapsed) {
        if received.answer {
            self.refusals += usize::from(refused.is_some());
            return;
        }
        let Some(port) = received.reply else { return };
        if let Some(why) = refused {
            self.send_error(port, why);
        } else if !self.request(port, &[&[OK]], Ask::Feed(false), now) {
            self.send_error(port, "too many requests wait for a reply");
        }
    }

    /// A part of the room, and whether another follows; or none, if there was nothing.
    pub fn part(&mut self, number: UploadNumber, part: Option<(&[u8], bool)>, now: Elapsed) {
        if number != self.uploads {
            return;
        }
        let Some(to) = self.upload_to.take() else { return };
        match part {
            None => self.send(to, OK),
            Some((feed, true)) if self.request(to, &[&[BLOCKS], feed], Ask::Upload(number), now) => return,
            Some((feed, _)) => self.acts.push_back(Act::Send(Frame::encode(to, None, &[&[BLOCKS], feed]))),
        }
        self.uploaded(number);
    }

    /// Asks the peer once more for everything, if it is not telling just now.
    pub fn ask_again(&mut self, now: Elapsed) {
        if !self.downloading && !self.asked.is_empty() {
            self.asked = Formats::default();
            self.ask(now);
        }
    }

    /// The same, but after what it is telling just now, of which something was refused.
    pub fn ask_for_all(&mut self, now: Elapsed) {
        self.again = self.downloading;
        self.ask_again(now);
    }

    /// Refuses a message that is more than the peer may send, if it waits for an answer.
    ///
    /// # Errors
    ///
    /// It is no frame.
    pub fn refuse(&mut self, bytes: &Bytes) -> Result<(), Fault> {
        if let Some(port) = Frame::decode(bytes)?.reply {
            self.send_error(port, "rate-limited: too many queries");
        }
        Ok(())
    }

    /// Whether these bytes are a QUERY, which costs more than other frames.
    pub fn is_query(bytes: &[u8]) -> bool {
        matches!(bytes, [0, 0, _, _, _, QUERY, ..])
    }

    fn message(&mut self, frame: &Frame, now: Elapsed) -> Result<(), Fault> {
        match frame.payload.split_first() {
            Some((&NODE_ID, id)) => self.node_id(id, frame.reply),
            Some((&QUERY, parameters)) => {
                self.query(parameters, frame.reply, now);
                Ok(())
            }
            Some((&BLOCKS, feed)) => {
                let feed = frame.payload.slice_ref(feed);
                self.blocks(Received { feed, reply: frame.reply, answer: false });
                Ok(())
            }
            Some((&(OK | ERR), _)) if frame.reply.is_none() => {
                self.ignore("stray_answer");
                Ok(())
            }
            _ => {
                self.refuse_type(frame.reply);
                Ok(())
            }
        }
    }

    fn reply(&mut self, ask: Ask, frame: &Frame, now: Elapsed) -> Result<(), Fault> {
        match (ask, frame.payload.split_first()) {
            (Ask::NodeId, Some((&OK, _))) => self.ask(now),
            (Ask::NodeId, _) => return Err(Fault::Refused),
            (Ask::Query | Ask::Feed(true), Some((&BLOCKS, feed))) => {
                self.blocks(Received { feed: frame.payload.slice_ref(feed), reply: None, answer: true });
                self.next_feed(frame.reply, now);
            }
            (Ask::Feed(false), Some((&BLOCKS, feed))) => {
                self.blocks(Received { feed: frame.payload.slice_ref(feed), reply: frame.reply, answer: false });
            }
            (Ask::Query | Ask::Feed(true), _) => self.downloaded(now),
            (Ask::Feed(false), _) => {}
            (Ask::Upload(number), Some((&OK, _))) => {
                if number == self.uploads && frame.reply.is_some() {
                    self.upload_to = frame.reply;
                    self.acts.push_back(Act::Part(number));
                } else {
                    self.uploaded(number);
                }
            }
            (Ask::Upload(number), _) => {
                self.ignore("upload_refused");
                self.uploaded(number);
            }
        }
        Ok(())
    }

    fn node_id(&mut self, id: &[u8], reply: Option<Port>) -> Result<(), Fault> {
        match (NodeId::try_from(id), self.peer) {
            (Ok(id), None) => {
                if id == self.own {
                    return Err(Fault::Itself);
                }
                self.peer = Some(id);
                if let Some(port) = reply {
                    self.send(port, OK);
                }
                self.acts.push_back(Act::Introduced(id));
            }
            // Upstream leaves the second one without an answer.
            (Ok(_), Some(_)) => self.ignore("node_id_twice"),
            (Err(_), _) => self.refuse_type(reply),
        }
        Ok(())
    }

    fn query(&mut self, parameters: &[u8], reply: Option<Port>, now: Elapsed) {
        let format = match parameters.first() {
            // Maps of CBOR.
            Some(0xa0..=0xbf) => Some(Format::V8),
            // Maps of msgpack.
            Some(0x80..=0x8f | 0xde | 0xdf) => Some(Format::V3),
            _ => None,
        };
        let (Some(format), Some(port)) = (format, reply) else {
            self.refuse_type(reply);
            return;
        };
        self.learn(format);
        // One at a time: who asks again wants the new answer.
        self.ports.forget(|ask| matches!(ask, Ask::Upload(_)));
        self.uploads += 1;
        self.upload_to = Some(port);
        self.acts.push_back(Act::Upload(self.uploads, format));
        self.ask(now);
    }

    fn blocks(&mut self, received: Received) {
        // What the peer sends, it understands. A relay sends both, and says so by its QUERYs.
        if self.hears.is_empty()
            && let Some(format) = Format::detect(&received.feed)
        {
            self.learn(format);
        }
        self.acts.push_back(Act::Dispatch(received));
    }

    /// Asks for the next feed of the answer to our QUERY, while the last one waits to be merged: the caller reads no faster
    /// than it merges. One bad feed does not keep the others from us.
    fn next_feed(&mut self, reply: Option<Port>, now: Elapsed) {
        let Some(port) = reply else { return self.downloaded(now) };
        if self.refusals >= REFUSALS_MAX || !self.request(port, &[&[OK]], Ask::Feed(true), now) {
            self.send(port, ERR);
            self.downloaded(now);
        }
    }

    fn learn(&mut self, format: Format) {
        if self.hears.insert(format) {
            self.acts.push_back(Act::Hears(format));
        }
    }

    /// Asks for what was not asked for yet. `a0` comes first: nodes of both generations answer it, each with its own
    /// feeds. Only relays answer the other one too, with the feeds of generation 1.
    fn ask(&mut self, now: Elapsed) {
        let is_introduced = !self.waits_for(Ask::NodeId);
        if self.downloading || !is_introduced {
            return;
        }
        let is_relay = self.rules.both || (self.hears.is_full());
        let (format, parameters): (_, &[u8]) = if !self.asked.contains(Format::V8) {
            (Format::V8, &[0xa0])
        } else if is_relay && !self.asked.contains(Format::V3) {
            (Format::V3, &[0xde, 0, 0])
        } else {
            return;
        };
        self.asked.insert(format);
        self.refusals = 0;
        self.downloading = self.request(0, &[&[QUERY], parameters], Ask::Query, now);
    }

    fn downloaded(&mut self, now: Elapsed) {
        self.downloading = false;
        self.acts.push_back(Act::Downloaded);
        if std::mem::take(&mut self.again) {
            self.asked = Formats::default();
        }
        self.ask(now);
    }

    /// An answer to a QUERY is over, unless another has begun.
    fn uploaded(&mut self, number: UploadNumber) {
        if number == self.uploads {
            self.acts.push_back(Act::Uploaded);
        }
    }

    fn waits_for(&self, ask: Ask) -> bool {
        self.ports.any(|waiting| *waiting == ask)
    }

    /// Sends something that wants a reply. False if too much waits already.
    fn request(&mut self, to: Port, parts: &[&[u8]], ask: Ask, now: Elapsed) -> bool {
        let port = self.ports.open(ask, now);
        if port.is_some() {
            self.acts.push_back(Act::Send(Frame::encode(to, port, parts)));
        }
        port.is_some()
    }

    fn send(&mut self, to: Port, kind: u8) {
        self.acts.push_back(Act::Send(Frame::encode(to, None, &[&[kind]])));
    }

    /// ERR, with the reason in as many bytes as are of use to a person.
    fn send_error(&mut self, to: Port, why: &str) {
        self.acts.push_back(Act::Send(error(to, why)));
    }

    fn refuse_type(&mut self, reply: Option<Port>) {
        if let Some(port) = reply {
            self.send(port, ERR);
        }
        self.ignore("unknown_type");
    }

    fn ignore(&mut self, reason: &'static str) {
        self.acts.push_back(Act::Ignored(reason));
    }
}

/// ERR as the answer to a frame. None if the frame wants no reply, or is none.
pub fn error_to(frame: &Bytes, why: &str) -> Option<Bytes> {
    Frame::decode(frame).ok()?.reply.map(|port| error(port, why))
}

fn error(to: Port, why: &str) -> Bytes {
    let end = why.floor_char_boundary(ERROR_BYTES_MAX);
    let why = why.get(..end).unwrap_or_default();
    Frame::encode(to, None, &[&[ERR], why.as_bytes()])
}

#[cfg(test)]
mod tests;
