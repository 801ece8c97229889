//! Loads, stores, atomics and copies, lane by lane.
//!
//! Invariant: bounds, alignment and order are checked before a byte moves.

use super::memory::{Clash, Region, Touch, little, put_little};
use super::warp::{Context, Copies, Copy, LANES, Lane, Warp, lanes};
use super::{CONSTANT_BASE, LOCAL_BASE, PARAMETER_BASE, SHARED_BASE, SHARED_START, SPACE_BITS};
use crate::code::{Access, Address, Atomic, AtomicOp, CpAsync, NONE, Op};
use crate::error::{Fault, Space};

/// A place in memory that an access may touch.
#[derive(Clone, Copy)]
enum At {
    Global(u64),
    Shared(usize),
    Local(usize),
    Constant(usize),
    Parameter(usize),
}

impl Warp<'_> {
    pub(super) fn access(&mut self, context: &mut Context<'_>, op: &Op, exec: u32) -> Lane<()> {
        match op {
            Op::Load(access) => self.load(context, access, exec),
            Op::Store(access) => self.store(context, access, exec),
            Op::Atomic(atomic) => self.atomic(context, atomic, exec),
            Op::CpAsync(copy) => self.copy_async(context, copy, exec),
            Op::CpCommit => {
                for copies in self.copies(exec) {
                    let group = std::mem::take(&mut copies.open);
                    copies.groups.push_back(group);
                }
                Ok(())
            }
            Op::CpWait(left) => self.wait_for_copies(context, *left, exec),
            Op::ToGeneric { space, d, a } => {
                let base = base_of(*space);
                let out = self.get_64(*a, exec)?.map(|x| x.wrapping_add(base));
                self.put_64(*d, &out, exec);
                Ok(())
            }
            Op::FromGeneric { space, d, a } => {
                let base = base_of(*space);
                let out = self.get_64(*a, exec)?.map(|x| x.wrapping_sub(base));
                self.put_64(*d, &out, exec);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The addresses of all lanes.
    #[inline]
    pub(super) fn addresses(&self, address: &Address, exec: u32) -> Lane<[u64; LANES]> {
        let offset = address.offset as u64;
        Ok(if address.wide {
            self.get_64(address.base, exec)?.map(|base| base.wrapping_add(offset))
        } else {
            self.get_32(address.base, exec)?.map(|base| u64::from(base).wrapping_add(offset))
        })
    }

    /// Checks bounds and alignment.
    #[inline]
    fn place(
        &self,
        context: &mut Context<'_>,
        space: Space,
        address: u64,
        bytes: usize,
    ) -> Result<At, Fault> {
        if address & (bytes as u64 - 1) != 0 {
            return Err(Fault::Misaligned { address, bytes: bytes as u32 });
        }
        let out = || Fault::OutOfBounds { space, address, bytes: bytes as u32 };
        match space {
            Space::Global => match context.memory.at(address) {
                Some((region, offset)) if region.holds(offset, bytes) => Ok(At::Global(address)),
                _ => Err(out()),
            },
            Space::Shared => {
                let offset = address.wrapping_sub(SHARED_START);
                if context.shared.holds(offset, bytes) { Ok(At::Shared(offset as usize)) } else { Err(out()) }
            }
            Space::Local => {
                inside(address, bytes, 16, self.code.local_bytes as usize).map(At::Local).ok_or_else(out)
            }
            Space::Constant => {
                inside(address, bytes, 16, context.constants.len()).map(At::Constant).ok_or_else(out)
            }
            Space::Parameter => {
                inside(address, bytes, 0, context.parameters.len()).map(At::Parameter).ok_or_else(out)
            }
            Space::Generic => {
                let window = address >> SPACE_BITS << SPACE_BITS;
                let (space, base) = match window {
                    SHARED_BASE => (Space::Shared, SHARED_BASE),
                    LOCAL_BASE => (Space::Local, LOCAL_BASE),
                    CONSTANT_BASE => (Space::Constant, CONSTANT_BASE),
                    PARAMETER_BASE => (Space::Parameter, PARAMETER_BASE),
                    _ => (Space::Global, 0),
                };
                self.place(context, space, address - base, bytes)
            }
        }
    }

    fn load(&mut self, context: &mut Context<'_>, access: &Access, exec: u32) -> Lane<()> {
        let addresses = self.addresses(&access.address, exec)?;
        let (bytes, count) = (usize::from(access.bytes), usize::from(access.count));
        let touch = if access.constant { Touch::ReadConstant } else { Touch::Read };
        for lane in lanes(exec) {
            let address = addresses[lane];
            let fail = |fault| (fault, lane as u32);
            let at = self.place(context, access.address.space, address, bytes * count).map_err(fail)?;
            let mut values = [0u64; 4];
            match at {
                At::Global(address) => {
                    let watch = context.clock.watch(self.index, lane as u32);
                    if let Some((region, offset)) = context.memory.at(address) {
                        read(region, offset as usize, bytes, count, touch, &watch, &mut values)
                            .map_err(|clash| fail(clash.fault(Space::Global, address)))?;
                    }
                }
                At::Shared(offset) => {
                    let watch = context.clock.watch_shared(self.index, lane as u32);
                    read(context.shared, offset, bytes, count, touch, &watch, &mut values)
                        .map_err(|clash| fail(clash.fault(Space::Shared, address)))?;
                }
                At::Local(offset) => {
                    let range = self.local_range(lane, offset, bytes * count);
                    if !self.local_set[range.clone()].iter().all(|&set| set) {
                        return Err(fail(Fault::UninitializedMemory { space: Space::Local, address }));
                    }
                    split(&self.local[range], bytes, &mut values);
                }
                At::Constant(offset) => {
                    split(&context.constants[offset..offset + bytes * count], bytes, &mut values)
                }
                At::Parameter(offset) => {
                    split(&context.parameters[offset..offset + bytes * count], bytes, &mut values);
                }
            }
            for (&register, &value) in access.registers[..count].iter().zip(&values) {
                if register == NONE {
                    continue;
                }
                let value = if access.signed { sign_extend(value, bytes) } else { value };
                match access.width {
                    64 => {
                        self.r64[usize::from(register)][lane] = value;
                        self.set_64[usize::from(register)] |= 1 << lane;
                    }
                    width => {
                        let kept = if width == 16 { value & 0xffff } else { value };
                        self.r32[usize::from(register)][lane] = kept as u32;
                        self.set_32[usize::from(register)] |= 1 << lane;
                    }
                }
            }
        }
        Ok(())
    }

    fn store(&mut self, context: &mut Context<'_>, access: &Access, exec: u32) -> Lane<()> {
        let addresses = self.addresses(&access.address, exec)?;
        let (bytes, count) = (usize::from(access.bytes), usize::from(access.count));
        for &register in &access.registers[..count] {
            if access.width == 64 {
                self.get_64(register, exec)?;
            } else {
                self.get_32(register, exec)?;
            }
        }
        for lane in lanes(exec) {
            let address = addresses[lane];
            let fail = |fault| (fault, lane as u32);
            let at = self.place(context, access.address.space, address, bytes * count).map_err(fail)?;
            let mut values = [0u64; 4];
            for (value, &register) in values.iter_mut().zip(&access.registers[..count]) {
                *value = if access.width == 64 {
                    self.r64[usize::from(register)][lane]
                } else {
                    self.r32[usize::from(register)][lane].into()
                };
            }
            match at {
                At::Global(address) => {
                    let watch = context.clock.watch(self.index, lane as u32);
                    if let Some((region, offset)) = context.memory.at(address) {
                        region
                            .touch(offset as usize, bytes * count, Touch::Write, &watch)
                            .map_err(|clash| fail(clash.fault(Space::Global, address)))?;
                        for index in 0..count {
                            region.put(offset as usize + index * bytes, bytes, values[index]);
                        }
                    }
                }
                At::Shared(offset) => {
                    let end = offset + bytes * count;
                    context.beside.write(offset, end, self.index, self.seen(lane)).map_err(fail)?;
                    let watch = context.clock.watch_shared(self.index, lane as u32);
                    context
                        .shared
                        .touch(offset, bytes * count, Touch::Write, &watch)
                        .map_err(|clash| fail(clash.fault(Space::Shared, address)))?;
                    for index in 0..count {
                        context.shared.put(offset + index * bytes, bytes, values[index]);
                    }
                }
                At::Local(offset) => {
                    let range = self.local_range(lane, offset, bytes * count);
                    self.local_set[range.clone()].fill(true);
                    for (slot, value) in self.local[range].chunks_exact_mut(bytes).zip(values) {
                        put_little(slot, value);
                    }
                }
                At::Constant(_) => return Err(fail(Fault::ReadOnly { space: Space::Constant })),
                At::Parameter(_) => return Err(fail(Fault::ReadOnly { space: Space::Parameter })),
            }
        }
        Ok(())
    }

    /// The bytes of a lane's local memory, which exists from its first use on.
    fn local_range(&mut self, lane: usize, offset: usize, bytes: usize) -> std::ops::Range<usize> {
        let size = self.code.local_bytes as usize;
        if self.local.is_empty() {
            self.local = vec![0; size * LANES];
            self.local_set = vec![false; size * LANES];
        }
        let start = lane * size + offset;
        start..start + bytes
    }

    /// Copies arguments or results in the local memory of lanes, with what is not written.
    pub(super) fn pass(&mut self, moves: &[(u32, u32, u32)], exec: u32) -> Lane<()> {
        for &(from, to, bytes) in moves {
            for lane in lanes(exec) {
                let source = self.local_range(lane, from as usize, bytes as usize);
                let target = self.local_range(lane, to as usize, bytes as usize).start;
                self.local.copy_within(source.clone(), target);
                self.local_set.copy_within(source, target);
            }
        }
        Ok(())
    }

    fn atomic(&mut self, context: &mut Context<'_>, atomic: &Atomic, exec: u32) -> Lane<()> {
        let addresses = self.addresses(&atomic.address, exec)?;
        let bytes = if atomic.wide { 8 } else { 4 };
        let operand = |warp: &Self, register| -> Lane<[u64; LANES]> {
            Ok(match (register, atomic.wide) {
                (NONE, _) => [0; LANES],
                (_, true) => *warp.get_64(register, exec)?,
                (_, false) => warp.get_32(register, exec)?.map(u64::from),
            })
        };
        let (b, c) = (operand(self, atomic.b)?, operand(self, atomic.c)?);
        for lane in lanes(exec) {
            let address = addresses[lane];
            let fail = |fault| (fault, lane as u32);
            let at = self.place(context, atomic.address.space, address, bytes).map_err(fail)?;
            let global = context.clock.watch(self.index, lane as u32);
            let shared = context.clock.watch_shared(self.index, lane as u32);
            let (region, offset, watch, space) = match at {
                At::Global(address) => match context.memory.at(address) {
                    Some((region, offset)) => (region, offset as usize, global, Space::Global),
                    None => continue,
                },
                At::Shared(offset) => {
                    context
                        .beside
                        .write(offset, offset + bytes, self.index, self.seen(lane))
                        .map_err(fail)?;
                    (&mut *context.shared, offset, shared, Space::Shared)
                }
                _ => {
                    return Err(fail(Fault::OutOfBounds {
                        space: atomic.address.space,
                        address,
                        bytes: bytes as u32,
                    }));
                }
            };
            region
                .touch(offset, bytes, Touch::Atomic, &watch)
                .map_err(|clash: Clash| fail(clash.fault(space, address)))?;
            let old = region.get(offset, bytes);
            region.put(offset, bytes, combine(atomic.op, old, b[lane], c[lane], atomic.wide));
            if atomic.d != NONE {
                if atomic.wide {
                    self.r64[usize::from(atomic.d)][lane] = old;
                    self.set_64[usize::from(atomic.d)] |= 1 << lane;
                } else {
                    self.r32[usize::from(atomic.d)][lane] = old as u32;
                    self.set_32[usize::from(atomic.d)] |= 1 << lane;
                }
            }
        }
        Ok(())
    }

    fn copies(&mut self, exec: u32) -> impl Iterator<Item = &mut Copies> {
        if self.copies.is_empty() {
            self.copies = vec![Copies::default(); LANES];
        }
        self.copies
            .iter_mut()
            .enumerate()
            .filter(move |(lane, _)| exec >> lane & 1 == 1)
            .map(|(_, copies)| copies)
    }

    /// The source is read now, the target counts as unwritten from now on and is written when the thread waits for it.
    fn copy_async(&mut self, context: &mut Context<'_>, copy: &CpAsync, exec: u32) -> Lane<()> {
        let (to, from) = (self.addresses(&copy.to, exec)?, self.addresses(&copy.from, exec)?);
        let sizes = match copy.source_bytes {
            NONE => [u32::from(copy.bytes); LANES],
            register => *self.get_32(register, exec)?,
        };
        let bytes = usize::from(copy.bytes);
        for lane in lanes(exec) {
            let fail = |fault| (fault, lane as u32);
            let read = (sizes[lane] as usize).min(bytes);
            let mut data = [0; 16];
            if read > 0 {
                let address = from[lane];
                if address & (bytes as u64 - 1) != 0 {
                    return Err(fail(Fault::Misaligned { address, bytes: bytes as u32 }));
                }
                let watch = context.clock.watch(self.index, lane as u32);
                match context.memory.at(address) {
                    Some((region, offset)) if region.holds(offset, read) => {
                        region
                            .touch(offset as usize, read, Touch::Read, &watch)
                            .map_err(|clash| fail(clash.fault(Space::Global, address)))?;
                        data[..read].copy_from_slice(region.slice(offset as usize, read));
                    }
                    _ => {
                        let space = Space::Global;
                        return Err(fail(Fault::OutOfBounds { space, address, bytes: read as u32 }));
                    }
                }
            }
            let at = self.place(context, Space::Shared, to[lane], bytes).map_err(fail)?;
            let At::Shared(offset) = at else { continue };
            context.beside.write(offset, offset + bytes, self.index, self.seen(lane)).map_err(fail)?;
            let watch = context.clock.watch_shared(self.index, lane as u32);
            context
                .shared
                .touch(offset, bytes, Touch::Write, &watch)
                .map_err(|clash| fail(clash.fault(Space::Shared, to[lane])))?;
            context.shared.forget(offset, bytes);
            for copies in self.copies(1 << lane) {
                copies.open.push(Copy { to: offset as u32, bytes: copy.bytes, data });
            }
        }
        Ok(())
    }

    fn wait_for_copies(&mut self, context: &mut Context<'_>, left: u32, exec: u32) -> Lane<()> {
        for lane in lanes(exec) {
            let watch = context.clock.watch_shared(self.index, lane as u32);
            let mut done = Vec::new();
            for copies in self.copies(1 << lane) {
                while copies.groups.len() > left as usize {
                    done.extend(copies.groups.pop_front().unwrap_or_default());
                }
            }
            for copy in done {
                let (offset, bytes) = (copy.to as usize, usize::from(copy.bytes));
                context.shared.touch(offset, bytes, Touch::Write, &watch).map_err(|clash| {
                    (clash.fault(Space::Shared, SHARED_START + u64::from(copy.to)), lane as u32)
                })?;
                for (index, word) in copy.data[..bytes].chunks_exact(4).enumerate() {
                    context.shared.put(offset + 4 * index, 4, little(word));
                }
            }
        }
        Ok(())
    }
}

/// Reads elements of a region.
#[inline]
fn read(
    region: &mut Region,
    offset: usize,
    bytes: usize,
    count: usize,
    touch: Touch,
    watch: &super::memory::Watch,
    values: &mut [u64; 4],
) -> Result<(), Clash> {
    region.touch(offset, bytes * count, touch, watch)?;
    for index in 0..count {
        values[index] = region.get(offset + index * bytes, bytes);
    }
    Ok(())
}

fn inside(address: u64, bytes: usize, first: u64, end: usize) -> Option<usize> {
    let fits = address >= first && address <= end as u64 && bytes as u64 <= end as u64 - address;
    fits.then_some(address as usize)
}

fn split(data: &[u8], bytes: usize, values: &mut [u64; 4]) {
    for (value, element) in values.iter_mut().zip(data.chunks_exact(bytes)) {
        *value = little(element);
    }
}

fn sign_extend(value: u64, bytes: usize) -> u64 {
    match bytes {
        1 => value as i8 as u64,
        2 => value as i16 as u64,
        4 => value as i32 as u64,
        _ => value,
    }
}

/// The generic address of the first byte of a space.
fn base_of(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_BASE,
        Space::Local => LOCAL_BASE,
        Space::Constant => CONSTANT_BASE,
        Space::Parameter => PARAMETER_BASE,
        Space::Global | Space::Generic => 0,
    }
}

fn combine(op: AtomicOp, old: u64, b: u64, c: u64, wide: bool) -> u64 {
    let signed = |value: u64| if wide { value as i64 } else { i64::from(value as u32 as i32) };
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::MinU => old.min(b),
        AtomicOp::MaxU => old.max(b),
        AtomicOp::MinS => signed(old).min(signed(b)) as u64,
        AtomicOp::MaxS => signed(old).max(signed(b)) as u64,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
    }
}
