//! Parts of Merkle trees: several leaves at once, frontiers, and the nodes under a node.
//!
//! Invariant: the number of leaves comes from what the root binds; a proof with a hash too many or too few
//! proves nothing. Work is bounded by the number of leaves opened times the depth.

use repops::Digest;
use repops::digest::{merkle_root, node_hash};

/// The root that opened leaves (ascending by index) and the hashes of all other subtrees, from left to
/// right, give.
pub fn root(count: u64, leaves: &[(u64, Digest)], hashes: &[Digest]) -> Option<Digest> {
    let ordered = leaves.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !ordered || leaves.last().is_some_and(|leaf| leaf.0 >= count) {
        return None;
    }
    if count == 0 {
        return hashes.is_empty().then(|| merkle_root(&[]));
    }
    let mut rest = hashes.iter();
    let root = fold(0, count, leaves, &mut rest)?;
    rest.next().is_none().then_some(root)
}

fn fold(
    low: u64,
    high: u64,
    leaves: &[(u64, Digest)],
    rest: &mut std::slice::Iter<'_, Digest>,
) -> Option<Digest> {
    match leaves {
        [] => rest.next().copied(),
        [(_, hash)] if high - low == 1 => Some(*hash),
        _ => {
            let middle = low + split(high - low);
            let (left, right) = leaves.split_at(leaves.partition_point(|leaf| leaf.0 < middle));
            let left = fold(low, middle, left, rest)?;
            Some(node_hash(&left, &fold(middle, high, right, rest)?))
        }
    }
}

/// A tree that is at hand, by its leaves or by more.
pub trait Subtrees {
    /// The number of leaves.
    fn count(&self) -> u64;
    /// The hash over leaves `low..high`, which are one or more.
    fn root(&self, low: u64, high: u64) -> Digest;
}

impl Subtrees for [Digest] {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn root(&self, low: u64, high: u64) -> Digest {
        merkle_root(&self[low as usize..high as usize])
    }
}

impl Subtrees for Vec<Digest> {
    fn count(&self) -> u64 {
        self.as_slice().count()
    }

    fn root(&self, low: u64, high: u64) -> Digest {
        self.as_slice().root(low, high)
    }
}

/// Leaves with the hashes of all complete subtrees over them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaves {
    /// At `h` those over `1 << h` leaves each.
    levels: Vec<Vec<Digest>>,
}

impl Leaves {
    pub fn of(leaves: Vec<Digest>) -> Leaves {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            let above = last.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Leaves { levels }
    }

    /// The root of the whole tree.
    pub fn whole(&self) -> Digest {
        match self.count() {
            0 => merkle_root(&[]),
            count => self.root(0, count),
        }
    }
}

impl Subtrees for Leaves {
    fn count(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    fn root(&self, low: u64, high: u64) -> Digest {
        let size = high - low;
        let known = self.levels.get(size.ilog2() as usize).and_then(|level| level.get((low / size) as usize));
        match known.filter(|_| size.is_power_of_two() && low.is_multiple_of(size)) {
            Some(hash) => *hash,
            None => {
                let middle = low + split(size);
                node_hash(&self.root(low, middle), &self.root(middle, high))
            }
        }
    }
}

/// The hashes that [`root`] needs besides the leaves at `wanted` (ascending, within `all`).
pub fn prove(all: &(impl Subtrees + ?Sized), wanted: &[u64]) -> Vec<Digest> {
    fn walk(low: u64, high: u64, all: &(impl Subtrees + ?Sized), wanted: &[u64], out: &mut Vec<Digest>) {
        if wanted.is_empty() {
            return out.push(all.root(low, high));
        }
        if high - low > 1 {
            let middle = low + split(high - low);
            let (left, right) = wanted.split_at(wanted.partition_point(|&w| w < middle));
            walk(low, middle, all, left, out);
            walk(middle, high, all, right, out);
        }
    }
    let mut out = Vec::new();
    if all.count() > 0 {
        walk(0, all.count(), all, wanted, &mut out);
    }
    out
}

fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Whether a frontier has the subtree over leaves `low..high` whole: it has none of the first `common` leaves, or it
/// is complete, of these alone, and so small that they fill at least 16 such ones (or of one leaf).
fn is_taken(low: u64, high: u64, common: u64) -> bool {
    let bits = u64::BITS - common.leading_zeros();
    let size = high - low;
    low >= common || (high <= common && size.is_power_of_two() && size <= 1 << bits.saturating_sub(5))
}

/// Complete subtrees that make up the first `common` of `count` leaves, at least 16 if there are as many leaves and
/// never more than 95, then the subtrees of the others, from left to right.
pub fn frontier(count: u64, common: u64) -> Vec<(u64, u64)> {
    fn walk(low: u64, high: u64, common: u64, out: &mut Vec<(u64, u64)>) {
        if is_taken(low, high, common) {
            return out.push((low, high));
        }
        let middle = low + split(high - low);
        walk(low, middle, common, out);
        walk(middle, high, common, out);
    }
    let mut out = Vec::new();
    if count > 0 {
        walk(0, count, common, &mut out);
    }
    out
}

/// The root that the hashes of a [`frontier`] give.
pub fn frontier_root(count: u64, common: u64, hashes: &[Digest]) -> Option<Digest> {
    fn walk(low: u64, high: u64, common: u64, rest: &mut std::slice::Iter<'_, Digest>) -> Option<Digest> {
        if is_taken(low, high, common) {
            return rest.next().copied();
        }
        let middle = low + split(high - low);
        let left = walk(low, middle, common, rest)?;
        Some(node_hash(&left, &walk(middle, high, common, rest)?))
    }
    if count == 0 {
        return hashes.is_empty().then(|| merkle_root(&[]));
    }
    let mut rest = hashes.iter();
    let root = walk(0, count, common, &mut rest)?;
    rest.next().is_none().then_some(root)
}

/// The hashes of a frontier.
pub fn frontier_hashes(all: &(impl Subtrees + ?Sized), common: u64) -> Vec<Digest> {
    frontier(all.count(), common).into_iter().map(|(low, high)| all.root(low, high)).collect()
}

/// The nodes `levels` below the complete subtree of `1 << height` leaves from `first` on.
pub fn nodes(all: &(impl Subtrees + ?Sized), first: u64, height: u32, levels: u32) -> Option<Vec<Digest>> {
    let end = first.checked_add(1u64.checked_shl(height)?)?;
    let size = 1u64 << height.checked_sub(levels)?;
    let node = |index: u64| all.root(first + index * size, first + (index + 1) * size);
    (end <= all.count()).then(|| (0..1 << levels).map(node).collect())
}

#[cfg(test)]
mod tests {
    use repops::digest::leaf_hash;

    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| leaf_hash(&[i as u8])).collect()
    }

    #[test]
    fn several_leaves_are_proven_at_once() {
        for count in 1..12usize {
            let all = leaves(count);
            for mask in 0u32..1 << count {
                let wanted: Vec<u64> = (0..count as u64).filter(|i| mask >> i & 1 == 1).collect();
                let mut hashes = prove(&all, &wanted);
                let open: Vec<(u64, Digest)> = wanted.iter().map(|&w| (w, all[w as usize])).collect();
                assert_eq!(root(count as u64, &open, &hashes), Some(merkle_root(&all)));
                hashes.push(Digest::default());
                assert_eq!(root(count as u64, &open, &hashes), None);
                if hashes.len() > 1 {
                    hashes.truncate(hashes.len() - 2);
                    assert_eq!(root(count as u64, &open, &hashes), None);
                }
            }
        }
        assert_eq!(root(0, &[], &[]), Some(merkle_root(&[])));
        assert_eq!(root(u64::MAX, &[], &[Digest::default()]), Some(Digest::default()));
        assert_eq!(root(2, &[(2, Digest::default())], &[]), None);
    }

    #[test]
    fn frontiers_of_a_common_prefix_agree() {
        for count in 0..40usize {
            for longer in count..40 {
                let (short, long) = (leaves(count), leaves(longer));
                let (a, b) = (frontier_hashes(&short, count as u64), frontier_hashes(&long, count as u64));
                assert_eq!(a[..], b[..a.len()]);
                assert_eq!(frontier_root(longer as u64, count as u64, &b), Some(merkle_root(&long)));
                assert_eq!(frontier_root(count as u64, count as u64, &a), Some(merkle_root(&short)));
                assert!(
                    frontier(longer as u64, count as u64)[..a.len()]
                        .iter()
                        .all(|(low, high)| (high - low).is_power_of_two())
                );
            }
        }
        assert_eq!(frontier_root(u64::MAX, u64::MAX, &[]), None);
        for common in (0..5000).chain([1 << 20, (1 << 40) - 1, 1 << 63, u64::MAX]) {
            let ranges = frontier(common, common);
            assert!(
                ranges.len() as u64 >= common.min(16) && ranges.len() <= 95,
                "{common}: {}",
                ranges.len()
            );
        }
    }
}
