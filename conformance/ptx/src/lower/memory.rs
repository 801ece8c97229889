//! Loads, stores, atomics, copies, and addresses.
//!
//! Invariant: the space of a named address is the space of the instruction.

use super::names::{Class, Symbol};
use super::suffix::{Kind, Suffixes, Ty};
use super::{At, Lowering};
use crate::ast::Operand;
use crate::code::{Access, Address, Atomic, AtomicOp, CpAsync, LdMatrix, NONE, Op, Preset, Reg};
use crate::error::{Result, Space};

impl<'a> Lowering<'_, 'a> {
    pub(super) fn memory(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        match s.name() {
            "ld" => self.access(at, s, true),
            "st" => self.access(at, s, false),
            "atom" => self.atomic(at, s, true),
            "red" => self.atomic(at, s, false),
            "cvta" => self.cvta(at, s),
            "ldmatrix" => self.ldmatrix(at, s),
            "cp" => self.cp_async(at, s),
            _ => at.unsupported("unknown opcode"),
        }
    }

    fn access(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>, is_load: bool) -> Result<()> {
        s.take_any(&["weak", "volatile"]);
        let space = match s.take_any(&["global", "shared", "local", "const", "param"]) {
            Some("global") => Space::Global,
            Some("shared") => Space::Shared,
            Some("local") => Space::Local,
            Some("const") => Space::Constant,
            Some(_) => Space::Parameter,
            None => Space::Generic,
        };
        if space == Space::Shared {
            s.take("cta");
        }
        let mut constant = false;
        if is_load {
            s.take_any(&["ca", "cg", "cs", "lu", "cv"]);
            constant = space == Space::Global && s.take("nc");
        } else {
            s.take_any(&["wb", "cg", "cs", "wt"]);
        }
        s.take_any(&["L1::evict_normal", "L1::evict_first", "L1::evict_last", "L1::no_allocate"]);
        s.take_any(&["L2::64B", "L2::128B", "L2::256B"]);
        let count = match s.take_any(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        let ty = s.ty()?;
        if ty.kind == Kind::Predicate || count as u32 * ty.bits > 128 {
            return at.unsupported("unknown type");
        }
        at.count(2)?;
        let (address, data) = if is_load { (1, 0) } else { (0, 1) };
        let address = self.address(at, &at.operands[address], space)?;
        if !is_load && matches!(address.space, Space::Constant | Space::Parameter) {
            return at.error("this memory is constant");
        }
        let operands = match (&at.operands[data], count) {
            (Operand::Vector(parts), _) if parts.len() == usize::from(count) => parts.as_slice(),
            (Operand::Vector(_), _) => return at.error(format!("must have {count} elements")),
            (operand, 1) => std::slice::from_ref(operand),
            _ => return at.error(format!("must have {count} elements")),
        };
        let mut registers = [NONE; 4];
        let mut width = None;
        for (slot, operand) in registers.iter_mut().zip(operands) {
            if is_load && matches!(operand, Operand::Name { name: "_", .. }) {
                continue;
            }
            let (class, register) = self.data(at, operand, ty, is_load)?;
            if width.replace(class).is_some_and(|width| width != class) {
                return at.error("its registers have different widths");
            }
            *slot = register;
        }
        let access = Access {
            address,
            bytes: (ty.bits / 8) as u8,
            signed: ty.is_signed(),
            width: width.unwrap_or(Class::W32).bits() as u8,
            constant,
            registers,
            count,
        };
        self.emit(at, if is_load { Op::Load(access) } else { Op::Store(access) });
        Ok(())
    }

    /// A register or, in a store, a number.
    fn data(
        &mut self,
        at: &At<'_, 'a>,
        operand: &Operand<'a>,
        ty: Ty,
        is_load: bool,
    ) -> Result<(Class, Reg)> {
        let found = match operand {
            Operand::Name { .. } => self.wide_enough(at, operand, ty.bits)?,
            _ if is_load => return at.error("must be a register"),
            _ => {
                let class = Class::of_bits(ty.bits);
                (class, self.source_of(at, operand, class)?)
            }
        };
        if ty.is_float() && found.0 != Class::of_bits(ty.bits) {
            return at.error("a float must have a register of its width");
        }
        Ok(found)
    }

    pub(super) fn address(
        &mut self,
        at: &At<'_, 'a>,
        operand: &Operand<'a>,
        space: Space,
    ) -> Result<Address> {
        let Operand::Address { base, offset } = operand else { return at.error("must be an address") };
        // In functions, parameters lie in local memory; in entries, those that registers address are the entry's own.
        let of_registers = if space == Space::Parameter && !self.in_entry { Space::Local } else { space };
        let Some(name) = base else {
            let base = self.files.preset(Class::W64, Preset::Bits(0), at.line)?;
            return Ok(Address { space: of_registers, base, wide: true, offset: *offset });
        };
        if let Some((class, register)) = self.scopes.register(name, &mut self.files, at.line)? {
            let wide = match class {
                Class::W64 => true,
                Class::W32 if matches!(space, Space::Shared | Space::Local | Space::Constant) => false,
                _ => return at.error("an address has 64 bits"),
            };
            return Ok(Address { space: of_registers, base: register, wide, offset: *offset });
        }
        let symbol = self.symbol(name, at.line)?;
        let lies = match symbol {
            Symbol::Parameter(_) => Space::Parameter,
            Symbol::Local(_) => Space::Local,
            Symbol::Shared(_) | Symbol::Dynamic => Space::Shared,
            Symbol::Constant(_) => Space::Constant,
            Symbol::Global(_) => Space::Global,
        };
        if lies != space && !(space == Space::Parameter && lies == Space::Local) {
            return at.error(format!("`{name}` lies in {lies} memory"));
        }
        let base = self.symbol_register(symbol, 0, at.line)?;
        Ok(Address { space: lies, base, wide: true, offset: *offset })
    }

    fn atomic(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>, returns: bool) -> Result<()> {
        s.take_any(&["relaxed", "acquire", "release", "acq_rel"]);
        s.take_any(&["cta", "gpu", "sys"]);
        let space = match s.take_any(&["global", "shared"]) {
            Some("global") => Space::Global,
            Some(_) => Space::Shared,
            None => Space::Generic,
        };
        if space == Space::Shared {
            s.take("cta");
        }
        let word = s.any()?;
        let ty = s.ty()?;
        let class = Class::of_bits(ty.bits);
        let op = match (word, ty.kind, ty.bits) {
            // Sums of floats depend on the order of threads.
            ("add", Kind::Unsigned, 32 | 64) | ("add", Kind::Signed, 32) => AtomicOp::Add,
            ("and", Kind::Bits, 32 | 64) => AtomicOp::And,
            ("or", Kind::Bits, 32 | 64) => AtomicOp::Or,
            ("xor", Kind::Bits, 32 | 64) => AtomicOp::Xor,
            ("min", Kind::Unsigned, 32 | 64) => AtomicOp::MinU,
            ("min", Kind::Signed, 32 | 64) => AtomicOp::MinS,
            ("max", Kind::Unsigned, 32 | 64) => AtomicOp::MaxU,
            ("max", Kind::Signed, 32 | 64) => AtomicOp::MaxS,
            ("inc", Kind::Unsigned, 32) => AtomicOp::Inc,
            ("dec", Kind::Unsigned, 32) => AtomicOp::Dec,
            ("exch", Kind::Bits, 32 | 64) if returns => AtomicOp::Exch,
            ("cas", Kind::Bits, 32 | 64) if returns => AtomicOp::Cas,
            _ => return at.unsupported("unknown atomic operation"),
        };
        let first = usize::from(returns);
        at.count(first + 2 + usize::from(op == AtomicOp::Cas))?;
        let is_sink = returns && matches!(at.operands[0], Operand::Name { name: "_", .. });
        let d = if returns && !is_sink { self.target(at, 0, class)? } else { NONE };
        let address = self.address(at, &at.operands[first], space)?;
        let b = self.source(at, first + 1, class)?;
        let c = if op == AtomicOp::Cas { self.source(at, first + 2, class)? } else { NONE };
        self.emit(at, Op::Atomic(Atomic { op, address, wide: class == Class::W64, d, b, c }));
        Ok(())
    }

    fn cvta(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let from_generic = s.take("to");
        let space = match s.any()? {
            "global" => Space::Global,
            "shared" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Constant,
            "param" => Space::Parameter,
            other => return at.unsupported(format!("unknown space `{other}`")),
        };
        s.expect("u64")?;
        at.count(2)?;
        let space = if space == Space::Parameter && !self.in_entry { Space::Local } else { space };
        let d = self.target(at, 0, Class::W64)?;
        let a = match &at.operands[1] {
            operand @ Operand::Name { name, .. } if self.class_of(at, operand)?.is_none() => {
                let symbol = self.symbol(name, at.line)?;
                self.symbol_register(symbol, 0, at.line)?
            }
            _ => self.source(at, 1, Class::W64)?,
        };
        self.emit(
            at,
            if from_generic { Op::FromGeneric { space, d, a } } else { Op::ToGeneric { space, d, a } },
        );
        Ok(())
    }

    fn ldmatrix(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        for word in ["sync", "aligned", "m8n8"] {
            s.expect(word)?;
        }
        let count = match s.any()? {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return at.unsupported("unknown number of matrices"),
        };
        let transposed = s.take("trans");
        s.expect("shared")?;
        s.take("cta");
        s.expect("b16")?;
        at.count(2)?;
        let Operand::Vector(parts) = &at.operands[0] else {
            return at.error("must name its registers in braces");
        };
        if parts.len() != usize::from(count) {
            return at.error(format!("must have {count} registers"));
        }
        let mut d = [NONE; 4];
        for (slot, operand) in d.iter_mut().zip(parts) {
            *slot = self.target_of(at, operand, Class::W32)?;
        }
        let address = self.address(at, &at.operands[1], Space::Shared)?;
        self.emit(at, Op::LdMatrix(LdMatrix { address, transposed, count, d }));
        Ok(())
    }

    fn cp_async(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        s.expect("async")?;
        if self.module.target < 80 {
            return at.unsupported("needs sm_80");
        }
        match s.any()? {
            "bulk" => self.bulk_copy(at, s)?,
            "commit_group" => {
                at.count(0)?;
                self.emit(at, Op::CpCommit);
            }
            "wait_all" => {
                at.count(0)?;
                self.emit(at, Op::CpCommit);
                self.emit(at, Op::CpWait(0));
            }
            "wait_group" => {
                at.count(1)?;
                let groups = self.constant(at, &at.operands[0], 1 << 16)? as u32;
                self.emit(at, Op::CpWait(groups));
            }
            word @ ("ca" | "cg") => {
                s.expect("shared")?;
                s.take("cta");
                s.expect("global")?;
                s.take_any(&["L2::64B", "L2::128B", "L2::256B"]);
                if at.operands.len() != 4 {
                    at.count(3)?;
                }
                let to = self.address(at, &at.operands[0], Space::Shared)?;
                let from = self.address(at, &at.operands[1], Space::Global)?;
                let bytes = self.constant(at, &at.operands[2], 16)? as u8;
                if !matches!((word, bytes), ("ca", 4 | 8 | 16) | ("cg", 16)) {
                    return at.error("cannot copy that many bytes");
                }
                let source_bytes =
                    if at.operands.len() == 4 { self.source(at, 3, Class::W32)? } else { NONE };
                self.emit(at, Op::CpAsync(CpAsync { to, from, bytes, source_bytes }));
            }
            _ => return at.unsupported("unknown copy"),
        }
        Ok(())
    }
}
