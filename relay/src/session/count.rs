//! COUNT (NIP-45), with HyperLogLog registers where the filter allows.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::{Session, req};
use crate::event::{Address, Id, PublicKey};
use crate::filter::Filter;
use crate::message::reply;
use crate::metrics;
use crate::rarely::rarely;
use crate::store::{Readers, Scan, Seq, Step};

pub(super) fn handle(session: &mut Session, id: &str, filters: &[&str]) {
    let filters = match req::read_filters(session, filters) {
        Ok(filters) => filters,
        Err(why) => return session.refused("COUNT", id, &why),
    };
    if session.work.len() >= session.relay.config.limits.subscriptions_max {
        return session.refused("COUNT", id, "rate-limited: too many queries at once");
    }
    let (relay, outbox) = (Arc::clone(&session.relay), Arc::clone(&session.outbox));
    let (readers, counts) = (session.readers(), Arc::clone(&session.account.holdings.counts));
    // A limit says how many events to send; counting sends none.
    let filters: Arc<[Filter]> = filters.iter().map(|filter| Filter { limit: None, ..filter.clone() }).collect();
    let mut query = req::query(&relay, Arc::clone(&filters), session.viewer.read().clone(), Seq::MAX);
    query.bodies = false;
    query.limit_default = u64::MAX;
    query.limit_max = u64::MAX;
    let mut scan = Scan::new(query);
    scan.held = match req::hold(session, &filters) {
        Ok(held) => Some(held),
        Err(why) => return session.refused("COUNT", id, &why),
    };
    let id = id.to_owned();
    session.start(async move {
        let started = Instant::now();
        let _turn = counts.acquire().await;
        let hll = offset(&filters).map(Hll::new);
        outbox.text(match count(&readers, scan, relay.config.limits.count_max, hll).await {
            Ok((count, approximate, hll)) => {
                reply::count(&id, count, approximate, hll.as_ref().map(|hll| &hll.registers))
            }
            Err(why) => reply::closed(&id, &why),
        });
        metrics::query("COUNT", started.elapsed());
    });
}

async fn count(
    readers: &Readers,
    mut scan: Scan,
    look_at_max: u64,
    mut hll: Option<Hll>,
) -> Result<(u64, bool, Option<Hll>), String> {
    let mut count = 0;
    loop {
        let (back, rows, step) = readers.slice(scan).await.map_err(|stopped| format!("error: {stopped}"))?;
        scan = back;
        count += rows.len() as u64;
        if let Some(hll) = &mut hll {
            rows.iter().for_each(|row| hll.add(&row.pubkey));
        }
        match step {
            Ok(Step::Again) if scan.examined >= look_at_max => return Ok((count, true, hll)),
            Ok(Step::Again) => {}
            Ok(Step::Done) => return Ok((count, false, hll)),
            Err(error) => {
                rarely!(error, %error, "a count failed");
                return Err("error: the count failed".into());
            }
        }
    }
}

/// The registers of NIP-45.
struct Hll {
    offset: usize,
    registers: [u8; 256],
}

impl Hll {
    fn new(offset: usize) -> Self {
        Self { offset, registers: [0; 256] }
    }

    fn add(&mut self, pubkey: &PublicKey) {
        let Some((&register, rest)) = pubkey.0.get(self.offset..).and_then(<[u8]>::split_first) else { return };
        // At most 23 bytes follow, so the sum stays below 186.
        let mut value = 1;
        for byte in rest {
            value += byte.leading_zeros();
            if *byte != 0 {
                break;
            }
        }
        if let Some(most) = self.registers.get_mut(usize::from(register)) {
            *most = (*most).max(u8::try_from(value).unwrap_or(u8::MAX));
        }
    }
}

/// Where in a key the registers begin, 8 to 23, if the filters are such that registers can be merged with other
/// relays': one filter, with one tag condition of one value.
fn offset(filters: &[Filter]) -> Option<usize> {
    let [filter] = filters else { return None };
    let [tag] = filter.tags.as_slice() else { return None };
    let [value] = &*tag.values else { return None };
    let hex = if Id::from_hex(value).is_some() {
        value.clone()
    } else if let Some(address) = Address::parse(value) {
        address.pubkey.to_hex()
    } else {
        data_encoding::HEXLOWER.encode(&Sha256::digest(value.as_bytes()))
    };
    let digit = char::from(*hex.as_bytes().get(32)?).to_digit(16)?;
    Some(digit as usize + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_registers() {
        let mut hll = Hll::new(8);
        let mut key = [0xff; 32];
        key[8] = 5;
        key[9] = 0b0001_0000;
        hll.add(&PublicKey(key));
        assert_eq!(hll.registers[5], 4);
        key[9] = 0xff;
        hll.add(&PublicKey(key));
        assert_eq!(hll.registers[5], 4);
        assert_eq!(hll.registers.iter().filter(|value| **value > 0).count(), 1);
        key[9..].fill(0);
        hll.add(&PublicKey(key));
        assert_eq!(hll.registers[5], 23 * 8 + 1);
    }

    #[test]
    fn finds_offsets() {
        let of = |json: &str| offset(&[Filter::parse(json).unwrap()]);
        let id = format!("{}7{}", "0".repeat(32), "0".repeat(31));
        assert_eq!(of(&format!(r##"{{"#e":["{id}"]}}"##)), Some(15));
        assert_eq!(of(&format!(r##"{{"#a":["30023:{id}:x"]}}"##)), Some(15));
        assert!(of(r##"{"#t":["nostr"]}"##).is_some());
        assert_eq!(of(r##"{"#t":["a","b"]}"##), None);
        assert_eq!(of(r#"{"kinds":[1]}"#), None);
    }
}
