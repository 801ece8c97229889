//! Draws inputs, constants and nodes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use half::{bf16, f16};
use repops::attrs::{AttrKind, AttrValue, Attrs};
use repops::ops::{self, EvalCtx, OpClass, OpDef, Presence};
use repops::packed::Strings;
use repops::tensor::byte_len;
use repops::{DType, Tensor, TensorView};

use super::fitted::{Fitted, TEXTS, is_fitted};
use super::{ELEMENTS_MAX, Known, Node, Origin, Taste};

/// A sequence of numbers that a seed decides: SplitMix64.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5bf0_3635)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Types of values; more common ones more often.
pub(super) const TYPES: [DType; 16] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I64,
    DType::I64,
    DType::I32,
    DType::U8,
    DType::I8,
    DType::Bool,
    DType::U32,
];

/// The values that nodes may take.
pub struct Pool {
    pub values: Vec<Known>,
    /// Those that the next node may take: blocks see more than what follows them.
    pub(super) visible: Vec<usize>,
    /// Random operators so far: importing a model numbers them in their order.
    pub(super) streams: i64,
    /// In the block of a node.
    pub(super) is_inside: bool,
    /// Shapes that inputs and constants have, or parts of which.
    base: Vec<usize>,
    wild: bool,
}

impl Pool {
    pub fn new(numbers: &mut Numbers, taste: Taste) -> Pool {
        let rank = 2 + numbers.below(3);
        let extents = [1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 33];
        let base =
            (0..rank).map(|axis| if axis + 2 < rank { 1 + numbers.below(3) } else { numbers.pick(&extents) });
        let mut pool = Pool {
            values: Vec::new(),
            visible: Vec::new(),
            streams: 0,
            is_inside: false,
            base: base.collect(),
            wild: taste.wild,
        };
        let symbolic = numbers.one_in(3);
        for _ in 0..2 + numbers.below(3) {
            let dtype = numbers.pick(&TYPES);
            let shape = pool.shape(numbers);
            let tensor = pool.tensor(dtype, &shape, numbers);
            pool.values.push(Known { tensor, origin: Origin::Input { symbolic }, is_read: false });
        }
        // What conditions, trip counts and positions may be; and texts.
        let others = [
            (6, Tensor::from_bools(&[], &[numbers.one_in(2)])),
            (8, Tensor::scalar(numbers.below(3) as i64)),
            (10, pool.strings(numbers)),
        ];
        for (rarity, tensor) in others {
            if numbers.one_in(rarity) {
                pool.values.push(Known { tensor, origin: Origin::Input { symbolic }, is_read: false });
            }
        }
        pool.visible = (0..pool.values.len()).collect();
        pool
    }

    fn strings(&self, numbers: &mut Numbers) -> Tensor {
        let shape = [1 + numbers.below(3)];
        Strings::new(&shape, (0..shape[0]).map(|_| numbers.pick(&TEXTS))).into_tensor()
    }

    /// The base, a suffix of it, or it with axes of 1; rarely one with nothing in it.
    fn shape(&self, numbers: &mut Numbers) -> Vec<usize> {
        let start = if numbers.one_in(2) { 0 } else { numbers.below(self.base.len() + 1) };
        let mut shape = self.base[start..].to_vec();
        for extent in &mut shape {
            if numbers.one_in(6) {
                *extent = 1;
            }
        }
        if self.wild && numbers.one_in(40) && !shape.is_empty() {
            let at = numbers.below(shape.len());
            shape[at] = 0;
        }
        shape
    }

    #[expect(clippy::float_arithmetic, reason = "draws numbers")]
    fn float(&self, numbers: &mut Numbers) -> f64 {
        if self.wild && numbers.one_in(12) {
            return numbers.pick(&[
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                1e-40,
                -1e-40,
                1e30,
                -1e30,
                88.5,
                0.5,
                65504.0,
            ]);
        }
        // Exact in every float type, never 0, and no two often alike.
        let magnitude = (1 + numbers.below(127)) as f64 / 64.0;
        if numbers.one_in(2) { magnitude } else { -magnitude }
    }

    pub(super) fn tensor(&self, dtype: DType, shape: &[usize], numbers: &mut Numbers) -> Tensor {
        let count: usize = shape.iter().product();
        let floats: Vec<f64> = (0..count).map(|_| self.float(numbers)).collect();
        let small = if self.wild { 7 } else { 4 };
        let ints: Vec<i64> = (0..count).map(|_| numbers.below(2 * small) as i64 - small as i64 / 2).collect();
        let mut tensor = match dtype {
            DType::F32 => Tensor::from_slice(shape, &floats.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            DType::F64 => Tensor::from_slice(shape, &floats),
            DType::F16 => {
                Tensor::from_slice(shape, &floats.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>())
            }
            DType::BF16 => {
                Tensor::from_slice(shape, &floats.iter().map(|&v| bf16::from_f64(v)).collect::<Vec<_>>())
            }
            DType::Bool => Tensor::from_bools(shape, &ints.iter().map(|&v| v & 1 == 1).collect::<Vec<_>>()),
            DType::I32 => Tensor::from_slice(shape, &ints.iter().map(|&v| v as i32).collect::<Vec<_>>()),
            DType::U32 => {
                Tensor::from_slice(shape, &ints.iter().map(|&v| v.unsigned_abs() as u32).collect::<Vec<_>>())
            }
            DType::U8 => Tensor::from_slice(
                shape,
                &ints.iter().map(|&v| (v.unsigned_abs() * 17) as u8).collect::<Vec<_>>(),
            ),
            DType::I8 => Tensor::from_slice(shape, &ints.iter().map(|&v| (v * 13) as i8).collect::<Vec<_>>()),
            _ => Tensor::from_slice(shape, &ints),
        };
        tensor.canonicalize();
        tensor
    }

    /// An operand: mostly a value that there is, else a new constant, or none. A new one has the number that it will get.
    fn operand(&self, index: usize, new: &mut Vec<Tensor>, numbers: &mut Numbers) -> usize {
        let own = self.values.len() + new.len();
        if numbers.below(10) < 7 || (index == 0 && !numbers.one_in(20)) {
            // Late values more often, so that graphs are deep.
            let at = numbers.below(self.visible.len());
            return self.visible[at.max(numbers.below(self.visible.len()))];
        }
        new.push(match numbers.below(6) {
            // Axes, shapes, sizes, pads, indices.
            0 | 1 => {
                let values: Vec<i64> =
                    (0..1 + numbers.below(4)).map(|_| numbers.below(7) as i64 - 2).collect();
                Tensor::from_slice(&[values.len()], &values)
            }
            2 => Tensor::scalar(numbers.below(5) as i64),
            3 => {
                let dtype = self.values[numbers.pick(&self.visible)].tensor.dtype();
                self.tensor(if dtype == DType::Packed { DType::F32 } else { dtype }, &[], numbers)
            }
            4 => {
                let like = self.values[numbers.pick(&self.visible)].tensor.shape().to_vec();
                let from = numbers.below(like.len() + 1);
                let dtype = numbers.pick(&TYPES);
                self.tensor(dtype, &like[from..], numbers)
            }
            _ => {
                let shape = self.shape(numbers);
                let dtype = numbers.pick(&TYPES);
                self.tensor(dtype, &shape, numbers)
            }
        });
        own
    }

    /// Operands among all values, and attributes by their kinds.
    fn plain(&self, def: &'static OpDef, numbers: &mut Numbers) -> Fitted {
        let mut new = Vec::new();
        let most = def.inputs.max.min(def.inputs.min + 3);
        let count = def.inputs.min + numbers.below(most - def.inputs.min + 1);
        let mut inputs: Vec<Option<usize>> = (0..count)
            .map(|index| {
                let absent = index >= def.inputs.min && index + 1 < count && numbers.one_in(3);
                if absent { None } else { Some(self.operand(index, &mut new, numbers)) }
            })
            .collect();
        if def.name == "ConstantOfShape" && count == 2 {
            // An attribute in ONNX.
            let dtype = numbers.pick(&TYPES);
            inputs[1] = Some(self.values.len() + new.len());
            new.push(self.tensor(dtype, &[1], numbers));
        }
        Fitted { attrs: attributes(def, numbers), inputs, new }
    }

    /// A node of the row, if what was drawn is one.
    pub fn node(
        &mut self,
        def: &'static OpDef,
        rows: &[&'static OpDef],
        numbers: &mut Numbers,
    ) -> Option<Node> {
        if matches!(def.class, OpClass::Control) {
            return self.control(def, rows, numbers);
        }
        let drawn = if is_fitted(def) { self.fitted(def, numbers)? } else { self.plain(def, numbers) };
        let Fitted { attrs, inputs, new } = drawn;
        let outputs = def.outputs.min + numbers.below(def.outputs.max.min(3) - def.outputs.min.min(3) + 1);
        let mut attrs = def.check_attrs(&attrs).ok()?;
        let is_random = attrs.get("stream").is_some();
        if is_random {
            attrs.insert("stream", AttrValue::Int(self.streams));
        }
        let tensor = |at: usize| match at.checked_sub(self.values.len()) {
            None => &self.values[at].tensor,
            Some(at) => &new[at],
        };
        let views: Vec<Option<TensorView<'_>>> =
            inputs.iter().map(|at| at.map(|at| tensor(at).view())).collect();
        let found = compute(def, &attrs, &views, outputs)?;
        if found.iter().any(|tensor| !is_wanted(tensor)) {
            return None;
        }
        self.streams += i64::from(is_random);
        for &at in inputs.iter().flatten() {
            if let Some(known) = self.values.get_mut(at) {
                known.is_read = true;
            }
        }
        let constants =
            new.into_iter().map(|tensor| Known { tensor, origin: Origin::Constant, is_read: true });
        let origin = if self.is_inside { Origin::Inner } else { Origin::Node };
        let constants_at = self.values.len();
        self.values.extend(constants);
        let first = self.values.len();
        let found = found.into_iter().take(outputs);
        self.values.extend(found.map(|tensor| Known { tensor, origin, is_read: false }));
        self.visible.extend(constants_at..self.values.len());
        Some(Node { def, attrs, inputs, outputs: (first..first + outputs).collect(), blocks: Vec::new() })
    }
}

/// The outputs, where the operator takes these inputs.
pub(super) fn compute(
    def: &'static OpDef,
    attrs: &Attrs,
    views: &[Option<TensorView<'_>>],
    outputs: usize,
) -> Option<Vec<Tensor>> {
    let inferred = ops::infer_known(def, attrs, views, outputs).ok()?;
    for output in &inferred {
        if let Some(extents) = output.ty.extents() {
            byte_len(output.ty.dtype, &extents).ok().filter(|len| *len <= 8 * ELEMENTS_MAX)?;
        }
    }
    let ctx = EvalCtx { attrs, inputs: views, outputs };
    // A panic is a finding; the run that checks the graph meets it again.
    let found = catch_unwind(AssertUnwindSafe(|| def.evaluate(&ctx)));
    let found =
        found.unwrap_or_else(|_| panic!("{} panics with {attrs:?} on {:?}", def.name, types(views))).ok()?;
    (found.len() >= outputs).then_some(found)
}

fn types(views: &[Option<TensorView<'_>>]) -> Vec<Option<(DType, Vec<usize>)>> {
    views.iter().map(|view| view.map(|view| (view.dtype, view.shape.to_vec()))).collect()
}

/// Small enough; in bytes where it is packed.
pub(super) fn is_wanted(tensor: &Tensor) -> bool {
    tensor.len() <= ELEMENTS_MAX
}

/// Attributes of the kinds that the row declares. What some must be is tried first.
fn attributes(def: &OpDef, numbers: &mut Numbers) -> Attrs {
    let mut attrs = Attrs::new();
    for declared in def.attrs {
        let required = matches!(declared.presence, Presence::Required);
        // ONNX has no such attribute: importing a model decides it.
        if declared.name == "stream" || !required && !numbers.one_in(3) {
            continue;
        }
        attrs.insert(declared.name, value(declared.name, declared.kind, numbers));
    }
    attrs
}

fn value(name: &str, kind: AttrKind, numbers: &mut Numbers) -> AttrValue {
    const TEXTS: [&str; 24] = [
        "NOTSET",
        "SAME_UPPER",
        "SAME_LOWER",
        "VALID",
        "constant",
        "reflect",
        "edge",
        "wrap",
        "nearest",
        "linear",
        "cubic",
        "none",
        "tanh",
        "add",
        "mul",
        "max",
        "min",
        "DCR",
        "CRD",
        "RIGHT",
        "LEFT",
        "half_pixel",
        "asymmetric",
        "sum",
    ];
    /// Attributes that are 0 or 1 and nothing else.
    const FLAGS: [&str; 34] = [
        "align_corners",
        "allowzero",
        "antialias",
        "ceil_mode",
        "center_point_box",
        "count_include_pad",
        "detect_negative",
        "detect_positive",
        "exclude_outside",
        "exclusive",
        "fmod",
        "input_forget",
        "interleaved",
        "inverse",
        "is_case_sensitive",
        "is_causal",
        "keepdims",
        "largest",
        "layout",
        "linear_before_reset",
        "new_axis",
        "noop_with_empty_axes",
        "onesided",
        "periodic",
        "reverse",
        "saturate",
        "select_last_index",
        "sorted",
        "stash_type",
        "storage_order",
        "training_mode",
        "transA",
        "transB",
        "upper",
    ];
    const EQUATIONS: [&str; 5] = ["ij,jk->ik", "...ij,...jk->...ik", "ij->ji", "...i->...", "bij,bjk->bik"];
    match (name, kind) {
        ("to" | "dtype" | "output_dtype", _) => AttrValue::Int(i64::from(numbers.pick(&TYPES).code())),
        ("axis", _) => AttrValue::Int(numbers.below(5) as i64 - 2),
        ("perm", _) => {
            let mut perm: Vec<i64> = (0..2 + numbers.below(3) as i64).collect();
            for at in (1..perm.len()).rev() {
                let other = numbers.below(at + 1);
                perm.swap(at, other);
            }
            AttrValue::Ints(perm)
        }
        ("kernel_shape", _) => {
            AttrValue::Ints((0..1 + numbers.below(2)).map(|_| 1 + numbers.below(3) as i64).collect())
        }
        ("equation", _) => AttrValue::Str(numbers.pick(&EQUATIONS).to_string()),
        (flag, AttrKind::Int) if FLAGS.contains(&flag) => AttrValue::Int(numbers.below(2) as i64),
        (_, AttrKind::Int) => AttrValue::Int(numbers.below(4) as i64),
        (_, AttrKind::Ints) => {
            let length = numbers.pick(&[1, 2, 2, 4]);
            AttrValue::Ints((0..length).map(|_| numbers.below(3) as i64).collect())
        }
        (_, AttrKind::Float) => AttrValue::Float(numbers.pick(&[0.0, 0.125, 0.5, 1.0, 2.0, -0.5])),
        (_, AttrKind::Floats) => {
            AttrValue::Floats((0..1 + numbers.below(3)).map(|_| numbers.pick(&[0.5, 1.0, 2.0])).collect())
        }
        (_, AttrKind::Str) => AttrValue::Str(numbers.pick(&TEXTS).to_string()),
        (_, AttrKind::Strs) => {
            AttrValue::Strs((0..1 + numbers.below(2)).map(|_| numbers.pick(&TEXTS).to_string()).collect())
        }
    }
}
