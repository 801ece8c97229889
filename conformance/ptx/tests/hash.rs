//! Merkle roots by the device's kernels, on the interpreter: every length of a last leaf, trees of several launches.

use repops::digest::{LEAF_BYTES, leaf_hash, merkle_root};
use repops_cuda::Device;
use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots};
use repops_ptx::Interpreter;

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Roots of pieces of one buffer.
#[track_caller]
fn check(pieces: &[(usize, usize)]) {
    let device = Interpreter::new();
    let end = pieces.iter().map(|(offset, len)| offset + len).max().unwrap_or(0).max(1);
    let bytes = data(end);
    let buffer = device.alloc(end).unwrap();
    device.write(&buffer, 0, &bytes).unwrap();
    let out = device.alloc(pieces.len() * ROOT_BYTES + 64).unwrap();
    let tensors: Vec<Bytes<'_, _>> =
        pieces.iter().map(|&(offset, len)| Bytes { buffer: &buffer, offset, len }).collect();
    roots(&device, &tensors, &out, 64).unwrap();
    for (at, &(offset, len)) in pieces.iter().enumerate() {
        let mut found = [0; ROOT_BYTES];
        device.read(&out, 64 + at * ROOT_BYTES, &mut found).unwrap();
        let leaves: Vec<_> = bytes[offset..][..len].chunks(LEAF_BYTES).map(leaf_hash).collect();
        assert_eq!(found, merkle_root(&leaves).0, "{len} bytes from {offset} on");
    }
}

#[test]
fn last_leaves_of_every_kind() {
    let lengths =
        [0, 1, 2, 3, 53, 54, 55, 56, 57, 62, 63, 64, 65, 119, 128, 960, 1013, 1014, 1015, 1023, 1024, 1025];
    let pieces: Vec<(usize, usize)> = lengths.iter().enumerate().map(|(i, &len)| (i % 3 * 16, len)).collect();
    check(&pieces);
    let unaligned: Vec<(usize, usize)> =
        lengths.iter().enumerate().map(|(i, &len)| (i * 5 + 1, len)).collect();
    check(&unaligned);
}

#[test]
fn trees_of_every_shape() {
    for leaves in [2, 3, 4, 5, 6, 7, 8, 9, 13, 31, 33] {
        check(&[(0, leaves * LEAF_BYTES - 400)]);
    }
}

#[test]
fn trees_of_several_launches_and_many_tensors() {
    let many = LEAF_BYTES * 128;
    check(&[
        (0, many),
        (16, 40),
        (64, many + 1),
        (0, 0),
        (32, 3 * many + 5 * LEAF_BYTES + 7),
        (16, LEAF_BYTES),
    ]);
}

#[test]
fn tensors_of_many_buffers() {
    let device = Interpreter::new();
    let buffers: Vec<_> = (0..19)
        .map(|k| {
            let buffer = device.alloc(100 + k).unwrap();
            device.write(&buffer, 0, &data(100 + k)).unwrap();
            buffer
        })
        .collect();
    let tensors: Vec<Bytes<'_, _>> =
        buffers.iter().enumerate().map(|(k, buffer)| Bytes { buffer, offset: 0, len: 100 + k }).collect();
    let out = device.alloc(19 * ROOT_BYTES).unwrap();
    roots(&device, &tensors, &out, 0).unwrap();
    for k in 0..19 {
        let mut found = [0; ROOT_BYTES];
        device.read(&out, k * ROOT_BYTES, &mut found).unwrap();
        assert_eq!(found, leaf_hash(&data(100 + k)).0);
    }
}
