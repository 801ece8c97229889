//! Some steps of a program as a program of their own, whose inputs are what they read from before.
//!
//! Invariant: a step of a section does what it does in the whole: operators, attributes, constants and the order of
//! steps are the same; only numbers of values and blocks differ, and no slots are planned.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use repops::Tensor;
use repops::ops::SymType;
use repops::program::{
    Block, BlockId, Header, Output, Program, ProgramError, ProgramParts, SPEC_VERSION, Step, ValueId,
};

/// A section and the values that are its inputs, in order.
pub struct Section {
    pub program: Program,
    pub inputs: Vec<ValueId>,
}

/// Steps of the main block. `known` gives the values from before, for their types; `None` when one is not there.
pub fn of_main<'t>(
    program: &Program,
    steps: Range<usize>,
    known: impl Fn(ValueId) -> Option<&'t Tensor>,
) -> Option<Result<Section, ProgramError>> {
    let first = *program.first_outputs(BlockId(0)).get(steps.start)?;
    let own = program.main().steps.get(steps)?;
    build(program, own, Some(first), known)
}

/// One step of any block, which holds no blocks.
pub fn of_step<'t>(
    program: &Program,
    step: &Step,
    known: impl Fn(ValueId) -> Option<&'t Tensor>,
) -> Option<Result<Section, ProgramError>> {
    build(program, std::slice::from_ref(step), None, known)
}

/// The blocks that steps hold, and those that these hold.
fn held(program: &Program, steps: &[Step], blocks: &mut BTreeSet<BlockId>) {
    for block in steps.iter().flat_map(|step| &step.blocks) {
        if blocks.insert(*block) {
            held(program, &program.block(*block).steps, blocks);
        }
    }
}

fn build<'t>(
    program: &Program,
    steps: &[Step],
    first_output: Option<ValueId>,
    known: impl Fn(ValueId) -> Option<&'t Tensor>,
) -> Option<Result<Section, ProgramError>> {
    let mut blocks = BTreeSet::new();
    held(program, steps, &mut blocks);
    let count = |steps: &[Step]| steps.iter().map(|step| step.outputs.len() as u32).sum::<u32>();
    // Values that the section defines: outputs of its steps, parameters and outputs of its blocks.
    let mut defined: Vec<Range<u32>> = Vec::new();
    defined.extend(first_output.map(|first| first.0..first.0 + count(steps)));
    for block in &blocks {
        let (first, body) = (program.first_param(*block).0, program.block(*block));
        defined.push(first..first + body.params.len() as u32 + count(&body.steps));
    }
    let bodies = || blocks.iter().map(|block| program.block(*block));
    let read = steps
        .iter()
        .chain(bodies().flat_map(|body| &body.steps))
        .flat_map(|step| step.inputs.iter().flatten());
    let read = read.chain(bodies().flat_map(|body| &body.results));
    let outer: BTreeSet<ValueId> =
        read.copied().filter(|value| !defined.iter().any(|range| range.contains(&value.0))).collect();
    let (mut constants, mut data, mut inputs, mut params) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in &outer {
        match program.as_constant(*value) {
            Some(constant) => {
                constants.push((*value, program.constants()[constant.index()].clone()));
                data.push(program.constant_data(constant).clone());
            }
            None => {
                let tensor = known(*value)?;
                params.push(Some(SymType::of(tensor.dtype(), tensor.shape())));
                inputs.push(*value);
            }
        }
    }
    // New numbers: constants, the inputs, the steps' outputs, then block by block.
    let order = constants.iter().map(|constant| constant.0).chain(inputs.iter().copied());
    let mut numbers: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut next = 0;
    let mut number = |value: ValueId| {
        numbers.insert(value, ValueId(next));
        next += 1;
    };
    order.for_each(&mut number);
    if first_output.is_some() {
        defined.iter().flat_map(Clone::clone).map(ValueId).for_each(&mut number);
    }
    let block_numbers: BTreeMap<BlockId, BlockId> =
        blocks.iter().zip(1..).map(|(block, number)| (*block, BlockId(number))).collect();
    let moved = |value: &ValueId| numbers.get(value).copied().unwrap_or(ValueId(u32::MAX));
    let step = |step: &Step| Step {
        inputs: step.inputs.iter().map(|value| value.as_ref().map(moved)).collect(),
        outputs: vec![Output::default(); step.outputs.len()],
        blocks: step.blocks.iter().filter_map(|block| block_numbers.get(block).copied()).collect(),
        ..step.clone()
    };
    let main = Block { params, steps: steps.iter().map(step).collect(), results: Vec::new() };
    let others = bodies().map(|body| Block {
        params: vec![None; body.params.len()],
        steps: body.steps.iter().map(step).collect(),
        results: body.results.iter().map(moved).collect(),
    });
    let header = Header {
        spec: SPEC_VERSION,
        compiler: String::new(),
        sources: Vec::new(),
        inputs: (0..inputs.len()).map(|input| format!("{input}")).collect(),
        outputs: Vec::new(),
    };
    let blocks = std::iter::once(main).chain(others).collect();
    let constants = constants.into_iter().map(|constant| constant.1).collect();
    let program = Program::new(ProgramParts { header, constants, data, blocks });
    Some(program.map(|program| Section { program, inputs }))
}
