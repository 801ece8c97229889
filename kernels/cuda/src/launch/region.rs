//! Fused regions: by code that a backend has made of them, or, for machines without a compiler, by the kernel that follows
//! instructions.
//!
//! Invariant: a region becomes the same instructions on every machine. Slots are reused as soon as no later
//! instruction reads them, so that a region of hundreds of instructions needs a few of them.

use std::borrow::Cow;
use std::sync::Arc;

use repops::digest::sha256;
use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{self, OpClass};
use repops::region::{Region, RegionBackend, RegionPtx};

use super::axes::{AXES_MAX, Axes, ManyAxes, broadcast_strides};
use crate::device::{Argument, Device, Kernel, Module, ModuleRef, Operand, View};
use crate::table::{Call, InputType, lookup};
use crate::{Error, kernels, lanes};

kernels! {
    REGION = "region";
    REGION_KERNEL = "region";
}

/// What one launch takes; larger regions are computed on the host.
const INPUTS: usize = 16;
const OUTPUTS: usize = 8;
/// Bytes of shared memory that every device gives a block.
const SHARED_BYTES: usize = 48 * 1024;

/// What an instruction does, as the kernel numbers it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    LoadNumber,
    LoadTruth,
    StoreNumber,
    StoreTruth,
    Arithmetic,
    Function,
    Binary,
    Power,
    Compare,
    Classify,
    Logic,
    Not,
    Choose,
    ToNumber,
    ToTruth,
    Clip,
}

/// A region as the kernel's instructions.
#[derive(Debug, PartialEq)]
pub struct Encoded {
    words: Vec<[u32; 8]>,
    slots: usize,
}

impl Encoded {
    /// `None` for a region that the kernel does not take.
    pub fn of(region: &Region) -> Option<Encoded> {
        if region.params.len() > INPUTS || region.results.len() > OUTPUTS {
            return None;
        }
        let params = region.params.len();
        let values = params + region.instructions.len();
        // The last instruction that reads each value; results are stored as soon as they are there.
        let mut last = vec![None; values];
        for (at, instruction) in region.instructions.iter().enumerate() {
            for &arg in &instruction.args {
                *last.get_mut(usize::from(arg))? = Some(at);
            }
        }
        let mut slots = Slots::default();
        let mut places: Vec<Option<u32>> = vec![None; values];
        let mut words = Vec::new();
        for (at, instruction) in region.instructions.iter().enumerate() {
            let mut args = [0; 3];
            for (k, &arg) in instruction.args.iter().enumerate() {
                let value = usize::from(arg);
                let place = match places[value] {
                    Some(place) => place,
                    None if value < params => {
                        let place = slots.take();
                        let truth = region.params[value] == DType::Bool;
                        let what = if truth { What::LoadTruth } else { What::LoadNumber };
                        words.push([what as u32, value as u32, place, 0, 0, 0, 0, 0]);
                        places[value] = Some(place);
                        place
                    }
                    None => return None,
                };
                *args.get_mut(k)? = place;
            }
            for &arg in &instruction.args {
                let value = usize::from(arg);
                if last[value] == Some(at)
                    && let Some(place) = places[value].take()
                {
                    slots.give(place);
                }
            }
            let value = params + at;
            let place = slots.take();
            let (what, function, parameters) = instruction_of(instruction)?;
            let [p, q] = parameters.map(f32::to_bits);
            words.push([what as u32, function, place, args[0], args[1], args[2], p, q]);
            for (output, _) in region.results.iter().enumerate().filter(|(_, r)| usize::from(**r) == value) {
                let truth = instruction.dtype == DType::Bool;
                let what = if truth { What::StoreTruth } else { What::StoreNumber };
                words.push([what as u32, output as u32, 0, place, 0, 0, 0, 0]);
            }
            if last[value].is_some() {
                places[value] = Some(place);
            } else {
                slots.give(place);
            }
        }
        Some(Encoded { words, slots: slots.count as usize })
    }

    fn bytes(&self) -> Vec<u8> {
        self.words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Threads of a block, as many as the slots leave room for.
    fn threads(&self) -> Option<u32> {
        [128u32, 64, 32].into_iter().find(|&threads| self.slots * 4 * threads as usize <= SHARED_BYTES)
    }
}

/// Slots that are free, the lowest first.
#[derive(Default)]
struct Slots {
    free: std::collections::BTreeSet<u32>,
    count: u32,
}

impl Slots {
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    fn give(&mut self, slot: u32) {
        self.free.insert(slot);
    }
}

fn instruction_of(instruction: &repops::region::Instruction) -> Option<(What, u32, [f32; 2])> {
    let def = ops::by_id(instruction.op, instruction.version)?;
    let OpClass::Elementwise(Some(lane)) = def.class else { return None };
    let none = [0.0; 2];
    Some(match lane(&instruction.attrs) {
        LaneOp::Unary(op) => {
            let code = lanes::unary(op);
            let what = if lanes::is_arithmetic(code.code) { What::Arithmetic } else { What::Function };
            (what, code.code, code.parameters)
        }
        LaneOp::Binary(BinaryOp::Pow) => (What::Power, 0, none),
        LaneOp::Binary(op) => (What::Binary, lanes::binary(op), none),
        LaneOp::Compare(op) => (What::Compare, lanes::compare(op), none),
        LaneOp::Classify(op) => (What::Classify, lanes::classify(op), none),
        LaneOp::Logic(op) => (What::Logic, lanes::logic(op), none),
        LaneOp::Not => (What::Not, 0, none),
        LaneOp::Where => (What::Choose, 0, none),
        LaneOp::BoolToF32 => (What::ToNumber, 0, none),
        LaneOp::F32ToBool => (What::ToTruth, 0, none),
        LaneOp::Clip => (What::Clip, 0, none),
        LaneOp::Unfusable => return None,
    })
}

/// A region on the device, ready to be launched on any shapes.
pub struct Prepared<B> {
    made: Option<Made>,
    /// `None` for a region that is too large for the kernel that follows instructions.
    followed: Option<Followed<B>>,
}

/// Code made for a region.
struct Made {
    dense: Kernel,
    broadcast: Kernel,
    lanes: u32,
}

/// Instructions on the device.
struct Followed<B> {
    code: B,
    count: u32,
    threads: u32,
    shared: u32,
}

/// Makes a region ready, by the code of a backend where one is at hand that has some; `None` for a region that neither takes.
pub fn prepare<D: Device>(
    device: &D,
    region: &Region,
    backend: Option<&dyn RegionBackend>,
) -> Result<Option<Prepared<D::Buffer>>, Error> {
    let made = backend.and_then(|backend| backend.ptx(region)).and_then(|ptx| Made::new(&ptx, region));
    let followed = Followed::new(device, region)?;
    Ok((made.is_some() || followed.is_some()).then_some(Prepared { made, followed }))
}

impl Made {
    /// `None` for a text whose entries take other arguments than they are given: the driver would read what is not there.
    fn new(ptx: &RegionPtx, region: &Region) -> Option<Made> {
        let (inputs, outputs) = (region.params.len(), region.results.len());
        let types = |numbers: usize, each: usize| {
            let input = std::iter::once(".u64").chain(std::iter::repeat_n(".u32", each));
            let inputs = (0..inputs).flat_map(move |_| input.clone());
            std::iter::repeat_n(".u32", numbers).chain(inputs).chain(std::iter::repeat_n(".u64", outputs))
        };
        let axes = RegionPtx::AXES;
        let is_dense = parameters(&ptx.text, RegionPtx::DENSE)?.eq(types(1, 1));
        let is_broadcast = parameters(&ptx.text, RegionPtx::BROADCAST)?.eq(types(1 + 3 * axes, axes));
        if !is_dense || !is_broadcast {
            return None;
        }
        let digest = sha256(&[ptx.text.as_bytes()]);
        let name = Cow::Owned(format!("region-{digest}"));
        let module = Arc::new(Module { name, ptx: Cow::Owned(ptx.text.clone()) });
        let kernel = |entry| Kernel { module: ModuleRef::Made(module.clone()), entry };
        Some(Made {
            dense: kernel(RegionPtx::DENSE),
            broadcast: kernel(RegionPtx::BROADCAST),
            // Only how many blocks there are depends on it.
            lanes: ptx.lanes.clamp(1, 64),
        })
    }
}

/// The types of the parameters of an entry, in order; of an array, which has brackets, none that is known.
fn parameters<'t>(text: &'t str, entry: &str) -> Option<impl Iterator<Item = &'t str>> {
    let (_, behind) = text.split_once(&format!(".entry {entry}("))?;
    let (list, _) = behind.split_once(')')?;
    Some(list.split(',').map(|parameter| {
        let mut words = parameter.split_whitespace();
        let type_of = if words.next() == Some(".param") { words.next() } else { None };
        type_of.filter(|_| !parameter.contains('[')).unwrap_or("")
    }))
}

impl<B> Followed<B> {
    fn new<D: Device<Buffer = B>>(device: &D, region: &Region) -> Result<Option<Followed<B>>, Error> {
        let Some(encoded) = Encoded::of(region) else { return Ok(None) };
        let Some(threads) = encoded.threads() else { return Ok(None) };
        let code = device.put(&encoded.bytes())?;
        let shared = 4 * threads * encoded.slots as u32;
        Ok(Some(Followed { code, count: encoded.words.len() as u32, threads, shared }))
    }
}

/// Computes a region from its parameters: they broadcast to the outputs' one shape.
pub fn launch_elementwise<D: Device>(
    device: &D,
    prepared: &Prepared<D::Buffer>,
    inputs: &[View<'_, D::Buffer>],
    outputs: &[View<'_, D::Buffer>],
) -> Result<(), Error> {
    let Some(first) = outputs.first() else { return Ok(()) };
    if first.is_empty() {
        return Ok(());
    }
    match prepared {
        Prepared { made: Some(made), .. } if first.len() < MADE_MAX => made.launch(device, inputs, outputs),
        Prepared { followed: Some(followed), .. } => followed.launch(device, inputs, outputs),
        _ => Err(Error::unsupported("a region of so many elements")),
    }
}

/// Code made for a region takes fewer elements.
const MADE_MAX: usize = 1 << 31;

impl Made {
    fn launch<D: Device>(
        &self,
        device: &D,
        inputs: &[View<'_, D::Buffer>],
        outputs: &[View<'_, D::Buffer>],
    ) -> Result<(), Error> {
        let Some(first) = outputs.first() else { return Ok(()) };
        let strides = inputs.iter().map(|input| broadcast_strides(input.shape, first.shape));
        let axes = ManyAxes::new(first.shape, strides.collect())?;
        let is_dense = axes.extents.len() <= 1;
        let mut arguments = vec![Argument::U32(axes.len)];
        if !is_dense {
            let skipped = RegionPtx::AXES - axes.extents.len();
            for &extent in std::iter::repeat_n(&1, skipped).chain(&axes.extents) {
                let (factor, shift) = divisor(extent);
                arguments.extend([extent, factor, shift].map(Argument::U32));
            }
        }
        for (k, input) in inputs.iter().enumerate() {
            arguments.push(Argument::Pointer { buffer: input.buffer, offset: input.offset });
            let own = axes.strides.iter().map(|strides| strides[k] as u32);
            let skipped = if is_dense { 1 } else { RegionPtx::AXES } - axes.extents.len();
            arguments.extend(std::iter::repeat_n(0, skipped).chain(own).map(Argument::U32));
        }
        for output in outputs {
            arguments.push(Argument::Pointer { buffer: output.buffer, offset: output.offset });
        }
        let (kernel, lanes) = if is_dense { (&self.dense, self.lanes) } else { (&self.broadcast, 1) };
        let threads = RegionPtx::THREADS_MAX;
        let grid = axes.len.div_ceil(threads * lanes).clamp(1, 1 << 20);
        device.launch(kernel, [grid, 1, 1], [threads, 1, 1], 0, &arguments)
    }
}

/// `(m, s)` with `x / extent == x * m >> s` for every `x` below 2^31: with `l` bits of `extent - 1`, `m` is `2^(31 + l) / extent`
/// rounded up, below 2^32, and `s` is `31 + l`. (Granlund, Montgomery: Division by invariant integers using multiplication, 1994, theorem 4.2.)
fn divisor(extent: u32) -> (u32, u32) {
    let bits = 32 - (extent - 1).leading_zeros();
    let factor = (1u64 << (31 + bits)).div_ceil(u64::from(extent));
    (factor as u32, 31 + bits)
}

impl<B> Followed<B> {
    fn launch<D: Device<Buffer = B>>(
        &self,
        device: &D,
        inputs: &[View<'_, B>],
        outputs: &[View<'_, B>],
    ) -> Result<(), Error> {
        let Some(first) = outputs.first() else { return Ok(()) };
        if inputs.len() > INPUTS || outputs.len() > OUTPUTS {
            return Err(Error::unsupported("a region of so many inputs and outputs"));
        }
        // Inputs past those there are repeat the first: they take part in the merging of axes and change nothing.
        let strides: [Vec<i64>; INPUTS] = std::array::from_fn(|k| match inputs.get(k).or(inputs.first()) {
            Some(input) => broadcast_strides(input.shape, first.shape),
            None => vec![0; first.shape.len()],
        });
        let axes = Axes::new(first.shape, strides)?;
        let mut steps = Vec::new();
        let merged: Vec<(u32, [i64; INPUTS])> = axes.axes().collect();
        for k in 0..inputs.len() {
            steps.extend((merged.len()..AXES_MAX).map(|_| 0i64));
            steps.extend(merged.iter().map(|(_, strides)| strides[k]));
        }
        let bytes: Vec<u8> = steps.iter().flat_map(|step| step.to_le_bytes()).collect();
        let table = device.put(&bytes)?;
        let at = |buffer| Argument::Pointer { buffer, offset: 0 };
        let mut arguments =
            vec![at(&self.code), Argument::U32(self.count), at(&table), Argument::U32(axes.len)];
        axes.push_extents(&mut arguments);
        for k in 0..INPUTS {
            let view = inputs.get(k).unwrap_or(first);
            arguments.push(Argument::Pointer { buffer: view.buffer, offset: view.offset });
        }
        for k in 0..OUTPUTS {
            let view = outputs.get(k).unwrap_or(first);
            arguments.push(Argument::Pointer { buffer: view.buffer, offset: view.offset });
        }
        let grid = axes.len.div_ceil(self.threads).clamp(1, 1 << 20);
        device.launch(&REGION_KERNEL, [grid, 1, 1], [self.threads, 1, 1], self.shared, &arguments)
    }
}

/// Computes a step from its inputs: its products, if it has any, each into memory of its own, then the region from these and from
/// the inputs that are left.
/// [`Error::Unsupported`] where the device has no kernel for a product.
pub fn launch<D: Device>(
    device: &D,
    region: &Region,
    prepared: &Prepared<D::Buffer>,
    inputs: &[Option<Operand<'_, D::Buffer>>],
    outputs: &[View<'_, D::Buffer>],
) -> Result<(), Error> {
    let Some(shape) = outputs.first().map(|output| output.shape) else { return Ok(()) };
    let mut launches = Vec::with_capacity(region.products.len());
    for (product, range) in region.products() {
        let inputs = &inputs[range];
        let types: Vec<Option<InputType<'_>>> = inputs
            .iter()
            .map(|operand| {
                let Operand { view, layout, host } = operand.as_ref()?;
                let (dtype, shape) = (view.dtype, view.shape);
                Some(InputType { dtype, shape, layout: *layout, on_host: host.is_some() })
            })
            .collect();
        let launch = lookup::<D>(product.op, product.version, &product.attrs, &types);
        launches.push((
            launch.ok_or_else(|| Error::unsupported("a product without a kernel"))?,
            product,
            inputs,
        ));
    }
    let bytes = (4 * shape.iter().product::<usize>()).max(4);
    let mut products = Vec::with_capacity(launches.len());
    for (launch, product, inputs) in launches {
        let buffer = device.alloc(bytes)?;
        let to = View { buffer: &buffer, offset: 0, dtype: DType::F32, shape };
        let (op, attrs) = (product.def(), &product.attrs);
        launch(device, &Call { op, attrs, inputs, outputs: &[Some(to)] })?;
        products.push(buffer);
    }
    let view = |buffer| View { buffer, offset: 0, dtype: DType::F32, shape };
    let mut params: Vec<View<'_, D::Buffer>> = products.iter().map(view).collect();
    params.extend(inputs[region.first_elementwise()..].iter().flatten().map(|operand| operand.view));
    launch_elementwise(device, prepared, &params, outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use repops::attrs::Attrs;
    use repops::region::Instruction;

    fn step(name: &str, args: &[u16], dtype: DType) -> Instruction {
        let def = ops::by_name(name).unwrap();
        let attrs = def.check_attrs(&Attrs::new()).unwrap();
        Instruction { op: def.id, version: def.version, attrs, args: args.to_vec(), dtype }
    }

    #[test]
    fn slots_are_reused() {
        // A chain of forty additions of the same input.
        let instructions = (0..40u16).map(|at| step("Add", &[0, at], DType::F32)).collect();
        let region =
            Region { products: Vec::new(), params: vec![DType::F32], instructions, results: vec![40] };
        region.check().unwrap();
        let encoded = Encoded::of(&region).unwrap();
        assert_eq!((encoded.words.len(), encoded.slots), (42, 2));
    }

    #[test]
    fn code_that_takes_other_arguments_is_none() {
        let region = Region {
            products: Vec::new(),
            params: vec![DType::F32],
            instructions: vec![step("Relu", &[0], DType::F32)],
            results: vec![1],
        };
        let entry = |name: &str, types: &[&str]| {
            let list: Vec<String> = types.iter().map(|ty| format!("\t.param {ty} .ptr .align 1 p")).collect();
            format!(".visible .entry {name}(\n{}\n)\n{{ ret; }}\n", list.join(",\n"))
        };
        let dense = [".u32", ".u64", ".u32", ".u64"];
        let broadcast = [vec![".u32"; 19], vec![".u64"], vec![".u32"; 6], vec![".u64"]].concat();
        let made = |dense: &[&str], broadcast: &[&str]| {
            let text = entry(RegionPtx::DENSE, dense) + &entry(RegionPtx::BROADCAST, broadcast);
            Made::new(&RegionPtx { text, lanes: 4 }, &region).is_some()
        };
        assert!(made(&dense, &broadcast));
        assert!(!made(&dense[..3], &broadcast));
        assert!(!made(&[".u32", ".u64", ".u64", ".u64"], &broadcast));
        assert!(!made(&dense, &broadcast[1..]));
        let text = entry(RegionPtx::DENSE, &dense);
        assert!(Made::new(&RegionPtx { text: text.clone(), lanes: 4 }, &region).is_none());
        let array = text.replacen("p,", "p[4096],", 1) + &entry(RegionPtx::BROADCAST, &broadcast);
        assert!(Made::new(&RegionPtx { text: array, lanes: 4 }, &region).is_none());
    }

    #[test]
    fn extents_divide_by_multiplication() {
        let most = (1u64 << 31) - 1;
        let powers = (0..31).map(|bit| 1u32 << bit);
        for extent in powers.flat_map(|power| [power, power + 1, power.max(2) - 1]).chain([7, 49, 1_000_003])
        {
            let (factor, shift) = divisor(extent);
            let d = u64::from(extent);
            let multiples = [1, 2, 3, most / d / 2, most / d].map(|times| times * d);
            for x in multiples.into_iter().flat_map(|x| [x.saturating_sub(1), x, x + 1]).chain([0, most]) {
                let x = x.min(most);
                assert_eq!((x * u64::from(factor)) >> shift, x / d, "{x} / {extent}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_left_to_the_host() {
        let region = Region {
            products: Vec::new(),
            params: vec![DType::F32; 17],
            instructions: vec![step("Add", &[0, 16], DType::F32)],
            results: vec![17],
        };
        assert_eq!(Encoded::of(&region), None);
    }
}
