//! Symbolic dimensions: integer polynomials over named sizes, with floor division, minimum and maximum.
//!
//! Invariant: an expression is kept in one canonical form, so equal text means equal value; the converse
//! does not hold (two expressions may be equal without our seeing it). Arithmetic that overflows or
//! grows past a limit gives [`DimExpr::Opaque`], which is provably equal to nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Terms that a polynomial may have before it is given up as opaque.
const TERMS_MAX: usize = 32;
/// Depth to which an expression in text may nest.
const DEPTH_MAX: usize = 16;
/// Depth to which atoms may nest: what is written can be read.
const ATOM_DEPTH_MAX: usize = DEPTH_MAX - 2;
/// Atoms that an expression may hold, nested ones counted.
const ATOMS_MAX: usize = 256;

/// A factor of a product.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Atom {
    /// A size named by the model, bound when a run starts.
    Sym(String),
    /// A size that depends on data, known once the step that makes it has run.
    Unknown(u32),
    FloorDiv(Box<DimExpr>, Box<DimExpr>),
    Min(Box<DimExpr>, Box<DimExpr>),
    Max(Box<DimExpr>, Box<DimExpr>),
}

impl Atom {
    /// Depth of nesting and number of atoms. Parts passed this check themselves, so this walk is short.
    fn extent(&self) -> (usize, usize) {
        match self {
            Atom::Sym(_) | Atom::Unknown(_) => (0, 1),
            Atom::FloorDiv(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                let ((da, na), (db, nb)) = (a.extent(), b.extent());
                (1 + da.max(db), 1 + na + nb)
            }
        }
    }
}

/// A product of atoms, sorted, with repetition; the empty product is the constant term.
type Monomial = Vec<Atom>;

/// An integer expression over sizes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DimExpr {
    Const(i64),
    /// At least one non-constant term; no zero coefficients.
    Poly(Arc<BTreeMap<Monomial, i64>>),
    /// Overflowed, or too large to keep.
    Opaque,
}

impl From<i64> for DimExpr {
    fn from(value: i64) -> DimExpr {
        DimExpr::Const(value)
    }
}

impl From<usize> for DimExpr {
    fn from(value: usize) -> DimExpr {
        i64::try_from(value).map_or(DimExpr::Opaque, DimExpr::Const)
    }
}

impl DimExpr {
    pub fn sym(name: &str) -> DimExpr {
        DimExpr::atom(Atom::Sym(name.to_string()))
    }

    pub fn unknown(number: u32) -> DimExpr {
        DimExpr::atom(Atom::Unknown(number))
    }

    /// One atom; opaque when it nests too deeply or holds too much to be written down.
    fn atom(atom: Atom) -> DimExpr {
        let (depth, atoms) = atom.extent();
        if depth > ATOM_DEPTH_MAX || atoms > ATOMS_MAX {
            return DimExpr::Opaque;
        }
        DimExpr::Poly(Arc::new(BTreeMap::from([(vec![atom], 1)])))
    }

    pub fn as_const(&self) -> Option<i64> {
        match self {
            DimExpr::Const(value) => Some(*value),
            _ => None,
        }
    }

    /// The name, when the expression is one named size.
    pub fn as_symbol(&self) -> Option<&str> {
        let DimExpr::Poly(terms) = self else { return None };
        match (terms.len(), terms.first_key_value()) {
            (1, Some((monomial, 1))) => match monomial.as_slice() {
                [Atom::Sym(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value as an extent: constant and not negative.
    pub fn as_extent(&self) -> Option<usize> {
        self.as_const().and_then(|v| usize::try_from(v).ok())
    }

    /// Whether the two have the same value under every binding, as far as the canonical form shows.
    pub fn provably_equals(&self, other: &DimExpr) -> bool {
        self == other && *self != DimExpr::Opaque
    }

    /// Whether any part is known only when data are.
    pub fn depends_on_data(&self) -> bool {
        match self {
            DimExpr::Const(_) => false,
            DimExpr::Opaque => true,
            DimExpr::Poly(terms) => terms.keys().flatten().any(|atom| match atom {
                Atom::Sym(_) => false,
                Atom::Unknown(_) => true,
                Atom::FloorDiv(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                    a.depends_on_data() || b.depends_on_data()
                }
            }),
        }
    }

    /// Whether the value is at least 0 under every binding, as far as signs of the parts show. Named and
    /// data-dependent sizes are extents, so they are.
    pub fn is_nonnegative(&self) -> bool {
        let atom = |atom: &Atom| match atom {
            Atom::Sym(_) | Atom::Unknown(_) => true,
            Atom::FloorDiv(a, b) | Atom::Min(a, b) => a.is_nonnegative() && b.is_nonnegative(),
            Atom::Max(a, b) => a.is_nonnegative() || b.is_nonnegative(),
        };
        match self {
            DimExpr::Const(value) => *value >= 0,
            DimExpr::Poly(terms) => terms.iter().all(|(atoms, c)| *c >= 0 && atoms.iter().all(atom)),
            DimExpr::Opaque => false,
        }
    }

    fn from_terms(mut terms: BTreeMap<Monomial, i64>) -> DimExpr {
        terms.retain(|_, c| *c != 0);
        match terms.len() {
            0 => DimExpr::Const(0),
            1 if terms.contains_key(&vec![]) => DimExpr::Const(terms[&vec![]]),
            n if n > TERMS_MAX => DimExpr::Opaque,
            _ => {
                let sum = DimExpr::Poly(Arc::new(terms));
                if sum.extent().1 > ATOMS_MAX { DimExpr::Opaque } else { sum }
            }
        }
    }

    fn extent(&self) -> (usize, usize) {
        let DimExpr::Poly(terms) = self else { return (0, 0) };
        let atoms = terms.keys().flatten().map(Atom::extent);
        atoms.fold((0, 0), |(depth, count), (d, n)| (depth.max(d), count + n))
    }

    /// The terms of a constant or polynomial; `None` when opaque.
    fn terms(&self) -> Option<BTreeMap<Monomial, i64>> {
        match self {
            DimExpr::Const(0) => Some(BTreeMap::new()),
            DimExpr::Const(c) => Some(BTreeMap::from([(vec![], *c)])),
            DimExpr::Poly(terms) => Some((**terms).clone()),
            DimExpr::Opaque => None,
        }
    }

    pub fn add(&self, other: &DimExpr) -> DimExpr {
        if let (DimExpr::Const(a), DimExpr::Const(b)) = (self, other) {
            return a.checked_add(*b).map_or(DimExpr::Opaque, DimExpr::Const);
        }
        let (Some(mut sum), Some(b)) = (self.terms(), other.terms()) else { return DimExpr::Opaque };
        for (monomial, coefficient) in b {
            let slot = sum.entry(monomial).or_insert(0);
            let Some(value) = slot.checked_add(coefficient) else { return DimExpr::Opaque };
            *slot = value;
        }
        DimExpr::from_terms(sum)
    }

    pub fn sub(&self, other: &DimExpr) -> DimExpr {
        self.add(&other.mul(&DimExpr::Const(-1)))
    }

    pub fn mul(&self, other: &DimExpr) -> DimExpr {
        if let (DimExpr::Const(a), DimExpr::Const(b)) = (self, other) {
            return a.checked_mul(*b).map_or(DimExpr::Opaque, DimExpr::Const);
        }
        let (Some(a), Some(b)) = (self.terms(), other.terms()) else { return DimExpr::Opaque };
        let mut product: BTreeMap<Monomial, i64> = BTreeMap::new();
        for (ma, ca) in &a {
            for (mb, cb) in &b {
                let mut monomial = [ma.as_slice(), mb.as_slice()].concat();
                if monomial.len() > RANK_LIMIT {
                    return DimExpr::Opaque;
                }
                monomial.sort();
                let slot = product.entry(monomial).or_insert(0);
                let value = ca.checked_mul(*cb).and_then(|c| slot.checked_add(c));
                let Some(value) = value else { return DimExpr::Opaque };
                *slot = value;
            }
        }
        DimExpr::from_terms(product)
    }

    /// `floor(self / other)`. Exact when every term of `self` is a multiple of a constant or of `other`.
    pub fn floor_div(&self, other: &DimExpr) -> DimExpr {
        match (self, other) {
            (DimExpr::Const(a), DimExpr::Const(b)) if *b != 0 => {
                return a.checked_div_euclid(*b).map_or(DimExpr::Opaque, |q| {
                    // div_euclid rounds away from the floor when the divisor is negative.
                    if *b < 0 && a.rem_euclid(*b) != 0 { DimExpr::Const(q - 1) } else { DimExpr::Const(q) }
                });
            }
            (_, DimExpr::Const(0)) | (DimExpr::Opaque, _) | (_, DimExpr::Opaque) => return DimExpr::Opaque,
            (_, DimExpr::Const(1)) => return self.clone(),
            (DimExpr::Const(0), _) => return DimExpr::Const(0),
            _ => {}
        }
        if self == other {
            // A size of zero divided by itself never arises: an extent is asked for only when not empty.
            return DimExpr::Const(1);
        }
        if let Some(quotient) = self.exact_quotient(other) {
            return quotient;
        }
        DimExpr::atom(Atom::FloorDiv(Box::new(self.clone()), Box::new(other.clone())))
    }

    /// `self / other` when `other` is one term that divides every term of `self`.
    fn exact_quotient(&self, other: &DimExpr) -> Option<DimExpr> {
        let divisor = other.terms()?;
        if divisor.len() != 1 {
            return None;
        }
        let (by, by_coefficient) = divisor.into_iter().next()?;
        let mut quotient = BTreeMap::new();
        for (mut monomial, coefficient) in self.terms()? {
            if coefficient.checked_rem(by_coefficient)? != 0 {
                return None;
            }
            for atom in &by {
                let at = monomial.iter().position(|a| a == atom)?;
                monomial.remove(at);
            }
            quotient.insert(monomial, coefficient.checked_div(by_coefficient)?);
        }
        Some(DimExpr::from_terms(quotient))
    }

    /// `ceil(self / other)`.
    pub fn ceil_div(&self, other: &DimExpr) -> DimExpr {
        let minus = DimExpr::Const(-1);
        self.mul(&minus).floor_div(other).mul(&minus)
    }

    /// The remainder with the sign of the divisor: `self - other * floor(self / other)`.
    pub fn modulo(&self, other: &DimExpr) -> DimExpr {
        self.sub(&other.mul(&self.floor_div(other)))
    }

    pub fn minimum(&self, other: &DimExpr) -> DimExpr {
        self.ordered(other, i64::min, Atom::Min)
    }

    pub fn maximum(&self, other: &DimExpr) -> DimExpr {
        self.ordered(other, i64::max, Atom::Max)
    }

    /// When this is the minimum (`true`) or maximum (`false`) of `other` and something.
    fn is_minimum_of(&self, other: &DimExpr) -> Option<bool> {
        let DimExpr::Poly(terms) = self else { return None };
        match terms.first_key_value() {
            Some((monomial, 1)) if terms.len() == 1 => match monomial.as_slice() {
                [Atom::Min(a, b)] if **a == *other || **b == *other => Some(true),
                [Atom::Max(a, b)] if **a == *other || **b == *other => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn ordered(
        &self,
        other: &DimExpr,
        constant: fn(i64, i64) -> i64,
        atom: fn(Box<DimExpr>, Box<DimExpr>) -> Atom,
    ) -> DimExpr {
        match (self, other) {
            (DimExpr::Const(a), DimExpr::Const(b)) => DimExpr::Const(constant(*a, *b)),
            (DimExpr::Opaque, _) | (_, DimExpr::Opaque) => DimExpr::Opaque,
            (a, b) if a == b => a.clone(),
            // min(a, max(a, c)) = a, min(a, min(a, c)) = min(a, c), and so on.
            (a, b) if b.is_minimum_of(a).is_some() => {
                let same_kind = b.is_minimum_of(a) == Some(constant(0, 1) == 0);
                if same_kind { b.clone() } else { a.clone() }
            }
            (a, b) if a.is_minimum_of(b).is_some() => b.ordered(a, constant, atom),
            (a, b) => {
                let (a, b) = if a < b { (a, b) } else { (b, a) };
                DimExpr::atom(atom(Box::new(a.clone()), Box::new(b.clone())))
            }
        }
    }

    /// The expression with every named size that `lookup` knows replaced by its value.
    pub fn bind(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> DimExpr {
        let DimExpr::Poly(terms) = self else { return self.clone() };
        let mut sum = DimExpr::Const(0);
        for (monomial, coefficient) in terms.iter() {
            let mut product = DimExpr::Const(*coefficient);
            for atom in monomial {
                let factor = match atom {
                    Atom::Sym(name) => lookup(name).map(DimExpr::Const),
                    Atom::Unknown(_) => None,
                    Atom::FloorDiv(a, b) => Some(a.bind(lookup).floor_div(&b.bind(lookup))),
                    Atom::Min(a, b) => Some(a.bind(lookup).minimum(&b.bind(lookup))),
                    Atom::Max(a, b) => Some(a.bind(lookup).maximum(&b.bind(lookup))),
                };
                product = product.mul(&factor.unwrap_or_else(|| DimExpr::atom(atom.clone())));
            }
            sum = sum.add(&product);
        }
        sum
    }

    /// Parses the canonical text that `Display` writes.
    pub fn parse(text: &str) -> Option<DimExpr> {
        let mut parser = Parser { rest: text, depth: 0 };
        let expr = parser.sum()?;
        parser.rest.trim_start().is_empty().then_some(expr)
    }
}

/// Factors that one product may have: no shape needs more.
const RANK_LIMIT: usize = 16;

fn is_plain(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && !matches!(name, "floordiv" | "min" | "max" | "opaque")
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Sym(name) if is_plain(name) => f.write_str(name),
            // A quote inside of a name is doubled.
            Atom::Sym(name) => write!(f, "'{}'", name.replace('\'', "''")),
            Atom::Unknown(number) => write!(f, "?{number}"),
            Atom::FloorDiv(a, b) => write!(f, "floordiv({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
        }
    }
}

/// Terms in descending order of their products, the constant last: `2*N*S + floordiv(H, 2) - 3`.
impl fmt::Display for DimExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match self {
            DimExpr::Const(value) => return write!(f, "{value}"),
            DimExpr::Opaque => return f.write_str("opaque"),
            DimExpr::Poly(terms) => terms,
        };
        for (index, (monomial, coefficient)) in terms.iter().rev().enumerate() {
            let magnitude = coefficient.unsigned_abs();
            match (index, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            if monomial.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
                if !monomial.is_empty() {
                    f.write_str("*")?;
                }
            }
            for (at, atom) in monomial.iter().enumerate() {
                if at > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let trimmed = self.rest.trim_start();
        match trimmed.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<DimExpr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let negative = self.eat("-");
        let mut sum = self.product()?;
        if negative {
            sum = sum.mul(&DimExpr::Const(-1));
        }
        loop {
            if self.eat("+") {
                sum = sum.add(&self.product()?);
            } else if self.eat("-") {
                sum = sum.sub(&self.product()?);
            } else {
                self.depth -= 1;
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<DimExpr> {
        let mut product = self.factor()?;
        while self.eat("*") {
            product = product.mul(&self.factor()?);
        }
        Some(product)
    }

    fn factor(&mut self) -> Option<DimExpr> {
        if self.eat("'") {
            let mut name = String::new();
            loop {
                let end = self.rest.find('\'')?;
                name.push_str(&self.rest[..end]);
                self.rest = &self.rest[end + 1..];
                match self.rest.strip_prefix('\'') {
                    Some(rest) => {
                        name.push('\'');
                        self.rest = rest;
                    }
                    None => return Some(DimExpr::sym(&name)),
                }
            }
        }
        if self.eat("?") {
            return Some(DimExpr::unknown(self.word()?.parse().ok()?));
        }
        let word = self.word()?;
        let call = match word.as_str() {
            "floordiv" => DimExpr::floor_div,
            "min" => DimExpr::minimum,
            "max" => DimExpr::maximum,
            "opaque" => return Some(DimExpr::Opaque),
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
                return word.parse().ok().map(DimExpr::Const);
            }
            _ => return Some(DimExpr::sym(&word)),
        };
        let open = self.eat("(");
        let a = self.sum()?;
        let comma = self.eat(",");
        let b = self.sum()?;
        (open && comma && self.eat(")")).then(|| call(&a, &b))
    }

    fn word(&mut self) -> Option<String> {
        let trimmed = self.rest.trim_start();
        let end = trimmed
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(trimmed.len());
        self.rest = &trimmed[end..];
        (end > 0).then(|| trimmed[..end].to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(expr: &DimExpr, text: &str) {
        assert_eq!(expr.to_string(), text);
        assert_eq!(DimExpr::parse(text).as_ref(), Some(expr), "{text}");
    }

    #[test]
    fn canonical_text() {
        let (n, s) = (DimExpr::sym("N"), DimExpr::sym("S"));
        let c = |v: i64| DimExpr::Const(v);
        round_trip(&n.mul(&s).mul(&c(2)).sub(&c(3)), "2*N*S - 3");
        round_trip(&s.add(&c(1)).floor_div(&c(2)), "floordiv(S + 1, 2)");
        round_trip(&DimExpr::sym("batch size's"), "'batch size''s'");
        round_trip(&n.maximum(&c(1)), "max(1, N)");
        round_trip(&n.sub(&n), "0");
        round_trip(&DimExpr::unknown(7), "?7");
        assert_eq!(s.mul(&c(4)).floor_div(&c(2)).to_string(), "2*S");
        assert_eq!(n.mul(&s).floor_div(&s).to_string(), "N");
    }

    #[test]
    fn overflow_is_opaque_and_equals_nothing() {
        let huge = DimExpr::Const(i64::MAX).add(&DimExpr::Const(1));
        assert_eq!(huge, DimExpr::Opaque);
        assert!(!huge.provably_equals(&huge.clone()));
    }

    #[test]
    fn floor_division_floors() {
        for (a, b, q) in [(7, 2, 3), (-7, 2, -4), (7, -2, -4), (-7, -2, 3), (6, -2, -3)] {
            assert_eq!(DimExpr::Const(a).floor_div(&DimExpr::Const(b)), DimExpr::Const(q), "{a} / {b}");
            let r = DimExpr::Const(a).modulo(&DimExpr::Const(b)).as_const().unwrap();
            assert_eq!(r, a - b * q);
        }
    }

    #[test]
    fn signs() {
        for (text, expected) in
            [("N", true), ("N - 1", false), ("max(0, N - 1)", true), ("min(1, N)*2 + ?3", true)]
        {
            assert_eq!(DimExpr::parse(text).map(|e| e.is_nonnegative()), Some(expected), "{text}");
        }
    }

    #[test]
    fn absorption() {
        let (s, limit) = (DimExpr::sym("S"), DimExpr::Const(512));
        assert_eq!(s.maximum(&limit.minimum(&s)), s);
        assert_eq!(s.minimum(&limit.maximum(&s)), s);
        assert_eq!(limit.minimum(&s).maximum(&limit), limit);
        // Of one kind they nest.
        assert_eq!(s.minimum(&limit.minimum(&s)), limit.minimum(&s));
    }

    #[test]
    fn binding() {
        let expr = DimExpr::parse("floordiv(H + 1, 2)*W - ?3 + min(H, 4)").unwrap();
        let bound = expr.bind(&|name| match name {
            "H" => Some(9),
            "W" => Some(10),
            _ => None,
        });
        assert_eq!(bound.to_string(), "-?3 + 54");
        assert!(bound.depends_on_data());
    }

    #[test]
    fn what_grows_without_end_becomes_opaque() {
        let mut wide = DimExpr::sym("N");
        let mut deep = DimExpr::sym("N");
        for _ in 0..200 {
            let half = wide.add(&DimExpr::Const(1)).floor_div(&DimExpr::Const(2));
            wide = half.add(&wide.floor_div(&DimExpr::Const(3)));
            deep = deep.sub(&DimExpr::Const(1)).floor_div(&DimExpr::Const(2));
            for expr in [&wide, &deep] {
                assert_eq!(DimExpr::parse(&expr.to_string()).as_ref(), Some(expr));
            }
        }
        assert_eq!((wide, deep), (DimExpr::Opaque, DimExpr::Opaque));
    }

    #[test]
    fn nonsense_does_not_parse() {
        for text in ["", "1 +", "min(1)", "((", "'a", "floordiv(1, 2", "2 N", "+"] {
            assert_eq!(DimExpr::parse(text), None, "{text}");
        }
        let deep = "min(".repeat(1000);
        assert_eq!(DimExpr::parse(&deep), None);
    }
}
