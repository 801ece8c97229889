//! What the threads of a warp do together: shuffles, votes, matrix products, barriers.
//!
//! Invariant: such an instruction runs when exactly the threads that it names stand at it.

use super::SHARED_START;
use super::memory::Touch;
use super::scalar::byte;
use super::warp::{Context, FULL, LANES, Lane, Next, Warp, lanes};
use crate::code::{LdMatrix, Mma, NONE, Op, Reg, Shuffle, ShuffleMode, VoteMode};
use crate::error::{Fault, Space};

impl Warp<'_> {
    pub(super) fn together(
        &mut self,
        context: &mut Context<'_>,
        op: &Op,
        exec: u32,
        mask: u32,
    ) -> Lane<Next> {
        match op {
            Op::Barrier { id } => {
                let id = *self.get_32(*id, exec)?;
                if lanes(exec).any(|lane| id[lane] != 0) {
                    return Err((Fault::NotUniform, exec.trailing_zeros()));
                }
                if exec != self.live {
                    return Ok(Next::Wait);
                }
                return Ok(Next::Barrier);
            }
            Op::WarpBarrier { mask } => {
                let Some(members) = self.members(*mask, exec)? else { return Ok(Next::Wait) };
                // What some threads of the warp passed orders nothing for the others.
                if members == self.live {
                    context.clock.now += 1;
                    context.clock.warps[self.index as usize] = context.clock.now;
                }
            }
            Op::Shuffle(shuffle) => {
                if self.members(shuffle.mask, exec)?.is_none() {
                    return Ok(Next::Wait);
                }
                self.shuffle(shuffle, exec)?;
            }
            Op::Vote { mode, d, p, negated, mask } => {
                if self.members(*mask, exec)?.is_none() {
                    return Ok(Next::Wait);
                }
                let value = self.predicate(*p, exec)?;
                let votes = if *negated { !value } else { value } & exec;
                let holds = match mode {
                    VoteMode::Ballot => {
                        self.put_32(*d, &[votes; LANES], exec);
                        return Ok(Next::Step);
                    }
                    VoteMode::All => votes == exec,
                    VoteMode::Any => votes != 0,
                    VoteMode::Uni => votes == exec || votes == 0,
                };
                self.put_predicate(*d, if holds { FULL } else { 0 }, exec);
            }
            Op::ActiveMask(d) => self.put_32(*d, &[exec; LANES], exec),
            Op::Mma(mma) => {
                if exec != FULL {
                    return self.wait_for_all(mask);
                }
                self.mma(mma)?;
            }
            Op::LdMatrix(load) => {
                if exec != FULL {
                    return self.wait_for_all(mask);
                }
                self.ldmatrix(context, load)?;
            }
            _ => {}
        }
        Ok(Next::Step)
    }

    /// For instructions of whole warps.
    pub(super) fn wait_for_all(&self, mask: u32) -> Lane<Next> {
        if self.live == FULL {
            Ok(Next::Wait)
        } else {
            Err((Fault::Membership { mask: FULL }, mask.trailing_zeros()))
        }
    }

    /// The mask that an instruction names; `None` while some of those threads are elsewhere.
    fn members(&self, mask: Reg, exec: u32) -> Lane<Option<u32>> {
        let first = exec.trailing_zeros();
        let masks = self.get_32(mask, exec)?;
        let mask = masks[first as usize];
        if let Some(lane) = lanes(exec).find(|&lane| masks[lane] != mask) {
            return Err((Fault::NotUniform, lane as u32));
        }
        if exec & !mask != 0 {
            return Err((Fault::Membership { mask }, (exec & !mask).trailing_zeros()));
        }
        if mask & !self.live != 0 {
            return Err((Fault::Membership { mask }, first));
        }
        Ok((mask == exec).then_some(mask))
    }

    fn shuffle(&mut self, s: &Shuffle, exec: u32) -> Lane<()> {
        let x = *self.get_32(s.a, exec)?;
        let (b, c) = (*self.get_32(s.b, exec)?, *self.get_32(s.c, exec)?);
        let mut out = [0; LANES];
        let (mut valid, mut defined) = (0u32, 0u32);
        for lane in lanes(exec) {
            let (index, clamp, segment) = (b[lane] & 31, c[lane] & 31, c[lane] >> 8 & 31);
            let this = lane as u32;
            let last = (this & segment) | (clamp & !segment);
            let (source, inside) = match s.mode {
                ShuffleMode::Up => (this.wrapping_sub(index), (this as i32 - index as i32) >= last as i32),
                ShuffleMode::Down => (this + index, this + index <= last),
                ShuffleMode::Bfly => (this ^ index, this ^ index <= last),
                ShuffleMode::Idx => {
                    let first = this & segment;
                    let source = first | (index & !segment);
                    (source, source <= last)
                }
            };
            let source = if inside { source } else { this };
            valid |= u32::from(inside) << lane;
            // The value of a thread that does not take part is undefined.
            defined |= (exec >> (source & 31) & 1) << lane;
            out[lane] = x[(source & 31) as usize];
        }
        self.put_32(s.d, &out, exec);
        self.set_32[usize::from(s.d)] &= !exec | defined;
        self.put_predicate(s.p, valid, exec);
        Ok(())
    }

    /// Sums wrap, so that their order does not matter.
    fn mma(&mut self, mma: &Mma) -> Lane<()> {
        let fragment = |warp: &Self, register| -> Lane<[u32; LANES]> {
            if register == NONE { Ok([0; LANES]) } else { warp.get_32(register, FULL).copied() }
        };
        let (rows, depth) = (usize::from(mma.m), usize::from(mma.k));
        let mut a = vec![[0i32; 32]; rows];
        let mut b = vec![[0i32; 32]; 8];
        for (index, &register) in mma.a.iter().enumerate().filter(|(_, register)| **register != NONE) {
            let words = fragment(self, register)?;
            // Registers: the rows from 8 on are odd, the later half of the depth follows.
            let (row, column) = if rows == 8 { (0, 0) } else { (index % 2 * 8, index / 2 * 16) };
            for lane in 0..LANES {
                for element in 0..4 {
                    a[row + lane / 4][column + lane % 4 * 4 + element] =
                        byte(words[lane], element as u32, mma.a_signed);
                }
            }
        }
        for (index, &register) in mma.b.iter().enumerate().filter(|(_, register)| **register != NONE) {
            let words = fragment(self, register)?;
            for lane in 0..LANES {
                for element in 0..4 {
                    b[lane / 4][index * 16 + lane % 4 * 4 + element] =
                        byte(words[lane], element as u32, mma.b_signed);
                }
            }
        }
        let c = [
            fragment(self, mma.c[0])?,
            fragment(self, mma.c[1])?,
            fragment(self, mma.c[2])?,
            fragment(self, mma.c[3])?,
        ];
        for (index, &register) in mma.d.iter().enumerate().filter(|(_, register)| **register != NONE) {
            let mut out = [0; LANES];
            for lane in 0..LANES {
                let row = index / 2 * 8 + lane / 4;
                let column = lane % 4 * 2 + index % 2;
                let mut sum = c[index][lane];
                for k in 0..depth {
                    sum = sum.wrapping_add((a[row][k] * b[column][k]) as u32);
                }
                out[lane] = sum;
            }
            self.put_32(register, &out, FULL);
        }
        Ok(())
    }

    fn ldmatrix(&mut self, context: &mut Context<'_>, load: &LdMatrix) -> Lane<()> {
        let offset = load.address.offset as u64;
        let addresses: [u64; LANES] = if load.address.wide {
            self.get_64(load.address.base, FULL)?.map(|base| base.wrapping_add(offset))
        } else {
            self.get_32(load.address.base, FULL)?.map(|base| u64::from(base).wrapping_add(offset))
        };
        for matrix in 0..usize::from(load.count) {
            let mut halves = [[0u32; 8]; 8];
            for row in 0..8 {
                let lane = matrix * 8 + row;
                let address = addresses[lane];
                let fail = |fault| (fault, lane as u32);
                if address & 15 != 0 {
                    return Err(fail(Fault::Misaligned { address, bytes: 16 }));
                }
                let offset = address.wrapping_sub(SHARED_START);
                if !context.shared.holds(offset, 16) {
                    return Err(fail(Fault::OutOfBounds { space: Space::Shared, address, bytes: 16 }));
                }
                let watch = context.clock.watch_shared(self.index, lane as u32);
                context
                    .shared
                    .touch(offset as usize, 16, Touch::Read, &watch)
                    .map_err(|clash| fail(clash.fault(Space::Shared, address)))?;
                for (column, half) in halves[row].iter_mut().enumerate() {
                    *half = context.shared.get(offset as usize + 2 * column, 2) as u32;
                }
            }
            let out: [u32; LANES] = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, lane % 4 * 2);
                let pick = |row: usize, column: usize| {
                    if load.transposed { halves[column][row] } else { halves[row][column] }
                };
                pick(row, column) | pick(row, column + 1) << 16
            });
            self.put_32(load.d[matrix], &out, FULL);
        }
        Ok(())
    }
}
