//! Rows into leaves: the digests of what each step gave, position by position.
//!
//! Rows are short, so that those of several steps are gathered and hashed together, leaf beside leaf; with several
//! threads beside the steps that follow. Invariant: the leaves of a row stand in the order of the steps, whoever
//! hashed them and whenever.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repops::Digest;
use repops::digest::{LEAF_BYTES, Layout, bind_prefix, merkle_root};
use repops::sequence::Row;
use repops_kernels::{hashes_behind, node_hashes, parallel_chunks};

/// Bytes of rows that are hashed together: many enough to fill the lanes, few enough to stay in a cache.
const GATHER_BYTES: usize = 128 << 10;
/// Parts that wait for it on one thread, if rows are few. What hashes, code and all, leaves the caches while the weights of
/// some steps pass: it is called for seldom, and then for several parts.
const PARTS_ALONE: usize = 4;
/// Rows that are few: with more, the weights take less of the time.
const ROWS_ALONE: usize = 8;
/// Gathered parts that may wait for a thread; beyond, they are hashed at once.
const WAITING_MAX: usize = 32;
/// Buffers that are kept from one call to the next.
const SPARE_MAX: usize = 8;
/// Hashes of one task.
const TASK_HASHES: usize = 64;
/// The byte before a leaf's data.
const LEAF: u8 = 0;
/// The first byte of what binds a tensor's root to its shape.
const TENSOR: u8 = b'r';

/// A step whose rows wait.
struct Step {
    number: u32,
    head: bool,
    /// The first of its rows, among all or among those of the head.
    first: usize,
    rows: usize,
    outputs: usize,
}

/// One of its outputs.
struct Output {
    row_bytes: usize,
    /// Where among the bindings its own is, without the first byte and the root.
    binding: Range<usize>,
}

/// Rows of some steps.
#[derive(Default)]
struct Gathered {
    steps: Vec<Step>,
    outputs: Vec<Output>,
    bindings: Vec<u8>,
    /// The outputs one after the other, each row by row.
    bytes: Vec<u8>,
}

/// What other threads give back.
#[derive(Default)]
struct Hashed {
    /// The number of each part, its steps, and their leaves, row by row.
    parts: Vec<(usize, Vec<Step>, Vec<Digest>)>,
    /// For their memory.
    spare: Vec<Gathered>,
}

/// Rows that are hashed together.
struct Part {
    number: usize,
    gathered: Gathered,
    /// Where the leaves go.
    hashed: Arc<Mutex<Hashed>>,
}

impl Part {
    fn hash(mut self) {
        let leaves = self.gathered.leaves(&self.gathered.slices());
        let steps = std::mem::take(&mut self.gathered.steps);
        self.gathered.clear();
        let mut hashed = lock(&self.hashed);
        hashed.parts.push((self.number, steps, leaves));
        hashed.spare.push(self.gathered);
    }
}

/// The leaves of the rows that are computed at once.
#[derive(Default)]
pub(crate) struct Leaves {
    rows: usize,
    head_rows: usize,
    gathered: Gathered,
    /// Parts so far.
    parts: usize,
    hashed: Arc<Mutex<Hashed>>,
    /// Parts that this thread, which is alone, has yet to hash.
    own: Vec<Part>,
    /// Of earlier rows, for their memory.
    spare: Vec<Gathered>,
}

impl Leaves {
    /// Begins with so many rows and head rows.
    pub fn begin(&mut self, rows: usize, head_rows: usize) {
        (self.rows, self.head_rows, self.parts) = (rows, head_rows, 0);
        self.gathered.clear();
        self.own.clear();
        // Whatever still hashes for a step that failed keeps the old one.
        self.hashed = Arc::default();
    }

    /// Takes the rows of a step's outputs.
    pub fn add(&mut self, step: usize, head: bool, outputs: &[(&Row, &[u8])]) {
        self.add_part(step, head, 0..if head { self.head_rows } else { self.rows }, outputs);
    }

    /// Takes some of the rows of a step's outputs.
    pub fn add_part(&mut self, step: usize, head: bool, rows: Range<usize>, outputs: &[(&Row, &[u8])]) {
        let (first, rows) = (rows.start, rows.len());
        let size: usize = outputs.iter().map(|(_, bytes)| bytes.len()).sum();
        let large = size >= GATHER_BYTES;
        if large {
            self.flush();
        }
        let gathered = &mut self.gathered;
        gathered.steps.push(Step { number: step as u32, head, first, rows, outputs: outputs.len() });
        for (row, bytes) in outputs {
            let start = gathered.bindings.len();
            bind_prefix(&mut gathered.bindings, row.dtype, Layout::RowMajor, &row.shape, row.bytes() as u64);
            let binding = start + 1..gathered.bindings.len();
            gathered.outputs.push(Output { row_bytes: row.bytes(), binding });
            if !large {
                gathered.bytes.extend_from_slice(bytes);
            }
        }
        if large {
            let bytes: Vec<&[u8]> = outputs.iter().map(|(_, bytes)| *bytes).collect();
            let leaves = self.gathered.leaves(&bytes);
            let steps = std::mem::take(&mut self.gathered.steps);
            self.gathered.clear();
            lock(&self.hashed).parts.push((self.parts, steps, leaves));
            self.parts += 1;
        } else if self.gathered.bytes.len() >= GATHER_BYTES {
            self.flush();
        }
    }

    /// Hashes what was gathered: here, or on another thread.
    fn flush(&mut self) {
        if self.gathered.steps.is_empty() {
            return;
        }
        let mut hashed = lock(&self.hashed);
        let waiting = self.parts - hashed.parts.len();
        let next = self.spare.pop().or_else(|| hashed.spare.pop()).unwrap_or_default();
        drop(hashed);
        let gathered = std::mem::replace(&mut self.gathered, next);
        let part = Part { number: self.parts, gathered, hashed: self.hashed.clone() };
        self.parts += 1;
        if rayon::current_num_threads() == 1 {
            self.own.push(part);
            if self.own.len() == PARTS_ALONE || self.rows > ROWS_ALONE {
                self.hash_own();
            }
        } else if waiting > WAITING_MAX {
            part.hash();
        } else {
            repops_kernels::spawn(move || part.hash());
        }
    }

    fn hash_own(&mut self) {
        self.own.drain(..).for_each(Part::hash);
    }

    /// Waits for what other threads hash. Before anything else is given to the pool: a thread that waits within such a task may
    /// take up what is given, and would then wait for the task that lies beneath.
    pub fn settle(&self) {
        while lock(&self.hashed).parts.len() + self.own.len() != self.parts {
            repops_kernels::take_up_work();
        }
    }

    /// The roots over the leaves: of every row, and of every head row.
    pub fn finish(&mut self) -> (Vec<Digest>, Vec<Digest>) {
        self.flush();
        self.hash_own();
        self.settle();
        let mut hashed = lock(&self.hashed);
        self.spare.append(&mut hashed.spare);
        let mut parts = std::mem::take(&mut hashed.parts);
        drop(hashed);
        self.spare.truncate(SPARE_MAX);
        parts.sort_unstable_by_key(|(number, ..)| *number);
        let mut all: Vec<Vec<Digest>> = vec![Vec::new(); self.rows + self.head_rows];
        for (_, steps, leaves) in &parts {
            let mut next = leaves.iter();
            for step in steps {
                let of = if step.head { &mut all[self.rows..] } else { &mut all[..self.rows] };
                let of = &mut of[step.first..][..step.rows];
                of.iter_mut().zip(next.by_ref()).for_each(|(of, leaf)| of.push(*leaf));
            }
        }
        let counts: Vec<usize> = all.iter().map(Vec::len).collect();
        let mut roots = roots(all.concat(), counts);
        let head = roots.split_off(self.rows);
        (roots, head)
    }
}

fn lock(hashed: &Mutex<Hashed>) -> MutexGuard<'_, Hashed> {
    hashed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gathered {
    fn clear(&mut self) {
        self.steps.clear();
        self.outputs.clear();
        self.bindings.clear();
        self.bytes.clear();
    }

    /// The bytes of each output.
    fn slices(&self) -> Vec<&[u8]> {
        let mut rest = self.bytes.as_slice();
        let rows = self.steps.iter().flat_map(|step| std::iter::repeat_n(step.rows, step.outputs));
        let mut split = |(rows, output): (usize, &Output)| {
            let (own, after) = rest.split_at(rows * output.row_bytes);
            rest = after;
            own
        };
        rows.zip(&self.outputs).map(&mut split).collect()
    }

    /// The leaves of the steps, each row by row, where `bytes` has those of every output.
    fn leaves(&self, bytes: &[&[u8]]) -> Vec<Digest> {
        let rows = self.steps.iter().flat_map(|step| std::iter::repeat_n(step.rows, step.outputs));
        let outputs: Vec<(usize, &Output)> = rows.zip(&self.outputs).collect();
        // The roots over the rows' bytes.
        let mut slices = Vec::with_capacity(2 * bytes.iter().map(|b| b.len()).sum::<usize>() / LEAF_BYTES);
        let mut counts = Vec::new();
        for ((rows, output), bytes) in outputs.iter().zip(bytes) {
            for row in 0..*rows {
                let own = &bytes[row * output.row_bytes..][..output.row_bytes];
                counts.push(own.len().div_ceil(LEAF_BYTES));
                slices.extend(own.chunks(LEAF_BYTES));
            }
        }
        let roots = roots(hash_all::<LEAF>(&slices), counts);
        // The rows' digests.
        let mut messages = Messages::default();
        let mut next = roots.iter();
        for (rows, output) in &outputs {
            for root in next.by_ref().take(*rows) {
                messages.push(&[&self.bindings[output.binding.clone()], &root.0]);
            }
        }
        let digests = hash_all::<TENSOR>(&messages.slices());
        // A step's leaf: its number, and the digests of its outputs.
        let mut messages = Messages::default();
        let mut rest = digests.as_slice();
        for step in &self.steps {
            let (own, after) = rest.split_at(step.rows * step.outputs);
            rest = after;
            for row in 0..step.rows {
                let digests = own.iter().skip(row).step_by(step.rows);
                messages.bytes.extend_from_slice(&step.number.to_le_bytes());
                digests.for_each(|digest| messages.bytes.extend_from_slice(&digest.0));
                messages.push(&[]);
            }
        }
        hash_all::<LEAF>(&messages.slices())
    }
}

/// Messages one after the other.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// Ends a message with these parts.
    fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.bytes[start..end]).collect()
    }
}

/// H(FIRST || slice) of each slice; many of them on all threads.
fn hash_all<const FIRST: u8>(slices: &[&[u8]]) -> Vec<Digest> {
    let mut out = vec![Digest::default(); slices.len()];
    in_tasks(slices, &mut out, hashes_behind::<FIRST>);
    out
}

fn in_tasks<T: Sync>(from: &[T], out: &mut [Digest], hash: impl Fn(&[T], &mut [Digest]) + Sync) {
    if from.len() <= 2 * TASK_HASHES || rayon::current_num_threads() == 1 {
        return hash(from, out);
    }
    parallel_chunks(from, out, TASK_HASHES, hash);
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
        in_tasks(&pairs, &mut combined, node_hashes);
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
