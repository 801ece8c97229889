//! Values that follow from positions alone: ranges, masks, and what is computed of them.
//!
//! An element is a function of its coordinates, and what an export makes of positions has few forms: the same everywhere; a
//! linear function of the coordinates and of the number S of positions; or, for masks, a function of the distance between a
//! query's position and a key's that changes at a few distances. Everything here is exact for every S from 1 on.

use repops::Tensor;
use repops::dim::DimExpr;

use super::Refusal;

/// c + s * S + the sum of `along[axis]` * coordinate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Linear {
    pub c: i64,
    pub s: i64,
    pub along: Vec<i64>,
}

/// What a value's elements are. Scalars have no axes.
#[derive(Clone, Debug)]
pub enum Form {
    Same(Tensor),
    Linear(Linear),
    /// By d = coordinate of `query` - coordinate of `key`: from each d on, ascending, the first one from i64::MIN.
    Steps {
        query: usize,
        key: usize,
        pieces: Vec<(i64, Tensor)>,
    },
}

/// The name of the number of positions in types.
pub const POSITIONS: &str = "S";

pub fn positions() -> DimExpr {
    DimExpr::sym(POSITIONS)
}

/// A size as (c, s): c + s * S.
pub fn linear_size(size: &DimExpr) -> Option<(i64, i64)> {
    if let Some(c) = size.as_const() {
        return Some((c, 0));
    }
    let at = |s: i64| size.bind(&|name| (name == POSITIONS).then_some(s)).as_const();
    let (one, two) = (at(1)?, at(2)?);
    let s = two.checked_sub(one)?;
    let c = one.checked_sub(s)?;
    let same = DimExpr::from(s).mul(&positions()).add(&DimExpr::from(c));
    same.provably_equals(size).then_some((c, s))
}

/// How two numbers compare, as far as it is the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sign {
    pub below: bool,
    pub zero: bool,
    pub above: bool,
}

impl Linear {
    pub fn constant(c: i64, rank: usize) -> Linear {
        Linear { c, s: 0, along: vec![0; rank] }
    }

    pub fn plus(&self, other: &Linear, factor: i64) -> Option<Linear> {
        let sum = |a: i64, b: i64| a.checked_add(b.checked_mul(factor)?);
        let along = self.along.iter().zip(&other.along).map(|(&a, &b)| sum(a, b)).collect::<Option<_>>()?;
        Some(Linear { c: sum(self.c, other.c)?, s: sum(self.s, other.s)?, along })
    }

    pub fn times(&self, factor: i64) -> Option<Linear> {
        let along = self.along.iter().map(|a| a.checked_mul(factor)).collect::<Option<_>>()?;
        Some(Linear { c: self.c.checked_mul(factor)?, s: self.s.checked_mul(factor)?, along })
    }

    pub fn as_constant(&self) -> Option<i64> {
        (self.s == 0 && self.along.iter().all(|&a| a == 0)).then_some(self.c)
    }

    /// Which signs it can have, the axes being `shape` long and S at least 1.
    pub fn signs(&self, shape: &[DimExpr]) -> Sign {
        let least = |of: &Linear| -> Option<i64> {
            // Each coordinate is at 0 where that is least, else at its axis' end; then S at 1 or without bound.
            let (mut c, mut s) = (of.c, of.s);
            for (&a, extent) in of.along.iter().zip(shape) {
                if a < 0 {
                    let (extent_c, extent_s) = linear_size(extent)?;
                    c = c.checked_add(a.checked_mul(extent_c - 1)?)?;
                    s = s.checked_add(a.checked_mul(extent_s)?)?;
                }
            }
            (s >= 0).then(|| c.checked_add(s)).flatten()
        };
        let (low, high) = (least(self), self.times(-1).as_ref().and_then(least));
        Sign {
            below: low.is_none_or(|low| low < 0),
            zero: low.is_none_or(|low| low <= 0) && high.is_none_or(|high| high <= 0),
            above: high.is_none_or(|high| high < 0),
        }
    }

    /// `holds` of the signs that it has, as a form of bool.
    pub fn compare(&self, shape: &[DimExpr], holds: impl Fn(i64) -> bool) -> Result<Form, Refusal> {
        let signs = self.signs(shape);
        let possible = [(signs.below, -1), (signs.zero, 0), (signs.above, 1)];
        let mut answers = possible.iter().filter(|(possible, _)| *possible).map(|(_, sign)| holds(*sign));
        let first = answers.next().unwrap_or(false);
        if answers.all(|answer| answer == first) {
            return Ok(Form::Same(boolean(first)));
        }
        let axes: Vec<usize> = (0..self.along.len()).filter(|&axis| self.along[axis] != 0).collect();
        let [query, key] = axes[..] else {
            return Err(Refusal::new("it compares positions with something else than positions"));
        };
        let gain = self.along[query];
        if self.s != 0 || gain.abs() != 1 || self.along[key] != -gain {
            return Err(Refusal::new("it compares more than distances of positions"));
        }
        // gain * d + c changes its sign at d = -c * gain.
        let turn = self.c.checked_mul(-gain).ok_or_else(|| Refusal::new("a distance is out of range"))?;
        let sides = if gain > 0 { [-1, 0, 1] } else { [1, 0, -1] };
        let after = turn.checked_add(1).ok_or_else(|| Refusal::new("a distance is out of range"))?;
        let pieces = vec![
            (i64::MIN, boolean(holds(sides[0]))),
            (turn, boolean(holds(sides[1]))),
            (after, boolean(holds(sides[2]))),
        ];
        Ok(Form::Steps { query, key, pieces: merged(pieces) })
    }
}

pub fn boolean(value: bool) -> Tensor {
    Tensor::from_bools(&[], &[value])
}

/// Neighbours that are equal become one.
pub fn merged(pieces: Vec<(i64, Tensor)>) -> Vec<(i64, Tensor)> {
    let mut out: Vec<(i64, Tensor)> = Vec::new();
    for (from, value) in pieces {
        if out.last().is_none_or(|(_, last)| last.bytes() != value.bytes()) {
            out.push((from, value));
        }
    }
    out
}

/// The value at distance `d`.
pub fn piece(pieces: &[(i64, Tensor)], d: i64) -> &Tensor {
    let after = pieces.partition_point(|(from, _)| *from <= d);
    &pieces[after.max(1) - 1].1
}

impl Form {
    /// The form with its axes numbered anew: axis `a` becomes `to[a]` of `rank`; an axis that goes must not matter.
    pub fn renumbered(&self, to: &[Option<usize>], rank: usize) -> Result<Form, Refusal> {
        let lost = || Refusal::new("it drops an axis of positions");
        Ok(match self {
            Form::Same(value) => Form::Same(value.clone()),
            Form::Linear(linear) => {
                let mut along = vec![0; rank];
                for (&a, to) in linear.along.iter().zip(to).filter(|(a, _)| **a != 0) {
                    along[to.ok_or_else(lost)?] = a;
                }
                Form::Linear(Linear { along, ..*linear })
            }
            Form::Steps { query, key, pieces } => {
                let query = to[*query].ok_or_else(lost)?;
                let key = to[*key].ok_or_else(lost)?;
                Form::Steps { query, key, pieces: pieces.clone() }.ordered()
            }
        })
    }

    /// With the axis of queries before that of keys.
    fn ordered(self) -> Form {
        let Form::Steps { query, key, pieces } = self else { return self };
        if query < key {
            return Form::Steps { query, key, pieces };
        }
        // By -d: each piece from d0 to before d1 becomes one from 1 - d1 on.
        let ends = pieces.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
        let mut turned: Vec<(i64, Tensor)> = pieces
            .iter()
            .zip(ends)
            .map(|((_, value), end)| (end.map_or(i64::MIN, |end| 1 - end), value.clone()))
            .collect();
        turned.reverse();
        Form::Steps { query: key, key: query, pieces: turned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Vec<DimExpr> {
        vec![positions(), positions()]
    }

    fn keeps(form: &Form, d: i64) -> bool {
        match form {
            Form::Same(value) => value.bytes() == [1],
            Form::Steps { pieces, .. } => piece(pieces, d).bytes() == [1],
            Form::Linear(_) => panic!("a comparison gives no number"),
        }
    }

    #[test]
    fn comparisons_of_positions_are_steps() {
        let row = Linear { c: 0, s: 0, along: vec![1, 0] };
        let column = Linear { c: 0, s: 0, along: vec![0, 1] };
        // column <= row, and column > row - 3.
        let causal = column.plus(&row, -1).unwrap().compare(&shape(), |sign| sign <= 0).unwrap();
        let first = Linear { c: -3, ..row.clone() };
        let near = column.plus(&first, -1).unwrap().compare(&shape(), |sign| sign > 0).unwrap();
        for d in -5..6 {
            assert_eq!(keeps(&causal, d), d >= 0, "{d}");
            assert_eq!(keeps(&near, d), d < 3, "{d}");
        }
        let turned = causal.renumbered(&[Some(1), Some(0)], 2).unwrap();
        for d in -5..6 {
            assert_eq!(keeps(&turned, d), d <= 0, "{d}");
        }
    }

    #[test]
    fn what_holds_everywhere_is_found() {
        let column = Linear { c: 0, s: 0, along: vec![0, 1] };
        let last = Linear { c: -1, s: 1, along: vec![0, 0] };
        let after = |a: &Linear, b: &Linear| a.plus(b, -1).unwrap().signs(&shape());
        assert_eq!(after(&column, &last), Sign { below: true, zero: true, above: false });
        let zero = Linear::constant(0, 2);
        assert!(!after(&column, &zero).below);
        // Whether column < 5 depends on S.
        let five = Linear::constant(5, 2);
        assert!(column.plus(&five, -1).unwrap().compare(&shape(), |sign| sign < 0).is_err());
        assert_eq!(linear_size(&positions().mul(&DimExpr::from(3i64))), Some((0, 3)));
        assert_eq!(linear_size(&positions().mul(&positions())), None);
    }
}
