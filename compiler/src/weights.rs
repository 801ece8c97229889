//! The constant store of a compilation: tensors by number, equal ones once.
//!
//! Invariant: bytes are canonical and as long as type, shape and layout say; no two entries are equal in all of type,
//! shape, layout and bytes. Modules refer to entries by number and never hold data.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use repops::digest::{Digest, LEAF_BYTES, Layout, bind_tensor, merkle_root, root_of_bytes};
use repops::dtype::{DType, Element, narrow};
use repops::program::{Backing, ConstantBytes, ConstantDecl};
use repops::tensor::{AlignedBytes, Tensor, TensorError, TensorView};

/// The number of a constant, as `repops.constant` names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WeightId(pub u32);

/// A constant.
#[derive(Clone)]
pub struct Weight {
    /// The initializer's name; empty for what was computed.
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub data: ConstantBytes,
}

/// Constants up to this size are always aligned.
const SMALL_BYTES_MAX: usize = 1 << 16;

/// Leaves that one thread hashes at a time, a power of two.
const PIECE_LEAVES: usize = 1 << 12;

/// Constants in another layout, which are copies, take so much of the heap at most; later ones are in files.
const LAID_OUT_HEAP_MAX: usize = 512 << 20;

/// All constants of a compilation.
#[derive(Default)]
pub struct Weights {
    items: Vec<Arc<Weight>>,
    /// Bytes of the heap that constants in another layout take.
    laid_out: usize,
    /// For each kind of tensor its entries, sorted by their bytes.
    sorted: BTreeMap<(DType, Layout, Vec<usize>), Vec<WeightId>>,
}

impl Weights {
    pub fn get(&self, id: WeightId) -> Option<Arc<Weight>> {
        self.items.get(id.0 as usize).cloned()
    }

    /// The number of a constant, that of an equal one if there is one. Small ones are moved to an aligned place, since
    /// inference reads them.
    pub fn add(&mut self, weight: Weight) -> WeightId {
        let small = weight.data.len <= SMALL_BYTES_MAX;
        let weight = if small { weight.aligned().unwrap_or(weight) } else { weight };
        let next = WeightId(u32::try_from(self.items.len()).expect("fewer than 2^32 constants"));
        let kind = (weight.dtype, weight.layout, weight.shape.clone());
        let alike = self.sorted.entry(kind).or_default();
        let bytes = weight.data.as_slice();
        match alike.binary_search_by(|id| self.items[id.0 as usize].data.as_slice().cmp(bytes)) {
            Ok(at) => alike[at],
            Err(at) => {
                alike.insert(at, next);
                self.items.push(Arc::new(weight));
                next
            }
        }
    }

    /// A constant in another layout than the model's, on the heap as long as there are few.
    pub fn add_laid_out(&mut self, weight: Weight) -> WeightId {
        self.add_within(weight, LAID_OUT_HEAP_MAX)
    }

    fn add_within(&mut self, mut weight: Weight, heap_max: usize) -> WeightId {
        let len = weight.data.len;
        if self.laid_out.saturating_add(len) <= heap_max {
            self.laid_out += len;
        } else if let Ok(bytes) = crate::mapped::spill(weight.data.as_slice()) {
            // Where no file can be made the heap is what is left.
            weight.data = ConstantBytes { backing: Arc::new(bytes), offset: 0, len };
        }
        self.add(weight)
    }

    /// A computed constant.
    pub fn add_tensor(&mut self, tensor: &Tensor) -> Result<WeightId, TensorError> {
        let data = owned(AlignedBytes::copy_of(tensor.bytes())?);
        Ok(self.add(Weight {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout: Layout::RowMajor,
            data,
        }))
    }
}

/// Bytes as a backing of their own.
pub fn owned(bytes: AlignedBytes) -> ConstantBytes {
    let len = bytes.as_slice().len();
    let backing: Backing = Arc::new(bytes);
    ConstantBytes { backing, offset: 0, len }
}

impl Weight {
    /// The bytes where they are, if they are aligned for the type and row-major.
    pub fn view(&self) -> Option<TensorView<'_>> {
        let bytes = self.data.as_slice();
        let aligned = bytes.as_ptr().addr().is_multiple_of(self.dtype.size());
        (aligned && self.layout == Layout::RowMajor).then_some(TensorView {
            dtype: self.dtype,
            shape: &self.shape,
            bytes,
        })
    }

    /// The same constant at an aligned place.
    pub fn aligned(&self) -> Result<Weight, TensorError> {
        let bytes = self.data.as_slice();
        if bytes.as_ptr().addr().is_multiple_of(self.dtype.size()) {
            return Ok(self.clone());
        }
        Ok(Weight { data: owned(AlignedBytes::copy_of(bytes)?), ..self.clone() })
    }

    /// The tensor digest, its leaves hashed in parallel.
    pub fn digest(&self) -> Digest {
        let bytes = self.data.as_slice();
        // Every piece but the last is a whole subtree, so the tree over their roots is the tree's top.
        let roots: Vec<Digest> = bytes.par_chunks(PIECE_LEAVES * LEAF_BYTES).map(root_of_bytes).collect();
        bind_tensor(self.dtype, self.layout, &self.shape, bytes.len() as u64, &merkle_root(&roots))
    }

    pub fn decl(&self) -> ConstantDecl {
        ConstantDecl {
            name: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            layout: self.layout,
            digest: self.digest(),
        }
    }
}

/// The stored bytes of row-major matrices `[.., K, N]` in layout Panel16: `[.., ceil(N/16)][K][16]`, columns past N
/// zero. Panels are filled in parallel.
pub fn pack_panel16(weight: &Weight) -> Result<Weight, TensorError> {
    let size = weight.dtype.size();
    let [.., k, n] = weight.shape[..] else { return Ok(weight.clone()) };
    let (panels, panel) = (n.div_ceil(16), k * 16 * size);
    let bytes = weight.data.as_slice();
    let matrices = if k * n == 0 { 0 } else { bytes.len() / (k * n * size) };
    let mut packed = AlignedBytes::zeros(matrices * panels * panel)?;
    if panel > 0 && panels > 0 {
        packed.as_mut_slice().par_chunks_exact_mut(panel).enumerate().for_each(|(at, panel)| {
            let (matrix, first) = (at / panels, at % panels * 16);
            let width = (n - first).min(16) * size;
            for (row, out) in panel.chunks_exact_mut(16 * size).enumerate() {
                let from = ((matrix * k + row) * n + first) * size;
                out[..width].copy_from_slice(&bytes[from..from + width]);
            }
        });
    }
    Ok(Weight { layout: Layout::Panel16, data: owned(packed), ..weight.clone() })
}

/// A row-major matrix `[N, K]` as [`pack_panel16`] stores its transpose `[K, N]`, without that in between.
pub fn pack_panel16_transposed(weight: &Weight) -> Result<Weight, TensorError> {
    let [n, k] = weight.shape[..] else { return Ok(weight.clone()) };
    let bytes = weight.data.as_slice();
    let packed = match weight.dtype.size() {
        2 => panels_of_rows::<2>(bytes, n, k)?,
        4 => panels_of_rows::<4>(bytes, n, k)?,
        _ => panels_of_rows::<8>(bytes, n, k)?,
    };
    Ok(Weight { shape: vec![k, n], layout: Layout::Panel16, data: owned(packed), ..weight.clone() })
}

/// Filters `[O, ..]` in layout Filters16: the bytes are those of the transpose of `[O, the rest]` in panels.
pub fn pack_filters16(weight: &Weight) -> Result<Weight, TensorError> {
    let [filters, ref rest @ ..] = weight.shape[..] else { return Ok(weight.clone()) };
    let packed = panels_of_rows::<4>(weight.data.as_slice(), filters, rest.iter().product())?;
    Ok(Weight { layout: Layout::Filters16, data: owned(packed), ..weight.clone() })
}

/// The stored bytes of row-major matrices `[.., K, N]` of bytes in layout Groups4: `[.., ceil(N/16)][ceil(K/4)][16][4]`.
pub fn pack_groups4(weight: &Weight) -> Result<Weight, TensorError> {
    let [.., k, n] = weight.shape[..] else { return Ok(weight.clone()) };
    let (panels, panel) = (n.div_ceil(16), k.div_ceil(4) * 64);
    let bytes = weight.data.as_slice();
    let matrices = bytes.len().checked_div(k * n).unwrap_or(0);
    let mut packed = AlignedBytes::zeros(matrices * panels * panel)?;
    if panel > 0 && panels > 0 {
        packed.as_mut_slice().par_chunks_exact_mut(panel).enumerate().for_each(|(at, panel)| {
            let (matrix, first) = (at / panels, at % panels * 16);
            let width = (n - first).min(16);
            for row in 0..k {
                let from = &bytes[(matrix * k + row) * n + first..][..width];
                let group = &mut panel[row / 4 * 64..][..64];
                group[row % 4..].iter_mut().step_by(4).zip(from).for_each(|(to, from)| *to = *from);
            }
        });
    }
    Ok(Weight { layout: Layout::Groups4, data: owned(packed), ..weight.clone() })
}

/// Rows of elements of SIZE bytes become columns of panels.
fn panels_of_rows<const SIZE: usize>(bytes: &[u8], n: usize, k: usize) -> Result<AlignedBytes, TensorError> {
    let panel = k * 16 * SIZE;
    let mut packed = AlignedBytes::zeros(n.div_ceil(16) * panel)?;
    if panel == 0 {
        return Ok(packed);
    }
    packed.as_mut_slice().par_chunks_exact_mut(panel).enumerate().for_each(|(at, panel)| {
        let rows: Vec<&[[u8; SIZE]]> = (16 * at..n.min(16 * at + 16))
            .map(|row| bytes[row * k * SIZE..][..k * SIZE].as_chunks().0)
            .collect();
        for (position, out) in panel.as_chunks_mut::<SIZE>().0.chunks_exact_mut(16).enumerate() {
            for (out, row) in out.iter_mut().zip(&rows) {
                *out = row[position];
            }
        }
    });
    Ok(packed)
}

/// Whether any float is a NaN that is not the canonical one.
pub(crate) fn has_other_nans(dtype: DType, bytes: &[u8]) -> bool {
    // A NaN's magnitude bits are above those of infinity.
    fn any16(bytes: &[u8], infinity: u16, nan: u16) -> bool {
        let bits = bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
        bits.fold(false, |any, b| any | ((b & 0x7fff > infinity) & (b != nan)))
    }
    match dtype {
        DType::F32 => {
            let bits = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
            bits.fold(false, |any, b| any | ((b & 0x7fff_ffff > 0x7f80_0000) & (b != 0x7fc0_0000)))
        }
        DType::F64 => bytes.chunks_exact(8).any(|c| {
            let value = f64::from_le_bytes(c.try_into().expect("a chunk has 8 bytes"));
            value.is_nan() && value.to_bits() != value.canonical().to_bits()
        }),
        DType::F16 => any16(bytes, 0x7c00, 0x7e00),
        DType::BF16 => any16(bytes, 0x7f80, 0x7fc0),
        dtype if dtype.is_narrow_float() => bytes.iter().any(|&b| narrow::canonical(dtype, b) != Some(b)),
        _ => false,
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Weight({:?} {}{:?} {:?})", self.name, self.dtype, self.shape, self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(shape: &[usize], values: &[f32]) -> Weight {
        of(&Tensor::from_slice(shape, values))
    }

    fn of(tensor: &Tensor) -> Weight {
        Weight {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout: Layout::RowMajor,
            data: owned(AlignedBytes::copy_of(tensor.bytes()).unwrap()),
        }
    }

    #[test]
    fn equal_constants_are_stored_once() {
        let mut weights = Weights::default();
        let a = weights.add(weight(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let b = weights.add(weight(&[2, 2], &[1.0, 2.0, 3.0, 5.0]));
        let c = weights.add(weight(&[4], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(weights.add(weight(&[2, 2], &[1.0, 2.0, 3.0, 4.0])), a);
        // -0 and +0 are different constants.
        let zeros = [weights.add(weight(&[1], &[0.0])), weights.add(weight(&[1], &[-0.0]))];
        assert_eq!([a, b, c, zeros[0], zeros[1]], [0, 1, 2, 3, 4].map(WeightId));
    }

    #[test]
    fn what_the_heap_does_not_take_is_in_files() {
        let mut weights = Weights::default();
        let values = [[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0], [3.0, 4.0]];
        // Two fit, the others are in files; equal ones are one all the same.
        let ids = values.map(|values| weights.add_within(weight(&[2], &values), 16));
        assert_eq!(ids, [0, 1, 2, 1].map(WeightId));
        for (id, values) in ids.into_iter().zip(values) {
            let found = weights.get(id).unwrap();
            assert_eq!(found.data.as_slice(), weight(&[2], &values).data.as_slice());
        }
        assert_eq!(weights.laid_out, 16);
    }

    #[test]
    fn parallel_forms_equal_the_plain_ones() {
        for shape in [vec![3, 40, 37], vec![300, 16], vec![1, 1], vec![5, 0], vec![0, 5], vec![2, 0, 3]] {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let weight = weight(&shape, &values);
            let packed = pack_panel16(&weight).unwrap();
            let plain = repops::reference::pack(weight.view().unwrap(), Layout::Panel16);
            assert_eq!(packed.data.as_slice(), plain, "{shape:?}");
            let plain = repops::digest::bytes_digest(DType::F32, Layout::Panel16, &shape, &plain);
            assert_eq!(packed.digest(), plain, "{shape:?}");
        }
        for shape in
            [vec![37, 4, 3, 3], vec![16, 1, 5], vec![1, 1, 1], vec![0, 5, 1], vec![5, 0, 2], vec![33, 7]]
        {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let weight = weight(&shape, &values);
            let packed = pack_filters16(&weight).unwrap();
            let plain = repops::reference::pack(weight.view().unwrap(), Layout::Filters16);
            assert_eq!(packed.data.as_slice(), plain, "{shape:?}");
            let back = repops::reference::unpack(DType::F32, &shape, Layout::Filters16, &plain).unwrap();
            assert_eq!(back.bytes(), weight.data.as_slice(), "{shape:?}");
        }
        for shape in [vec![3, 41, 37], vec![8, 16], vec![1, 1], vec![5, 0], vec![0, 5], vec![2, 0, 3]] {
            let count = shape.iter().product::<usize>();
            let values: Vec<u8> = (0..count).map(|i| (i * 7 + 1) as u8).collect();
            let tensor = Tensor::from_slice(&shape, &values);
            let packed = pack_groups4(&of(&tensor)).unwrap();
            let plain = repops::reference::pack(tensor.view(), Layout::Groups4);
            assert_eq!(packed.data.as_slice(), plain, "{shape:?}");
            let back = repops::reference::unpack(DType::U8, &shape, Layout::Groups4, &plain).unwrap();
            assert_eq!(back.bytes(), values, "{shape:?}");
        }
        for (n, k) in [(37, 40), (16, 3), (1, 1), (0, 5), (5, 0)] {
            let values: Vec<f32> = (0..n * k).map(|i| i as f32).collect();
            let there: Vec<f32> = (0..n * k).map(|i| values[i % n * k + i / n]).collect();
            let packed = pack_panel16_transposed(&weight(&[n, k], &values)).unwrap();
            let plain = pack_panel16(&weight(&[k, n], &there)).unwrap();
            assert_eq!((&packed.shape, packed.layout), (&plain.shape, plain.layout));
            assert_eq!(packed.data.as_slice(), plain.data.as_slice(), "{n} x {k}");
        }
    }
}
