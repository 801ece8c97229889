//! Einsum. Series 0 of a row is the contraction of the output element with that number.

use super::contract::multiply;
use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::dtype::DType;
use crate::ops::einsum::Walk;

pub(super) struct Einsum<'a> {
    walk: Walk,
    operands: Vec<&'a TensorType>,
    subject: &'a Subject<'a>,
}

impl<'a> Einsum<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Einsum<'a>, Stop> {
        let operands = (0..subject.inputs.len()).map(|i| subject.input(i)).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<&[usize]> = operands.iter().map(|ty| ty.shape.as_slice()).collect();
        Ok(Einsum { walk: Walk::new(subject.attrs.str("equation"), &shapes)?, operands, subject })
    }
}

impl<W: Wide> Formula<W> for Einsum<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        (series == 0).then(|| Series::new(Kind::Contraction, self.walk.terms))
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let is_float = self.subject.input(0)?.dtype.is_float();
        let mut product = match is_float {
            true => W::widen(DType::F32, u64::from(1f32.to_bits())),
            false => W::from_bits(1),
        };
        let mut last = None;
        for (operand, ty) in self.operands.iter().enumerate() {
            let from = self.walk.base(operand, row) + self.walk.offset(operand, at);
            let element = W::widen(ty.dtype, inputs.element(operand, from as u64)?);
            product = match (last, operand) {
                (None, _) => product,
                (Some(first), 1) => first,
                (Some(factor), _) => multiply(product, factor, is_float),
            };
            last = Some(element);
        }
        Ok(last.map(|last| (product, last)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        Ok(vec![Formula::<W>::series(self, 0, element).ok_or(Stop::NoTerm)?.top(0, element)])
    }

    fn output(&self, output: u32, _element: usize, claims: &[W], _: &mut dyn Inputs) -> Result<u64, Stop> {
        Ok(claims.first().ok_or(Stop::NoTerm)?.narrow(self.subject.output(output)?.dtype))
    }
}
