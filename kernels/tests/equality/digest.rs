//! The fast digests equal the plain one, with all instructions that this machine has.

use std::sync::LazyLock;

use proptest::prelude::*;
use repops::digest::{Digest, LEAF_BYTES, Layout, leaf_hash, merkle_root, node_hash, sha256};
use repops::dtype::DType;
use repops_kernels::{HashIsa, hashes_behind_by, merkle_root_by, node_hashes_by};

use super::POOLS;
use super::draw::{Data, Fill, cases};

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| Fill::new(Data::Bits, 3).source().tensor(DType::U8, &[5_300_000]).bytes().to_vec());

fn plain_root(bytes: &[u8]) -> Digest {
    let leaves: Vec<Digest> = bytes.chunks(LEAF_BYTES).map(leaf_hash).collect();
    merkle_root(&leaves)
}

#[track_caller]
fn assert_every_way(bytes: &[u8]) {
    let plain = plain_root(bytes);
    for isa in HashIsa::available() {
        for pool in POOLS.iter() {
            let threads = pool.current_num_threads();
            let root = pool.install(|| merkle_root_by(isa, bytes));
            assert_eq!(root, plain, "{} bytes, {isa:?}, {threads} threads", bytes.len());
        }
    }
}

#[test]
fn every_length_of_leaf_and_tree() {
    let lengths = (0..40)
        .map(|i| i * 331)
        .chain([1, 1023, 1024, 1025, 15 * 1024, 16 * 1024 - 1])
        // Every number of leaves in a batch, of pairs, and of odd nodes on the lower levels.
        .chain((1..=70).map(|i| i * 1024 + i % 3))
        .chain([262_143, 262_144, 262_145, 263_168, 524_288, 786_433, 1_050_000, 1_200_000]);
    for len in lengths {
        assert_every_way(&BYTES[..len]);
    }
}

#[test]
fn several_megabytes() {
    for len in [2 << 20, (2 << 20) + 1, (3 << 20) - 1023, 5 << 20, 5_299_999] {
        assert_every_way(&BYTES[1..][..len]);
    }
}

#[test]
fn the_chosen_way_and_its_binding() {
    for len in [0, 1, 1024, 70_000, 300_000] {
        let bytes = &BYTES[..len];
        let plain = repops::digest::bytes_digest(DType::U8, Layout::Panel16, &[len], bytes);
        assert_eq!(repops_kernels::bytes_digest(DType::U8, Layout::Panel16, &[len], bytes), plain);
        assert_eq!(repops_kernels::merkle_root(bytes), plain_root(bytes));
    }
    assert!(HashIsa::detect().is_available());
}

/// Single bits matter wherever they are: a way that left a byte out would pass on equal data only.
#[test]
fn every_byte_of_a_batch_counts() {
    let mut bytes = BYTES[..18 * 1024 + 5].to_vec();
    for at in (0..bytes.len()).step_by(61).chain([1023, 1024, 16 * 1024 - 1, 18 * 1024 + 4]) {
        bytes[at] ^= 0x10;
        let plain = plain_root(&bytes);
        for isa in HashIsa::available() {
            assert_eq!(merkle_root_by(isa, &bytes), plain, "byte {at}, {isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn any_start_and_length(start in 0usize..200, leaves in 0usize..90, over in 0usize..1024) {
        let len = leaves * LEAF_BYTES + over;
        let bytes = &BYTES[start..start + len];
        let plain = plain_root(bytes);
        for isa in HashIsa::available() {
            prop_assert_eq!(merkle_root_by(isa, bytes), plain, "{:?}", isa);
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn many_leaves_and_nodes(
        lengths in prop::collection::vec(
            prop_oneof![Just(1024usize), Just(768), 0usize..=1024, 60usize..=66, 118usize..=130], 0..400),
        seed in 0usize..1000,
    ) {
        let slices: Vec<&[u8]> = lengths.iter().enumerate().map(|(i, &len)| &BYTES[seed + 7 * i..][..len]).collect();
        let wanted: Vec<Digest> = slices.iter().map(|slice| leaf_hash(slice)).collect();
        let pairs: Vec<[Digest; 2]> = wanted.windows(2).map(|pair| [pair[0], pair[1]]).collect();
        let above: Vec<Digest> = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
        let named: Vec<Digest> = slices.iter().map(|slice| sha256(&[b"r", slice])).collect();
        for isa in HashIsa::available() {
            let (mut leaves, mut nodes) = (vec![Digest([1; 32]); slices.len()], vec![Digest([1; 32]); pairs.len()]);
            hashes_behind_by::<0>(isa, &slices, &mut leaves);
            node_hashes_by(isa, &pairs, &mut nodes);
            prop_assert!(leaves == wanted && nodes == above, "{:?}", isa);
            hashes_behind_by::<b'r'>(isa, &slices, &mut leaves);
            prop_assert!(leaves == named, "{:?}", isa);
        }
    }
}
