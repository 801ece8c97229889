//! One instruction for all lanes of a warp.
//!
//! Invariant: functions of single lanes are total, so that they may run for lanes that take no part, whose results are
//! thrown away; what can fail looks at the lanes that take part first.

use super::scalar as f;
use super::warp::{Context, LANES, Lane, Next, Warp, is_set, lanes, mask_where};
use crate::code::{Binary, Convert, Logic, NONE, Op, Reg, Setp, Ternary, Type, Unary};
use crate::error::Fault;

impl Warp<'_> {
    /// Executes for the lanes of `exec`, of the group `mask` that stands at `pc`.
    pub fn execute(
        &mut self,
        context: &mut Context<'_>,
        op: &Op,
        exec: u32,
        mask: u32,
        pc: u32,
    ) -> Lane<Next> {
        match op {
            Op::Unary32(op, d, a) => self.unary_32(*op, *d, *a, exec)?,
            Op::Unary64(op, d, a) => self.unary_64(*op, *d, *a, exec)?,
            Op::Count64(op, d, a) => {
                let x = self.get_64(*a, exec)?;
                let out = x.map(|x| match op {
                    Unary::Popc => x.count_ones(),
                    Unary::Clz => x.leading_zeros(),
                    Unary::BfindS => f::bfind(x, 64, true),
                    _ => f::bfind(x, 64, false),
                });
                self.put_32(*d, &out, exec);
            }
            Op::Binary32(op, d, a, b) => self.binary_32(*op, *d, *a, *b, exec)?,
            Op::Binary64(op, d, a, b) => self.binary_64(*op, *d, *a, *b, exec)?,
            Op::Shift64(op, d, a, b) => {
                let (x, y) = (self.get_64(*a, exec)?, self.get_32(*b, exec)?);
                let out = std::array::from_fn(|lane| match op {
                    Binary::Shl => x[lane].checked_shl(y[lane]).unwrap_or(0),
                    Binary::ShrS => ((x[lane] as i64) >> y[lane].min(63)) as u64,
                    _ => x[lane].checked_shr(y[lane]).unwrap_or(0),
                });
                self.put_64(*d, &out, exec);
            }
            Op::Ternary32(op, d, a, b, c) => self.ternary_32(*op, [*d, *a, *b, *c], exec)?,
            Op::Ternary64(op, d, a, b, c) => self.ternary_64(*op, [*d, *a, *b, *c], exec)?,
            Op::Wide { signed, d, a, b } => {
                let (x, y) = (self.get_32(*a, exec)?, self.get_32(*b, exec)?);
                let out = std::array::from_fn(|lane| wide(x[lane], y[lane], *signed));
                self.put_64(*d, &out, exec);
            }
            Op::MadWide { signed, d, a, b, c } => {
                let (x, y) = (self.get_32(*a, exec)?, self.get_32(*b, exec)?);
                let z = self.get_64(*c, exec)?;
                let out = std::array::from_fn(|lane| wide(x[lane], y[lane], *signed).wrapping_add(z[lane]));
                self.put_64(*d, &out, exec);
            }
            Op::Lop3 { table, d, a, b, c } => {
                self.map3_32([*d, *a, *b, *c], exec, |x, y, z| f::lop3(x, y, z, *table))?
            }
            Op::Bfi32 { d, a, b, c, e } => {
                let e = *self.get_32(*e, exec)?;
                let (x, y, z) = (self.get_32(*a, exec)?, self.get_32(*b, exec)?, self.get_32(*c, exec)?);
                let out = std::array::from_fn(|lane| {
                    f::bfi(x[lane].into(), y[lane].into(), z[lane], e[lane], 32) as u32
                });
                self.put_32(*d, &out, exec);
            }
            Op::Bfi64 { d, a, b, c, e } => {
                let (x, y) = (self.get_64(*a, exec)?, self.get_64(*b, exec)?);
                let (z, e) = (self.get_32(*c, exec)?, self.get_32(*e, exec)?);
                let out = std::array::from_fn(|lane| f::bfi(x[lane], y[lane], z[lane], e[lane], 64));
                self.put_64(*d, &out, exec);
            }
            Op::Bfe64 { signed, d, a, b, c } => {
                let (y, z) = (self.get_32(*b, exec)?, self.get_32(*c, exec)?);
                let x = self.get_64(*a, exec)?;
                let out = std::array::from_fn(|lane| f::bfe(x[lane], y[lane], z[lane], 64, *signed));
                self.put_64(*d, &out, exec);
            }
            Op::Carry { subtract, wide, takes, gives, d, a, b } => {
                self.add_with_carry(*subtract, *wide, *takes, *gives, [*d, *a, *b], exec)?;
            }
            Op::Convert(convert) => self.convert(convert, exec)?,
            Op::Setp(setp) => self.setp(setp, exec)?,
            Op::Select32 { d, a, b, p } => {
                let chosen = self.predicate(*p, exec)?;
                self.move_32(*d, *b, exec & !chosen);
                self.move_32(*d, *a, exec & chosen);
            }
            Op::Select64 { d, a, b, p } => {
                let chosen = self.predicate(*p, exec)?;
                self.move_64(*d, *b, exec & !chosen);
                self.move_64(*d, *a, exec & chosen);
            }
            Op::Predicate(logic, d, a, b) => {
                let (x, y) = (self.predicate(*a, exec)?, self.predicate(*b, exec)?);
                self.put_predicate(*d, combine(*logic, x, y), exec);
            }
            Op::PredicateNot(d, a) => {
                let x = self.predicate(*a, exec)?;
                self.put_predicate(*d, !x, exec);
            }
            Op::PredicateMove(d, a) => {
                let x = self.predicate(*a, exec)?;
                self.put_predicate(*d, x, exec);
            }
            Op::Move32(d, a) => self.move_32(*d, *a, exec),
            Op::Move64(d, a) => self.move_64(*d, *a, exec),
            Op::Pack { wide, d, parts, count } => self.pack(*wide, *d, parts, *count, exec)?,
            Op::Split { wide, a, parts, count } => self.split(*wide, *a, parts, *count, exec)?,
            Op::ToGeneric { .. }
            | Op::FromGeneric { .. }
            | Op::Load(_)
            | Op::Store(_)
            | Op::Atomic(_)
            | Op::CpAsync(_)
            | Op::CpCommit
            | Op::CpWait(_) => self.access(context, op, exec)?,
            Op::Fence => {}
            Op::Branch(target) => return Ok(Next::Jump(*target)),
            Op::BranchIndexed(a, targets) => {
                let x = self.get_32(*a, exec)?;
                let mut parts: Vec<(u32, u32)> = Vec::new();
                for lane in lanes(exec) {
                    let (index, count) = (x[lane], targets.len() as u32);
                    let target = *targets
                        .get(index as usize)
                        .ok_or((Fault::BranchIndex { index, targets: count }, lane as u32))?;
                    match parts.iter_mut().find(|(known, _)| *known == target) {
                        Some((_, mask)) => *mask |= 1 << lane,
                        None => parts.push((target, 1 << lane)),
                    }
                }
                return Ok(Next::Part(parts));
            }
            Op::Call(call) => {
                self.pass(&call.arguments, exec)?;
                for lane in lanes(exec) {
                    self.returns[usize::from(call.function)][lane] = pc + 1;
                }
                return Ok(Next::Enter(call.target));
            }
            Op::Return(function) => return Ok(Next::Leave(*function)),
            Op::Exit => return Ok(Next::End),
            Op::Trap => return Err((Fault::Trap, exec.trailing_zeros())),
            Op::End => return Err((Fault::NoReturn, exec.trailing_zeros())),
            Op::SharedBarrier(..)
            | Op::BulkCopy(_)
            | Op::ProxyFence
            | Op::Wgmma(_)
            | Op::WgmmaFence
            | Op::WgmmaCommit
            | Op::WgmmaWait(_)
            | Op::MaxRegisters(_) => return self.hopper(context, op, exec, mask, pc),
            Op::Shuffle(_)
            | Op::Vote { .. }
            | Op::ActiveMask(_)
            | Op::Mma(_)
            | Op::LdMatrix(_)
            | Op::Barrier { .. }
            | Op::WarpBarrier { .. } => return self.together(context, op, exec, mask),
        }
        Ok(Next::Step)
    }

    #[inline]
    fn map1_32(&mut self, d: Reg, a: Reg, exec: u32, f: impl Fn(u32) -> u32) -> Lane<()> {
        let out = self.get_32(a, exec)?.map(f);
        self.put_32(d, &out, exec);
        Ok(())
    }

    #[inline]
    fn map2_32(&mut self, [d, a, b]: [Reg; 3], exec: u32, f: impl Fn(u32, u32) -> u32) -> Lane<()> {
        let (x, y) = (self.get_32(a, exec)?, self.get_32(b, exec)?);
        let mut out = [0; LANES];
        for lane in 0..LANES {
            out[lane] = f(x[lane], y[lane]);
        }
        self.put_32(d, &out, exec);
        Ok(())
    }

    #[inline]
    fn map3_32(&mut self, [d, a, b, c]: [Reg; 4], exec: u32, f: impl Fn(u32, u32, u32) -> u32) -> Lane<()> {
        let (x, y, z) = (self.get_32(a, exec)?, self.get_32(b, exec)?, self.get_32(c, exec)?);
        let mut out = [0; LANES];
        for lane in 0..LANES {
            out[lane] = f(x[lane], y[lane], z[lane]);
        }
        self.put_32(d, &out, exec);
        Ok(())
    }

    #[inline]
    fn map1_64(&mut self, d: Reg, a: Reg, exec: u32, f: impl Fn(u64) -> u64) -> Lane<()> {
        let out = self.get_64(a, exec)?.map(f);
        self.put_64(d, &out, exec);
        Ok(())
    }

    #[inline]
    fn map2_64(&mut self, [d, a, b]: [Reg; 3], exec: u32, f: impl Fn(u64, u64) -> u64) -> Lane<()> {
        let (x, y) = (self.get_64(a, exec)?, self.get_64(b, exec)?);
        let mut out = [0; LANES];
        for lane in 0..LANES {
            out[lane] = f(x[lane], y[lane]);
        }
        self.put_64(d, &out, exec);
        Ok(())
    }

    /// Moves what is there; a register without a value passes that on, because compilers move such registers, too.
    fn move_32(&mut self, d: Reg, a: Reg, exec: u32) {
        let values = self.r32[usize::from(a)];
        let set = self.set_32[usize::from(a)];
        self.put_32(d, &values, exec);
        let slot = &mut self.set_32[usize::from(d)];
        *slot = *slot & !exec | set & exec;
    }

    fn move_64(&mut self, d: Reg, a: Reg, exec: u32) {
        let values = self.r64[usize::from(a)];
        let set = self.set_64[usize::from(a)];
        self.put_64(d, &values, exec);
        let slot = &mut self.set_64[usize::from(d)];
        *slot = *slot & !exec | set & exec;
    }

    fn unary_32(&mut self, op: Unary, d: Reg, a: Reg, exec: u32) -> Lane<()> {
        match op {
            Unary::Not => self.map1_32(d, a, exec, |x| !x),
            Unary::Not16 => self.map1_32(d, a, exec, |x| !x & 0xffff),
            Unary::Neg => self.map1_32(d, a, exec, u32::wrapping_neg),
            Unary::Neg16 => self.map1_32(d, a, exec, |x| x.wrapping_neg() & 0xffff),
            Unary::AbsS => self.map1_32(d, a, exec, |x| (x as i32).wrapping_abs() as u32),
            Unary::AbsS16 => self.map1_32(d, a, exec, |x| (x as i16).wrapping_abs() as u16 as u32),
            Unary::Popc => self.map1_32(d, a, exec, u32::count_ones),
            Unary::Clz => self.map1_32(d, a, exec, u32::leading_zeros),
            Unary::Brev => self.map1_32(d, a, exec, u32::reverse_bits),
            Unary::BfindU => self.map1_32(d, a, exec, |x| f::bfind(x.into(), 32, false)),
            Unary::BfindS => self.map1_32(d, a, exec, |x| f::bfind(x.into(), 32, true)),
            Unary::NegF => self.map1_32(d, a, exec, |x| x ^ 1 << 31),
            Unary::AbsF => self.map1_32(d, a, exec, |x| x & !(1 << 31)),
            Unary::NegF16 => self.map1_32(d, a, exec, |x| x ^ 0x8000),
            Unary::AbsF16 => self.map1_32(d, a, exec, |x| x & 0x7fff),
            Unary::SqrtF => self.map1_32(d, a, exec, |x| f::bits_32(f32::from_bits(x).sqrt())),
        }
    }

    fn unary_64(&mut self, op: Unary, d: Reg, a: Reg, exec: u32) -> Lane<()> {
        match op {
            Unary::Not | Unary::Not16 => self.map1_64(d, a, exec, |x| !x),
            Unary::Neg | Unary::Neg16 => self.map1_64(d, a, exec, u64::wrapping_neg),
            Unary::AbsS | Unary::AbsS16 => self.map1_64(d, a, exec, |x| (x as i64).wrapping_abs() as u64),
            Unary::Brev => self.map1_64(d, a, exec, u64::reverse_bits),
            Unary::NegF | Unary::NegF16 => self.map1_64(d, a, exec, |x| x ^ 1 << 63),
            Unary::AbsF | Unary::AbsF16 => self.map1_64(d, a, exec, |x| x & !(1 << 63)),
            Unary::SqrtF => self.map1_64(d, a, exec, |x| f::bits_64(f64::from_bits(x).sqrt())),
            Unary::Popc | Unary::Clz | Unary::BfindU | Unary::BfindS => Ok(()),
        }
    }

    fn binary_32(&mut self, op: Binary, d: Reg, a: Reg, b: Reg, exec: u32) -> Lane<()> {
        let r = [d, a, b];
        match op {
            Binary::Add => self.map2_32(r, exec, u32::wrapping_add),
            Binary::Sub => self.map2_32(r, exec, u32::wrapping_sub),
            Binary::MulLo => self.map2_32(r, exec, u32::wrapping_mul),
            Binary::MulHiU => self.map2_32(r, exec, |x, y| ((u64::from(x) * u64::from(y)) >> 32) as u32),
            Binary::MulHiS => self.map2_32(r, exec, |x, y| (wide(x, y, true) >> 32) as u32),
            Binary::DivU | Binary::RemU | Binary::DivS | Binary::RemS | Binary::DivS16 | Binary::RemS16 => {
                let y = self.get_32(b, exec)?;
                refuse_zero(mask_where(exec, |lane| y[lane] == 0))?;
                match op {
                    Binary::DivU => self.map2_32(r, exec, |x, y| x.checked_div(y).unwrap_or(0)),
                    Binary::RemU => self.map2_32(r, exec, |x, y| x.checked_rem(y).unwrap_or(0)),
                    Binary::DivS => self.map2_32(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i32).wrapping_div(y as i32) as u32 }
                    }),
                    Binary::RemS => self.map2_32(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i32).wrapping_rem(y as i32) as u32 }
                    }),
                    Binary::DivS16 => self.map2_32(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i16).wrapping_div(y as i16) as u16 as u32 }
                    }),
                    _ => self.map2_32(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i16).wrapping_rem(y as i16) as u16 as u32 }
                    }),
                }
            }
            Binary::And => self.map2_32(r, exec, |x, y| x & y),
            Binary::Or => self.map2_32(r, exec, |x, y| x | y),
            Binary::Xor => self.map2_32(r, exec, |x, y| x ^ y),
            Binary::Shl => self.map2_32(r, exec, |x, y| x.checked_shl(y).unwrap_or(0)),
            Binary::ShrU => self.map2_32(r, exec, |x, y| x.checked_shr(y).unwrap_or(0)),
            Binary::ShrS => self.map2_32(r, exec, |x, y| ((x as i32) >> y.min(31)) as u32),
            Binary::MinU => self.map2_32(r, exec, u32::min),
            Binary::MaxU => self.map2_32(r, exec, u32::max),
            Binary::MinS => self.map2_32(r, exec, |x, y| (x as i32).min(y as i32) as u32),
            Binary::MaxS => self.map2_32(r, exec, |x, y| (x as i32).max(y as i32) as u32),
            Binary::Add16 => self.map2_32(r, exec, |x, y| x.wrapping_add(y) & 0xffff),
            Binary::Sub16 => self.map2_32(r, exec, |x, y| x.wrapping_sub(y) & 0xffff),
            Binary::MulLo16 => self.map2_32(r, exec, |x, y| x.wrapping_mul(y) & 0xffff),
            Binary::MulHiU16 => self.map2_32(r, exec, |x, y| x.wrapping_mul(y) >> 16),
            Binary::MulHiS16 => self.map2_32(r, exec, |x, y| product_16(x, y) >> 16),
            Binary::WideU16 => self.map2_32(r, exec, u32::wrapping_mul),
            Binary::WideS16 => self.map2_32(r, exec, product_16),
            Binary::Shl16 => self.map2_32(r, exec, |x, y| x.checked_shl(y).unwrap_or(0) & 0xffff),
            Binary::ShrU16 => self.map2_32(r, exec, |x, y| x.checked_shr(y).unwrap_or(0)),
            Binary::ShrS16 => self.map2_32(r, exec, |x, y| ((x as i16) >> y.min(15)) as u16 as u32),
            Binary::MinS16 => self.map2_32(r, exec, |x, y| (x as i16).min(y as i16) as u16 as u32),
            Binary::MaxS16 => self.map2_32(r, exec, |x, y| (x as i16).max(y as i16) as u16 as u32),
            Binary::AddF => self.map2_32(r, exec, f::float_32(|x, y| x + y)),
            Binary::SubF => self.map2_32(r, exec, f::float_32(|x, y| x - y)),
            Binary::MulF => self.map2_32(r, exec, f::float_32(|x, y| x * y)),
            Binary::DivF => self.map2_32(r, exec, f::float_32(|x, y| x / y)),
            Binary::MinF => self.map2_32(r, exec, f::min_32),
            Binary::MaxF => self.map2_32(r, exec, f::max_32),
            Binary::MinNanF => self.map2_32(r, exec, f::min_nan_32),
            Binary::MaxNanF => self.map2_32(r, exec, f::max_nan_32),
            // The magnitude is the second operand's.
            Binary::CopySign => self.map2_32(r, exec, |x, y| x & 1 << 31 | y & !(1 << 31)),
            Binary::AddF16 => self.map2_32(r, exec, f::float_16(|x, y| x + y)),
            Binary::SubF16 => self.map2_32(r, exec, f::float_16(|x, y| x - y)),
            Binary::MulF16 => self.map2_32(r, exec, f::float_16(|x, y| x * y)),
            Binary::SatAddS => self.map2_32(r, exec, |x, y| (x as i32).saturating_add(y as i32) as u32),
            Binary::SatSubS => self.map2_32(r, exec, |x, y| (x as i32).saturating_sub(y as i32) as u32),
        }
    }

    fn binary_64(&mut self, op: Binary, d: Reg, a: Reg, b: Reg, exec: u32) -> Lane<()> {
        let r = [d, a, b];
        match op {
            Binary::Add => self.map2_64(r, exec, u64::wrapping_add),
            Binary::Sub => self.map2_64(r, exec, u64::wrapping_sub),
            Binary::MulLo => self.map2_64(r, exec, u64::wrapping_mul),
            Binary::MulHiU => self.map2_64(r, exec, |x, y| ((u128::from(x) * u128::from(y)) >> 64) as u64),
            Binary::MulHiS => {
                self.map2_64(r, exec, |x, y| ((i128::from(x as i64) * i128::from(y as i64)) >> 64) as u64)
            }
            Binary::DivU | Binary::RemU | Binary::DivS | Binary::RemS => {
                let y = self.get_64(b, exec)?;
                refuse_zero(mask_where(exec, |lane| y[lane] == 0))?;
                match op {
                    Binary::DivU => self.map2_64(r, exec, |x, y| x.checked_div(y).unwrap_or(0)),
                    Binary::RemU => self.map2_64(r, exec, |x, y| x.checked_rem(y).unwrap_or(0)),
                    Binary::DivS => self.map2_64(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i64).wrapping_div(y as i64) as u64 }
                    }),
                    _ => self.map2_64(r, exec, |x, y| {
                        if y == 0 { 0 } else { (x as i64).wrapping_rem(y as i64) as u64 }
                    }),
                }
            }
            Binary::And => self.map2_64(r, exec, |x, y| x & y),
            Binary::Or => self.map2_64(r, exec, |x, y| x | y),
            Binary::Xor => self.map2_64(r, exec, |x, y| x ^ y),
            Binary::MinU => self.map2_64(r, exec, u64::min),
            Binary::MaxU => self.map2_64(r, exec, u64::max),
            Binary::MinS => self.map2_64(r, exec, |x, y| (x as i64).min(y as i64) as u64),
            Binary::MaxS => self.map2_64(r, exec, |x, y| (x as i64).max(y as i64) as u64),
            Binary::AddF => self.map2_64(r, exec, f::float_64(|x, y| x + y)),
            Binary::SubF => self.map2_64(r, exec, f::float_64(|x, y| x - y)),
            Binary::MulF => self.map2_64(r, exec, f::float_64(|x, y| x * y)),
            Binary::DivF => self.map2_64(r, exec, f::float_64(|x, y| x / y)),
            Binary::MinF => self.map2_64(r, exec, |x, y| f::least_64(x, y, false)),
            Binary::MaxF => self.map2_64(r, exec, |x, y| f::least_64(x, y, true)),
            Binary::CopySign => self.map2_64(r, exec, |x, y| x & 1 << 63 | y & !(1 << 63)),
            // No other operation has operands of 64 bits.
            _ => Err((Fault::Trap, exec.trailing_zeros())),
        }
    }

    fn ternary_32(&mut self, op: Ternary, r: [Reg; 4], exec: u32) -> Lane<()> {
        match op {
            Ternary::FmaF => self.map3_32(r, exec, |x, y, z| {
                f::bits_32(f32::from_bits(x).mul_add(f32::from_bits(y), f32::from_bits(z)))
            }),
            Ternary::MadLo => self.map3_32(r, exec, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
            Ternary::MadHiU => {
                self.map3_32(r, exec, |x, y, z| ((wide(x, y, false) >> 32) as u32).wrapping_add(z))
            }
            Ternary::MadHiS => {
                self.map3_32(r, exec, |x, y, z| ((wide(x, y, true) >> 32) as u32).wrapping_add(z))
            }
            Ternary::MadLo16 => self.map3_32(r, exec, |x, y, z| x.wrapping_mul(y).wrapping_add(z) & 0xffff),
            Ternary::MadWideU16 => self.map3_32(r, exec, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
            Ternary::MadWideS16 => self.map3_32(r, exec, |x, y, z| product_16(x, y).wrapping_add(z)),
            Ternary::Prmt => self.map3_32(r, exec, f::prmt),
            Ternary::ShfLClamp => self.map3_32(r, exec, |x, y, z| f::funnel(x, y, z, true, false)),
            Ternary::ShfRClamp => self.map3_32(r, exec, |x, y, z| f::funnel(x, y, z, false, false)),
            Ternary::ShfLWrap => self.map3_32(r, exec, |x, y, z| f::funnel(x, y, z, true, true)),
            Ternary::ShfRWrap => self.map3_32(r, exec, |x, y, z| f::funnel(x, y, z, false, true)),
            Ternary::BfeU => self.map3_32(r, exec, |x, y, z| f::bfe(x.into(), y, z, 32, false) as u32),
            Ternary::BfeS => self.map3_32(r, exec, |x, y, z| f::bfe(x.into(), y, z, 32, true) as u32),
            Ternary::Dp4aUU => self.map3_32(r, exec, |x, y, z| f::dp4a(x, y, z, false, false)),
            Ternary::Dp4aUS => self.map3_32(r, exec, |x, y, z| f::dp4a(x, y, z, false, true)),
            Ternary::Dp4aSU => self.map3_32(r, exec, |x, y, z| f::dp4a(x, y, z, true, false)),
            Ternary::Dp4aSS => self.map3_32(r, exec, |x, y, z| f::dp4a(x, y, z, true, true)),
            Ternary::SadU => self.map3_32(r, exec, |x, y, z| x.abs_diff(y).wrapping_add(z)),
            Ternary::SadS => self.map3_32(r, exec, |x, y, z| (x as i32).abs_diff(y as i32).wrapping_add(z)),
        }
    }

    fn ternary_64(&mut self, op: Ternary, [d, a, b, c]: [Reg; 4], exec: u32) -> Lane<()> {
        let (x, y, z) = (self.get_64(a, exec)?, self.get_64(b, exec)?, self.get_64(c, exec)?);
        let out = std::array::from_fn(|lane| {
            let (x, y, z) = (x[lane], y[lane], z[lane]);
            match op {
                Ternary::FmaF => f::bits_64(f64::from_bits(x).mul_add(f64::from_bits(y), f64::from_bits(z))),
                Ternary::MadHiU => (((u128::from(x) * u128::from(y)) >> 64) as u64).wrapping_add(z),
                Ternary::MadHiS => {
                    (((i128::from(x as i64) * i128::from(y as i64)) >> 64) as u64).wrapping_add(z)
                }
                _ => x.wrapping_mul(y).wrapping_add(z),
            }
        });
        self.put_64(d, &out, exec);
        Ok(())
    }

    fn add_with_carry(
        &mut self,
        subtract: bool,
        is_wide: bool,
        takes: bool,
        gives: bool,
        [d, a, b]: [Reg; 3],
        exec: u32,
    ) -> Lane<()> {
        if takes {
            is_set(self.carry_set, exec)?;
        }
        let carry = if takes { self.carry } else { 0 };
        // With inverted subtrahends a borrow is the complement of a carry.
        let mut carries = 0u32;
        let mut add = |x: u64, y: u64, bits: u32, lane: usize| {
            let bit = carry >> lane & 1;
            let sum = if subtract {
                i128::from(x) - i128::from(y) - i128::from(bit)
            } else {
                i128::from(x) + i128::from(y) + i128::from(bit)
            };
            carries |= u32::from(sum < 0 || sum >> bits != 0) << lane;
            sum as u64
        };
        if is_wide {
            let (x, y) = (self.get_64(a, exec)?, self.get_64(b, exec)?);
            let out = std::array::from_fn(|lane| add(x[lane], y[lane], 64, lane));
            self.put_64(d, &out, exec);
        } else {
            let (x, y) = (self.get_32(a, exec)?, self.get_32(b, exec)?);
            let out = std::array::from_fn(|lane| add(x[lane].into(), y[lane].into(), 32, lane) as u32);
            self.put_32(d, &out, exec);
        }
        if gives {
            self.carry = self.carry & !exec | carries & exec;
            self.carry_set |= exec;
        }
        Ok(())
    }

    fn convert(&mut self, c: &Convert, exec: u32) -> Lane<()> {
        let run = |bits| f::convert(c.to, c.from, c.rounding, c.saturate, bits);
        // A register wider than the type takes the value with its sign; one of 16 bits has zeros above.
        let kept = if c.d_width == 16 { 0xffff } else { u32::MAX };
        let fit_32 = |value: u64| value as u32 & kept;
        match (c.d_width == 64, c.a_width == 64) {
            (false, false) => self.map1_32(c.d, c.a, exec, |x| fit_32(run(x.into()))),
            (true, true) => self.map1_64(c.d, c.a, exec, run),
            (true, false) => {
                let out = self.get_32(c.a, exec)?.map(|x| run(x.into()));
                self.put_64(c.d, &out, exec);
                Ok(())
            }
            (false, true) => {
                let out = self.get_64(c.a, exec)?.map(|x| fit_32(run(x)));
                self.put_32(c.d, &out, exec);
                Ok(())
            }
        }
    }

    fn setp(&mut self, s: &Setp, exec: u32) -> Lane<()> {
        let compared = if s.ty.bits() == 64 {
            let (x, y) = (self.get_64(s.a, exec)?, self.get_64(s.b, exec)?);
            let order = |lane: usize| match s.ty {
                Type::F64 => f64::from_bits(x[lane]).partial_cmp(&f64::from_bits(y[lane])),
                Type::S64 => Some((x[lane] as i64).cmp(&(y[lane] as i64))),
                _ => Some(x[lane].cmp(&y[lane])),
            };
            mask_where(exec, |lane| f::holds(s.comparison, order(lane)))
        } else {
            let (x, y) = (self.get_32(s.a, exec)?, self.get_32(s.b, exec)?);
            let order = |lane: usize| match s.ty {
                Type::F32 => f32::from_bits(x[lane]).partial_cmp(&f32::from_bits(y[lane])),
                Type::S32 => Some((x[lane] as i32).cmp(&(y[lane] as i32))),
                Type::S16 => Some((x[lane] as i16).cmp(&(y[lane] as i16))),
                _ => Some(x[lane].cmp(&y[lane])),
            };
            mask_where(exec, |lane| f::holds(s.comparison, order(lane)))
        };
        let (mut p, mut q) = (compared, !compared);
        if let Some((logic, register, negated)) = s.combine {
            let other = self.predicate(register, exec)?;
            let other = if negated { !other } else { other };
            (p, q) = (combine(logic, p, other), combine(logic, q, other));
        }
        self.put_predicate(s.p, p, exec);
        self.put_predicate(s.q, q, exec);
        Ok(())
    }

    fn pack(&mut self, is_wide: bool, d: Reg, parts: &[Reg; 4], count: u8, exec: u32) -> Lane<()> {
        let bits = if is_wide { 64 } else { 32 } / u32::from(count);
        let mut out = [0u64; LANES];
        for (index, &part) in parts[..usize::from(count)].iter().enumerate() {
            let x = self.get_32(part, exec)?;
            for lane in 0..LANES {
                out[lane] |= u64::from(x[lane]) << (bits * index as u32);
            }
        }
        if is_wide {
            self.put_64(d, &out, exec);
        } else {
            self.put_32(d, &out.map(|x| x as u32), exec);
        }
        Ok(())
    }

    fn split(&mut self, is_wide: bool, a: Reg, parts: &[Reg; 4], count: u8, exec: u32) -> Lane<()> {
        let bits = if is_wide { 64 } else { 32 } / u32::from(count);
        let x = if is_wide { *self.get_64(a, exec)? } else { self.get_32(a, exec)?.map(u64::from) };
        for (index, &part) in parts[..usize::from(count)].iter().enumerate() {
            if part != NONE {
                let out = x.map(|x| (x >> (bits * index as u32) & ((1 << bits) - 1)) as u32);
                self.put_32(part, &out, exec);
            }
        }
        Ok(())
    }
}

fn combine(logic: Logic, x: u32, y: u32) -> u32 {
    match logic {
        Logic::And => x & y,
        Logic::Or => x | y,
        Logic::Xor => x ^ y,
    }
}

#[inline]
fn wide(x: u32, y: u32, signed: bool) -> u64 {
    if signed {
        i64::from(x as i32).wrapping_mul(i64::from(y as i32)) as u64
    } else {
        u64::from(x) * u64::from(y)
    }
}

/// The full product of two signed 16-bit values.
fn product_16(x: u32, y: u32) -> u32 {
    (i32::from(x as i16) * i32::from(y as i16)) as u32
}

fn refuse_zero(zeros: u32) -> Lane<()> {
    if zeros == 0 { Ok(()) } else { Err((Fault::DivisionByZero, zeros.trailing_zeros())) }
}
