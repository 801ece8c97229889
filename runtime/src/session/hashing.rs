//! Rows into leaves: the digests of what each step gave, position by position.
//!
//! Rows are short, so that many of them are gathered and hashed together, leaf beside leaf. Invariant: the leaves
//! of a row stand in the order of the steps.

use rayon::prelude::*;
use repops::Digest;
use repops::digest::{LEAF_BYTES, merkle_root};
use repops::sequence::Row;
use repops::sequence::trace::{bind_row, step_leaf};
use repops_kernels::{leaf_hashes, node_hashes};

/// Bytes of rows that are gathered before they are hashed together.
const GATHER_BYTES: usize = 4 << 20;
/// Hashes of one task.
const TASK_HASHES: usize = 256;

/// A step's output rows.
struct Waiting {
    step: u32,
    head: bool,
    row: Row,
    rows: usize,
}

/// The leaves of the rows that are computed at once.
#[derive(Default)]
pub(crate) struct Leaves {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    /// By row: those of carried steps; by head row: those of the head's.
    carried: Vec<Vec<Digest>>,
    head: Vec<Vec<Digest>>,
}

impl Leaves {
    /// Begins with so many rows and head rows.
    pub fn begin(&mut self, rows: usize, head_rows: usize) {
        let clear = |leaves: &mut Vec<Vec<Digest>>, count: usize| {
            leaves.iter_mut().for_each(Vec::clear);
            leaves.resize_with(count, Vec::new);
        };
        clear(&mut self.carried, rows);
        clear(&mut self.head, head_rows);
        self.waiting.clear();
        self.bytes.clear();
    }

    /// Takes the rows of a step with one output.
    pub fn add(&mut self, step: usize, head: bool, row: &Row, bytes: &[u8]) {
        let rows = if head { self.head.len() } else { self.carried.len() };
        let waiting = Waiting { step: step as u32, head, row: row.clone(), rows };
        if bytes.len() >= GATHER_BYTES {
            self.flush();
            self.file(&[waiting], bytes);
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.waiting.push(waiting);
        if self.bytes.len() >= GATHER_BYTES {
            self.flush();
        }
    }

    /// Takes the rows of a step with several outputs.
    pub fn add_several(&mut self, step: usize, head: bool, outputs: &[(&Row, &[u8])]) {
        self.flush();
        let leaves = if head { &mut self.head } else { &mut self.carried };
        let of = |(row, bytes): &(&Row, &[u8])| row_digests(&[(row, leaves.len())], bytes);
        let all: Vec<Vec<Digest>> = outputs.iter().map(of).collect();
        for (at, leaves) in leaves.iter_mut().enumerate() {
            let of_row: Vec<Digest> = all.iter().map(|digests| digests[at]).collect();
            leaves.push(step_leaf(step as u32, &of_row));
        }
    }

    fn flush(&mut self) {
        let (waiting, mut bytes) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.bytes));
        self.file(&waiting, &bytes);
        bytes.clear();
        self.bytes = bytes;
    }

    /// Hashes rows that stand one after the other.
    fn file(&mut self, waiting: &[Waiting], bytes: &[u8]) {
        let rows: Vec<(&Row, usize)> = waiting.iter().map(|w| (&w.row, w.rows)).collect();
        let digests = row_digests(&rows, bytes);
        // The leaf of a step with one output: its number and the digest.
        let steps = waiting.iter().flat_map(|w| std::iter::repeat_n(w.step, w.rows));
        let data: Vec<[u8; 36]> = steps
            .zip(&digests)
            .map(|(step, digest)| {
                let mut data = [0; 36];
                data[..4].copy_from_slice(&step.to_le_bytes());
                data[4..].copy_from_slice(&digest.0);
                data
            })
            .collect();
        let slices: Vec<&[u8]> = data.iter().map(|d| d.as_slice()).collect();
        let hashed = hash_leaves(&slices);
        let mut next = hashed.iter();
        for waiting in waiting {
            let leaves = if waiting.head { &mut self.head } else { &mut self.carried };
            for (leaves, leaf) in leaves.iter_mut().zip(next.by_ref().take(waiting.rows)) {
                leaves.push(*leaf);
            }
        }
    }

    /// The roots over the leaves: of every row, and of every head row.
    pub fn finish(&mut self) -> (Vec<Digest>, Vec<Digest>) {
        self.flush();
        let counts: Vec<usize> = self.carried.iter().chain(&self.head).map(Vec::len).collect();
        let all: Vec<Digest> = self.carried.iter().chain(&self.head).flatten().copied().collect();
        let mut roots = roots(all, counts);
        let head = roots.split_off(self.carried.len());
        (roots, head)
    }
}

/// The digests of rows that stand one after the other: kinds of rows, and how many of each.
fn row_digests(rows: &[(&Row, usize)], bytes: &[u8]) -> Vec<Digest> {
    let mut slices = Vec::with_capacity(bytes.len() / 512);
    let mut counts = Vec::new();
    let mut rest = bytes;
    for (row, count) in rows {
        for _ in 0..*count {
            let (own, after) = rest.split_at(row.bytes());
            counts.push(own.len().div_ceil(LEAF_BYTES));
            slices.extend(own.chunks(LEAF_BYTES));
            rest = after;
        }
    }
    let roots = roots(hash_leaves(&slices), counts);
    let kinds = rows.iter().flat_map(|(row, count)| std::iter::repeat_n(*row, *count));
    let kinds: Vec<&Row> = kinds.collect();
    kinds.par_iter().zip(&roots).with_min_len(TASK_HASHES).map(|(row, root)| bind_row(row, root)).collect()
}

/// H(00 || slice) of each slice, on all threads.
fn hash_leaves(slices: &[&[u8]]) -> Vec<Digest> {
    let mut out = vec![Digest::default(); slices.len()];
    let parts = slices.par_chunks(TASK_HASHES).zip(out.par_chunks_mut(TASK_HASHES));
    parts.for_each(|(slices, out)| leaf_hashes(slices, out));
    out
}

/// The Merkle roots over groups of nodes that stand one after the other: level by level, all groups beside each other.
fn roots(mut nodes: Vec<Digest>, mut counts: Vec<usize>) -> Vec<Digest> {
    while counts.iter().any(|&count| count > 1) {
        let mut pairs = Vec::with_capacity(nodes.len() / 2);
        let mut start = 0;
        for &count in &counts {
            pairs.extend(nodes[start..start + count].chunks_exact(2).map(|pair| [pair[0], pair[1]]));
            start += count;
        }
        let mut combined = vec![Digest::default(); pairs.len()];
        let parts = pairs.par_chunks(TASK_HASHES).zip(combined.par_chunks_mut(TASK_HASHES));
        parts.for_each(|(pairs, out)| node_hashes(pairs, out));
        // An odd last node moves up: the tree of RFC 9162.
        let mut above = Vec::with_capacity(nodes.len().div_ceil(2));
        let (mut start, mut made) = (0, combined.iter());
        for count in &mut counts {
            above.extend(made.by_ref().take(*count / 2));
            if *count % 2 == 1 {
                above.push(nodes[start + *count - 1]);
            }
            start += *count;
            *count = count.div_ceil(2);
        }
        nodes = above;
    }
    let mut next = nodes.into_iter();
    counts
        .iter()
        .map(|&count| if count == 0 { merkle_root(&[]) } else { next.next().expect("a node for each group") })
        .collect()
}
