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
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with `len` elements of unspecified content, aligned to a cache line. Nested uses get
/// buffers of their own.
pub(crate) fn with_scratch<T: Pod, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    // Taken out of the cell while in use: a nested call finds an empty one.
    let mut lines = LINES.with(|cell| std::mem::take(&mut *cell.borrow_mut()));
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
    if lines.len() * ALIGN <= KEEP_BYTES_MAX {
        LINES.with(|cell| {
            let mut kept = cell.borrow_mut();
            if kept.len() < lines.len() {
                *kept = lines;
            }
        });
    }
    result
}
