//! What is made ready once for a sequence program: how each step is evaluated and where its rows live.
//!
//! Invariant: the plan follows the program's slots, which the program's check has proven; a buffer is named by
//! number and holds as many rows as are computed at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::exec::node_name;
use repops::ops::{OpClass, OpId};
use repops::program::{BlockId, ConstantId, Program, Step, ValueId};
use repops::region::{Region, RegionBackend, RegionKernel};
use repops::sequence::{Row, Sequence};
use repops_kernels::sequence::AttentionShape;
use repops_kernels::{Kernel, Operand, TileRegions, lookup};

use super::SessionError;
use crate::Regions;

/// Where an input's rows are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Constant(ConstantId),
    /// An input of the program, by position.
    Input(usize),
    Buffer(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Operands {
    pub value: ValueId,
    pub place: Place,
    /// What a row is; `None` for constants.
    pub row: Option<Row>,
    /// Computed for head rows alone, or for all.
    pub head: bool,
    /// Computed in the tail.
    pub tail: bool,
}

pub(super) struct Target {
    /// `None`: a view, whose bytes are where its input's are.
    pub buffer: Option<usize>,
    pub row: Row,
}

pub(super) enum How {
    Kernel(Kernel),
    Region(Arc<dyn RegionKernel>),
    /// A region, after its products.
    Products(Arc<dyn RegionKernel>, Region),
    /// The number of the attention.
    Attention(usize, AttentionShape),
    /// Its bytes are those of its input.
    View,
    /// The operator's own evaluation.
    Reference,
}

pub(super) struct PlannedStep {
    pub how: How,
    /// Operator and version.
    pub op: (OpId, u16),
    pub attrs: Attrs,
    pub inputs: Vec<Option<Operands>>,
    pub outputs: Vec<Target>,
    pub head: bool,
    /// One of the last steps, from the one on that gives a number for each token: each needs the head's rows alone, and may be
    /// computed for some of them at a time.
    pub tail: bool,
    /// For messages.
    pub name: String,
}

pub(super) struct Plan {
    pub steps: Vec<PlannedStep>,
    /// The number of the first step of the tail.
    pub tail: usize,
    pub buffers: usize,
    pub attention: Vec<AttentionShape>,
    pub logits: Operands,
}

impl Plan {
    pub fn new(
        program: &Program,
        sequence: &Sequence,
        regions: &Regions,
        tiles: &TileRegions,
    ) -> Result<Plan, SessionError> {
        let prepare = |region: &Region| match regions {
            Regions::Backend(backend) => backend.prepare(region).or_else(|| tiles.prepare(region)),
            Regions::Tiles | Regions::Unfused => tiles.prepare(region),
        };
        let firsts = program.first_outputs(BlockId(0));
        let params = program.first_param(BlockId(0)).index();
        let all = &program.main().steps;
        let is_wide = |at: usize| {
            let rows = (0..all[at].outputs.len()).map(|index| &sequence.rows[firsts[at].index() + index]);
            rows.flatten().any(|row| row.shape.iter().product::<usize>() >= sequence.vocabulary)
        };
        let of_head = |at: &usize| !sequence.carried[*at] && all[*at].def().name != "SequenceAttention";
        let tail =
            (0..all.len()).rev().take_while(of_head).filter(|&at| is_wide(at)).min().unwrap_or(all.len());
        // Slots first, then buffers of their own. What the tail reads stays while parts of it are computed.
        let mut slots: BTreeMap<(u32, bool), usize> = BTreeMap::new();
        let mut tails = vec![false; program.value_count()];
        let mut buffers = 0;
        let mut places: Vec<Option<Place>> = vec![None; program.value_count()];
        let mut heads = vec![false; program.value_count()];
        for (at, place) in places.iter_mut().enumerate().take(params) {
            *place = Some(Place::Constant(ConstantId(at as u32)));
        }
        for input in 0..program.main().params.len() {
            places[params + input] = Some(Place::Input(input));
        }
        let mut steps = Vec::with_capacity(program.main().steps.len());
        let mut attention = Vec::new();
        for (at, step) in program.main().steps.iter().enumerate() {
            let head = !sequence.carried[at];
            let operands = |value: ValueId| Operands {
                value,
                place: places[value.index()].expect("a checked program defines values before their use"),
                row: sequence.rows[value.index()].clone(),
                head: heads[value.index()],
                tail: tails[value.index()],
            };
            let inputs: Vec<Option<Operands>> = step.inputs.iter().map(|v| v.map(&operands)).collect();
            let how = how(program, step, &inputs, &prepare, &mut attention)?;
            let mut outputs = Vec::with_capacity(step.outputs.len());
            for (index, output) in step.outputs.iter().enumerate() {
                let value = firsts[at].index() + index;
                let row = sequence.rows[value].clone().expect("proven to have rows");
                heads[value] = head;
                tails[value] = at >= tail;
                let buffer = match (&how, &inputs.first()) {
                    // A view that computes nothing new for fewer rows stays where its input is.
                    (How::View, Some(Some(viewed))) if viewed.head == head => {
                        places[value] = Some(viewed.place);
                        tails[value] = viewed.tail;
                        None
                    }
                    _ => {
                        let new = match output.slot {
                            Some(slot) => *slots.entry((slot.0, at >= tail)).or_insert(buffers),
                            None => buffers,
                        };
                        buffers += usize::from(new == buffers);
                        places[value] = Some(Place::Buffer(new));
                        Some(new)
                    }
                };
                outputs.push(Target { buffer, row });
            }
            let name = format!("{} ({})", step.def().name, node_name(step));
            steps.push(PlannedStep {
                how,
                op: (step.op, step.version),
                attrs: step.attrs.clone(),
                inputs,
                outputs,
                head,
                tail: at >= tail,
                name,
            });
        }
        let logits = program.main().results[0];
        let logits = Operands {
            value: logits,
            place: places[logits.index()].expect("defined"),
            row: sequence.rows[logits.index()].clone(),
            head: heads[logits.index()],
            tail: tails[logits.index()],
        };
        Ok(Plan { steps, tail, buffers, attention, logits })
    }
}

fn how(
    program: &Program,
    step: &Step,
    inputs: &[Option<Operands>],
    prepare: &dyn Fn(&Region) -> Option<Arc<dyn RegionKernel>>,
    attention: &mut Vec<AttentionShape>,
) -> Result<How, SessionError> {
    let missing = |what: &str| SessionError::Unsupported {
        step: format!("{} ({})", step.def().name, node_name(step)),
        problem: what.to_string(),
    };
    if let Some(region) = &step.region {
        let kernel = prepare(region).ok_or_else(|| missing("its body cannot be prepared"))?;
        return Ok(match region.is_elementwise() {
            true => How::Region(kernel),
            false => How::Products(kernel, region.clone()),
        });
    }
    if step.def().name == "SequenceAttention" {
        let columns = |index: usize| -> Result<usize, SessionError> {
            let row = inputs.get(index).and_then(|i| i.as_ref()?.row.as_ref());
            row.and_then(|row| row.shape.first().copied()).ok_or_else(|| missing("an input has no rows"))
        };
        let (heads, kv_heads) = (step.attrs.int("heads") as usize, step.attrs.int("kv_heads") as usize);
        columns(0)?;
        let shape = AttentionShape {
            heads,
            kv_heads,
            d: columns(1)? / kv_heads,
            e: columns(2)? / kv_heads,
            scale: step.attrs.float("scale"),
            window: step.attrs.int("window") as usize,
            softcap: step.attrs.float("softcap"),
        };
        if shape.d == 0 || shape.e == 0 {
            return Err(missing("its heads have no elements"));
        }
        attention.push(shape);
        return Ok(How::Attention(attention.len() - 1, shape));
    }
    if matches!(step.def().class, OpClass::View) {
        return Ok(How::View);
    }
    let dtype = |input: &Option<Operands>| {
        let input = input.as_ref()?;
        Some(match (&input.row, input.place) {
            (Some(row), _) => row.dtype,
            (None, Place::Constant(constant)) => program.constants()[constant.index()].dtype,
            (None, _) => unreachable!("only constants have no rows"),
        })
    };
    let dtypes: Vec<_> = inputs.iter().map(dtype).collect();
    Ok(lookup(step.op, step.version, &dtypes).map_or(How::Reference, How::Kernel))
}

/// A constant as a kernel's operand.
pub(super) fn constant(program: &Program, id: ConstantId) -> Operand<'_> {
    let decl = &program.constants()[id.index()];
    let (dtype, shape, layout): (_, _, Layout) = (decl.dtype, &decl.shape, decl.layout);
    Operand { dtype, shape, bytes: program.constant_bytes(id), layout }
}
