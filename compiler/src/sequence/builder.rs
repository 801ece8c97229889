//! What the sequence program is made of: constants, inputs, and nodes with the origin of the export's node that they stand for.

use std::sync::Arc;

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{SymType, by_name};
use repops::program::Origin;

use crate::graph::{Block, Constant, Definition, Graph, Node, ValueId};

use super::Refusal;
use super::grid::positions;
use super::view::View;

pub struct Builder {
    pub graph: Graph,
    pub block: Block,
    pub tokens: ValueId,
    positions: Option<ValueId>,
    /// The origin of the nodes that are being made.
    pub origin: Origin,
}

impl Builder {
    pub fn new(name: &str) -> Builder {
        let mut graph = Graph { name: name.to_string(), ..Graph::default() };
        let tokens = input(&mut graph, "tokens");
        let block = Block { parameters: vec![tokens], ..Block::default() };
        let origin = Origin { name: String::new(), op_type: String::new(), domain: String::new(), opset: 0 };
        Builder { graph, block, tokens, positions: None, origin }
    }

    /// The input `positions`, which only programs that read it have.
    pub fn positions(&mut self) -> ValueId {
        if let Some(id) = self.positions {
            return id;
        }
        let id = input(&mut self.graph, "positions");
        self.block.parameters.push(id);
        self.positions = Some(id);
        id
    }

    pub fn constant(&mut self, constant: &Constant) -> ValueId {
        self.graph.add_constant(constant.clone())
    }

    pub fn tensor(&mut self, tensor: &Tensor) -> (ValueId, Arc<Constant>) {
        let constant = Constant::from_tensor(&self.name(), tensor);
        (self.graph.add_constant(constant.clone()), Arc::new(constant))
    }

    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.tensor(&Tensor::from_slice(&[values.len()], values)).0
    }

    /// A name that no other value has.
    fn name(&self) -> String {
        format!("{}#{}", self.origin.name, self.graph.values.len())
    }

    pub fn nodes(
        &mut self,
        op: &str,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Result<Vec<ValueId>, Refusal> {
        let def = by_name(op).ok_or_else(|| Refusal(format!("the operator table has no {op}")))?;
        let attrs = def.check_attrs(&attrs).map_err(|error| Refusal(error.to_string()))?;
        let outputs: Vec<ValueId> = (0..outputs)
            .map(|_| {
                let name = self.name();
                self.graph.add_value(&name, Definition::Output, None)
            })
            .collect();
        let inputs = inputs.to_vec();
        let (origin, blocks) = (self.origin.clone(), Vec::new());
        self.block.nodes.push(Node { def, attrs, inputs, outputs: outputs.clone(), blocks, origin });
        Ok(outputs)
    }

    pub fn node(&mut self, op: &str, attrs: Attrs, inputs: &[ValueId]) -> Result<ValueId, Refusal> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        Ok(self.nodes(op, attrs, &inputs, 1)?[0])
    }

    /// `x`, which has type `from`, in type `to`.
    pub fn in_type(&mut self, x: ValueId, from: DType, to: DType) -> Result<ValueId, Refusal> {
        if from == to { Ok(x) } else { super::elements::cast(self, x, to) }
    }

    fn reshape(&mut self, x: ValueId, extents: &[usize]) -> Result<ValueId, Refusal> {
        // 0 keeps the positions.
        let shape: Vec<i64> = std::iter::once(0).chain(extents.iter().map(|&e| e as i64)).collect();
        let shape = self.ints(&shape);
        self.node("Reshape", Attrs::new(), &[x, shape])
    }

    /// The rows of a view in row-major order of `axes`: a value `[S, ..]` with one axis for each.
    pub fn gather(&mut self, view: &View, axes: &[Option<usize>]) -> Result<ValueId, Refusal> {
        let gathering = view.gathering(axes)?;
        let mut x = view.base;
        let in_order = gathering.perm.iter().enumerate().all(|(at, &from)| at == from);
        let mut shape = view.shape.clone();
        if !in_order {
            if shape != gathering.apart {
                x = self.reshape(x, &gathering.apart)?;
            }
            let perm: Vec<i64> =
                std::iter::once(0).chain(gathering.perm.iter().map(|&p| p as i64 + 1)).collect();
            x = self.node("Transpose", Attrs::new().with_ints("perm", &perm), &[x])?;
            shape = gathering.perm.iter().map(|&p| gathering.apart[p]).collect();
        }
        if !gathering.copies.is_empty() {
            // Copies have an axis of their own among those of the row.
            let ordered: Vec<usize> = gathering.perm.iter().map(|&p| gathering.apart[p]).collect();
            let mut rest = ordered.into_iter();
            let total = gathering.perm.len() + gathering.copies.len();
            let mut open: Vec<usize> = (0..total)
                .map(|at| match gathering.copies.iter().any(|(axis, _)| *axis == at) {
                    true => 1,
                    false => rest.next().unwrap_or(1),
                })
                .collect();
            x = self.reshape(x, &open)?;
            for &(axis, number) in &gathering.copies {
                let same = vec![Some(x); number];
                let attrs = Attrs::new().with_int("axis", axis as i64 + 1);
                x = self.nodes("Concat", attrs, &same, 1)?[0];
                open[axis] = number;
            }
            shape = open;
        }
        if shape != gathering.joined {
            x = self.reshape(x, &gathering.joined)?;
        }
        Ok(x)
    }
}

fn input(graph: &mut Graph, name: &str) -> ValueId {
    let ty = SymType::new(DType::I64, vec![positions()]);
    graph.add_value(name, Definition::Parameter, Some(ty))
}
