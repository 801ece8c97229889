//! Merkle roots of tensors' bytes, computed where the bytes are: SPEC.md, section 6.
//!
//! Invariant: 32 bytes a tensor are all that a trace takes from the device.

use repops::digest::LEAF_BYTES;

use crate::device::{Argument, Device};
use crate::{Error, kernels};

kernels! {
    HASH = "hash";
    LEAVES = "leaves";
    NODES = "nodes";
}

/// Leaves or nodes that a block of threads combines.
const GROUP: usize = 128;
/// Buffers that one launch reads.
const BASES: usize = 8;
/// Bytes of a root.
pub const ROOT_BYTES: usize = 32;

/// Bytes of a buffer that are a tensor's.
pub struct Bytes<'a, B> {
    pub buffer: &'a B,
    pub offset: usize,
    pub len: usize,
}

impl<B> Clone for Bytes<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Bytes<'_, B> {}

/// What is left of a tensor at some height of its tree, as the kernels read it.
struct Part {
    at: usize,
    bytes: usize,
    count: usize,
    group: usize,
    base: usize,
}

impl Part {
    fn groups(&self) -> usize {
        self.count.div_ceil(GROUP).max(1)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.at as u64).to_le_bytes());
        out.extend((self.bytes as u64).to_le_bytes());
        for word in [self.count, self.group, self.base, 0] {
            out.extend((word as u32).to_le_bytes());
        }
    }
}

/// Writes the Merkle root over each tensor's bytes to `out`, 32 bytes each from `offset` on, in their order.
///
/// Tensors of up to eight buffers take part in one launch, and one more for every factor of 128 leaves.
pub fn roots<D: Device>(
    device: &D,
    tensors: &[Bytes<'_, D::Buffer>],
    out: &D::Buffer,
    offset: usize,
) -> Result<(), Error> {
    let mut first = 0;
    while first < tensors.len() {
        let mut bases: Vec<&D::Buffer> = Vec::new();
        let mut parts = Vec::new();
        let mut group = 0;
        for tensor in &tensors[first..] {
            let known = bases.iter().position(|base| std::ptr::eq(*base, tensor.buffer));
            let base = match known {
                Some(base) => base,
                None if bases.len() == BASES => break,
                None => {
                    bases.push(tensor.buffer);
                    bases.len() - 1
                }
            };
            let count = tensor.len.div_ceil(LEAF_BYTES);
            if u32::try_from(group + count).is_err() {
                return Err(Error::unsupported(format!("hashing {} bytes at once", tensor.len)));
            }
            let part = Part { at: tensor.offset, bytes: tensor.len, count, group, base };
            group += part.groups();
            parts.push(part);
        }
        let done = parts.len();
        combine(device, parts, Nodes::Leaves(&bases), out, offset + first * ROOT_BYTES)?;
        first += done;
    }
    Ok(())
}

/// Writes the Merkle root over each group of hashes to `out`, 32 bytes each from `offset` on, in their order. A group is the number of
/// its first hash in `from`, and how many there are.
pub fn roots_over<D: Device>(
    device: &D,
    from: &D::Buffer,
    groups: &[(usize, usize)],
    out: &D::Buffer,
    offset: usize,
) -> Result<(), Error> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut group = 0;
    let mut parts = Vec::with_capacity(groups.len());
    for &(at, count) in groups {
        let part = Part { at, bytes: 0, count, group, base: 0 };
        group += part.groups();
        parts.push(part);
    }
    if u32::try_from(group).is_err() || groups.iter().any(|(_, count)| u32::try_from(*count).is_err()) {
        return Err(Error::unsupported("so many hashes at once"));
    }
    combine(device, parts, Nodes::Given(from), out, offset)
}

/// What the lowest launch reads.
enum Nodes<'a, B> {
    Leaves(&'a [&'a B]),
    /// Hashes, from the buffer's beginning on.
    Given(&'a B),
}

/// Launch by launch, until there is one group for each tensor.
fn combine<D: Device>(
    device: &D,
    mut parts: Vec<Part>,
    lowest: Nodes<'_, D::Buffer>,
    out: &D::Buffer,
    offset: usize,
) -> Result<(), Error> {
    let mut hashes: Option<D::Buffer> = None;
    loop {
        let groups: usize = parts.iter().map(Part::groups).sum();
        let is_last = groups == parts.len();
        let mut bytes = Vec::new();
        for part in &parts {
            part.encode(&mut bytes);
        }
        let table = device.put(&bytes)?;
        let next = if is_last { None } else { Some(device.alloc(groups * ROOT_BYTES)?) };
        let to = match &next {
            Some(buffer) => Argument::Pointer { buffer, offset: 0 },
            None => Argument::Pointer { buffer: out, offset },
        };
        let mut arguments =
            vec![to, Argument::Pointer { buffer: &table, offset: 0 }, Argument::U32(parts.len() as u32)];
        let kernel = match (&hashes, &lowest) {
            (None, Nodes::Leaves(bases)) => {
                // Those that no tensor names are never read.
                let all = (0..BASES).map(|k| bases.get(k).copied().unwrap_or(bases[0]));
                arguments.extend(all.map(|buffer| Argument::Pointer { buffer, offset: 0 }));
                &LEAVES
            }
            (Some(from), _) => {
                arguments.push(Argument::Pointer { buffer: from, offset: 0 });
                &NODES
            }
            (None, Nodes::Given(from)) => {
                arguments.push(Argument::Pointer { buffer: *from, offset: 0 });
                &NODES
            }
        };
        device.launch(kernel, [groups as u32, 1, 1], [GROUP as u32, 1, 1], 0, &arguments)?;
        let Some(next) = next else { return Ok(()) };
        // What was written is the next height's input, a tensor's hashes side by side.
        let mut group = 0;
        for part in &mut parts {
            let count = part.groups();
            *part = Part { at: part.group, bytes: 0, count, group, base: 0 };
            group += part.groups();
        }
        hashes = Some(next);
    }
}
