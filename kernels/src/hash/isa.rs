//! Which instructions the digests use, chosen at run time.
//!
//! Invariant: the choice never changes a bit of a digest.

use std::array::from_fn;

use repops::digest::sha256;

use super::Hash;
#[cfg(target_arch = "aarch64")]
use super::armv8;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, sha_ni};

/// Instructions by which many leaves and nodes are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashIsa {
    /// One message after the other, by the `sha2` crate.
    Portable,
    /// x86-64 with AVX2: eight messages at once.
    Avx2,
    /// x86-64 with the SHA extensions: two messages at once.
    ShaNi,
    /// x86-64 with AVX-512 F and BW: sixteen messages at once.
    Avx512,
    /// AArch64 with the SHA-2 instructions of Armv8: two messages at once.
    Armv8,
}

impl HashIsa {
    /// All of them, whether this machine has them or not; those of one machine from slow to fast.
    pub const ALL: [HashIsa; 5] =
        [HashIsa::Portable, HashIsa::Avx2, HashIsa::ShaNi, HashIsa::Avx512, HashIsa::Armv8];

    /// The fastest one of this machine.
    pub fn detect() -> HashIsa {
        HashIsa::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(HashIsa::Portable)
    }

    /// Those that this machine can run, in the order of `ALL`.
    pub fn available() -> impl Iterator<Item = HashIsa> {
        HashIsa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            HashIsa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            HashIsa::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            HashIsa::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("ssse3")
            }
            #[cfg(target_arch = "x86_64")]
            HashIsa::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            #[cfg(target_arch = "aarch64")]
            HashIsa::Armv8 => std::arch::is_aarch64_feature_detected!("sha2"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// SHA-256 of `PREFIX || message` for each message. `self` is available.
    pub(super) fn hash<const PREFIX: u8, const BYTES: usize>(
        self,
        messages: &[[u8; BYTES]],
        hashes: &mut [Hash],
    ) {
        assert_eq!(messages.len(), hashes.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            HashIsa::Avx512 => {
                // As many as take the narrower way as long as sixteen take this one.
                let (narrow, fewest) = match HashIsa::ShaNi.is_available() {
                    true => (HashIsa::ShaNi, 9),
                    false => (HashIsa::Portable, 2),
                };
                // SAFETY: the caller's promise.
                let sixteen = |batch| unsafe { avx512::hash::<PREFIX, BYTES>(batch) };
                let done = in_batches(messages, hashes, fewest, sixteen);
                narrow.hash::<PREFIX, BYTES>(&messages[done..], &mut hashes[done..]);
            }
            #[cfg(target_arch = "x86_64")]
            HashIsa::ShaNi => {
                // SAFETY: the caller's promise.
                let two = |batch| unsafe { sha_ni::hash::<PREFIX, BYTES, 2>(batch) };
                // SAFETY: the caller's promise.
                let one = |batch| unsafe { sha_ni::hash::<PREFIX, BYTES, 1>(batch) };
                let done = in_batches(messages, hashes, 2, two);
                in_batches(&messages[done..], &mut hashes[done..], 1, one);
            }
            #[cfg(target_arch = "x86_64")]
            HashIsa::Avx2 => {
                // SAFETY: the caller's promise.
                let eight = |batch| unsafe { avx2::hash::<PREFIX, BYTES>(batch) };
                let done = in_batches(messages, hashes, 3, eight);
                HashIsa::Portable.hash::<PREFIX, BYTES>(&messages[done..], &mut hashes[done..]);
            }
            #[cfg(target_arch = "aarch64")]
            HashIsa::Armv8 => {
                // SAFETY: the caller's promise.
                let two = |batch| unsafe { armv8::hash::<PREFIX, BYTES, 2>(batch) };
                // SAFETY: the caller's promise.
                let one = |batch| unsafe { armv8::hash::<PREFIX, BYTES, 1>(batch) };
                let done = in_batches(messages, hashes, 2, two);
                in_batches(&messages[done..], &mut hashes[done..], 1, one);
            }
            _ => {
                in_batches(messages, hashes, 1, |[message]| [sha256(&[&[PREFIX], message]).0]);
            }
        }
    }

    /// SHA-256 of `PREFIX || message` for each message; all are equally long. `self` is available.
    pub(super) fn hash_slices<const PREFIX: u8>(self, messages: &[&[u8]], hashes: &mut [Hash]) {
        assert_eq!(messages.len(), hashes.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            HashIsa::Avx512 => {
                let (narrow, fewest) = match HashIsa::ShaNi.is_available() {
                    true => (HashIsa::ShaNi, 9),
                    false => (HashIsa::Portable, 2),
                };
                // SAFETY: the caller's promise.
                let sixteen = |batch: [&&[u8]; 16], next: [&&[u8]; 16]| unsafe {
                    avx512::hash_slices::<PREFIX>(batch.map(|m| *m), next.map(|m| *m))
                };
                let done = in_batches_foreseen(messages, hashes, fewest, sixteen);
                narrow.hash_slices::<PREFIX>(&messages[done..], &mut hashes[done..]);
            }
            #[cfg(target_arch = "x86_64")]
            HashIsa::ShaNi => {
                // SAFETY: the caller's promise.
                let two = |batch: [&&[u8]; 2]| unsafe { sha_ni::hash_slices::<PREFIX, 2>(batch.map(|m| *m)) };
                // SAFETY: the caller's promise.
                let one = |[message]: [&&[u8]; 1]| unsafe { sha_ni::hash_slices::<PREFIX, 1>([message]) };
                let done = in_batches(messages, hashes, 2, two);
                in_batches(&messages[done..], &mut hashes[done..], 1, one);
            }
            // The other ways at once are for messages of whole blocks.
            _ => {
                in_batches(messages, hashes, 1, |[message]| [sha256(&[&[PREFIX], message]).0]);
            }
        }
    }
}

/// Hashes `N` messages at a time, and as long as at least `fewest` are left, fewer than `N`; gives how many it has
/// hashed. The places of missing messages hold the last one again.
fn in_batches<'a, T, const N: usize>(
    messages: &'a [T],
    hashes: &mut [Hash],
    fewest: usize,
    hash: impl Fn([&'a T; N]) -> [Hash; N],
) -> usize {
    in_batches_foreseen(messages, hashes, fewest, |batch, _| hash(batch))
}

/// The same with the messages that come next: after the last ones, the very last again.
fn in_batches_foreseen<'a, T, const N: usize>(
    messages: &'a [T],
    hashes: &mut [Hash],
    fewest: usize,
    hash: impl Fn([&'a T; N], [&'a T; N]) -> [Hash; N],
) -> usize {
    let last = messages.len().saturating_sub(1);
    let from = |first: usize| from_fn(|n| &messages[last.min(first + n)]);
    let mut done = 0;
    while messages.len() - done >= fewest {
        let count = N.min(messages.len() - done);
        let found = hash(from(done), from(done + N));
        hashes[done..done + count].copy_from_slice(&found[..count]);
        done += count;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_all_but_a_few() {
        let messages: Vec<[u8; 2]> = (0..40).map(|i| [i, 7]).collect();
        for count in 0..=messages.len() {
            for fewest in 1..=4 {
                let mut hashes = vec![[0xff; 32]; count];
                let done = in_batches(&messages[..count], &mut hashes, fewest, |batch: [&[u8; 2]; 4]| {
                    batch.map(|message| [message[0]; 32])
                });
                assert!(done <= count && count - done < fewest);
                let of = |i: usize| if i < done { messages[i][0] } else { 0xff };
                assert!((0..count).all(|i| hashes[i] == [of(i); 32]), "{done} of {count}");
            }
        }
    }
}
