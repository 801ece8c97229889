//! Branches, calls, barriers, and what a warp does together.

use super::names::{Class, Symbol};
use super::suffix::Suffixes;
use super::{At, Lowering};
use crate::ast::Operand;
use crate::code::{Call, Mma, NONE, Op, Shuffle, ShuffleMode, VoteMode};
use crate::error::Result;

impl<'a> Lowering<'_, 'a> {
    pub(super) fn control(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        match s.name() {
            "bra" => {
                s.take("uni");
                at.count(1)?;
                let Operand::Name { name, negated: false } = &at.operands[0] else {
                    return at.error("must be a label");
                };
                self.branches.push((self.code.len(), at.line, vec![name]));
                self.emit(at, Op::Branch(0));
            }
            "brx" => {
                s.expect("idx")?;
                s.take("uni");
                at.count(2)?;
                let index = self.source(at, 0, Class::W32)?;
                let Operand::Name { name, negated: false } = &at.operands[1] else {
                    return at.error("must name a list of labels");
                };
                self.indexed.push((self.code.len(), at.line, name));
                self.emit(at, Op::BranchIndexed(index, Box::default()));
            }
            "call" => self.call(at, s)?,
            "ret" => {
                s.take("uni");
                at.count(0)?;
                let function = self.callees.get(self.current).map_or(0, |callee| callee.index);
                self.emit(at, if self.in_entry { Op::Exit } else { Op::Return(function) });
            }
            "exit" | "trap" => {
                at.count(0)?;
                self.emit(at, if s.name() == "exit" { Op::Exit } else { Op::Trap });
            }
            "bar" | "barrier" => self.barrier(at, s)?,
            "membar" => {
                if s.take_any(&["cta", "gl", "sys"]).is_none() {
                    return at.unsupported("unknown level");
                }
                at.count(0)?;
                self.emit(at, Op::Fence);
            }
            "fence" if s.take("proxy") => self.proxy_fence(at, s)?,
            "fence" => {
                s.take_any(&["sc", "acq_rel"]);
                if s.take_any(&["cta", "gpu", "sys"]).is_none() {
                    return at.unsupported("unknown scope");
                }
                at.count(0)?;
                self.emit(at, Op::Fence);
            }
            "shfl" => self.shuffle(at, s)?,
            "vote" => self.vote(at, s)?,
            "activemask" => {
                s.expect("b32")?;
                at.count(1)?;
                let d = self.target(at, 0, Class::W32)?;
                self.emit(at, Op::ActiveMask(d));
            }
            _ => self.mma(at, s)?,
        }
        Ok(())
    }

    fn barrier(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        if s.take("warp") {
            s.expect("sync")?;
            at.count(1)?;
            let mask = self.source(at, 0, Class::W32)?;
            self.emit(at, Op::WarpBarrier { mask });
            return Ok(());
        }
        s.take("cta");
        s.expect("sync")?;
        if s.name() == "barrier" {
            s.take("aligned");
        }
        if at.operands.len() != 1 {
            return at.unsupported("only barriers of the whole block are supported");
        }
        let id = self.source(at, 0, Class::W32)?;
        self.emit(at, Op::Barrier { id });
        Ok(())
    }

    fn shuffle(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        s.expect("sync")?;
        let mode = match s.any()? {
            "idx" => ShuffleMode::Idx,
            "up" => ShuffleMode::Up,
            "down" => ShuffleMode::Down,
            "bfly" => ShuffleMode::Bfly,
            _ => return at.unsupported("unknown mode"),
        };
        s.expect("b32")?;
        at.count(5)?;
        let (d, p) = match &at.operands[0] {
            Operand::Pair(d, p) => {
                let name = |name| Operand::Name { name, negated: false };
                let d = self.target_of(at, &name(d), Class::W32)?;
                (d, self.target_of(at, &name(p), Class::Predicate)?)
            }
            operand => (self.target_of(at, operand, Class::W32)?, NONE),
        };
        let a = self.source(at, 1, Class::W32)?;
        let b = self.source(at, 2, Class::W32)?;
        let c = self.source(at, 3, Class::W32)?;
        let mask = self.source(at, 4, Class::W32)?;
        self.emit(at, Op::Shuffle(Shuffle { mode, d, p, a, b, c, mask }));
        Ok(())
    }

    fn vote(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        s.expect("sync")?;
        let (mode, ty) = match s.any()? {
            "all" => (VoteMode::All, "pred"),
            "any" => (VoteMode::Any, "pred"),
            "uni" => (VoteMode::Uni, "pred"),
            "ballot" => (VoteMode::Ballot, "b32"),
            _ => return at.unsupported("unknown mode"),
        };
        s.expect(ty)?;
        at.count(3)?;
        let d = self.target(at, 0, if ty == "pred" { Class::Predicate } else { Class::W32 })?;
        let (p, negated) = self.predicate(at, &at.operands[1])?;
        let mask = self.source(at, 2, Class::W32)?;
        self.emit(at, Op::Vote { mode, d, p, negated, mask });
        Ok(())
    }

    fn call(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        s.take("uni");
        let (results, rest) = match at.operands {
            [Operand::Vector(results), rest @ ..] => (results.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let (name, arguments) = match rest {
            [Operand::Name { name, negated: false }] => (*name, &[][..]),
            [Operand::Name { name, negated: false }, Operand::Vector(arguments)] => {
                (*name, arguments.as_slice())
            }
            _ => return at.error("must name a function and its arguments"),
        };
        let callee = self.callee(name, at.line)?;
        let (index, formal_results, formal) =
            (callee.index, callee.results.clone(), callee.parameters.clone());
        if results.len() != formal_results.len() || arguments.len() != formal.len() {
            return at.error("has another number of arguments or results than the function");
        }
        let mut arguments_moved = Vec::new();
        for (operand, (to, bytes)) in arguments.iter().zip(formal) {
            arguments_moved.push((self.passed(at, operand)?, to, bytes));
        }
        let mut results_moved = Vec::new();
        for (operand, (from, bytes)) in results.iter().zip(formal_results) {
            results_moved.push((from, self.passed(at, operand)?, bytes));
        }
        self.edges.push((self.current, name));
        self.calls.push((self.code.len(), name));
        let call = Call { function: index, target: 0, arguments: arguments_moved, results: results_moved };
        self.emit(at, Op::Call(Box::new(call)));
        Ok(())
    }

    /// Where a variable that passes an argument lies.
    fn passed(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>) -> Result<u32> {
        let Operand::Name { name, negated: false } = operand else { return at.error("must name variables") };
        match self.symbol(name, at.line)? {
            Symbol::Local(offset) => Ok(offset as u32),
            _ => at.error(format!("`{name}` is no variable for arguments")),
        }
    }

    fn mma(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        for word in ["sync", "aligned"] {
            s.expect(word)?;
        }
        let (m, k, counts) = match s.any()? {
            "m8n8k16" => (8, 16, [2, 1, 1, 2]),
            "m16n8k16" => (16, 16, [4, 2, 1, 4]),
            "m16n8k32" => (16, 32, [4, 4, 2, 4]),
            _ => return at.unsupported("unknown shape"),
        };
        let target = self.module.target;
        if target < if m == 8 { 75 } else { 80 } {
            return at.unsupported("the target does not have it");
        }
        s.expect("row")?;
        s.expect("col")?;
        s.expect("s32")?;
        let sign = |word: &str| match word {
            "s8" => Some(true),
            "u8" => Some(false),
            _ => None,
        };
        let (a_signed, b_signed) = (sign(s.any()?), sign(s.any()?));
        let (Some(a_signed), Some(b_signed)) = (a_signed, b_signed) else {
            return at.unsupported("unknown type");
        };
        s.expect("s32")?;
        at.count(4)?;
        let mut registers = [[NONE; 4]; 4];
        for (index, (slots, count)) in registers.iter_mut().zip(counts).enumerate() {
            let parts = match &at.operands[index] {
                Operand::Vector(parts) if parts.len() == count => parts.as_slice(),
                operand if count == 1 => std::slice::from_ref(operand),
                _ => return at.error(format!("operand {index} must have {count} registers")),
            };
            for (slot, part) in slots.iter_mut().zip(parts) {
                *slot = if index == 0 {
                    self.target_of(at, part, Class::W32)?
                } else {
                    self.source_of(at, part, Class::W32)?
                };
            }
        }
        let [d, a, [b0, b1, ..], c] = registers;
        self.emit(at, Op::Mma(Box::new(Mma { m, k, a_signed, b_signed, d, a, b: [b0, b1], c })));
        Ok(())
    }
}
