//! Reading a feed of 10,000 blocks, beside the floor: that many bare signature checks.
//!
//! `cargo bench -p picofeed`
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a benchmark may fail where it stands")]

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signature, Signer, SigningKey};
use picofeed::{Feed, Format, Keys, Limits, Secret};

const BLOCKS: usize = 10_000;
const BODY: &[u8; 64] = b"A body of the length that a short note or a like in an app has..";

/// A feed as it is sent, by one author.
fn sent(format: Format, keys: Keys) -> Bytes {
    let secret = match format {
        Format::V8 | Format::V3 => Secret::ed25519([0xa1; 32]),
        Format::Pop02 => Secret::secp256k1([0xa1; 32]).unwrap(),
    };
    let mut feed = Feed::new(format);
    for _ in 0..BLOCKS {
        feed.append(BODY, &secret).unwrap();
    }
    feed.encode_with(keys).into()
}

fn feeds(c: &mut Criterion) {
    let mut group = c.benchmark_group("10,000 blocks");
    group.throughput(Throughput::Elements(BLOCKS as u64));
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));

    let key = SigningKey::from_bytes(&[0xa1; 32]);
    let message = [0x5a; 2 + 34 + 66 + 64];
    let signatures: Vec<Signature> = (0..BLOCKS).map(|_| key.sign(&message)).collect();
    let public = key.verifying_key();
    group.bench_function("floor: verify_strict", |b| {
        b.iter(|| signatures.iter().all(|signature| public.verify_strict(black_box(&message), signature).is_ok()));
    });

    let limits = Limits::default();
    for (name, format, keys) in
        [("v8", Format::V8, Keys::Once), ("v3", Format::V3, Keys::Repeated), ("pop02", Format::Pop02, Keys::Once)]
    {
        let sent = sent(format, keys);
        group.bench_function(format!("{name}: decode"), |b| {
            b.iter(|| Feed::decode(format, black_box(sent.clone()), &limits).unwrap());
        });
        group.bench_function(format!("{name}: verify"), |b| {
            let decoded = || Feed::decode(format, sent.clone(), &limits).unwrap();
            b.iter_batched(decoded, |feed| feed.verify(&limits).unwrap(), BatchSize::LargeInput);
        });
        let feed = Feed::decode(format, sent.clone(), &limits).unwrap().verify(&limits).unwrap();
        group.bench_function(format!("{name}: encode"), |b| b.iter(|| black_box(&feed).encode_with(keys)));
        let half = feed.slice(0, Some(5_000)).unwrap();
        group.bench_function(format!("{name}: merge second half"), |b| {
            b.iter_batched(|| half.clone(), |mut half| half.merge(black_box(&feed)), BatchSize::LargeInput);
        });
    }
}

criterion_group!(benches, feeds);
criterion_main!(benches);
