//! The fast digest equals the plain one.

use repops::digest::Layout;
use repops::dtype::DType;

use super::{POOLS, Random};

#[test]
fn every_length_of_leaf_and_tree() {
    let mut source = Random(3);
    let bytes: Vec<u8> = (0..1_200_000).map(|_| source.draw() as u8).collect();
    let lengths = (0..40)
        .map(|i| i * 331)
        .chain((1..=40).map(|i| i * 1024 + i % 3))
        .chain([262_143, 262_144, 262_145, 263_168, 524_288, 786_433, 1_050_000, 1_200_000]);
    for len in lengths {
        let bytes = &bytes[..len];
        let plain = repops::digest::bytes_digest(DType::U8, Layout::Panel16, &[len], bytes);
        for pool in POOLS.iter() {
            let fast =
                pool.install(|| repops_kernels::bytes_digest(DType::U8, Layout::Panel16, &[len], bytes));
            assert_eq!(fast, plain, "{len} bytes on {} threads", pool.current_num_threads());
        }
    }
}
