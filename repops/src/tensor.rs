//! Tensors: a type, a shape and canonical bytes.
//!
//! Invariant: `bytes` is exactly `elements * dtype.size()` long, little-endian, row-major, aligned for
//! its type; bytes of bools and of narrow types are elements; float NaNs are canonical once [`Tensor::from_bytes`] or
//! [`Tensor::canonicalize`] has seen them. Nothing here knows of layouts other than row-major.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::dtype::{DType, Element, narrow};
use crate::packed;

/// The most axes that a tensor may have.
pub const RANK_MAX: usize = 16;
/// The most bytes that one tensor may have (1 TiB): sizes are checked before anything is allocated.
pub const TENSOR_BYTES_MAX: u64 = 1 << 40;

/// What may be wrong with a tensor's description or bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("a tensor has {rank} axes; at most {RANK_MAX} are allowed")]
    Rank { rank: usize },
    #[error("a {dtype} tensor of shape {shape:?} is larger than {TENSOR_BYTES_MAX} bytes")]
    TooLarge { dtype: DType, shape: Vec<u64> },
    #[error("a {dtype} tensor of shape {shape:?} needs {expected} bytes, but {found} were given")]
    Length { dtype: DType, shape: Vec<usize>, expected: usize, found: usize },
    #[error("byte {offset} of a {dtype} tensor is {value:#04x}, which is no element")]
    Element { dtype: DType, offset: usize, value: u8 },
    #[error("the tensor's elements are {found}, not {expected}")]
    DType { expected: DType, found: DType },
    #[error("not enough memory for {bytes} bytes")]
    Memory { bytes: usize },
}

/// The number of bytes of a row-major tensor, checked against the limits.
pub fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    if shape.len() > RANK_MAX {
        return Err(TensorError::Rank { rank: shape.len() });
    }
    // A zero extent makes the tensor empty, whatever the others claim; still bound each of them.
    let too_large = || TensorError::TooLarge { dtype, shape: shape.iter().map(|&d| d as u64).collect() };
    let mut total = dtype.size() as u64;
    for &dim in shape {
        if dim as u64 > TENSOR_BYTES_MAX {
            return Err(too_large());
        }
        total =
            total.checked_mul(dim.max(1) as u64).filter(|&t| t <= TENSOR_BYTES_MAX).ok_or_else(too_large)?;
    }
    if shape.contains(&0) { Ok(0) } else { Ok(total as usize) }
}

/// The offset of the first byte that is no element: a bool other than 0 and 1, a narrow integer out of range; 0 where
/// bytes pack no value.
pub fn first_non_element(dtype: DType, bytes: &[u8]) -> Option<usize> {
    if dtype == DType::Packed {
        return packed::Value::decode(bytes).is_err().then_some(0);
    }
    if dtype != DType::Bool && !dtype.is_narrow() {
        return None;
    }
    bytes.iter().position(|&b| canonical_byte(dtype, b).is_none())
}

/// The byte as a tensor holds it, for types whose elements are bytes; `None` when it is no element.
fn canonical_byte(dtype: DType, byte: u8) -> Option<u8> {
    match dtype {
        DType::Bool => (byte <= 1).then_some(byte),
        _ => narrow::canonical(dtype, byte),
    }
}

/// The number of elements of a shape whose byte length has been checked before.
pub fn element_count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        out[axis] = out[axis + 1] * shape[axis + 1];
    }
    out
}

/// Bytes that start at a multiple of 64, so that vector loads do not cross cache lines.
#[derive(Default)]
pub struct AlignedBytes {
    /// Up to seven words more than needed; the bytes start `start` words in.
    words: Vec<u64>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// Zeros; an error when there is no memory for them.
    pub fn zeros(len: usize) -> Result<AlignedBytes, TensorError> {
        let count = len.div_ceil(8) + 7;
        // Pages of zeros come from the system as they are: large ones are not written here.
        let words = bytemuck::allocation::try_zeroed_vec::<u64>(count)
            .map_err(|()| TensorError::Memory { bytes: len })?;
        let start = words.as_ptr().align_offset(64).min(7);
        Ok(AlignedBytes { words, start, len })
    }

    pub fn copy_of(bytes: &[u8]) -> Result<AlignedBytes, TensorError> {
        let mut out = AlignedBytes::zeros(bytes.len())?;
        out.as_mut_slice().copy_from_slice(bytes);
        Ok(out)
    }

    /// Bytes that it can hold without allocating anew.
    pub fn capacity(&self) -> usize {
        (self.words.len() - self.start) * 8
    }

    /// Makes it `len` bytes long, keeping whatever is there. Panics above [`AlignedBytes::capacity`].
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity());
        self.len = len;
    }

    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words[self.start..])[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words[self.start..])[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> AlignedBytes {
        // The copy may start elsewhere: alignment is a matter of the address.
        AlignedBytes::copy_of(self.as_slice()).expect("as much memory as the original has")
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &AlignedBytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AlignedBytes {}

/// A tensor that owns its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: AlignedBytes,
    /// Forgotten wherever the bytes are handed out to be written.
    found_canonical: Found,
}

/// Whether something was found out, which is no part of a value.
#[derive(Default)]
struct Found(AtomicBool);

impl Found {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, found: bool) {
        self.0.store(found, Ordering::Relaxed);
    }
}

impl Clone for Found {
    fn clone(&self) -> Found {
        Found(AtomicBool::new(self.get()))
    }
}

impl PartialEq for Found {
    fn eq(&self, _: &Found) -> bool {
        true
    }
}

impl Eq for Found {}

impl Tensor {
    /// A tensor of zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        let data = AlignedBytes::zeros(byte_len(dtype, shape)?)?;
        Ok(Tensor { dtype, shape: shape.to_vec(), data, found_canonical: Found::default() })
    }

    /// A tensor over bytes that are canonical already. Panics when the length is not the type's.
    pub fn from_aligned(dtype: DType, shape: &[usize], data: AlignedBytes) -> Tensor {
        assert_eq!(byte_len(dtype, shape), Ok(data.as_slice().len()), "bytes of {dtype}{shape:?}");
        Tensor { dtype, shape: shape.to_vec(), data, found_canonical: Found::default() }
    }

    /// A tensor from untrusted bytes: the length and bool values are checked, NaNs made canonical.
    pub fn from_bytes(dtype: DType, shape: &[usize], data: &[u8]) -> Result<Tensor, TensorError> {
        let expected = byte_len(dtype, shape)?;
        if expected != data.len() {
            return Err(TensorError::Length { dtype, shape: shape.to_vec(), expected, found: data.len() });
        }
        let mut tensor = Tensor::zeros(dtype, shape)?;
        tensor.bytes_mut().copy_from_slice(data);
        if let Some(offset) = first_non_element(dtype, data) {
            let value = data.get(offset).copied().unwrap_or(0);
            return Err(TensorError::Element { dtype, offset, value });
        }
        tensor.canonicalize();
        Ok(tensor)
    }

    /// A tensor of the given elements.
    ///
    /// # Panics
    /// When the number of elements is not the shape's: the caller made both.
    pub fn from_slice<T: Element>(shape: &[usize], data: &[T]) -> Tensor {
        assert_eq!(element_count(shape), data.len(), "elements of shape {shape:?}");
        let mut tensor = Tensor::zeros(T::DTYPE, shape).expect("as large as the elements that exist already");
        tensor.as_mut_slice::<T>().copy_from_slice(data);
        tensor
    }

    /// A bool tensor. Panics like [`Tensor::from_slice`].
    pub fn from_bools(shape: &[usize], data: &[bool]) -> Tensor {
        assert_eq!(element_count(shape), data.len(), "elements of shape {shape:?}");
        let mut tensor =
            Tensor::zeros(DType::Bool, shape).expect("as large as the elements that exist already");
        for (to, &from) in tensor.bytes_mut().iter_mut().zip(data) {
            *to = from as u8;
        }
        tensor
    }

    /// A tensor without axes.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::from_slice(&[], &[value])
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn len(&self) -> usize {
        element_count(&self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> &[u8] {
        self.data.as_slice()
    }

    /// The bytes, to be written. Writers keep bools 0 or 1 and NaNs canonical.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.found_canonical.set(false);
        self.data.as_mut_slice()
    }

    /// The elements. Panics when `T` is not the tensor's type: callers have matched on it.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        self.view().as_slice()
    }

    /// The elements, to be written. Panics like [`Tensor::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(self.dtype, T::DTYPE);
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The same elements under another shape of as many elements. Panics when the counts differ.
    pub fn reshaped(mut self, shape: &[usize]) -> Tensor {
        assert_eq!(self.len(), element_count(shape), "elements of shape {shape:?}");
        self.shape = shape.to_vec();
        self
    }

    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, bytes: self.bytes() }
    }

    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        self.found_canonical.set(false);
        TensorViewMut { dtype: self.dtype, shape: &self.shape, bytes: self.data.as_mut_slice() }
    }

    /// The bytes, to be kept elsewhere.
    pub fn into_aligned(self) -> AlignedBytes {
        self.data
    }

    /// Whether every NaN is the canonical one of its type. Once that was found it costs nothing to ask again
    /// until the bytes are written.
    pub fn is_canonical(&self) -> bool {
        if !self.found_canonical.get() {
            self.found_canonical.set(self.look_for_other_nans());
        }
        self.found_canonical.get()
    }

    /// Whether there are none but canonical NaNs.
    fn look_for_other_nans(&self) -> bool {
        fn all<T: Element>(values: &[T]) -> bool {
            values.iter().all(|v| bytemuck::bytes_of(&v.canonical()) == bytemuck::bytes_of(v))
        }
        // By the bits and without branches within a block, so that compilers make vectors of it.
        fn all_f32(values: &[f32]) -> bool {
            let other = |v: &f32| v.to_bits() & 0x7fff_ffff > 0x7f80_0000 && v.to_bits() != 0x7fc0_0000;
            values.chunks(4096).all(|block| !block.iter().fold(false, |any, v| any | other(v)))
        }
        match self.dtype {
            DType::F32 => all_f32(self.as_slice()),
            DType::F64 => all::<f64>(self.as_slice()),
            DType::F16 => all::<half::f16>(self.as_slice()),
            DType::BF16 => all::<half::bf16>(self.as_slice()),
            DType::Packed => true,
            dtype => self.bytes().iter().all(|&b| canonical_byte(dtype, b) == Some(b)) || dtype.size() > 1,
        }
    }

    /// Replaces every NaN by the canonical one of its type.
    pub fn canonicalize(&mut self) {
        fn each<T: Element>(values: &mut [T]) {
            for value in values {
                *value = value.canonical();
            }
        }
        match self.dtype {
            DType::F32 => each::<f32>(self.as_mut_slice()),
            DType::F64 => each::<f64>(self.as_mut_slice()),
            DType::F16 => each::<half::f16>(self.as_mut_slice()),
            DType::BF16 => each::<half::bf16>(self.as_mut_slice()),
            dtype if dtype.is_narrow_float() => {
                for byte in self.bytes_mut() {
                    *byte = narrow::canonical(dtype, *byte).unwrap_or(*byte);
                }
            }
            _ => {}
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({}{:?}, {} bytes)", self.dtype, self.shape, self.bytes().len())
    }
}

/// A tensor whose bytes live elsewhere. The bytes are aligned for the type.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The elements. Panics when `T` is not the view's type: callers have matched on it.
    pub fn as_slice<T: Element>(&self) -> &'a [T] {
        assert_eq!(self.dtype, T::DTYPE);
        bytemuck::cast_slice(self.bytes)
    }

    pub fn len(&self) -> usize {
        element_count(self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        let mut tensor = Tensor::zeros(self.dtype, self.shape)?;
        tensor.bytes_mut().copy_from_slice(self.bytes);
        Ok(tensor)
    }

    /// The integers of an i64 or i32 tensor (shapes, axes, indices); `None` for other types.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        match self.dtype {
            DType::I64 => Some(self.as_slice::<i64>().to_vec()),
            DType::I32 => Some(self.as_slice::<i32>().iter().map(|&v| v as i64).collect()),
            _ => None,
        }
    }
}

/// A tensor to be written, whose bytes live elsewhere and are aligned for the type.
pub struct TensorViewMut<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub bytes: &'a mut [u8],
}

impl TensorViewMut<'_> {
    /// The elements. Panics when `T` is not the view's type: callers have matched on it.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(self.dtype, T::DTYPE);
        bytemuck::cast_slice_mut(self.bytes)
    }

    pub fn as_view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: self.shape, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_before_allocation() {
        assert!(matches!(byte_len(DType::F32, &[usize::MAX, 2]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(byte_len(DType::F32, &[1 << 30, 1 << 30, 0]), Err(TensorError::TooLarge { .. })));
        assert_eq!(byte_len(DType::F32, &[3, 0]), Ok(0));
        assert_eq!(byte_len(DType::F64, &[]), Ok(8));
        assert!(matches!(byte_len(DType::F32, &[1; 17]), Err(TensorError::Rank { rank: 17 })));
    }

    #[test]
    fn entering_bytes_are_made_canonical() {
        let payload = f32::from_bits(0xffc1_2345);
        let tensor = Tensor::from_bytes(DType::F32, &[1], &payload.to_le_bytes()).unwrap();
        assert_eq!(tensor.as_slice::<f32>()[0].to_bits(), 0x7fc0_0000);
        assert!(tensor.is_canonical() && tensor.clone().is_canonical());
        let mut written = tensor.clone();
        written.bytes_mut().copy_from_slice(&payload.to_le_bytes());
        assert!(!written.is_canonical() && !written.is_canonical());
        written.canonicalize();
        assert!(written.is_canonical());
        written.view_mut().bytes.copy_from_slice(&payload.to_le_bytes());
        assert!(!written.is_canonical());
        assert_eq!(
            Tensor::from_bytes(DType::Bool, &[2], &[1, 2]),
            Err(TensorError::Element { dtype: DType::Bool, offset: 1, value: 2 })
        );
    }
}
