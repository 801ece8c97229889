//! Memory that a thread keeps between kernels, so that packing does not allocate each time.

use std::cell::RefCell;

use bytemuck::Pod;

/// Bytes that a thread may keep; larger buffers are freed after use.
const KEEP_BYTES_MAX: usize = 16 << 20;
const ALIGN: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

thread_local! {
    /// Those not in use; nested uses take one each.
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with `len` elements of unspecified content, aligned to a cache line. Nested uses get
/// buffers of their own.
pub(crate) fn with_scratch<T: Pod, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    // Taken out while in use: a nested call finds the next. In the end each is back in its place, so that the
    // same nesting finds buffers of its sizes again.
    let mut lines = KEPT.with(|cell| cell.borrow_mut().pop()).unwrap_or_default();
    let bytes = len * size_of::<T>();
    let count = bytes.div_ceil(ALIGN);
    if lines.len() < count {
        lines.clear();
        lines.resize(count, Line([0; ALIGN]));
    }
    let start = lines.as_mut_ptr().cast::<T>();
    // SAFETY: `count` lines hold `bytes` initialized bytes, aligned for any `Pod` type; the vector is not
    // touched while the slice lives.
    let result = body(unsafe { std::slice::from_raw_parts_mut(start, len) });
    if lines.len() * ALIGN > KEEP_BYTES_MAX {
        lines = Vec::new();
    }
    KEPT.with(|cell| cell.borrow_mut().push(lines));
    result
}
