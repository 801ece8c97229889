//! Binding: concrete types of the main block's values, before anything runs.
//!
//! Inference is the operator table's, on constants. Shape computations are followed as integer values,
//! so that nearly all shapes are known; what depends on data stays unknown and is inferred when its step
//! runs. An error found here is not reported here: the step that has it reports it when it runs, so that
//! a fault in an earlier step comes first, as in the reference.

use std::cell::Cell;

use repops::ops::{InferCtx, InferInput, Inferred, OpClass, SymTensor, SymType};
use repops::program::{BlockId, Step};
use repops::{DType, Program, Tensor};

/// An element type and extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub dtype: DType,
    pub extents: Vec<usize>,
}

/// The types of every step's outputs in the main block, as far as shapes alone decide them.
pub(crate) struct Binding {
    pub steps: Vec<Option<Vec<Shape>>>,
}

/// What is known of a value while binding.
struct Known<'a> {
    ty: SymType,
    tensor: Option<repops::TensorView<'a>>,
    sym: Option<SymTensor>,
}

impl Binding {
    pub fn new(program: &Program, inputs: &[Tensor]) -> Binding {
        let mut values: Vec<Option<Known<'_>>> = (0..program.value_count()).map(|_| None).collect();
        for (index, decl) in program.constants().iter().enumerate() {
            let tensor = program.constant(repops::program::ConstantId(index as u32));
            values[index] = Some(Known { ty: SymType::of(decl.dtype, &decl.shape), tensor, sym: None });
        }
        let first = program.first_param(BlockId(0)).index();
        for (index, input) in inputs.iter().enumerate() {
            let ty = SymType::of(input.dtype(), input.shape());
            values[first + index] = Some(Known { ty, tensor: None, sym: None });
        }
        let fresh = Cell::new(0);
        let mut steps = Vec::with_capacity(program.main().steps.len());
        for (step, first) in program.main().steps.iter().zip(program.first_outputs(BlockId(0))) {
            let inferred = infer_step(step, &values, &fresh);
            let shapes = inferred.as_ref().and_then(|list| {
                list.iter()
                    .map(|i| Some(Shape { dtype: i.ty.dtype, extents: i.ty.extents()? }))
                    .collect::<Option<Vec<_>>>()
            });
            for (index, inferred) in inferred.into_iter().flatten().enumerate() {
                let Inferred { ty, sym } = inferred;
                values[first.index() + index] = Some(Known { ty, tensor: None, sym });
            }
            steps.push(shapes);
        }
        Binding { steps }
    }
}

fn infer_step(step: &Step, values: &[Option<Known<'_>>], fresh: &Cell<u32>) -> Option<Vec<Inferred>> {
    let mut inputs = Vec::with_capacity(step.inputs.len());
    for input in &step.inputs {
        inputs.push(match input {
            None => None,
            Some(value) => {
                let known = values[value.index()].as_ref()?;
                Some(InferInput { ty: &known.ty, tensor: known.tensor, sym: known.sym.as_ref() })
            }
        });
    }
    if let Some(region) = &step.region {
        // A step whose types do not fit is left to say so when it runs.
        return region.infer(&inputs, fresh).ok();
    }
    let def = step.def();
    if matches!(def.class, OpClass::Control) {
        return None;
    }
    let ctx = InferCtx { attrs: &step.attrs, inputs: &inputs, outputs: step.outputs.len(), fresh };
    def.infer(&ctx).ok()
}
