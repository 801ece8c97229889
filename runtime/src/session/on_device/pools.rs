//! Pages of keys and values in a device's memory.
//!
//! Each attention has a pool of pages, made with the session; a sequence holds numbers of pages. Rows stand behind each other, as
//! attention over pages reads them. Invariant: a number is held by one page, or free.

use std::sync::{Arc, Mutex, PoisonError};

use repops_cuda::{Device, Error};
use repops_kernels::sequence::{AttentionShape, PAGE};

use crate::session::SessionError;
use crate::session::cache::{PageBuffer, PagePlace, Pages, SequenceState, Slot};

/// The pages of one attention: rows of `kv_heads * d` and `kv_heads * e` numbers, [`PAGE`] to a page.
pub(super) struct Pool<B> {
    pub keys: B,
    pub values: B,
    free: Arc<Mutex<Vec<u32>>>,
}

/// Those of all attentions, and their device.
pub(in crate::session) struct Pools<D: Device> {
    pub(super) device: D,
    pub(super) name: String,
    pub(super) pools: Vec<Pool<D::Buffer>>,
}

/// Bytes of the rows of a page.
fn page_bytes(shape: &AttentionShape) -> (usize, usize) {
    (4 * PAGE * shape.kv_heads * shape.d, 4 * PAGE * shape.kv_heads * shape.e)
}

impl<D: Device> Pools<D> {
    /// As many pages as fit into `bytes`, the same number for each attention.
    pub fn new(
        device: D,
        name: &str,
        shapes: &[AttentionShape],
        bytes: usize,
    ) -> Result<Pools<D>, SessionError> {
        let of_all: usize = shapes.iter().map(page_bytes).map(|(keys, values)| keys + values).sum();
        let count = u32::try_from(bytes / of_all.max(1)).unwrap_or(u32::MAX).clamp(1, 1 << 22);
        let mut pools = Pools { device, name: name.to_owned(), pools: Vec::new() };
        for shape in shapes {
            let (keys, values) = page_bytes(shape);
            let room = |bytes: usize| {
                pools.device.alloc(bytes.saturating_mul(count as usize)).map_err(|error| pools.told(&error))
            };
            let (keys, values) = (room(keys)?, room(values)?);
            // The first ones are taken first.
            let free = Arc::new(Mutex::new((0..count).rev().collect()));
            pools.pools.push(Pool { keys, values, free });
        }
        Ok(pools)
    }

    pub fn told(&self, error: &Error) -> SessionError {
        SessionError::Device { device: self.name.clone(), problem: error.to_string() }
    }
}

impl<D> Pages for Pools<D>
where
    D: Device + Send + Sync,
    D::Buffer: Send + Sync,
{
    fn make(&self, attention: usize, shape: &AttentionShape) -> Result<PagePlace, SessionError> {
        let free = &self.pools[attention].free;
        let number = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (keys, values) = page_bytes(shape);
        let wanted = keys + values;
        let number = number.ok_or(SessionError::CacheFull { used: 0, wanted, limit: 0 })?;
        Ok(PagePlace::Slot(Slot { number, free: free.clone() }))
    }

    fn copy(
        &self,
        attention: usize,
        shape: &AttentionShape,
        from: &PagePlace,
    ) -> Result<PagePlace, SessionError> {
        let copy = self.make(attention, shape)?;
        if let (PagePlace::Slot(from), PagePlace::Slot(to)) = (from, &copy) {
            let pool = &self.pools[attention];
            let (keys, values) = page_bytes(shape);
            for (buffer, bytes) in [(&pool.keys, keys), (&pool.values, values)] {
                let at = |slot: &Slot| slot.number as usize * bytes;
                self.device
                    .copy(buffer, at(from), buffer, at(to), bytes)
                    .map_err(|error| self.told(&error))?;
            }
        }
        Ok(copy)
    }

    fn append(
        &self,
        attention: usize,
        shape: &AttentionShape,
        state: &mut SequenceState,
        count: usize,
        rows: [&[f32]; 2],
    ) -> Result<(), SessionError> {
        let pool = &self.pools[attention];
        let slots = slots(&state.pages[attention]);
        let widths = [shape.kv_heads * shape.d, shape.kv_heads * shape.e];
        for ((to, rows), columns) in [&pool.keys, &pool.values].into_iter().zip(rows).zip(widths) {
            each_run(&slots, state.tokens.len(), count, |done, place, run| {
                let rows = &rows[done * columns..][..run * columns];
                self.device.write(to, place * columns * 4, bytemuck::cast_slice(rows))
            })
            .map_err(|error| self.told(&error))?;
        }
        Ok(())
    }

    fn owns(&self, attention: usize, place: &PagePlace) -> bool {
        let PagePlace::Slot(slot) = place else { return false };
        self.pools.get(attention).is_some_and(|pool| Arc::ptr_eq(&pool.free, &slot.free))
    }
}

/// The numbers of pages; those that are not in a pool were refused before.
pub(super) fn slots(pages: &[Arc<PageBuffer>]) -> Vec<u32> {
    let number = |place: &PagePlace| match place {
        PagePlace::Slot(slot) => Some(slot.number),
        PagePlace::Host { .. } => None,
    };
    pages.iter().filter_map(|page| number(&page.place)).collect()
}

/// `count` rows from position `first` on as runs that do not leave a page: how many rows are before the run, the row of the pool
/// where it begins, and its length.
pub(super) fn each_run(
    slots: &[u32],
    first: usize,
    count: usize,
    mut visit: impl FnMut(usize, usize, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut done = 0;
    while done < count {
        let (page, at) = ((first + done) / PAGE, (first + done) % PAGE);
        let run = (PAGE - at).min(count - done);
        visit(done, slots[page] as usize * PAGE + at, run)?;
        done += run;
    }
    Ok(())
}
