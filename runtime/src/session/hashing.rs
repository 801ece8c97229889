//! Rows into leaves: the digests of what each step gave, position by position.

use rayon::prelude::*;
use repops::Digest;
use repops::digest::merkle_root;
use repops::sequence::Row;
use repops::sequence::trace::{bind_row, step_leaf};

/// Bytes of rows that are gathered before they are hashed together.
const GATHER_BYTES: usize = 256 << 10;

/// A step's output rows, waiting.
struct Waiting {
    step: u32,
    head: bool,
    row: Row,
    /// Where the rows start in the gathered bytes.
    start: usize,
    rows: usize,
}

/// The leaves of the rows that are computed at once.
#[derive(Default)]
pub(super) struct Leaves {
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
        let waiting = Waiting { step: step as u32, head, row: row.clone(), start: self.bytes.len(), rows };
        if bytes.len() >= GATHER_BYTES {
            // Order among leaves of a row is the steps' order.
            self.flush();
            let digests = digests(row, bytes, rows);
            self.file(&waiting, &digests);
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
        let rows = leaves.len();
        let all: Vec<Vec<Digest>> =
            outputs.iter().map(|(row, bytes)| row_digests(row, bytes, rows)).collect();
        for (at, leaves) in leaves.iter_mut().enumerate() {
            let of_row: Vec<Digest> = all.iter().map(|digests| digests[at]).collect();
            leaves.push(step_leaf(step as u32, &of_row));
        }
    }

    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.bytes);
        let of = |w: &Waiting| row_digests(&w.row, &bytes[w.start..][..w.rows * w.row.bytes()], w.rows);
        let all: Vec<Vec<Digest>> = waiting.par_iter().map(of).collect();
        for (waiting, digests) in waiting.iter().zip(&all) {
            self.file(waiting, digests);
        }
        self.bytes = bytes;
        self.bytes.clear();
    }

    fn file(&mut self, waiting: &Waiting, digests: &[Digest]) {
        let leaves = if waiting.head { &mut self.head } else { &mut self.carried };
        for (leaves, digest) in leaves.iter_mut().zip(digests) {
            leaves.push(step_leaf(waiting.step, &[*digest]));
        }
    }

    /// The roots over the leaves: of every row, and of every head row.
    pub fn finish(&mut self) -> (Vec<Digest>, Vec<Digest>) {
        self.flush();
        let roots = |leaves: &Vec<Vec<Digest>>| leaves.par_iter().map(|l| merkle_root(l)).collect();
        (roots(&self.carried), roots(&self.head))
    }
}

/// The digest of each of `rows` rows, on all threads.
fn digests(row: &Row, bytes: &[u8], rows: usize) -> Vec<Digest> {
    let size = row.bytes();
    let digest = |at: usize| bind_row(row, &repops_kernels::merkle_root(&bytes[at * size..][..size]));
    (0..rows).into_par_iter().with_min_len(8).map(digest).collect()
}

/// The digest of each of `rows` rows.
fn row_digests(row: &Row, bytes: &[u8], rows: usize) -> Vec<Digest> {
    let size = row.bytes();
    (0..rows).map(|at| bind_row(row, &repops_kernels::merkle_root(&bytes[at * size..][..size]))).collect()
}
