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
    batch: usize,
    row: usize,
    column: usize,
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

/// Row-major matrices whose sums pass through a function, row by row, before they are stored.
pub(crate) struct RowTarget<S, F> {
    data: Shared<S>,
    len: usize,
    /// Distance of batches and of rows.
    batch: usize,
    row: usize,
    /// `finish(batch, row, columns, sums, results)`; results are canonical.
    finish: F,
}

impl<S, F> RowTarget<S, F> {
    pub(crate) fn new(data: &mut [S], batch: usize, row: usize, finish: F) -> RowTarget<S, F> {
        RowTarget { len: data.len(), data: Shared::new(data), batch, row, finish }
    }
}

impl<E, S, F> Target<E> for RowTarget<S, F>
where
    E: TileElem,
    S: Storage<E>,
    F: Fn(usize, usize, Range<usize>, &[E], &mut [S]) + Sync,
{
    fn direct(&self, _: usize) -> Option<(*mut E, usize)> {
        None
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
            let start = batch * self.batch + row * self.row + columns.start;
            assert!(start + columns.len() <= self.len);
            // SAFETY: in range; nobody else writes these elements, as the caller promises.
            let out = unsafe { self.data.slice(start..start + columns.len()) };
            (self.finish)(batch, row, columns.clone(), &tile[..columns.len()], out);
        }
    }
}
