//! Barriers in shared memory, copies of ranges, and products of warpgroups.
//!
//! A product is computed when it begins, from bytes that stay guarded until its warp has waited for it; its sums count as unwritten
//! until then. A warp computes its quarter of a warpgroup's rows; that all four do the same is checked, not waited for.
//!
//! Invariant: what products and copies use is as it was when they began, or there is a fault.

use super::memory::{Beside, Touch};
use super::order::{Seen, Sum};
use super::warp::{Context, FULL, LANES, Lane, Next, Warp, lanes};
use super::{SHARED_START, scalar};
use crate::code::{Address, BarrierOp, BulkCopy, NONE, Op, Wgmma};
use crate::error::{Fault, Space};

/// Rows that a warp computes of a warpgroup's 64, and terms of a product.
const ROWS: usize = 16;
const TERMS: usize = 32;
/// Bytes of a row of a matrix that is swizzled, and of eight of them, on which the permutation depends.
const ROW_BYTES: u64 = 128;
const ATOM_BYTES: u64 = 8 * ROW_BYTES;

impl Warp<'_> {
    /// `mask`: the threads that stand at the instruction, of which those of `exec` execute it.
    pub(super) fn hopper(
        &mut self,
        context: &mut Context<'_>,
        op: &Op,
        exec: u32,
        mask: u32,
        pc: u32,
    ) -> Lane<Next> {
        match op {
            Op::SharedBarrier(address, op) => return self.shared_barrier(context, address, *op, exec),
            Op::BulkCopy(copy) => self.bulk_copy(context, copy, exec)?,
            Op::ProxyFence => {
                context.clock.now += 1;
                for lane in lanes(exec) {
                    context.beside.fences.insert(self.index * 32 + lane as u32, context.clock.now);
                }
            }
            _ => {
                let whole = self.code.threads_max.or(self.code.threads_exactly);
                let is_grouped = context.threads / 128 > self.index / 4;
                if !is_grouped {
                    return Err((Fault::Membership { mask: FULL }, exec.trailing_zeros()));
                }
                if exec != FULL {
                    return self.wait_for_all(mask);
                }
                match op {
                    Op::Wgmma(product) => self.multiply(context, product, pc)?,
                    Op::WgmmaFence => {
                        self.together_with(context, (pc, 0, 0, false)).map(|()| self.fence())?
                    }
                    Op::WgmmaCommit => {
                        self.together_with(context, (pc, 0, 0, false))?;
                        self.products.groups += 1;
                        self.products.has_open = false;
                    }
                    Op::WgmmaWait(left) => {
                        self.together_with(context, (pc, 0, 0, false))?;
                        self.wait_for_products(context, u64::from(*left))?;
                    }
                    Op::MaxRegisters(count) => {
                        self.together_with(context, (pc, 0, 0, false))?;
                        if whole.is_none() {
                            return Err((Fault::Registers, 0));
                        }
                        context.beside.registers.insert(self.index, *count);
                    }
                    _ => {}
                }
            }
        }
        Ok(Next::Step)
    }

    /// What a lane knows.
    pub(super) fn seen(&self, lane: usize) -> &Seen {
        let found = self.seen.iter().position(|(mask, _)| mask >> lane & 1 == 1);
        &self.seen[found.unwrap_or(0)].1
    }

    /// Lanes get to know something.
    fn learn(&mut self, mask: u32, news: &Seen) {
        let mut parted = Vec::new();
        for (lanes, seen) in &mut self.seen {
            let learn = *lanes & mask;
            if learn == 0 {
                continue;
            }
            let mut more = seen.clone();
            more.join(news);
            if more != *seen {
                *lanes &= !learn;
                parted.push((learn, more));
            }
        }
        for (mask, seen) in parted {
            match self.seen.iter_mut().find(|(_, known)| *known == seen) {
                Some((lanes, _)) => *lanes |= mask,
                None => self.seen.push((mask, seen)),
            }
        }
        self.seen.retain(|(lanes, _)| *lanes != 0);
    }

    /// The places of barriers in shared memory, in bounds and aligned.
    fn places(
        &self,
        context: &Context<'_>,
        address: &Address,
        bytes: usize,
        exec: u32,
    ) -> Lane<[u32; LANES]> {
        let addresses = self.addresses(address, exec)?;
        let mut places = [0; LANES];
        for lane in lanes(exec) {
            let (address, align) = (addresses[lane], if bytes == 8 { 8 } else { 16 });
            let offset = address.wrapping_sub(SHARED_START);
            let fault = match () {
                () if !address.is_multiple_of(align) => Fault::Misaligned { address, bytes: align as u32 },
                () if !context.shared.holds(offset, bytes) => {
                    Fault::OutOfBounds { space: Space::Shared, address, bytes: bytes as u32 }
                }
                () => {
                    places[lane] = offset as u32;
                    continue;
                }
            };
            return Err((fault, lane as u32));
        }
        Ok(places)
    }

    fn shared_barrier(
        &mut self,
        context: &mut Context<'_>,
        address: &Address,
        op: BarrierOp,
        exec: u32,
    ) -> Lane<Next> {
        let places = self.places(context, address, 8, exec)?;
        let mut done = 0;
        for lane in lanes(exec) {
            let (at, thread) = (places[lane], self.index * 32 + lane as u32);
            let fail = |fault| (fault, lane as u32);
            let wrong = |what| fail(Fault::SharedBarrier { address: SHARED_START + u64::from(at), what });
            if let BarrierOp::Init(count) = op {
                let count = self.get_32(count, exec)?[lane];
                if !(1..1 << 20).contains(&count) {
                    return Err(wrong("is for no number of arrivals that there can be"));
                }
                let (start, end) = (at as usize, at as usize + 8);
                context.beside.write(start, end, self.index, self.seen(lane)).map_err(fail)?;
                let watch = context.clock.watch_shared(self.index, lane as u32);
                let touched = context.shared.touch(start, 8, Touch::Write, &watch);
                touched.map_err(|clash| fail(clash.fault(Space::Shared, SHARED_START + u64::from(at))))?;
                context.shared.forget(start, 8);
                context.beside.init(at, count, thread, context.clock.now);
                continue;
            }
            self.is_made(context, at, thread).map_err(wrong)?;
            match op {
                BarrierOp::Init(_) => {}
                BarrierOp::Arrive(expected) => {
                    let bytes = if expected == NONE { 0 } else { self.get_32(expected, exec)?[lane] };
                    if bytes >= 1 << 20 {
                        return Err(wrong("expects more bytes than it can count"));
                    }
                    context.clock.now += 1;
                    let now = context.clock.now;
                    context.beside.arrive(at, bytes, self.index, self.seen(lane), now).map_err(wrong)?;
                }
                BarrierOp::Test { parity, .. } => {
                    let parity = self.get_32(parity, exec)?[lane];
                    if parity > 1 {
                        return Err(wrong("has no such phase"));
                    }
                    context.clock.now += 1;
                    let now = context.clock.now;
                    let news = context.beside.test(at, parity, context.shared, now).map_err(wrong)?;
                    if let Some(news) = news {
                        self.learn(1 << lane, &news);
                        done |= 1 << lane;
                    }
                }
            }
        }
        if let BarrierOp::Test { p, .. } = op {
            self.put_predicate(p, done, exec);
            if done != exec {
                return Ok(Next::Yield);
            }
        }
        Ok(Next::Step)
    }

    /// Whether a thread may know that a barrier is there.
    fn is_made(&self, context: &Context<'_>, at: u32, thread: u32) -> Result<(), &'static str> {
        match context.beside.barriers.get(&at) {
            None => Err("is none"),
            Some(barrier) if barrier.maker == thread || barrier.made < context.clock.barrier => Ok(()),
            Some(_) => Err("was made by another thread with no barrier of the block between"),
        }
    }

    fn bulk_copy(&mut self, context: &mut Context<'_>, copy: &BulkCopy, exec: u32) -> Lane<()> {
        let (sizes, from) = (*self.get_32(copy.bytes, exec)?, self.addresses(&copy.from, exec)?);
        for lane in lanes(exec) {
            let fail = |fault| (fault, lane as u32);
            let (bytes, address) = (sizes[lane] as usize, from[lane]);
            if bytes == 0 || !bytes.is_multiple_of(16) || !address.is_multiple_of(16) {
                return Err(fail(Fault::Misaligned { address, bytes: 16 }));
            }
            let to = self.places(context, &copy.to, bytes, 1 << lane)?[lane] as usize;
            let at = self.places(context, &copy.barrier, 8, 1 << lane)?[lane];
            let thread = self.index * 32 + lane as u32;
            let wrong = |what| fail(Fault::SharedBarrier { address: SHARED_START + u64::from(at), what });
            self.is_made(context, at, thread).map_err(wrong)?;
            let fenced = |beside: &super::order::Asynchronous, thread: u32| {
                beside.fences.get(&thread).copied().unwrap_or(0)
            };
            let made = context.beside.barriers.get(&at).map(|barrier| (barrier.maker, barrier.made));
            if made.is_some_and(|(maker, made)| fenced(&context.beside, maker) <= made) {
                return Err(fail(Fault::Unfenced { address: SHARED_START + u64::from(at) }));
            }
            let watch = context.clock.watch(self.index, lane as u32);
            let out = Fault::OutOfBounds { space: Space::Global, address, bytes: bytes as u32 };
            let data = match context.memory.at(address) {
                Some((region, offset)) if region.holds(offset, bytes) => {
                    let touched = region.touch(offset as usize, bytes, Touch::Read, &watch);
                    touched.map_err(|clash| fail(clash.fault(Space::Global, address)))?;
                    region.slice(offset as usize, bytes).to_vec()
                }
                _ => return Err(fail(out)),
            };
            context.beside.write(to, to + bytes, self.index, self.seen(lane)).map_err(fail)?;
            let watch = context.clock.watch_shared(self.index, lane as u32);
            let beside = &context.beside;
            let touched =
                context.shared.touch_beside(to, bytes, true, &watch, |thread| fenced(beside, thread));
            touched.map_err(|why| fail(fault_of(why, to)))?;
            context.beside.copy(at, to, data);
        }
        Ok(())
    }

    /// All warps of a warpgroup do the same.
    fn together_with(&self, context: &mut Context<'_>, step: super::order::Step) -> Lane<()> {
        if context.beside.step(self.index, step) { Ok(()) } else { Err((Fault::NotUniform, 0)) }
    }

    /// From here on products may add to the registers as they are.
    fn fence(&mut self) {
        let products = &mut self.products;
        if products.sums.is_empty() {
            let registers = self.code.accumulators.iter();
            products.slots = registers.enumerate().map(|(slot, &register)| (register, slot)).collect();
            products.sums = vec![Sum::default(); products.slots.len()];
        }
        for (&register, &slot) in &products.slots {
            let sum = &mut products.sums[slot];
            if sum.group == 0 {
                sum.values = self.r32[usize::from(register)];
                sum.set = self.set_32[usize::from(register)];
                sum.is_fenced = true;
            }
        }
    }

    fn wait_for_products(&mut self, context: &mut Context<'_>, left: u64) -> Lane<()> {
        let done = self.products.groups.saturating_sub(left);
        for (&register, &slot) in &self.products.slots {
            let sum = &mut self.products.sums[slot];
            if sum.group == 0 || sum.group > done {
                continue;
            }
            let register = usize::from(register);
            if self.set_32[register] != 0 || self.r32[register] != sum.values {
                return Err((Fault::Accumulator, 0));
            }
            self.set_32[register] = FULL;
            (sum.group, sum.is_fenced) = (0, false);
        }
        context.clock.now += 1;
        context.beside.waited(self.index, done, context.clock.now);
        Ok(())
    }

    fn multiply(&mut self, context: &mut Context<'_>, product: &Wgmma, pc: u32) -> Lane<()> {
        let uniform = |values: &[u64; LANES]| values.iter().all(|value| *value == values[0]);
        let (a, b) = (self.get_64(product.a, FULL)?, self.get_64(product.b, FULL)?);
        let adds = self.predicate(product.adds, FULL)?;
        if !uniform(a) || !uniform(b) || (adds != 0 && adds != FULL) {
            return Err((Fault::NotUniform, 0));
        }
        let (a, b, adds) = (a[0], b[0], (adds != 0) != product.adds_negated);
        self.together_with(context, (pc, a, b, adds))?;
        let first = self.index as usize % 4 * ROWS;
        let (a, b) = (Matrix::parse(a)?, Matrix::parse(b)?);
        let left = self.operand(context, &a, first, ROWS, product.a_signed)?;
        let right = self.operand(context, &b, 0, product.n.into(), product.b_signed)?;
        let group = self.products.groups + 1;
        self.products.has_open = true;
        for (index, &register) in product.d.iter().enumerate() {
            let at = usize::from(register);
            // Before the first fence there are no slots.
            let Some(&slot) = self.products.slots.get(&register) else { return Err((Fault::Accumulator, 0)) };
            let sum = &mut self.products.sums[slot];
            let is_under_way = sum.group != 0;
            let is_same = if is_under_way {
                sum.n == product.n && self.set_32[at] == 0
            } else {
                sum.is_fenced && self.set_32[at] == sum.set
            };
            if !is_same || self.r32[at] != sum.values {
                return Err((Fault::Accumulator, 0));
            }
            if adds && !is_under_way && sum.set != FULL {
                return Err((Fault::UninitializedRegister, (!sum.set).trailing_zeros()));
            }
            let (part, columns) = (index % 4, index / 4 * 8);
            for lane in 0..LANES {
                let row = lane / 4 + part / 2 * 8;
                let column = columns + lane % 4 * 2 + part % 2;
                let dot: i32 =
                    left[row].iter().zip(&right[column]).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
                let before = if adds { sum.values[lane] } else { 0 };
                sum.values[lane] = before.wrapping_add(dot as u32);
            }
            (sum.group, sum.n) = (group, product.n);
            self.r32[at] = sum.values;
            self.set_32[at] = 0;
        }
        Ok(())
    }

    /// Rows of an operand, 32 terms of each.
    fn operand(
        &mut self,
        context: &mut Context<'_>,
        matrix: &Matrix,
        first: usize,
        rows: usize,
        signed: bool,
    ) -> Lane<Vec<[i16; TERMS]>> {
        let group = self.products.groups + 1;
        let watch = context.clock.watch_shared(self.index, 0);
        let mut out = vec![[0; TERMS]; rows];
        for (row, terms) in out.iter_mut().enumerate() {
            for half in 0..2 {
                let address = matrix.address(first + row, half * 16);
                let offset = address.wrapping_sub(SHARED_START);
                if !context.shared.holds(offset, 16) {
                    let space = Space::Shared;
                    return Err((Fault::OutOfBounds { space, address, bytes: 16 }, 0));
                }
                let offset = offset as usize;
                let beside = &context.beside;
                let fenced = |thread: u32| beside.fences.get(&thread).copied().unwrap_or(0);
                let touched = context.shared.touch_beside(offset, 16, false, &watch, fenced);
                touched.map_err(|why| (fault_of(why, offset), 0))?;
                let bytes = context.shared.slice(offset, 16);
                for (term, byte) in terms[half * 16..].iter_mut().zip(bytes) {
                    *term = scalar::byte(u32::from(*byte), 0, signed) as i16;
                }
            }
        }
        // Eight rows are one range, whatever of them is read.
        for eight in 0..rows / 8 {
            let start = (matrix.atom(first / 8 + eight) - SHARED_START) as usize;
            let end = start + ATOM_BYTES as usize;
            for (_, seen) in &self.seen {
                context.beside.has_arrived(start, end, seen).map_err(|fault| (fault, 0))?;
            }
            context.beside.read(start, end, self.index, group);
        }
        Ok(out)
    }
}

fn fault_of(why: Beside, offset: usize) -> Fault {
    let address = SHARED_START + offset as u64;
    match why {
        Beside::Clash(clash) => clash.fault(Space::Shared, address),
        Beside::Unfenced => Fault::Unfenced { address },
    }
}

/// A matrix in shared memory as a descriptor says: rows of 128 bytes, groups of 16 bytes permuted by the row, eight rows after eight.
struct Matrix {
    start: u64,
    stride: u64,
}

impl Matrix {
    fn parse(bits: u64) -> Lane<Matrix> {
        let field = |from: u32| bits >> from & 0x3fff;
        let (start, leading, stride) = (field(0) << 4, field(16), field(32) << 4);
        let known = 0x3fff | 0x3fff << 16 | 0x3fff << 32 | 3 << 62;
        // Only the swizzle of 128 bytes, whose pattern begins where an address is a multiple of 1024; the offset between columns of
        // groups is not used with it and is 1.
        let is_known = bits & !known == 0
            && bits >> 62 == 1
            && leading == 1
            && stride != 0
            && stride.is_multiple_of(ATOM_BYTES)
            && start % ATOM_BYTES + TERMS as u64 <= ROW_BYTES
            && start >= SHARED_START;
        if is_known { Ok(Matrix { start, stride }) } else { Err((Fault::Descriptor { bits }, 0)) }
    }

    /// Where eight rows begin.
    fn atom(&self, eight: usize) -> u64 {
        self.start / ATOM_BYTES * ATOM_BYTES + eight as u64 * self.stride
    }

    fn address(&self, row: usize, term: usize) -> u64 {
        let within = (row % 8) as u64 * ROW_BYTES + self.start % ATOM_BYTES + term as u64;
        self.atom(row / 8) + (within ^ (within / ROW_BYTES % 8) << 4)
    }
}
