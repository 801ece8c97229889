//! Where the results of a contraction go.

use std::ops::Range;

use super::TileElem;
use super::block::Target;
use super::pack::Storage;
use crate::parallel::Shared;

/// Matrices with strides, of a type that results are rounded to.
pub(crate) struct StridedTarget<S> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches, of rows and of columns.
    pub batch: usize,
    pub row: usize,
    pub column: usize,
}

impl<S> StridedTarget<S> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, column: usize) -> StridedTarget<S> {
        StridedTarget { len: data.len(), data: Shared::new(data), batch, row, column }
    }
}

impl<E: TileElem, S: Storage<E>> Target<E> for StridedTarget<S> {
    fn direct(&self, batch: usize) -> Option<(*mut E, usize)> {
        let own = self.column == 1 && S::DTYPE == E::DTYPE && batch * self.batch < self.len;
        // SAFETY: inside of the slice, by the condition.
        own.then(|| (unsafe { self.data.0.add(batch * self.batch) }.cast::<E>(), self.row))
    }

    unsafe fn store(
        &self,
        batch: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &[E],
        stride: usize,
    ) {
        for (row, tile) in rows.zip(tile.chunks_exact(stride)) {
            for (column, &value) in columns.clone().zip(tile) {
                let at = batch * self.batch + row * self.row + column * self.column;
                assert!(at < self.len);
                // SAFETY: in range; nobody else writes this element, as the caller promises.
                unsafe { *self.data.0.add(at) = S::narrow(value) };
            }
        }
    }
}
