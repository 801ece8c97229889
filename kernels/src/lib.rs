//! Fast CPU kernels with the bits of repops.
//!
//! [`lookup`] finds a kernel for an operator; without one, the caller evaluates the reference.
//! Invariants: a kernel gives the bits of the operator's `eval` with every [`Isa`] and every number of
//! threads; it writes every element of its outputs. Never reads the machine's core count: work is
//! divided among the threads of the current rayon pool.

pub mod cpu;
mod float_env;
mod hash;
pub mod isa;
mod mapped;
mod parallel;
mod scratch;
mod table;

/// Attention over sequences whose keys and values lie in pages.
pub mod sequence {
    pub use crate::cpu::sequence::{AttentionShape, PAGE, Page, Span, append, attend};
}

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::{DType, Element};
use repops::ops::{OpError, OpId};
use repops::tensor::{TensorView, TensorViewMut, element_count};

pub use cpu::elementwise::broadcast::evaluate_broadcast;
pub use cpu::elementwise::region::TileRegions;
pub use cpu::products::{Epilogue, evaluate_products};
pub use float_env::FloatEnv;
pub use hash::{
    HashIsa, bytes_digest, hashes_behind, hashes_behind_by, merkle_root, merkle_root_by, node_hashes,
    node_hashes_by,
};
pub use isa::Isa;
pub use mapped::MappedFile;
pub use parallel::{parallel, parallel_chunks, pool, spawn, take_up_work};

/// An input of a kernel. The bytes are aligned for the type.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub dtype: DType,
    /// The logical shape, whatever the layout.
    pub shape: &'a [usize],
    pub bytes: &'a [u8],
    pub layout: Layout,
}

impl<'a> Operand<'a> {
    /// The elements in the order of the layout. Panics when `T` is not the operand's type: kernels are
    /// looked up by type.
    pub fn as_slice<T: Element>(&self) -> &'a [T] {
        assert_eq!(self.dtype, T::DTYPE);
        bytemuck::cast_slice(self.bytes)
    }

    /// The operand as a row-major tensor, if it is one.
    pub fn row_major(&self) -> Option<TensorView<'a>> {
        (self.layout == Layout::RowMajor).then_some(TensorView {
            dtype: self.dtype,
            shape: self.shape,
            bytes: self.bytes,
        })
    }

    pub fn len(&self) -> usize {
        element_count(self.shape)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<TensorView<'a>> for Operand<'a> {
    fn from(view: TensorView<'a>) -> Self {
        Operand { dtype: view.dtype, shape: view.shape, bytes: view.bytes, layout: Layout::RowMajor }
    }
}

/// What a kernel is told besides its operands.
#[derive(Clone, Copy)]
pub struct KernelCtx<'a> {
    pub isa: Isa,
    /// With defaults filled in.
    pub attrs: &'a Attrs,
    /// What a kernel of a product may do with its results itself, if it claims to; the caller does it otherwise.
    pub epilogue: Option<&'a Epilogue<'a>>,
}

impl<'a> KernelCtx<'a> {
    /// For an operator that stands alone.
    pub fn new(isa: Isa, attrs: &'a Attrs) -> KernelCtx<'a> {
        KernelCtx { isa, attrs, epilogue: None }
    }
}

/// Computes an operator. Inference has succeeded on the same inputs; outputs have the inferred shapes
/// and hold garbage before. On an error the outputs' content is unspecified.
pub type Kernel = fn(&KernelCtx<'_>, &[Option<Operand<'_>>], &mut [TensorViewMut<'_>]) -> Result<(), OpError>;

/// The kernel of an operator for inputs of these types; `None` when there is none.
///
/// Only contractions, as their right operand, and Embedding take an operand in layout `Panel16`, and Conv of one group of f32
/// its filters in layout `Filters16`; other kernels answer [`OpError::Unsupported`] to them.
pub fn lookup(op: OpId, version: u16, dtypes: &[Option<DType>]) -> Option<Kernel> {
    table::lookup(op, version, dtypes)
}
