//! Arithmetic, comparisons, conversions and moves.
//!
//! Invariant: float arithmetic is lowered only with `.rn` and without `.ftz`; what is exact (negation, comparison,
//! minimum, widening) needs no rounding and takes no `.ftz` either.

use super::names::{Class, Symbol};
use super::suffix::{Kind, Suffixes, Ty};
use super::{At, Lowering};
use crate::ast::Operand;
use crate::code::{
    Binary as B, Comparison, Convert, Logic, NONE, Op, Preset, Reg, Rounding, Setp, Ternary as T, Type,
    Unary as U,
};
use crate::error::Result;

impl<'a> Lowering<'_, 'a> {
    pub(super) fn arithmetic(&mut self, at: &mut At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        match s.name() {
            "mov" => self.mov(at, s),
            "cvt" => self.cvt(at, s),
            "setp" => self.setp(at, s),
            "selp" => self.selp(at, s),
            "and" | "or" | "xor" | "not" | "cnot" => self.logic(at, s),
            "neg" | "abs" | "popc" | "clz" | "brev" | "bfind" | "sqrt" => self.unary(at, s),
            "add" | "sub" if matches!(s.peek(), Some("cc")) => self.carry(at, s),
            "addc" | "subc" => self.carry(at, s),
            "mul" | "mad" => self.product(at, s),
            "add" | "sub" | "div" | "rem" | "min" | "max" | "shl" | "shr" | "copysign" => self.binary(at, s),
            "fma" => {
                s.round_to_nearest()?;
                let ty = s.ty()?;
                self.ternary(at, T::FmaF, self.float_32_or_64(s, ty)?)
            }
            "lop3" => {
                s.expect("b32")?;
                at.count(5)?;
                let d = self.target(at, 0, Class::W32)?;
                let [a, b, c] = self.sources(at, Class::W32)?;
                let table = self.constant(at, &at.operands[4], 255)? as u8;
                self.emit(at, Op::Lop3 { table, d, a, b, c });
                Ok(())
            }
            "prmt" => {
                s.expect("b32")?;
                self.ternary(at, T::Prmt, Class::W32)
            }
            "shf" => {
                let left = s.any()? == "l";
                let wrap = s.any()? == "wrap";
                // Both were taken unseen: the whole opcode must be one of the four.
                let op = match (left, wrap) {
                    (true, true) => T::ShfLWrap,
                    (true, false) => T::ShfLClamp,
                    (false, true) => T::ShfRWrap,
                    (false, false) => T::ShfRClamp,
                };
                if !matches!(
                    at.opcode,
                    "shf.l.wrap.b32" | "shf.l.clamp.b32" | "shf.r.wrap.b32" | "shf.r.clamp.b32"
                ) {
                    return at.unsupported("unknown shift");
                }
                s.expect("b32")?;
                self.ternary(at, op, Class::W32)
            }
            "bfe" => self.bfe(at, s),
            "bfi" => self.bfi(at, s),
            "dp4a" => {
                let (a, b) = (s.ty()?, s.ty()?);
                let op = match (a.kind, b.kind, a.bits, b.bits) {
                    (Kind::Unsigned, Kind::Unsigned, 32, 32) => T::Dp4aUU,
                    (Kind::Unsigned, Kind::Signed, 32, 32) => T::Dp4aUS,
                    (Kind::Signed, Kind::Unsigned, 32, 32) => T::Dp4aSU,
                    (Kind::Signed, Kind::Signed, 32, 32) => T::Dp4aSS,
                    _ => return at.unsupported("unknown types"),
                };
                self.ternary(at, op, Class::W32)
            }
            "sad" => {
                let ty = s.ty()?;
                match (ty.kind, ty.bits) {
                    (Kind::Unsigned, 32) => self.ternary(at, T::SadU, Class::W32),
                    (Kind::Signed, 32) => self.ternary(at, T::SadS, Class::W32),
                    _ => at.unsupported("unknown type"),
                }
            }
            _ => at.unsupported("unknown opcode"),
        }
    }

    fn sources<const N: usize>(&mut self, at: &At<'_, 'a>, class: Class) -> Result<[Reg; N]> {
        let mut out = [NONE; N];
        for (index, slot) in out.iter_mut().enumerate() {
            *slot = self.source(at, index + 1, class)?;
        }
        Ok(out)
    }

    pub(super) fn constant(&self, at: &At<'_, 'a>, operand: &Operand<'a>, limit: u64) -> Result<u64> {
        match operand {
            Operand::Integer(value) if *value <= limit => Ok(*value),
            _ => at.error(format!("must be a number up to {limit}")),
        }
    }

    fn float_32_or_64(&self, s: &Suffixes<'a>, ty: Ty) -> Result<Class> {
        match (ty.kind, ty.bits) {
            (Kind::Float, 32) => Ok(Class::W32),
            (Kind::Float, 64) => Ok(Class::W64),
            _ => s.error("is supported for f32 and f64 only"),
        }
    }

    fn ternary(&mut self, at: &At<'_, 'a>, op: T, class: Class) -> Result<()> {
        at.count(4)?;
        let d = self.target(at, 0, class)?;
        let [a, b, c] = self.sources(at, class)?;
        let op =
            if class == Class::W64 { Op::Ternary64(op, d, a, b, c) } else { Op::Ternary32(op, d, a, b, c) };
        self.emit(at, op);
        Ok(())
    }

    fn two(&mut self, at: &At<'_, 'a>, op: B, class: Class) -> Result<()> {
        at.count(3)?;
        let d = self.target(at, 0, class)?;
        let [a, b] = self.sources(at, class)?;
        let op = if class == Class::W64 { Op::Binary64(op, d, a, b) } else { Op::Binary32(op, d, a, b) };
        self.emit(at, op);
        Ok(())
    }

    fn mov(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let ty = s.ty()?;
        at.count(2)?;
        if ty.kind == Kind::Predicate {
            let d = self.target(at, 0, Class::Predicate)?;
            let a = self.source(at, 1, Class::Predicate)?;
            self.emit(at, Op::PredicateMove(d, a));
            return Ok(());
        }
        if ty.bits == 8 {
            return at.unsupported("unknown type");
        }
        let class = Class::of_bits(ty.bits);
        match (&at.operands[0], &at.operands[1]) {
            (Operand::Vector(parts), _) => {
                let (parts, count) = self.parts(at, parts, ty.bits, true)?;
                let a = self.source(at, 1, class)?;
                self.emit(at, Op::Split { wide: class == Class::W64, a, parts, count });
            }
            (_, Operand::Vector(parts)) => {
                let (parts, count) = self.parts(at, parts, ty.bits, false)?;
                let d = self.target(at, 0, class)?;
                self.emit(at, Op::Pack { wide: class == Class::W64, d, parts, count });
            }
            (_, operand) => {
                let d = self.target(at, 0, class)?;
                let a = self.move_source(at, operand, class)?;
                self.emit(at, if class == Class::W64 { Op::Move64(d, a) } else { Op::Move32(d, a) });
            }
        }
        Ok(())
    }

    /// What can be moved: also the address of a variable.
    fn move_source(&mut self, at: &At<'_, 'a>, operand: &Operand<'a>, class: Class) -> Result<Reg> {
        let (name, offset) = match operand {
            Operand::Name { name, negated: false } => (*name, 0),
            Operand::Offset { name, offset } => (*name, *offset),
            _ => return self.source_of(at, operand, class),
        };
        let is_register = offset == 0 && !name.starts_with('%') && name != "WARP_SZ";
        if !is_register || self.class_of(at, operand)?.is_some() {
            return self.source_of(at, operand, class);
        }
        let symbol = self.symbol(name, at.line)?;
        match (symbol, class) {
            (_, Class::W64) => self.symbol_register(symbol, offset, at.line),
            (Symbol::Shared(address), Class::W32) => {
                self.files.preset(class, Preset::Bits(address.wrapping_add_signed(offset)), at.line)
            }
            _ => at.error("an address has 64 bits"),
        }
    }

    fn parts(
        &mut self,
        at: &At<'_, 'a>,
        operands: &[Operand<'a>],
        bits: u32,
        is_target: bool,
    ) -> Result<([Reg; 4], u8)> {
        let class = match (bits, operands.len()) {
            (64, 2) => Class::W32,
            (64, 4) | (32, 2) => Class::W16,
            _ => return at.error("cannot be put together from that many parts"),
        };
        let mut parts = [NONE; 4];
        for (slot, operand) in parts.iter_mut().zip(operands) {
            let is_sink = matches!(operand, Operand::Name { name: "_", .. });
            if is_target && is_sink {
                continue;
            }
            *slot = if is_target {
                self.target_of(at, operand, class)?
            } else {
                self.source_of(at, operand, class)?
            };
        }
        Ok((parts, operands.len() as u8))
    }

    fn selp(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let ty = s.ty()?;
        at.count(4)?;
        if ty.bits < 16 {
            return at.unsupported("unknown type");
        }
        let class = Class::of_bits(ty.bits);
        let d = self.target(at, 0, class)?;
        let [mut a, mut b] = self.sources(at, class)?;
        let (p, negated) = self.predicate(at, &at.operands[3])?;
        if negated {
            (a, b) = (b, a);
        }
        let op = if class == Class::W64 { Op::Select64 { d, a, b, p } } else { Op::Select32 { d, a, b, p } };
        self.emit(at, op);
        Ok(())
    }

    fn logic(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let ty = s.ty()?;
        if !matches!(ty.kind, Kind::Bits | Kind::Predicate) || ty.bits == 8 {
            return at.unsupported("unknown type");
        }
        let is_predicate = ty.kind == Kind::Predicate;
        let class = if is_predicate { Class::Predicate } else { Class::of_bits(ty.bits) };
        let name = s.name();
        if name == "not" {
            at.count(2)?;
            let d = self.target(at, 0, class)?;
            let a = self.source(at, 1, class)?;
            let op = match class {
                Class::Predicate => Op::PredicateNot(d, a),
                Class::W16 => Op::Unary32(U::Not16, d, a),
                Class::W32 => Op::Unary32(U::Not, d, a),
                Class::W64 => Op::Unary64(U::Not, d, a),
            };
            self.emit(at, op);
            return Ok(());
        }
        let (binary, logic) = match name {
            "and" => (B::And, Logic::And),
            "or" => (B::Or, Logic::Or),
            "xor" => (B::Xor, Logic::Xor),
            _ => return at.unsupported("unknown opcode"),
        };
        if is_predicate {
            at.count(3)?;
            let d = self.target(at, 0, class)?;
            let [a, b] = self.sources(at, class)?;
            self.emit(at, Op::Predicate(logic, d, a, b));
            return Ok(());
        }
        self.two(at, binary, class)
    }

    fn unary(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let name = s.name();
        if name == "sqrt" {
            s.round_to_nearest()?;
        }
        let ty = s.ty()?;
        at.count(2)?;
        let class = Class::of_bits(ty.bits);
        let counts = matches!(name, "popc" | "clz" | "bfind");
        let op = match (name, ty.kind, ty.bits) {
            ("neg", Kind::Signed, 16) => U::Neg16,
            ("neg", Kind::Signed, 32 | 64) => U::Neg,
            ("abs", Kind::Signed, 16) => U::AbsS16,
            ("abs", Kind::Signed, 32 | 64) => U::AbsS,
            ("neg", Kind::Float, 32 | 64) => U::NegF,
            ("abs", Kind::Float, 32 | 64) => U::AbsF,
            ("neg", Kind::Float, 16) => U::NegF16,
            ("abs", Kind::Float, 16) => U::AbsF16,
            ("sqrt", Kind::Float, 32 | 64) => U::SqrtF,
            ("popc", Kind::Bits, 32 | 64) => U::Popc,
            ("clz", Kind::Bits, 32 | 64) => U::Clz,
            ("brev", Kind::Bits, 32 | 64) => U::Brev,
            ("bfind", Kind::Unsigned, 32 | 64) => U::BfindU,
            ("bfind", Kind::Signed, 32 | 64) => U::BfindS,
            _ => return at.unsupported("unknown type"),
        };
        let d = self.target(at, 0, if counts { Class::W32 } else { class })?;
        let a = self.source(at, 1, class)?;
        let op = match (class, counts) {
            (Class::W64, true) => Op::Count64(op, d, a),
            (Class::W64, false) => Op::Unary64(op, d, a),
            _ => Op::Unary32(op, d, a),
        };
        self.emit(at, op);
        Ok(())
    }

    fn binary(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let name = s.name();
        let is_float = s.last_type().is_some_and(Ty::is_float);
        if is_float && matches!(name, "add" | "sub" | "div") {
            s.round_to_nearest()?;
        }
        let nan = is_float && matches!(name, "min" | "max") && s.take("NaN");
        if nan && self.module.target < 80 {
            return at.unsupported("needs sm_80");
        }
        let saturate = !is_float && s.take("sat");
        let ty = s.ty()?;
        let (signed, bits) = (ty.is_signed(), ty.bits);
        let integer = matches!(ty.kind, Kind::Unsigned | Kind::Signed) && bits != 8;
        let float = ty.kind == Kind::Float;
        if matches!(name, "shl" | "shr") {
            return self.shift(at, ty);
        }
        let narrow = bits == 16;
        let op = match name {
            "add" if saturate && signed && bits == 32 => B::SatAddS,
            "sub" if saturate && signed && bits == 32 => B::SatSubS,
            _ if saturate => return at.unsupported("unknown suffix `.sat`"),
            "add" if integer => {
                if narrow {
                    B::Add16
                } else {
                    B::Add
                }
            }
            "sub" if integer => {
                if narrow {
                    B::Sub16
                } else {
                    B::Sub
                }
            }
            "div" if integer => match (narrow, signed) {
                (true, true) => B::DivS16,
                (false, true) => B::DivS,
                _ => B::DivU,
            },
            "rem" if integer => match (narrow, signed) {
                (true, true) => B::RemS16,
                (false, true) => B::RemS,
                _ => B::RemU,
            },
            "min" if integer => match (narrow, signed) {
                (true, true) => B::MinS16,
                (false, true) => B::MinS,
                _ => B::MinU,
            },
            "max" if integer => match (narrow, signed) {
                (true, true) => B::MaxS16,
                (false, true) => B::MaxS,
                _ => B::MaxU,
            },
            "add" if float && narrow => B::AddF16,
            "sub" if float && narrow => B::SubF16,
            "add" if float => B::AddF,
            "sub" if float => B::SubF,
            "div" if float && !narrow => B::DivF,
            "min" if float && bits == 32 && nan => B::MinNanF,
            "max" if float && bits == 32 && nan => B::MaxNanF,
            "min" if float && !narrow && !nan => B::MinF,
            "max" if float && !narrow && !nan => B::MaxF,
            "copysign" if float && !narrow => B::CopySign,
            _ => return at.unsupported("unknown type"),
        };
        self.two(at, op, Class::of_bits(bits))
    }

    fn shift(&mut self, at: &At<'_, 'a>, ty: Ty) -> Result<()> {
        let left = at.opcode.starts_with("shl");
        at.count(3)?;
        let op = match (left, ty.kind, ty.bits) {
            (true, Kind::Bits, 16) => B::Shl16,
            (true, Kind::Bits, 32 | 64) => B::Shl,
            (false, Kind::Signed, 16) => B::ShrS16,
            (false, Kind::Bits | Kind::Unsigned, 16) => B::ShrU16,
            (false, Kind::Signed, 32 | 64) => B::ShrS,
            (false, Kind::Bits | Kind::Unsigned, 32 | 64) => B::ShrU,
            _ => return at.unsupported("unknown type"),
        };
        let class = Class::of_bits(ty.bits);
        let d = self.target(at, 0, class)?;
        let a = self.source(at, 1, class)?;
        let b = self.source(at, 2, Class::W32)?;
        self.emit(at, if class == Class::W64 { Op::Shift64(op, d, a, b) } else { Op::Binary32(op, d, a, b) });
        Ok(())
    }

    /// `mul` and `mad`, of integers and floats.
    fn product(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let adds = s.name() == "mad";
        if s.last_type().is_some_and(Ty::is_float) {
            s.round_to_nearest()?;
            let ty = s.ty()?;
            if adds {
                return self.ternary(at, T::FmaF, self.float_32_or_64(s, ty)?);
            }
            return match (ty.kind, ty.bits) {
                (Kind::Float, 16) => self.two(at, B::MulF16, Class::W16),
                _ => self.two(at, B::MulF, self.float_32_or_64(s, ty)?),
            };
        }
        let Some(part) = s.take_any(&["lo", "hi", "wide"]) else {
            return at.unsupported("says neither lo, hi nor wide");
        };
        let ty = s.ty()?;
        let signed = ty.is_signed();
        if !matches!(ty.kind, Kind::Unsigned | Kind::Signed) || ty.bits == 8 {
            return at.unsupported("unknown type");
        }
        let class = Class::of_bits(ty.bits);
        if part == "wide" {
            return self.wide_product(at, class, signed, adds);
        }
        if adds {
            let op = match (part, class, signed) {
                ("lo", Class::W16, _) => T::MadLo16,
                ("lo", ..) => T::MadLo,
                (_, Class::W32 | Class::W64, true) => T::MadHiS,
                (_, Class::W32 | Class::W64, false) => T::MadHiU,
                _ => return at.unsupported("unknown type"),
            };
            return self.ternary(at, op, class);
        }
        let op = match (part, class, signed) {
            ("lo", Class::W16, _) => B::MulLo16,
            ("lo", ..) => B::MulLo,
            (_, Class::W16, true) => B::MulHiS16,
            (_, Class::W16, false) => B::MulHiU16,
            (_, _, true) => B::MulHiS,
            (_, _, false) => B::MulHiU,
        };
        self.two(at, op, class)
    }

    fn wide_product(&mut self, at: &At<'_, 'a>, class: Class, signed: bool, adds: bool) -> Result<()> {
        at.count(if adds { 4 } else { 3 })?;
        let wider = match class {
            Class::W16 => Class::W32,
            Class::W32 => Class::W64,
            _ => return at.unsupported("unknown type"),
        };
        let d = self.target(at, 0, wider)?;
        let [a, b] = self.sources(at, class)?;
        let c = if adds { self.source(at, 3, wider)? } else { NONE };
        let op = match (class, adds) {
            (Class::W16, false) => Op::Binary32(if signed { B::WideS16 } else { B::WideU16 }, d, a, b),
            (Class::W16, true) => {
                Op::Ternary32(if signed { T::MadWideS16 } else { T::MadWideU16 }, d, a, b, c)
            }
            (_, false) => Op::Wide { signed, d, a, b },
            (_, true) => Op::MadWide { signed, d, a, b, c },
        };
        self.emit(at, op);
        Ok(())
    }

    fn bfe(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let ty = s.ty()?;
        let signed = ty.is_signed();
        match (ty.kind, ty.bits) {
            (Kind::Unsigned, 32) => self.ternary(at, T::BfeU, Class::W32),
            (Kind::Signed, 32) => self.ternary(at, T::BfeS, Class::W32),
            (Kind::Unsigned | Kind::Signed, 64) => {
                at.count(4)?;
                let d = self.target(at, 0, Class::W64)?;
                let a = self.source(at, 1, Class::W64)?;
                let b = self.source(at, 2, Class::W32)?;
                let c = self.source(at, 3, Class::W32)?;
                self.emit(at, Op::Bfe64 { signed, d, a, b, c });
                Ok(())
            }
            _ => at.unsupported("unknown type"),
        }
    }

    fn bfi(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let ty = s.ty()?;
        if ty.kind != Kind::Bits || ty.bits < 32 {
            return at.unsupported("unknown type");
        }
        at.count(5)?;
        let class = Class::of_bits(ty.bits);
        let d = self.target(at, 0, class)?;
        let [a, b] = self.sources(at, class)?;
        let c = self.source(at, 3, Class::W32)?;
        let e = self.source(at, 4, Class::W32)?;
        let op = if class == Class::W64 { Op::Bfi64 { d, a, b, c, e } } else { Op::Bfi32 { d, a, b, c, e } };
        self.emit(at, op);
        Ok(())
    }

    fn carry(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let name = s.name();
        let gives = s.take("cc");
        let ty = s.ty()?;
        if !matches!(ty.kind, Kind::Unsigned | Kind::Signed) || ty.bits < 32 {
            return at.unsupported("unknown type");
        }
        at.count(3)?;
        let class = Class::of_bits(ty.bits);
        let d = self.target(at, 0, class)?;
        let [a, b] = self.sources(at, class)?;
        let (subtract, takes, wide) = (name.starts_with("sub"), name.ends_with('c'), class == Class::W64);
        self.emit(at, Op::Carry { subtract, wide, takes, gives, d, a, b });
        Ok(())
    }

    fn setp(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let word = s.any()?;
        let logic = s.take_any(&["and", "or", "xor"]);
        let ty = s.ty()?;
        let Some(value) = ty.value().filter(|_| ty.bits >= 16 && !(ty.is_float() && ty.bits == 16)) else {
            return at.unsupported("unknown type");
        };
        let comparison = match (word, ty.kind) {
            ("eq", _) => Comparison::Eq,
            ("ne", _) => Comparison::Ne,
            ("lt", Kind::Unsigned | Kind::Signed | Kind::Float) => Comparison::Lt,
            ("le", Kind::Unsigned | Kind::Signed | Kind::Float) => Comparison::Le,
            ("gt", Kind::Unsigned | Kind::Signed | Kind::Float) => Comparison::Gt,
            ("ge", Kind::Unsigned | Kind::Signed | Kind::Float) => Comparison::Ge,
            ("lo", Kind::Unsigned) => Comparison::Lt,
            ("ls", Kind::Unsigned) => Comparison::Le,
            ("hi", Kind::Unsigned) => Comparison::Gt,
            ("hs", Kind::Unsigned) => Comparison::Ge,
            ("equ", Kind::Float) => Comparison::Equ,
            ("neu", Kind::Float) => Comparison::Neu,
            ("ltu", Kind::Float) => Comparison::Ltu,
            ("leu", Kind::Float) => Comparison::Leu,
            ("gtu", Kind::Float) => Comparison::Gtu,
            ("geu", Kind::Float) => Comparison::Geu,
            ("num", Kind::Float) => Comparison::Num,
            ("nan", Kind::Float) => Comparison::Nan,
            _ => return at.unsupported("unknown comparison"),
        };
        at.count(if logic.is_some() { 4 } else { 3 })?;
        let (p, q) = match &at.operands[0] {
            Operand::Pair(p, q) => {
                let mut named = |name| {
                    if name == "_" {
                        Ok(NONE)
                    } else {
                        self.target_of(at, &Operand::Name { name, negated: false }, Class::Predicate)
                    }
                };
                (named(p)?, named(q)?)
            }
            operand => (self.target_of(at, operand, Class::Predicate)?, NONE),
        };
        let [a, b] = self.sources(at, Class::of_bits(ty.bits))?;
        let combine = match logic {
            Some(word) => {
                let (register, negated) = self.predicate(at, &at.operands[3])?;
                let logic = match word {
                    "and" => Logic::And,
                    "or" => Logic::Or,
                    _ => Logic::Xor,
                };
                Some((logic, register, negated))
            }
            None => None,
        };
        self.emit(at, Op::Setp(Setp { comparison, ty: value, p, q, a, b, combine }));
        Ok(())
    }

    fn cvt(&mut self, at: &At<'_, 'a>, s: &mut Suffixes<'a>) -> Result<()> {
        let rounding = match s.take_any(&["rn", "rni", "rzi", "rmi", "rpi"]) {
            Some("rn") => Rounding::Nearest,
            Some("rni") => Rounding::Even,
            Some("rzi") => Rounding::Zero,
            Some("rmi") => Rounding::Down,
            Some("rpi") => Rounding::Up,
            _ => Rounding::Exact,
        };
        let saturate = s.take("sat");
        if let Some(word @ ("f16x2" | "bf16x2")) = s.peek() {
            s.any()?;
            s.expect("f32")?;
            return self.cvt_two(at, word == "bf16x2", rounding);
        }
        let (to, from) = (s.ty()?, s.ty()?);
        let (Some(to_type), Some(from_type)) = (to.value(), from.value()) else {
            return at.unsupported("unknown type");
        };
        if to.kind == Kind::Bits || from.kind == Kind::Bits {
            return at.unsupported("unknown type");
        }
        self.check_conversion(at, s, to_type, from_type, rounding, saturate)?;
        at.count(2)?;
        let (d_class, d) = self.wide_enough(at, &at.operands[0], to.bits)?;
        let (a_class, a) = match self.class_of(at, &at.operands[1])? {
            Some(_) => self.wide_enough(at, &at.operands[1], from.bits)?,
            None => {
                let class = Class::of_bits(from.bits);
                (class, self.source(at, 1, class)?)
            }
        };
        if (to.is_float() && d_class != Class::of_bits(to.bits))
            || (from.is_float() && a_class != Class::of_bits(from.bits))
        {
            return at.error("a float must have a register of its width");
        }
        self.emit(
            at,
            Op::Convert(Convert {
                to: to_type,
                from: from_type,
                rounding,
                saturate,
                d,
                a,
                d_width: d_class.bits() as u8,
                a_width: a_class.bits() as u8,
            }),
        );
        Ok(())
    }

    /// Which conversions must say how they round, and which must not.
    fn check_conversion(
        &self,
        at: &At<'_, 'a>,
        s: &Suffixes<'a>,
        to: Type,
        from: Type,
        rounding: Rounding,
        saturate: bool,
    ) -> Result<()> {
        let integral = matches!(rounding, Rounding::Even | Rounding::Zero | Rounding::Down | Rounding::Up);
        let allowed = match (to.is_float(), from.is_float()) {
            (false, false) => rounding == Rounding::Exact,
            (false, true) => integral && !saturate,
            (true, false) => rounding == Rounding::Nearest && !saturate,
            (true, true) if to == from => integral && !saturate && to != Type::BF16,
            (true, true) if to.bits() > from.bits() => rounding == Rounding::Exact && !saturate,
            (true, true) => rounding == Rounding::Nearest && !saturate && to.bits() < from.bits(),
        };
        if !allowed {
            if rounding == Rounding::Exact && !saturate {
                return s.unrounded();
            }
            return at.unsupported("does not round as this conversion must");
        }
        let brain = to == Type::BF16 || from == Type::BF16;
        let (needed, other) = if from == Type::BF16 { (90, to) } else { (80, from) };
        if brain && (other != Type::F32 || self.module.target < needed) {
            return at.unsupported("the target does not have it");
        }
        Ok(())
    }

    /// Two floats into the halves of a register; the first goes into the upper one.
    fn cvt_two(&mut self, at: &At<'_, 'a>, brain: bool, rounding: Rounding) -> Result<()> {
        if rounding != Rounding::Nearest || self.module.target < 80 {
            return at.unsupported("needs `.rn` and sm_80");
        }
        at.count(3)?;
        let d = self.target(at, 0, Class::W32)?;
        let [high, low] = self.sources(at, Class::W32)?;
        let to = if brain { Type::BF16 } else { Type::F16 };
        let mut parts = [NONE; 4];
        for (slot, a) in parts.iter_mut().zip([low, high]) {
            *slot = self.temporary(at, Class::W16)?;
            let (d, from, saturate) = (*slot, Type::F32, false);
            self.emit(
                at,
                Op::Convert(Convert { to, from, rounding, saturate, d, a, d_width: 16, a_width: 32 }),
            );
        }
        self.emit(at, Op::Pack { wide: false, d, parts, count: 2 });
        Ok(())
    }
}
