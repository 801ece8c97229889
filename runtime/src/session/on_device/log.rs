//! The logs of rows, hashed on the device: what comes back are 32 bytes for each row, and as many for each row of the head.
//!
//! Invariant: rows are hashed before anything is written over them, and the leaves of a row stand in the order of the steps.

use repops::Digest;
use repops_cuda::launch::hash::{ROOT_BYTES, roots_over};
use repops_cuda::launch::row_hash::{RowHashing, StepRows};
use repops_cuda::{Device, Error};

use super::places::Places;
use crate::session::plan::Plan;

/// The least bytes of rows that are hashed together, where they may wait.
const PIECE_BYTES: usize = 256 << 10;
/// Into so many pieces rows are cut that may wait: what is hashed goes on beside what is computed, but for the last piece.
const PIECES: usize = 4;

/// How the rows of a step of the session are hashed.
pub(super) struct Log<B> {
    /// What is launched after which step of the program.
    pieces: Vec<(usize, RowHashing<B>)>,
    /// Leaves of a row, and of a row of the head.
    carried: usize,
    heads: usize,
    rows: usize,
    head_rows: usize,
    /// Whether rows stay where they are while others are computed.
    keeps: bool,
}

impl<B> Log<B> {
    pub fn new<D: Device<Buffer = B>>(device: &D, plan: &Plan, places: &Places) -> Result<Log<B>, Error> {
        let piece_bytes = PIECE_BYTES.max(places.bytes / PIECES);
        let heads = plan.steps.iter().filter(|step| step.head).count();
        let carried = plan.steps.len() - heads;
        let (mut next, mut next_head) = (0, places.rows * carried);
        let mut pieces = Vec::new();
        let mut waiting: Vec<StepRows<'_>> = Vec::new();
        let mut waiting_bytes = 0;
        for (index, (step, at)) in plan.steps.iter().zip(&places.steps).enumerate() {
            let rows = places.count(step.head);
            let (to, stride) = if step.head { (&mut next_head, heads) } else { (&mut next, carried) };
            if rows > 0 {
                let outputs = at.outputs.iter().zip(&step.outputs);
                let outputs: Vec<_> = outputs.map(|(at, target)| (*at, &target.row)).collect();
                waiting_bytes += outputs.iter().map(|(_, row)| rows * row.bytes()).sum::<usize>();
                waiting.push(StepRows { number: index as u32, rows, outputs, to: *to, stride });
            }
            *to += 1;
            let is_last = index + 1 == plan.steps.len();
            if !waiting.is_empty() && (!places.keeps || is_last || waiting_bytes >= piece_bytes) {
                pieces.push((index, RowHashing::new(device, &waiting)?));
                waiting.clear();
                waiting_bytes = 0;
            }
        }
        let (rows, head_rows, keeps) = (places.rows, places.head, places.keeps);
        Ok(Log { pieces, carried, heads, rows, head_rows, keeps })
    }

    /// The bytes of all leaves.
    pub fn leaf_bytes(&self) -> usize {
        (self.rows * self.carried + self.head_rows * self.heads).max(1) * ROOT_BYTES
    }

    /// The bytes of all roots.
    pub fn root_bytes(&self) -> usize {
        (self.rows + self.head_rows) * ROOT_BYTES
    }

    /// After a step: hashes what has waited for it, from where rows lie; beside what follows, if nothing is put over them.
    pub fn after<D: Device<Buffer = B>>(
        &self,
        device: &D,
        step: usize,
        room: &B,
        leaves: &B,
    ) -> Result<(), Error> {
        let Ok(at) = self.pieces.binary_search_by_key(&step, |(after, _)| *after) else { return Ok(()) };
        let piece = &self.pieces[at].1;
        if self.keeps {
            device.beside(&mut || piece.launch(device, room, leaves))
        } else {
            piece.launch(device, room, leaves)
        }
    }

    /// Combines all leaves.
    pub fn finish<D: Device<Buffer = B>>(&self, device: &D, leaves: &B, roots: &B) -> Result<(), Error> {
        let all = (0..self.rows).map(|row| (row * self.carried, self.carried));
        let of_head =
            (0..self.head_rows).map(|row| (self.rows * self.carried + row * self.heads, self.heads));
        let groups: Vec<(usize, usize)> = all.chain(of_head).collect();
        device.join()?;
        roots_over(device, leaves, &groups, roots, 0)
    }

    /// The roots of every row, and of every row of the head, from their bytes.
    pub fn digests(&self, bytes: &[u8]) -> (Vec<Digest>, Vec<Digest>) {
        let digests = bytes.as_chunks::<ROOT_BYTES>().0.iter().map(|bytes| Digest(*bytes));
        let mut roots: Vec<Digest> = digests.collect();
        let head = roots.split_off(self.rows.min(roots.len()));
        (roots, head)
    }
}
