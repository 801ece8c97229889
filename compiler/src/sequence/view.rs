//! Values with one row a position, as an export's axes show them.
//!
//! An export has batch, heads and positions wherever it likes; a sequence program has positions first. A [`View`] says how
//! each axis of the export's value is read from a value `[S, ..]` of the program, so that reshaping, transposing and repeating
//! cost nothing until an operator needs elements in an order of its own.

use repops::dtype::DType;

use crate::graph::ValueId;

use super::Refusal;

/// A part of an axis, the outermost one first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Factor {
    /// The positions.
    Rows,
    /// Elements of a row, `stride` apart.
    Channel { size: usize, stride: usize },
    /// The same element again.
    Copies(usize),
}

impl Factor {
    fn size(self) -> Option<usize> {
        match self {
            Factor::Rows => None,
            Factor::Channel { size, .. } | Factor::Copies(size) => Some(size),
        }
    }
}

/// An axis; without factors its extent is 1.
pub type Axis = Vec<Factor>;

#[derive(Clone, Debug)]
pub struct View {
    /// A value of the program, `[S, ..shape]`.
    pub base: ValueId,
    pub shape: Vec<usize>,
    pub dtype: DType,
    pub axes: Vec<Axis>,
}

/// What an axis of a reshaped value is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    Rows,
    Size(usize),
    /// The positions, and as many elements of each.
    RowsTimes(usize),
}

impl View {
    /// A base whose rows are in row-major order of the axes that are not `Rows`.
    pub fn plain(base: ValueId, dtype: DType, extents: &[Extent]) -> View {
        let shape: Vec<usize> = extents
            .iter()
            .filter_map(|extent| match extent {
                Extent::Size(size) | Extent::RowsTimes(size) if *size != 1 => Some(*size),
                _ => None,
            })
            .collect();
        let mut stride: usize = shape.iter().product();
        let axes = extents
            .iter()
            .map(|extent| match *extent {
                Extent::Rows => vec![Factor::Rows],
                Extent::Size(1) => Vec::new(),
                Extent::Size(size) => {
                    stride /= size.max(1);
                    vec![Factor::Channel { size, stride }]
                }
                Extent::RowsTimes(size) => {
                    stride /= size.max(1);
                    vec![Factor::Rows, Factor::Channel { size, stride }]
                }
            })
            .collect();
        View { base, shape, dtype, axes }
    }

    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Which axis the positions are.
    pub fn rows_axis(&self) -> Result<usize, Refusal> {
        let found = self.axes.iter().position(|axis| axis.contains(&Factor::Rows));
        let axis = found.ok_or_else(|| Refusal::new("the positions are no axis of its input"))?;
        if self.axes[axis].len() != 1 {
            return Err(Refusal::new("the positions share an axis with others"));
        }
        Ok(axis)
    }

    pub fn is_rows(&self, axis: usize) -> bool {
        self.axes[axis] == [Factor::Rows]
    }

    /// The extent of an axis that is not the positions.
    pub fn extent(&self, axis: usize) -> usize {
        self.axes[axis].iter().filter_map(|factor| factor.size()).product()
    }

    /// An axis of the positions and elements of each becomes two; which one it was.
    pub fn unmerged(&self) -> (View, Option<usize>) {
        let merged = self.axes.iter().position(|axis| axis.len() > 1 && axis[0] == Factor::Rows);
        let Some(at) = merged else { return (self.clone(), None) };
        let mut axes = self.axes.clone();
        let elements = axes[at].split_off(1);
        axes.insert(at + 1, elements);
        (self.with_axes(axes), merged)
    }

    /// The axis `at` and the one after it as one.
    pub fn merged(&self, at: usize) -> View {
        let mut axes = self.axes.clone();
        let elements = axes.remove(at + 1);
        axes[at].extend(elements);
        self.with_axes(axes)
    }

    pub fn transposed(&self, perm: &[usize]) -> View {
        View { axes: perm.iter().map(|&axis| self.axes[axis].clone()).collect(), ..self.clone() }
    }

    pub fn with_axes(&self, axes: Vec<Axis>) -> View {
        View { axes, ..self.clone() }
    }

    /// The view in another shape of as many elements.
    pub fn reshaped(&self, extents: &[Extent]) -> Result<View, Refusal> {
        let mixed = || Refusal::new("it mixes positions with other axes");
        let mut left: Vec<Factor> = self.axes.iter().flatten().copied().collect();
        left.reverse();
        let mut axes = Vec::new();
        for extent in extents {
            let mut axis = Vec::new();
            if !matches!(extent, Extent::Size(_)) {
                match left.pop() {
                    Some(Factor::Rows) => axis.push(Factor::Rows),
                    _ => return Err(mixed()),
                }
            }
            match *extent {
                Extent::Rows => {}
                Extent::Size(size) | Extent::RowsTimes(size) => {
                    let mut wanted = size;
                    while wanted > 1 {
                        let factor = left.pop().ok_or_else(mixed)?;
                        let has = factor.size().ok_or_else(mixed)?;
                        if has <= wanted {
                            if has == 0 || wanted % has != 0 {
                                return Err(mixed());
                            }
                            wanted /= has;
                            axis.push(factor);
                            continue;
                        }
                        if has % wanted != 0 {
                            return Err(mixed());
                        }
                        // The outer part belongs here, the inner one to the next axis.
                        let inner = has / wanted;
                        let (here, rest) = match factor {
                            Factor::Channel { stride, .. } => (
                                Factor::Channel { size: wanted, stride: stride * inner },
                                Factor::Channel { size: inner, stride },
                            ),
                            _ => (Factor::Copies(wanted), Factor::Copies(inner)),
                        };
                        axis.push(here);
                        left.push(rest);
                        wanted = 1;
                    }
                }
            }
            axes.push(axis);
        }
        if left.is_empty() { Ok(self.with_axes(axes)) } else { Err(mixed()) }
    }
}

/// How a base becomes rows in the order of some axes: `apart`, then its axes in the order `perm` (without the
/// positions, which stay first), then `copies` (axis, number) from the last to the first, then `joined`.
#[derive(Debug)]
pub struct Gathering {
    pub apart: Vec<usize>,
    pub perm: Vec<usize>,
    pub copies: Vec<(usize, usize)>,
    pub joined: Vec<usize>,
}

impl View {
    /// What reads the rows as `axes`, each of which may be none: an extent of 1.
    pub fn gathering(&self, axes: &[Option<usize>]) -> Result<Gathering, Refusal> {
        let joined: Vec<usize> = axes.iter().map(|axis| axis.map_or(1, |axis| self.extent(axis))).collect();
        let factors: Vec<Factor> = axes.iter().flatten().flat_map(|&axis| self.axes[axis].clone()).collect();
        if factors.contains(&Factor::Rows) {
            return Err(Refusal::new("the positions are not where rows need them"));
        }
        let mut channels: Vec<(usize, usize)> = Vec::new();
        let mut copies = Vec::new();
        for (at, factor) in factors.iter().enumerate() {
            match *factor {
                Factor::Channel { size, stride } => channels.push((size, stride)),
                Factor::Copies(size) => copies.push((at, size)),
                Factor::Rows => {}
            }
        }
        // Every element of a row once: sizes, in descending order of strides, fill the row.
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(channels[at].1));
        let apart: Vec<usize> = order.iter().map(|&at| channels[at].0).collect();
        let mut stride: usize = self.shape.iter().product();
        for &at in &order {
            stride /= channels[at].0.max(1);
            if stride != channels[at].1 {
                return Err(Refusal::new("it reads a part of its input's elements"));
            }
        }
        if stride > 1 {
            return Err(Refusal::new("it reads a part of its input's elements"));
        }
        let perm = (0..channels.len())
            .map(|at| order.iter().position(|&o| o == at).expect("a permutation"))
            .collect();
        Ok(Gathering { apart, perm, copies, joined })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> View {
        // [1, S, 12] as [1, S, 2, 6], transposed to [1, 2, S, 6].
        let flat = View::plain(ValueId(0), DType::F32, &[Extent::Size(1), Extent::Rows, Extent::Size(12)]);
        let four = [Extent::Size(1), Extent::Rows, Extent::Size(2), Extent::Size(6)];
        flat.reshaped(&four).unwrap().transposed(&[0, 2, 1, 3])
    }

    #[test]
    fn heads_come_apart_and_together() {
        let view = heads();
        assert_eq!(view.rows_axis().unwrap(), 2);
        assert_eq!(view.axes[1], [Factor::Channel { size: 2, stride: 6 }]);
        let back = view.transposed(&[0, 2, 1, 3]).reshaped(&[Extent::Rows, Extent::Size(12)]).unwrap();
        let gathering = back.gathering(&[Some(1)]).unwrap();
        assert_eq!((gathering.perm, gathering.joined), (vec![0, 1], vec![12]));
        // The order of elements first needs a transposition.
        let gathering = view.gathering(&[Some(3), Some(1)]).unwrap();
        assert_eq!((gathering.apart, gathering.perm), (vec![2, 6], vec![1, 0]));
    }

    #[test]
    fn positions_stay_whole() {
        let view = heads();
        assert!(view.reshaped(&[Extent::Size(2), Extent::Size(6), Extent::Rows]).is_err());
        assert!(view.reshaped(&[Extent::Size(4), Extent::Rows, Extent::Size(3)]).is_err());
        assert!(view.gathering(&[Some(1)]).is_err(), "half of the elements");
        assert!(view.gathering(&[Some(2)]).is_err(), "the positions");
    }
}
