//! From queries and keys to an attention.
//!
//! The product of queries and keys has two axes of positions, which no row has. It is followed through scaling, capping,
//! masking and softmax to its product with values, and becomes SequenceAttention if that is what was computed: each query
//! sees the keys up to its own position, all of them or the last `window`. A masked score is -infinity, or so low that its
//! weight is +0 beside any score that is a number of sensible size. The factor of the products is the export's; a division by
//! c becomes a product with 1 / c, rounded once. Guards against rows without any key (IsNaN) never act and are dropped.
//! Queries, keys and values of f16 and bf16 are widened and attended in f32; only the result is rounded to their type.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::grid::{Form, boolean, merged, piece};
use super::rows::{extents_of, float_of};
use super::view::{Extent, Factor, View};
use super::{Call, Refusal, Value, Walk, What, elements};
use crate::graph::ValueId;

/// A score at most this low is masked: f16 has none below -65504.
const MASKED_MAX: f32 = -6e4;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Times(f32),
    Over(f32),
    Tanh,
}

/// Products of queries `[.., S, d]` and keys `[.., d, S]`.
#[derive(Clone)]
pub struct Scores {
    query: View,
    key: View,
    steps: Vec<Step>,
    /// What was added, or where it was replaced, by distance.
    masks: Vec<Vec<(i64, bool)>>,
}

/// Their softmax.
#[derive(Clone)]
pub struct Weights(Scores);

/// Which keys are seen.
struct Shape {
    scale: f32,
    softcap: f32,
    window: usize,
}

impl Scores {
    fn shape(&self) -> Result<Shape, Refusal> {
        let reciprocal = crate::decoder::reciprocal;
        let (mut scale, mut softcap) = (1.0, 0.0);
        let mut rest = &self.steps[..];
        if let [first, after @ ..] = rest
            && !matches!(after, [Step::Tanh, ..])
        {
            scale = match *first {
                Step::Times(c) => c,
                Step::Over(c) => reciprocal(c),
                Step::Tanh => return Err(Refusal::new("scores are limited by no factor")),
            };
            rest = after;
        }
        match rest {
            [] => {}
            [limit, Step::Tanh, Step::Times(c)] => {
                let same = match *limit {
                    Step::Over(by) => by.to_bits() == c.to_bits(),
                    Step::Times(by) => by.to_bits() == reciprocal(*c).to_bits(),
                    Step::Tanh => false,
                };
                if !same {
                    return Err(Refusal::new("scores are limited by two different numbers"));
                }
                softcap = *c;
            }
            _ => return Err(Refusal::new("scores are scaled more than once")),
        }
        let mut starts: Vec<i64> =
            self.masks.iter().flatten().map(|(from, _)| *from).chain([i64::MIN, 0]).collect();
        starts.sort_unstable();
        starts.dedup();
        let kept = |d: i64| {
            self.masks.iter().all(|pieces| {
                let after = pieces.partition_point(|(from, _)| *from <= d);
                pieces[after.max(1) - 1].1
            })
        };
        let mut window = None;
        for start in starts {
            match (start < 0, kept(start), window) {
                (true, true, _) => return Err(Refusal::new("a query sees keys after it")),
                (true, false, _) | (false, true, None) => {}
                (false, true, Some(_)) => return Err(Refusal::new("a query sees keys beyond a gap")),
                (false, false, None) => window = Some(start),
                (false, false, Some(_)) => {}
            }
        }
        let window = match window {
            None => 0,
            Some(0) => return Err(Refusal::new("a query does not see its own key")),
            Some(window) => window as usize,
        };
        Ok(Shape { scale, softcap, window })
    }
}

impl Walk<'_> {
    /// The product of two values with rows.
    pub(super) fn scores(&mut self, call: &Call<'_>, query: View, key: View) -> Result<Vec<Value>, Refusal> {
        let rank = call.ty().shape.len();
        let fits = query.rank() == rank
            && key.rank() == rank
            && rank >= 3
            && query.is_rows(rank - 2)
            && key.is_rows(rank - 1);
        if !fits {
            return Err(Refusal::new("it is a product of rows, and not of queries and keys"));
        }
        Ok(call.gives(What::Scores(Scores { query, key, steps: Vec::new(), masks: Vec::new() })))
    }

    pub(super) fn on_scores(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let name = call.def.name;
        let at = call.inputs.iter().position(|value| {
            value.as_ref().is_some_and(|v| matches!(v.what, What::Scores(_) | What::Weights(_)))
        });
        let at = at.ok_or_else(|| Refusal::new("it has no scores"))?;
        let what = call.input(at)?.what.clone();
        if name == "Identity" || (matches!(name, "Cast" | "CastLike") && is_attended(call.ty().dtype)) {
            return Ok(call.gives(what));
        }
        match what {
            What::Scores(scores) => self.of_scores(call, at, scores),
            What::Weights(weights) => self.of_weights(call, at, weights),
            _ => Err(Refusal::new("it has no scores")),
        }
    }

    fn of_scores(&mut self, call: &Call<'_>, at: usize, mut scores: Scores) -> Result<Vec<Value>, Refusal> {
        let name = call.def.name;
        let rank = call.ty().shape.len();
        let other = |index: usize| call.input(index);
        let number = |value: &Value| -> Option<f32> {
            match &value.what {
                What::Grid(Form::Same(element)) => float_of(element),
                _ => float_of(&value.tensor()?),
            }
        };
        match name {
            "Mul" | "Div" if at == 0 || name == "Mul" => {
                let by = number(other(1 - at)?).ok_or_else(|| Refusal::new("its factor is not known"))?;
                if !scores.masks.is_empty() {
                    return Err(Refusal::new("scores are scaled after they are masked"));
                }
                if by.to_bits() != 1.0f32.to_bits() {
                    scores.steps.push(if name == "Mul" { Step::Times(by) } else { Step::Over(by) });
                }
            }
            "Tanh" if scores.masks.is_empty() => scores.steps.push(Step::Tanh),
            "Add" => {
                let mask = elements::form_of(other(1 - at)?, rank)?;
                scores.masks.push(by_distance(&mask, rank, |element| match float_of(element) {
                    Some(0.0) => Ok(true),
                    Some(low) if low <= MASKED_MAX => Ok(false),
                    _ => Err(Refusal::new("what it adds to scores is no mask")),
                })?);
            }
            "Where" if at > 0 => {
                let condition = elements::form_of(other(0)?, rank)?;
                let low = number(other(3 - at)?).filter(|&low| low <= MASKED_MAX);
                if low.is_none() {
                    return Err(Refusal::new("what it puts in the place of scores is no mask"));
                }
                scores.masks.push(by_distance(&condition, rank, |element| {
                    Ok((element.bytes()[0] != 0) == (at == 1))
                })?);
            }
            "Softmax" if call.axis(call.node.attrs.int("axis"), rank)? == rank - 1 => {
                scores.shape()?;
                return Ok(call.gives(What::Weights(Weights(scores))));
            }
            _ => return Err(Refusal::new("scores of queries and keys are not followed through it")),
        }
        Ok(call.gives(What::Scores(scores)))
    }

    fn of_weights(&mut self, call: &Call<'_>, at: usize, weights: Weights) -> Result<Vec<Value>, Refusal> {
        match call.def.name {
            // Every query sees its own key.
            "IsNaN" => Ok(call.gives(What::Grid(Form::Same(boolean(false))))),
            "Where" if at > 0 => {
                let chosen = match elements::form_of(call.input(0)?, call.ty().shape.len())? {
                    Form::Same(condition) => 2 - usize::from(condition.bytes()[0] != 0),
                    _ => return Err(Refusal::new("weights are masked")),
                };
                let what = call.input(chosen)?.what.clone();
                Ok(call.gives(what))
            }
            "MatMul" if at == 0 => {
                let value = call.input(1)?.clone();
                let value = self.rows_of(&value)?.ok_or_else(|| Refusal::new("its values have no rows"))?;
                let Scores { query, key, .. } = &weights.0;
                let shape = weights.0.shape()?;
                let key = key.transposed(&swapped(key.rank()));
                let attended = self.attend(query, &key, &value, &shape)?;
                Ok(call.gives(What::Rows(attended)))
            }
            _ => Err(Refusal::new("weights of keys are not followed through it")),
        }
    }

    /// Queries, keys and values with the positions as their last axis but one, heads before.
    fn attend(&mut self, query: &View, key: &View, value: &View, shape: &Shape) -> Result<View, Refusal> {
        let rank = query.rank();
        for view in [query, key, value] {
            if !is_attended(view.dtype) {
                let problem =
                    format!("its type is {}; attention in f32, f16 and bf16 is converted", view.dtype);
                return Err(Refusal(problem));
            }
            if view.rank() != rank || !view.is_rows(rank - 2) {
                return Err(Refusal::new("queries, keys and values have not the same axes"));
            }
        }
        let axes: Vec<usize> = (0..rank - 2).chain([rank - 1]).collect();
        let heads: usize = (0..rank - 2).map(|axis| query.extent(axis)).product();
        let (k, kv_heads) = self.shared(key, heads)?;
        let (v, value_heads) = self.shared(value, heads)?;
        if kv_heads != value_heads {
            return Err(Refusal::new("keys and values have different numbers of heads"));
        }
        let e = value.extent(rank - 1);
        let q = self.flat(query, &axes)?;
        let attrs = Attrs::new()
            .with_int("heads", heads as i64)
            .with_int("kv_heads", kv_heads as i64)
            .with_float("scale", shape.scale)
            .with_int("window", shape.window as i64)
            .with_float("softcap", shape.softcap);
        let mut wide = Vec::new();
        for (id, view) in [(q, query), (k, key), (v, value)] {
            wide.push(self.out.in_type(id, view.dtype, DType::F32)?);
        }
        let base = self.out.node("SequenceAttention", attrs, &wide)?;
        let base = self.out.in_type(base, DType::F32, value.dtype)?;
        let mut extents: Vec<Extent> = (0..rank - 2).map(|axis| Extent::Size(query.extent(axis))).collect();
        extents.push(Extent::Rows);
        extents.push(Extent::Size(e));
        let mut view = View::plain(base, value.dtype, &extents);
        view.shape = vec![heads * e];
        Ok(view)
    }

    /// Rows `[S, product of axes]`.
    fn flat(&mut self, view: &View, axes: &[usize]) -> Result<ValueId, Refusal> {
        let extents: Vec<Extent> = std::iter::once(Extent::Rows)
            .chain([Extent::Size(axes.iter().map(|&axis| view.extent(axis)).product())])
            .collect();
        let rows = (0..view.rank()).find(|&axis| view.is_rows(axis));
        let perm: Vec<usize> = rows.into_iter().chain(axes.iter().copied()).collect();
        let flat = view.transposed(&perm).reshaped(&extents)?;
        self.out.gather(&flat, &[Some(1)])
    }

    /// Keys or values without the copies that queries share, and their number of heads.
    fn shared(&mut self, view: &View, heads: usize) -> Result<(ValueId, usize), Refusal> {
        let rank = view.rank();
        let mut factors: Vec<Factor> = (0..rank - 2).flat_map(|axis| view.axes[axis].clone()).collect();
        let mut copies = 1;
        while let Some(Factor::Copies(number)) = factors.last() {
            copies *= number;
            factors.pop();
        }
        let kv_heads: usize =
            factors.iter().map(|f| if let Factor::Channel { size, .. } = f { *size } else { 1 }).product();
        let single = factors.iter().any(|f| matches!(f, Factor::Copies(_)));
        if single || kv_heads * copies != heads {
            return Err(Refusal(format!("{heads} heads do not share {kv_heads} one after the other")));
        }
        let axes = vec![vec![Factor::Rows], factors, view.axes[rank - 1].clone()];
        let view = view.with_axes(axes);
        Ok((self.flat(&view, &[1, 2])?, kv_heads))
    }

    /// The operator Attention, its past being empty.
    pub(super) fn attention(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let attrs = &call.node.attrs;
        let mut views = Vec::new();
        for (index, heads) in [(0, "q_num_heads"), (1, "kv_num_heads"), (2, "kv_num_heads")] {
            let value = call.input(index)?.clone();
            let view = self.rows_of(&value)?.ok_or_else(|| Refusal::new("an input has no rows"))?;
            views.push(match view.rank() {
                4 => view,
                3 => {
                    let heads = usize::try_from(attrs.int(heads)).unwrap_or(0).max(1);
                    let d = view.extent(2) / heads;
                    let four = [Extent::Size(1), Extent::Rows, Extent::Size(heads), Extent::Size(d)];
                    view.reshaped(&four)?.transposed(&[0, 2, 1, 3])
                }
                _ => return Err(Refusal::new("an input has not three or four axes")),
            });
        }
        if let Some(past) = [4, 5].into_iter().find(|&i| call.optional(i).is_some_and(|v| !v.is_empty())) {
            return Err(Refusal(format!("input {past} is no empty past")));
        }
        if call.optional(6).is_some() {
            return Err(Refusal::new("its keys are counted by an input"));
        }
        let (left, right) = (attrs.int("left_window_size"), attrs.int("right_window_size"));
        let mut masks = Vec::new();
        if attrs.int("is_causal") != 0 || right == 0 {
            masks.push(vec![(i64::MIN, false), (0, true)]);
        }
        if let Some(after) = left.checked_add(1).filter(|_| left >= 0) {
            masks.push(vec![(i64::MIN, true), (after, false)]);
        }
        if let Some(mask) = call.optional(3) {
            let own = mask.ty.shape.len();
            let form = elements::form_of(mask, own.max(2))?;
            masks.push(by_distance(&form, own.max(2), |element| match element.dtype() {
                DType::Bool => Ok(element.bytes()[0] != 0),
                _ => match float_of(element) {
                    Some(0.0) => Ok(true),
                    Some(low) if low <= MASKED_MAX => Ok(false),
                    _ => Err(Refusal::new("what it adds to scores is no mask")),
                },
            })?);
        }
        let scale = match attrs.opt_float("scale") {
            Some(scale) => scale,
            None => crate::decoder::attention_scale(views[0].extent(3)),
        };
        let scores = Scores { query: views[0].clone(), key: views[1].clone(), steps: Vec::new(), masks };
        let shape = Shape { scale, softcap: attrs.float("softcap"), ..scores.shape()? };
        // Heads of keys are shared by neighbours.
        let repeat = |view: &View, heads: usize| {
            let mut axes = view.axes.clone();
            let own = view.extent(1).max(1);
            if heads > own {
                axes[1].push(Factor::Copies(heads / own));
            }
            view.with_axes(axes)
        };
        let heads = views[0].extent(1);
        let (key, value) = (repeat(&views[1], heads), repeat(&views[2], heads));
        let y = self.attend(&views[0], &key, &value, &shape)?;
        let y = match call.ty().shape.len() {
            3 => y.transposed(&[0, 2, 1, 3]).reshaped(&extents_of(&call.ty().shape)?)?,
            _ => y,
        };
        let mut whats = vec![What::Rows(y)];
        whats.extend(views.drain(1..).map(What::Rows));
        Ok(call.gives_all(whats))
    }
}

/// Whether attention of this type is that of f32 but for roundings.
fn is_attended(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

fn swapped(rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    perm
}

/// Which keys a mask keeps, by distance.
fn by_distance(
    form: &Form,
    rank: usize,
    keeps: impl Fn(&repops::Tensor) -> Result<bool, Refusal>,
) -> Result<Vec<(i64, bool)>, Refusal> {
    let pieces = match form {
        Form::Same(value) => vec![(i64::MIN, value.clone())],
        Form::Steps { query, key, pieces } if (*query, *key) == (rank - 2, rank - 1) => pieces.clone(),
        _ => return Err(Refusal::new("its mask is not one of queries and keys")),
    };
    let pieces = merged(pieces);
    pieces.iter().map(|(from, _)| Ok((*from, keeps(piece(&pieces, *from))?))).collect()
}
