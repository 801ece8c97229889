//! What Hopper has: barriers in shared memory, copies of ranges, products of warpgroups.
//!
//! Invariant: one form of each instruction, the one that names everything, is known; the others are errors.

use super::names::Class;
use super::suffix::Suffixes;
use super::{At, Lowering};
use crate::ast::Operand;
use crate::code::{BarrierOp, BulkCopy, NONE, Op, Reg, Wgmma};
use crate::error::{Result, Space};

impl<'a> Lowering<'_, 'a> {
    pub(super) fn hopper(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        if self.module.target < 90 {
            return at.unsupported("needs sm_90");
        }
        match s.name() {
            "mbarrier" => self.mbarrier(at, s),
            _ if !(self.module.is_specific && self.module.target == 90) => at.unsupported("needs sm_90a"),
            "wgmma" => self.warpgroup(at, s),
            _ => self.max_registers(at, s),
        }
    }

    fn mbarrier(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let word = s.any()?;
        let expects = word == "arrive" && s.take("expect_tx");
        if word == "try_wait" {
            s.expect("parity")?;
        }
        s.expect("shared::cta")?;
        s.expect("b64")?;
        let (address, op) = match word {
            "init" => {
                at.count(2)?;
                (0, BarrierOp::Init(self.source(at, 1, Class::W32)?))
            }
            "arrive" => {
                at.count(2 + usize::from(expects))?;
                if !matches!(at.operands[0], Operand::Name { name: "_", negated: false }) {
                    return at.unsupported("the state of a barrier is not supported");
                }
                (1, BarrierOp::Arrive(if expects { self.source(at, 2, Class::W32)? } else { NONE }))
            }
            "try_wait" => {
                at.count(3)?;
                let p = self.target(at, 0, Class::Predicate)?;
                (1, BarrierOp::Test { p, parity: self.source(at, 2, Class::W32)? })
            }
            _ => return at.unsupported("unknown operation of a barrier"),
        };
        let address = self.address(at, &at.operands[address], Space::Shared)?;
        self.emit(at, Op::SharedBarrier(address, op));
        Ok(())
    }

    /// After `cp.async.bulk`.
    pub(super) fn bulk_copy(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        if self.module.target < 90 {
            return at.unsupported("needs sm_90");
        }
        for word in ["shared::cluster", "global", "mbarrier::complete_tx::bytes"] {
            s.expect(word)?;
        }
        at.count(4)?;
        let copy = BulkCopy {
            to: self.address(at, &at.operands[0], Space::Shared)?,
            from: self.address(at, &at.operands[1], Space::Global)?,
            bytes: self.source(at, 2, Class::W32)?,
            barrier: self.address(at, &at.operands[3], Space::Shared)?,
        };
        self.emit(at, Op::BulkCopy(Box::new(copy)));
        Ok(())
    }

    /// After `fence.proxy`.
    pub(super) fn proxy_fence(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        if self.module.target < 90 {
            return at.unsupported("needs sm_90");
        }
        s.expect("async")?;
        s.expect("shared::cta")?;
        at.count(0)?;
        self.emit(at, Op::ProxyFence);
        Ok(())
    }

    fn warpgroup(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let word = s.any()?;
        s.expect("sync")?;
        s.expect("aligned")?;
        let op = match word {
            "fence" | "commit_group" => {
                at.count(0)?;
                if word == "fence" { Op::WgmmaFence } else { Op::WgmmaCommit }
            }
            "wait_group" => {
                at.count(1)?;
                Op::WgmmaWait(self.constant(at, &at.operands[0], 7)? as u32)
            }
            "mma_async" => self.warpgroup_product(at, s)?,
            _ => return at.unsupported("unknown operation of a warpgroup"),
        };
        self.emit(at, op);
        Ok(())
    }

    fn warpgroup_product(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<Op> {
        let columns = s.any()?.strip_prefix("m64n").and_then(|rest| rest.strip_suffix("k32"));
        let n: u16 = match columns.and_then(|columns| columns.parse().ok()) {
            Some(n @ (8 | 24)) => n,
            Some(n @ 16..=256) if n % 16 == 0 => n,
            _ => return at.unsupported("unknown shape"),
        };
        s.expect("s32")?;
        let sign = |word: &str| match word {
            "s8" => Some(true),
            "u8" => Some(false),
            _ => None,
        };
        let (Some(a_signed), Some(b_signed)) = (sign(s.any()?), sign(s.any()?)) else {
            return at.unsupported("unknown type");
        };
        at.count(4)?;
        let Operand::Vector(parts) = &at.operands[0] else {
            return at.error("must name its registers in braces");
        };
        if parts.len() != usize::from(n / 2) {
            return at.error(format!("must have {} sums", n / 2));
        }
        let d: Vec<Reg> =
            parts.iter().map(|part| self.target_of(at, part, Class::W32)).collect::<Result<_>>()?;
        let mut sorted = d.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return at.error("names a register twice");
        }
        let (a, b) = (self.source(at, 1, Class::W64)?, self.source(at, 2, Class::W64)?);
        let (adds, adds_negated) = self.predicate(at, &at.operands[3])?;
        let d = d.into_boxed_slice();
        Ok(Op::Wgmma(Box::new(Wgmma { n, a_signed, b_signed, d, a, b, adds, adds_negated })))
    }

    fn max_registers(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        if s.take_any(&["inc", "dec"]).is_none() {
            return at.unsupported("unknown direction");
        }
        for word in ["sync", "aligned", "u32"] {
            s.expect(word)?;
        }
        at.count(1)?;
        let count = self.constant(at, &at.operands[0], 256)? as u32;
        if count < 24 || !count.is_multiple_of(8) {
            return at.error("is no number of registers");
        }
        self.emit(at, Op::MaxRegisters(count));
        Ok(())
    }
}
