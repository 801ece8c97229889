//! RNN, GRU and LSTM.
//!
//! Invariant: each step's contractions have the order of all contractions; everything around them is
//! element by element, each operation rounded, in the wide type. State is carried in the wide type and
//! rounded only where it is stored.

use super::conv::check_bias;
use super::float::{Float, Real, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::lane_op::UnaryOp;
use crate::reduce::{Accumulate, contract};
use crate::tensor::Tensor;

const ACTIVATIONS: AttrDef =
    AttrDef::optional("activations", AttrKind::Strs, "Names; ONNX's choice when absent.");
const ALPHA: AttrDef =
    AttrDef::optional("activation_alpha", AttrKind::Floats, "For those that have an alpha, in their order.");
const BETA: AttrDef =
    AttrDef::optional("activation_beta", AttrKind::Floats, "For those that have a beta, in their order.");
const CLIP: AttrDef = AttrDef::optional("clip", AttrKind::Float, "Limit of what enters an activation.");
const DIRECTION: AttrDef = AttrDef::default(
    "direction",
    AttrKind::Str,
    || AttrValue::Str("forward".to_string()),
    "forward, reverse or bidirectional.",
);
const HIDDEN: AttrDef =
    AttrDef::optional("hidden_size", AttrKind::Int, "Extent of the state; R's last when absent.");
const LAYOUT: AttrDef =
    AttrDef::default("layout", AttrKind::Int, || AttrValue::Int(0), "1: batch before sequence.");

pub static RNN: OpDef = OpDef {
    id: 418,
    name: "RNN",
    version: 1,
    doc: "Inputs X [seq, batch, input], W [dirs, hidden, input], R [dirs, hidden, hidden], B [dirs, 2 * hidden], \
          sequence_lens i32 [batch], initial_h [dirs, batch, hidden]. H[t] = f(((X[t] * W' + H[t-1] * R') + Wb) + \
          Rb): each product a contraction over its index, without B no additions of it; with clip, f is \
          applied to minimum(maximum(a, -clip), clip) of its argument a. activations names f regardless of \
          case: Tanh (when absent), Sigmoid, Relu, which is maximum(x, +0), LeakyRelu, ThresholdedRelu, HardSigmoid, Elu, Softsign, \
          Softplus as these operators, Affine = alpha * x + beta and ScaledTanh = alpha * tanh(beta * x), each operation rounded. Each that has an alpha takes \
          the next of activation_alpha, or its operator's default when there is none left; so for beta. sequence_lens are limited to 0 .. \
          seq. Outputs Y [seq, dirs, batch, hidden] (all H; +0 after a sequence's \
          end) and Y_h (the last H of each sequence; an empty one keeps initial_h). reverse runs each \
          sequence from its own end. layout 1 moves batch to the front. f64 in f64, f16 and bf16 in f32 with \
          the state in f32, rounded at the outputs. Order: SPEC.md, Contractions. Source: ONNX RNN-14, -22.",
    inputs: Arity::between(3, 6),
    outputs: Arity::between(1, 2),
    attrs: &[ALPHA, BETA, ACTIVATIONS, CLIP, DIRECTION, HIDDEN, LAYOUT],
    class: OpClass::General,
    infer: |ctx| infer(ctx, Cell::Rnn),
    eval: |ctx| with_float!(ctx.input(0).dtype, run(ctx, Cell::Rnn)),
};

pub static GRU: OpDef = OpDef {
    id: 419,
    name: "GRU",
    version: 1,
    doc: "Inputs as RNN with W [dirs, 3 * hidden, input], R [dirs, 3 * hidden, hidden], B [dirs, 6 * hidden]; gates z, \
          r, h in this order. z and r = f(((X[t] * W' + H[t-1] * R') + Wb) + Rb); h = g(((X[t] * W' + (r * H[t-1]) * \
          R') + Wb) + Rb), or with linear_before_reset h = g((X[t] * W' + Wb) + r * (H[t-1] * R' + Rb)); H[t] = (1 \
          - z) * h + z * H[t-1]. Matrix products are contractions; clip (of the arguments of f and \
          g), names of activations (f, g; Sigmoid and Tanh when absent), sequence_lens, outputs, types, direction \
          and layout as RNN. Source: ONNX GRU-14, -22.",
    inputs: Arity::between(3, 6),
    outputs: Arity::between(1, 2),
    attrs: &[
        ALPHA,
        BETA,
        ACTIVATIONS,
        CLIP,
        DIRECTION,
        HIDDEN,
        LAYOUT,
        AttrDef::default("linear_before_reset", AttrKind::Int, || AttrValue::Int(0), "1: see h."),
    ],
    class: OpClass::General,
    infer: |ctx| infer(ctx, Cell::Gru),
    eval: |ctx| with_float!(ctx.input(0).dtype, run(ctx, Cell::Gru)),
};

pub static LSTM: OpDef = OpDef {
    id: 420,
    name: "LSTM",
    version: 1,
    doc: "Inputs as RNN with W [dirs, 4 * hidden, input], R [dirs, 4 * hidden, hidden], B [dirs, 8 * hidden], then \
          initial_c like initial_h and peepholes P [dirs, 3 * hidden] (i, o, f); gates i, o, f, c in this order. \
          a = ((X[t] * W' + H[t-1] * R') + Wb) + Rb for each; i = f(a_i + P_i * C[t-1]); f = f(a_f + P_f * C[t-1]), \
          or 1 - i with input_forget; c = g(a_c); C[t] = f * C[t-1] + i * c; o = f(a_o + P_o * C[t]); H[t] = o * \
          h(C[t]). Without P no peephole term. Matrix products are contractions; clip (of the arguments \
          of f and g, not of h), names of activations (f, g, h; Sigmoid, Tanh and Tanh when absent), sequence_lens, \
          outputs (and Y_c, the last C, which is kept like H), types, direction and layout as RNN. Source: ONNX LSTM-14, -22.",
    inputs: Arity::between(3, 8),
    outputs: Arity::between(1, 3),
    attrs: &[
        ALPHA,
        BETA,
        ACTIVATIONS,
        CLIP,
        DIRECTION,
        HIDDEN,
        AttrDef::default("input_forget", AttrKind::Int, || AttrValue::Int(0), "1: couples i and f."),
        LAYOUT,
    ],
    class: OpClass::General,
    infer: |ctx| infer(ctx, Cell::Lstm),
    eval: |ctx| with_float!(ctx.input(0).dtype, run(ctx, Cell::Lstm)),
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    pub fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }

    /// The activations of one direction when none are given.
    pub fn defaults(self) -> &'static [Activation] {
        match self {
            Cell::Rnn => &[Activation::Tanh],
            Cell::Gru => &[Activation::Sigmoid, Activation::Tanh],
            Cell::Lstm => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        }
    }

    /// The activations of all directions.
    pub fn activations(self, attrs: &Attrs, dirs: usize) -> Result<Vec<Activation>, OpError> {
        let Some(AttrValue::Strs(names)) = attrs.get("activations") else {
            return Ok(self.defaults().repeat(dirs));
        };
        let list = |name: &str| match attrs.get(name) {
            Some(AttrValue::Floats(values)) => values.clone().into_iter(),
            _ => Vec::new().into_iter(),
        };
        let (mut alphas, mut betas) = (list("activation_alpha"), list("activation_beta"));
        let of = |name: &String| {
            let mut alpha = |default: Option<f32>| {
                let missing = || OpError::attr("activation_alpha", format!("{name} has none"));
                alphas.next().or(default).ok_or_else(missing)
            };
            let mut beta = |default: Option<f32>| {
                let missing = || OpError::attr("activation_beta", format!("{name} has none"));
                betas.next().or(default).ok_or_else(missing)
            };
            Ok(match name.to_ascii_lowercase().as_str() {
                "sigmoid" => Activation::Sigmoid,
                "tanh" => Activation::Tanh,
                "relu" => Activation::Relu,
                "leakyrelu" => Activation::Unary(UnaryOp::LeakyRelu { alpha: alpha(Some(0.01))? }),
                "thresholdedrelu" => Activation::Unary(UnaryOp::ThresholdedRelu { alpha: alpha(Some(1.0))? }),
                "hardsigmoid" => Activation::Unary(UnaryOp::HardSigmoid {
                    alpha: alpha(Some(0.2))?,
                    beta: beta(Some(0.5))?,
                }),
                "elu" => Activation::Unary(UnaryOp::Elu { alpha: alpha(Some(1.0))? }),
                "softsign" => Activation::Unary(UnaryOp::Softsign),
                "softplus" => Activation::Unary(UnaryOp::Softplus),
                "affine" => Activation::Affine { alpha: alpha(None)?, beta: beta(None)? },
                "scaledtanh" => Activation::ScaledTanh { alpha: alpha(None)?, beta: beta(None)? },
                _ => return Err(OpError::attr("activations", format!("{name:?} is not supported"))),
            })
        };
        let all: Vec<Activation> = names.iter().map(of).collect::<Result<_, _>>()?;
        if all.len() != self.defaults().len() * dirs {
            return Err(OpError::attr("activations", format!("has {} entries", all.len())));
        }
        Ok(all)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Activation {
    Sigmoid,
    Tanh,
    Relu,
    Unary(UnaryOp),
    Affine { alpha: f32, beta: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
}

impl Activation {
    pub fn apply<W: Real>(self, x: W) -> W {
        match self {
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.larger(W::ZERO),
            Activation::Unary(op) => x.unary(op),
            Activation::Affine { alpha, beta } => {
                W::from_f64(f64::from(alpha)) * x + W::from_f64(f64::from(beta))
            }
            Activation::ScaledTanh { alpha, beta } => {
                W::from_f64(f64::from(alpha)) * (W::from_f64(f64::from(beta)) * x).tanh()
            }
        }
    }
}

/// Whether each direction runs in reverse.
pub(super) fn directions(attrs: &Attrs) -> Result<&'static [bool], OpError> {
    match attrs.str("direction") {
        "forward" => Ok(&[false]),
        "reverse" => Ok(&[true]),
        "bidirectional" => Ok(&[false, true]),
        other => Err(OpError::attr("direction", format!("{other:?} is none of ONNX's"))),
    }
}

fn infer(ctx: &InferCtx<'_>, cell: Cell) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let dirs = directions(ctx.attrs)?.len();
    cell.activations(ctx.attrs, dirs)?;
    if ctx.attrs.opt_float("clip").is_some_and(|clip| clip.is_nan() || clip < 0.0) {
        return Err(OpError::attr("clip", "is negative or NaN"));
    }
    let ([first, second, input], [.., hidden]) = (ctx.shape(0)?, ctx.shape(2)?) else {
        return Err(OpError::shape("X needs three axes, R at least one"));
    };
    let batch_first = ctx.attrs.int("layout") != 0;
    let (seq, batch) = if batch_first { (second, first) } else { (first, second) };
    if let (Some(given), Some(found)) = (ctx.attrs.opt_int("hidden_size"), hidden.as_const())
        && given != found
    {
        return Err(OpError::attr("hidden_size", format!("is {given}, but R's extent is {found}")));
    }
    let times = |n: usize| hidden.mul(&DimExpr::from(n));
    let dirs = DimExpr::from(dirs);
    let gates = cell.gates();
    let state = match batch_first {
        true => vec![batch.clone(), dirs.clone(), hidden.clone()],
        false => vec![dirs.clone(), batch.clone(), hidden.clone()],
    };
    let expected = [
        (1, vec![dirs.clone(), times(gates), input.clone()]),
        (2, vec![dirs.clone(), times(gates), hidden.clone()]),
        (3, vec![dirs.clone(), times(2 * gates)]),
        (5, state.clone()),
        (6, state.clone()),
        (7, vec![dirs.clone(), times(3)]),
    ];
    for (index, shape) in expected.iter().filter(|(index, _)| ctx.optional(*index).is_some()) {
        ctx.require_same(*index, dtype)?;
        let found = ctx.shape(*index)?;
        let differ = |(a, b): (&DimExpr, &DimExpr)| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
        if found.len() != shape.len() || found.iter().zip(shape).any(differ) {
            return Err(OpError::shape(format!("input {index} does not fit the others")));
        }
    }
    if ctx.optional(4).is_some() {
        ctx.require_same(4, DType::I32)?;
        check_bias(ctx.shape(4)?, batch)?;
    }
    let all = match batch_first {
        true => vec![batch.clone(), seq.clone(), dirs, hidden.clone()],
        false => vec![seq.clone(), dirs, batch.clone(), hidden.clone()],
    };
    let state = Inferred::new(dtype, state);
    Ok(vec![Inferred::new(dtype, all), state.clone(), state])
}

/// What enters an activation.
pub(super) fn clipped<W: Real>(x: W, clip: Option<W>) -> W {
    match clip {
        Some(clip) => x.larger(-clip).smaller(clip),
        None => x,
    }
}

/// The weights of one direction, and how its cell computes.
struct Direction<'a, W> {
    cell: Cell,
    activations: &'a [Activation],
    w: &'a [W],
    r: &'a [W],
    /// Wb of all gates, then Rb.
    bias: Option<&'a [W]>,
    peepholes: Option<&'a [W]>,
    input: usize,
    hidden: usize,
    clip: Option<W>,
    /// linear_before_reset or input_forget.
    variant: bool,
}

impl<W: Real> Direction<'_, W> {
    fn activate(&self, index: usize, x: W) -> W {
        self.activations[index].apply(clipped(x, self.clip))
    }

    fn input_part(&self, row: usize, x: &[W]) -> W {
        contract(self.input, |p| Some((x[p], self.w[row * self.input + p])))
    }

    fn state_part(&self, row: usize, h: &[W]) -> W {
        contract(self.hidden, |p| Some((h[p], self.r[row * self.hidden + p])))
    }

    fn biased(&self, value: W, row: usize, recurrent: bool) -> W {
        let first = if recurrent { self.cell.gates() * self.hidden } else { 0 };
        self.bias.map_or(value, |bias| value + bias[first + row])
    }

    /// ((x * W' + h * R') + Wb) + Rb of one row.
    fn gate(&self, row: usize, x: &[W], h: &[W]) -> W {
        let sum = self.input_part(row, x) + self.state_part(row, h);
        self.biased(self.biased(sum, row, false), row, true)
    }

    /// One step: the new state in place of the old.
    fn step(&self, x: &[W], h: &mut Vec<W>, c: &mut [W]) {
        let n = self.hidden;
        *h = match self.cell {
            Cell::Rnn => (0..n).map(|j| self.activate(0, self.gate(j, x, h))).collect(),
            Cell::Gru => self.gru(x, h),
            Cell::Lstm => (0..n).map(|j| self.lstm(j, x, h, &mut c[j])).collect(),
        };
    }

    fn gru(&self, x: &[W], h: &[W]) -> Vec<W> {
        let n = self.hidden;
        let gate =
            |g: usize| -> Vec<W> { (0..n).map(|j| self.activate(0, self.gate(g * n + j, x, h))).collect() };
        let (z, r) = (gate(0), gate(1));
        let reset: Vec<W> = (0..n).map(|j| r[j] * h[j]).collect();
        (0..n)
            .map(|j| {
                let row = 2 * n + j;
                let argument = if self.variant {
                    let recurrent = self.biased(self.state_part(row, h), row, true);
                    self.biased(self.input_part(row, x), row, false) + r[j] * recurrent
                } else {
                    self.gate(row, x, &reset)
                };
                let candidate = self.activate(1, argument);
                (W::ONE - z[j]) * candidate + z[j] * h[j]
            })
            .collect()
    }

    fn lstm(&self, j: usize, x: &[W], h: &[W], c: &mut W) -> W {
        let n = self.hidden;
        let gate = |g: usize| self.gate(g * n + j, x, h);
        let peek = |value: W, g: usize, c: W| self.peepholes.map_or(value, |p| value + p[g * n + j] * c);
        let input = self.activate(0, peek(gate(0), 0, *c));
        let forget = if self.variant { W::ONE - input } else { self.activate(0, peek(gate(2), 2, *c)) };
        let candidate = self.activate(1, gate(3));
        *c = forget * *c + input * candidate;
        let output = self.activate(0, peek(gate(1), 1, *c));
        // The clip is for what enters the gates; the cell's own value is not limited.
        output * self.activations[2].apply(*c)
    }
}

/// A direction, a sample, the number of the step (from 0), H and C after it.
pub(super) type SeeState<'a, W> = &'a mut dyn FnMut(usize, usize, usize, &[W], &[W]);

fn run<T: Float>(ctx: &EvalCtx<'_>, cell: Cell) -> Result<Vec<Tensor>, OpError> {
    run_seen::<T>(ctx, cell, &mut |_, _, _, _, _| {})
}

/// Runs the operator and shows every state.
pub(super) fn run_seen<T: Float>(
    ctx: &EvalCtx<'_>,
    cell: Cell,
    see: SeeState<'_, T::Wide>,
) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let batch_first = ctx.attrs.int("layout") != 0;
    let (seq, batch) = if batch_first { (x.shape[1], x.shape[0]) } else { (x.shape[0], x.shape[1]) };
    let (input, hidden) = (x.shape[2], ctx.input(2).shape[2]);
    let reversed = directions(ctx.attrs)?;
    let (dirs, gates) = (reversed.len(), cell.gates());
    let activations = cell.activations(ctx.attrs, dirs)?;
    let read = |index: usize| ctx.optional(index).map(wide_elements::<T::Wide>);
    let xs = wide_elements::<T::Wide>(x);
    let (w, r) = (wide_elements::<T::Wide>(ctx.input(1)), wide_elements::<T::Wide>(ctx.input(2)));
    let (bias, peepholes, h0, c0) = (read(3), read(7), read(5), read(6));
    let variant = match cell {
        Cell::Rnn => false,
        Cell::Gru => ctx.attrs.int("linear_before_reset") != 0,
        Cell::Lstm => ctx.attrs.int("input_forget") != 0,
    };
    let clip = ctx.attrs.opt_float("clip").map(|clip| T::Wide::from_f64(f64::from(clip)));
    let (all_shape, state_shape) = match batch_first {
        true => ([batch, seq, dirs, hidden], [batch, dirs, hidden]),
        false => ([seq, dirs, batch, hidden], [dirs, batch, hidden]),
    };
    let mut y = Tensor::zeros(T::DTYPE, &all_shape)?;
    let mut last_h = Tensor::zeros(T::DTYPE, &state_shape)?;
    let mut last_c = Tensor::zeros(T::DTYPE, &state_shape)?;
    let lengths = ctx.optional(4).map(|l| l.as_slice::<i32>());
    let per_dir = cell.defaults().len();
    for (d, (b, reverse)) in
        reversed.iter().enumerate().flat_map(|(d, reverse)| (0..batch).map(move |b| (d, (b, *reverse))))
    {
        let direction = Direction {
            cell,
            activations: &activations[d * per_dir..][..per_dir],
            w: &w[d * gates * hidden * input..][..gates * hidden * input],
            r: &r[d * gates * hidden * hidden..][..gates * hidden * hidden],
            bias: bias.as_deref().map(|bias| &bias[d * 2 * gates * hidden..][..2 * gates * hidden]),
            peepholes: peepholes.as_deref().map(|p| &p[d * 3 * hidden..][..3 * hidden]),
            input,
            hidden,
            clip,
            variant,
        };
        let state = if batch_first { b * dirs + d } else { d * batch + b } * hidden;
        let initial = |from: &Option<Vec<T::Wide>>| match from {
            Some(values) => values[state..][..hidden].to_vec(),
            None => vec![T::Wide::ZERO; hidden],
        };
        let (mut h, mut c) = (initial(&h0), initial(&c0));
        let length = lengths.map_or(seq, |l| (l[b].max(0) as usize).min(seq));
        for step in 0..length {
            let t = if reverse { length - 1 - step } else { step };
            let (from, to) = match batch_first {
                true => (b * seq + t, (b * seq + t) * dirs + d),
                false => (t * batch + b, (t * dirs + d) * batch + b),
            };
            direction.step(&xs[from * input..][..input], &mut h, &mut c);
            see(d, b, step, &h, &c);
            for (out, value) in y.as_mut_slice::<T>()[to * hidden..][..hidden].iter_mut().zip(&h) {
                *out = T::narrow(*value);
            }
        }
        for j in 0..hidden {
            last_h.as_mut_slice::<T>()[state + j] = T::narrow(h[j]);
            last_c.as_mut_slice::<T>()[state + j] = T::narrow(c[j]);
        }
    }
    Ok(vec![y, last_h, last_c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, run_optional};
    use crate::{lane_op::UnaryOp, scalar};

    fn sigmoid(x: f32) -> f32 {
        UnaryOp::Sigmoid.apply(x)
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        contract(a.len(), |p| Some((a[p], b[p])))
    }

    #[test]
    fn activations_take_their_parameters_in_order() {
        let (x, w, r) = (noise(&[1, 1, 2], 1), noise(&[2, 3, 2], 2), noise(&[2, 3, 3], 3));
        let go = |names: &[&str], alpha: &[f32], beta: &[f32]| {
            let mut attrs = Attrs::new().with_str("direction", "bidirectional");
            attrs.insert("activations", AttrValue::Strs(names.iter().map(|n| n.to_string()).collect()));
            attrs.insert("activation_alpha", AttrValue::Floats(alpha.to_vec()));
            attrs.insert("activation_beta", AttrValue::Floats(beta.to_vec()));
            crate::ops::check::try_run("RNN", attrs, &[&x, &w, &r])
        };
        let plain = go(&["Affine", "Affine"], &[1.0, 1.0], &[0.0, 0.0]).unwrap();
        let mixed = go(&["ScaledTanh", "LeakyRelu"], &[2.0, 0.5], &[0.25]).unwrap();
        for (at, (a, y)) in plain.as_slice::<f32>().iter().zip(mixed.as_slice::<f32>()).enumerate() {
            let expected = match at < 3 {
                true => 2.0 * Real::tanh(0.25 * a),
                false if *a < 0.0 => 0.5 * a,
                false => *a,
            };
            assert_eq!(*y, expected, "{at}");
        }
        assert!(go(&["Affine", "Tanh"], &[], &[]).is_err());
        assert!(go(&["Softmax", "Tanh"], &[], &[]).is_err());
    }

    #[test]
    fn lstm_follows_the_formula() {
        // 300 inputs: two chunks of a contraction.
        let (x, w, r, b) =
            (noise(&[2, 1, 300], 1), noise(&[1, 8, 300], 2), noise(&[1, 8, 2], 3), noise(&[1, 16], 4));
        let p = noise(&[1, 6], 5);
        let inputs = [Some(&x), Some(&w), Some(&r), Some(&b), None, None, None, Some(&p)];
        let out = run_optional("LSTM", &Attrs::new(), &inputs, 3).unwrap();
        let of = |t: &Tensor| t.as_slice::<f32>().to_vec();
        let (xv, wv, rv, bv, pv) = (of(&x), of(&w), of(&r), of(&b), of(&p));
        let (mut h, mut c) = (vec![0.0f32; 2], vec![0.0f32; 2]);
        for t in 0..2 {
            let x = &xv[t * 300..][..300];
            let gate = |g: usize, j: usize, h: &[f32]| {
                let row = g * 2 + j;
                dot(x, &wv[row * 300..][..300]) + dot(h, &rv[row * 2..][..2]) + bv[row] + bv[8 + row]
            };
            let old = h.clone();
            for j in 0..2 {
                let i = sigmoid(gate(0, j, &old) + pv[j] * c[j]);
                let f = sigmoid(gate(2, j, &old) + pv[4 + j] * c[j]);
                c[j] = f * c[j] + i * scalar::tanh(gate(3, j, &old));
                h[j] = sigmoid(gate(1, j, &old) + pv[2 + j] * c[j]) * scalar::tanh(c[j]);
                assert_eq!(out[0].as_slice::<f32>()[t * 2 + j].to_bits(), h[j].to_bits());
            }
        }
        assert_bits(&out[1], &[1, 1, 2], &h);
        assert_bits(&out[2], &[1, 1, 2], &c);
    }

    #[test]
    fn directions_lengths_and_layout() {
        let (x, w, r) = (noise(&[3, 2, 4], 1), noise(&[2, 15, 4], 2), noise(&[2, 15, 5], 3));
        let lengths = Tensor::from_slice(&[2], &[3i32, 2]);
        let both = Attrs::new().with_str("direction", "bidirectional");
        let inputs = [Some(&x), Some(&w), Some(&r), None, Some(&lengths)];
        let out = run_optional("GRU", &both, &inputs, 2).unwrap();
        let y = out[0].as_slice::<f32>();
        // Past the end of the second sequence nothing but zeros.
        assert!((0..2).all(|d| (0..5).all(|j| y[(4 + d) * 10 + 5 + j].to_bits() == 0)));
        // The reverse direction is a forward one over the sequence turned around.
        let reverse_w = Tensor::from_slice(&[1, 15, 4], &w.as_slice::<f32>()[60..]);
        let reverse_r = Tensor::from_slice(&[1, 15, 5], &r.as_slice::<f32>()[75..]);
        let second: Vec<f32> =
            [1, 0].iter().flat_map(|t| x.as_slice::<f32>()[t * 8 + 4..][..4].to_vec()).collect();
        let second = Tensor::from_slice(&[2, 1, 4], &second);
        let alone =
            run_optional("GRU", &Attrs::new(), &[Some(&second), Some(&reverse_w), Some(&reverse_r)], 2)
                .unwrap();
        assert_eq!(alone[1].as_slice::<f32>(), &out[1].as_slice::<f32>()[15..]);
        // Batch first: the same numbers elsewhere.
        let moved: Vec<f32> =
            (0..24).map(|i| x.as_slice::<f32>()[i / 4 % 3 * 8 + i / 12 * 4 + i % 4]).collect();
        let moved = Tensor::from_slice(&[2, 3, 4], &moved);
        let inputs = [Some(&moved), Some(&w), Some(&r), None, Some(&lengths)];
        let out = run_optional("GRU", &both.with_int("layout", 1), &inputs, 2).unwrap();
        for i in 0..60 {
            let (b, t, d, j) = (i / 30, i / 10 % 3, i / 5 % 2, i % 5);
            assert_eq!(out[0].as_slice::<f32>()[i].to_bits(), y[((t * 2 + d) * 2 + b) * 5 + j].to_bits());
        }
    }

    #[test]
    fn misfits_are_errors() {
        let (x, w, r) = (noise(&[1, 1, 2], 1), noise(&[1, 3, 2], 2), noise(&[1, 3, 3], 3));
        let go = |attrs: Attrs, inputs: &[Option<&Tensor>]| run_optional("RNN", &attrs, inputs, 1);
        let plain = [Some(&x), Some(&w), Some(&r)];
        assert!(go(Attrs::new(), &plain).is_ok());
        assert!(go(Attrs::new().with_int("hidden_size", 4), &plain).is_err());
        assert!(go(Attrs::new().with_str("direction", "bidirectional"), &plain).is_err());
        assert!(
            go(Attrs::new().with("activations", AttrValue::Strs(vec!["Affine".to_string()])), &plain)
                .is_err()
        );
        assert!(go(Attrs::new().with_float("clip", -1.0), &plain).is_err());
        assert!(go(Attrs::new(), &[Some(&x), Some(&r), Some(&r)]).is_err());
    }
}
