//! DynamicQuantizeLSTM: an LSTM whose weights are bytes, and whose inputs become bytes as DynamicQuantizeLinear has it.
//!
//! The input of all steps is quantized at once, the state before each step for itself; so every direction is a Scan.

use repops::Tensor;
use repops::dtype::DType;

use super::{cast, extent, known_extent, none, part, range, two};
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

/// Weights of one direction as bytes, with their scale and zero point.
#[derive(Clone, Copy)]
struct Weights {
    bytes: ValueId,
    scale: ValueId,
    zero: ValueId,
}

/// Bytes of floats, with their scale and zero point.
fn quantized(call: &mut Call<'_, '_>, x: ValueId) -> Result<Weights, ImportError> {
    let outputs = call.emit("DynamicQuantizeLinear", none(), &[Some(x)], 3)?;
    Ok(Weights { bytes: outputs[0], scale: outputs[1], zero: outputs[2] })
}

/// `x` times `weights`, as floats.
fn product(call: &mut Call<'_, '_>, x: Weights, weights: Weights) -> Result<ValueId, ImportError> {
    let inputs = [x.bytes, weights.bytes, x.zero, weights.zero].map(Some);
    let sum = call.emit1("MatMulInteger", none(), &inputs)?;
    let sum = cast(call, sum, DType::F32)?;
    let scale = two(call, "Mul", x.scale, weights.scale)?;
    two(call, "Mul", sum, scale)
}

/// Activations f, g, h of each direction.
fn activations(call: &mut Call<'_, '_>, directions: usize) -> Result<Vec<[String; 3]>, ImportError> {
    for name in ["activation_alpha", "activation_beta"] {
        if call.floats(name)?.is_some_and(|values| !values.is_empty()) {
            return Err(call.attribute_error(name, "is not supported"));
        }
    }
    let default = || ["Sigmoid", "Tanh", "Tanh"].map(str::to_string);
    let Some(names) = call.strings("activations")? else { return Ok(vec![default(); directions]) };
    let known = |name: &String| ["Sigmoid", "Tanh", "Relu"].contains(&name.as_str());
    if names.len() != 3 * directions || !names.iter().all(known) {
        return Err(call.attribute_error("activations", format!("{names:?} are not supported")));
    }
    Ok(names.chunks_exact(3).map(|three| [three[0].clone(), three[1].clone(), three[2].clone()]).collect())
}

/// DynamicQuantizeLSTM: X, W [dirs, input, 4 * hidden], R [dirs, hidden, 4 * hidden], then B, sequence_lens, initial_h,
/// initial_c, P as LSTM has them, and scale and zero point of W and of R.
pub fn dynamic_quantize_lstm(call: &mut Call<'_, '_>) -> Outputs {
    let (x, w, r) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (bias, lengths) = (call.optional(3), call.optional(4));
    let (initial, peepholes) = ([call.optional(5), call.optional(6)], call.optional(7));
    let [w_scale, w_zero, r_scale, r_zero] = [8, 9, 10, 11].map(|index| call.input(index));
    let (w, r) = ((w, w_scale?, w_zero?), (r, r_scale?, r_zero?));
    let hidden = call.required_int("hidden_size")?;
    let direction = call.string("direction")?.unwrap_or_else(|| "forward".to_string());
    let reversed: &[bool] = match direction.as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(call.attribute_error("direction", format!("{other:?} is not known"))),
    };
    let activations = activations(call, reversed.len())?;
    if call.int("input_forget")?.unwrap_or(0) != 0 {
        return Err(call.attribute_error("input_forget", "is not supported"));
    }
    if call.float("clip")?.is_some_and(|clip| clip > 0.0) {
        return Err(call.attribute_error("clip", "is not supported"));
    }
    call.rest()?;
    if known_extent(call, w.0, 0)? != reversed.len() as i64 || !(1..1 << 24).contains(&hidden) {
        return Err(call.unsupported("weights that are not of the directions, or a hidden_size out of range"));
    }
    let (steps, batch) = (extent(call, x, 0)?, extent(call, x, 1)?);
    let bytes = quantized(call, x)?;
    // Whether a step is one of the sequence: [steps, batch, 1].
    let inside = match lengths {
        None => None,
        Some(lengths) => {
            let lengths = cast(call, lengths, DType::I64)?;
            let lengths = super::reshaped(call, lengths, &[1, -1, 1])?;
            let step = range(call, steps)?;
            let step = super::reshaped(call, step, &[-1, 1, 1])?;
            Some(two(call, "Less", step, lengths)?)
        }
    };
    let mut of_directions = [Vec::new(), Vec::new(), Vec::new()];
    for (at, &is_reversed) in reversed.iter().enumerate() {
        let index = call.constant(&Tensor::scalar(at as i64));
        let mut side = |call: &mut Call<'_, '_>, x: ValueId| two(call, "Gather", x, index);
        let weights =
            |call: &mut Call<'_, '_>,
             (bytes, scale, zero): (ValueId, ValueId, ValueId),
             side: &mut dyn FnMut(&mut Call<'_, '_>, ValueId) -> Result<ValueId, ImportError>| {
                Ok::<_, ImportError>(Weights {
                    bytes: side(call, bytes)?,
                    scale: side(call, scale)?,
                    zero: side(call, zero)?,
                })
            };
        let w = weights(call, w, &mut side)?;
        let r = weights(call, r, &mut side)?;
        let mut gates = product(call, bytes, w)?;
        if let Some(bias) = bias {
            let bias = side(call, bias)?;
            for (from, to) in [(0, 4 * hidden), (4 * hidden, 8 * hidden)] {
                let half = part(call, bias, 0, from, to)?;
                gates = two(call, "Add", gates, half)?;
            }
        }
        let peepholes = match peepholes {
            Some(peepholes) => Some(side(call, peepholes)?),
            None => None,
        };
        let mut states = Vec::new();
        for given in initial {
            states.push(match given {
                Some(given) => side(call, given)?,
                None => {
                    let hidden = call.constant_ints(&[hidden]);
                    let shape =
                        call.emit1("Concat", none().with_int("axis", 0), &[Some(batch), Some(hidden)])?;
                    let zero = call.constant_floats(&[1], &[0.0]);
                    call.emit1("ConstantOfShape", none(), &[Some(shape), Some(zero)])?
                }
            });
        }
        // Sequences of several lengths all begin in the first step, each with its last row, as their states share a scale.
        let turned = lengths.filter(|_| is_reversed);
        if let Some(lengths) = turned {
            gates = in_reverse(call, gates, lengths)?;
        }
        let cell = Cell { hidden, r, peepholes, names: &activations[at] };
        let block =
            call.block_of(3 + usize::from(inside.is_some()), |call, parameters| cell.step(call, parameters))?;
        let operands: Vec<Option<ValueId>> =
            states.into_iter().chain([gates]).chain(inside).map(Some).collect();
        let scanned = operands.len() - 2;
        let way = i64::from(is_reversed && lengths.is_none());
        let attrs = none()
            .with_int("num_scan_inputs", scanned as i64)
            .with_ints("scan_input_directions", &vec![way; scanned])
            .with_ints("scan_output_directions", &[way]);
        let mut outputs = call.emit_with_blocks("Scan", attrs, &operands, 3, vec![block])?;
        if let Some(lengths) = turned {
            outputs[2] = in_reverse(call, outputs[2], lengths)?;
        }
        for (list, (output, axis)) in
            of_directions.iter_mut().zip([(outputs[2], 1), (outputs[0], 0), (outputs[1], 0)])
        {
            let axis = call.constant_ints(&[axis]);
            list.push(Some(two(call, "Unsqueeze", output, axis)?));
        }
    }
    let mut outputs = Vec::new();
    for (list, axis) in of_directions.iter().zip([1, 0, 0]) {
        outputs.push(call.emit1("Concat", none().with_int("axis", axis), list)?);
    }
    Ok(outputs)
}

/// Rows [steps, batch, ..] of each sequence from its last to its first.
fn in_reverse(call: &mut Call<'_, '_>, rows: ValueId, lengths: ValueId) -> Result<ValueId, ImportError> {
    let lengths = cast(call, lengths, DType::I64)?;
    let attrs = none().with_int("batch_axis", 1).with_int("time_axis", 0);
    call.emit1("ReverseSequence", attrs, &[Some(rows), Some(lengths)])
}

/// What a step of a direction needs besides its states.
struct Cell<'a> {
    hidden: i64,
    r: Weights,
    peepholes: Option<ValueId>,
    /// f, g, h.
    names: &'a [String; 3],
}

impl Cell<'_> {
    /// Parameters H, C, the gates' part from X, and whether the step is inside; gives H, C and the step's output.
    fn step(&self, call: &mut Call<'_, '_>, parameters: &[ValueId]) -> Result<Vec<ValueId>, ImportError> {
        let (h, c, gates, inside) = (parameters[0], parameters[1], parameters[2], parameters.get(3).copied());
        let bytes = quantized(call, h)?;
        let recurrent = product(call, bytes, self.r)?;
        let gates = two(call, "Add", gates, recurrent)?;
        let gate =
            |call: &mut Call<'_, '_>, at: i64| part(call, gates, 1, at * self.hidden, (at + 1) * self.hidden);
        let activated =
            |call: &mut Call<'_, '_>, name: &str, x: ValueId| call.emit1(name, none(), &[Some(x)]);
        let [f, g, h_name] = self.names;
        let input = gate(call, 0)?;
        let input = self.with_peephole(call, input, 0, c)?;
        let input = activated(call, f, input)?;
        let forget = gate(call, 2)?;
        let forget = self.with_peephole(call, forget, 2, c)?;
        let forget = activated(call, f, forget)?;
        let new = gate(call, 3)?;
        let new = activated(call, g, new)?;
        let (kept, added) = (two(call, "Mul", forget, c)?, two(call, "Mul", input, new)?);
        let mut next_c = two(call, "Add", kept, added)?;
        let output = gate(call, 1)?;
        let output = self.with_peephole(call, output, 1, next_c)?;
        let output = activated(call, f, output)?;
        let shown = activated(call, h_name, next_c)?;
        let mut next_h = two(call, "Mul", output, shown)?;
        let mut y = next_h;
        if let Some(inside) = inside {
            let zero = call.constant_floats(&[], &[0.0]);
            let mut chosen =
                |a: ValueId, b: ValueId| call.emit1("Where", none(), &[Some(inside), Some(a), Some(b)]);
            (y, next_h, next_c) = (chosen(next_h, zero)?, chosen(next_h, h)?, chosen(next_c, c)?);
        }
        // A value is one result only.
        let y = call.emit1("Identity", none(), &[Some(y)])?;
        Ok(vec![next_h, next_c, y])
    }

    /// Plus the state times the peephole's weights: those of i, o, f in this order.
    fn with_peephole(
        &self,
        call: &mut Call<'_, '_>,
        gate: ValueId,
        at: i64,
        c: ValueId,
    ) -> Result<ValueId, ImportError> {
        let Some(peepholes) = self.peepholes else { return Ok(gate) };
        let weights = part(call, peepholes, 0, at * self.hidden, (at + 1) * self.hidden)?;
        let seen = two(call, "Mul", weights, c)?;
        two(call, "Add", gate, seen)
    }
}
