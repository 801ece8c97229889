//! Regions with products: each product's element is a contraction of its own, and the region computes the element of an
//! output from these and from the other inputs' elements.
//!
//! Series `j` of a row is the contraction of element `row` of product `j`. What the product does with its sum (a bias, Gemm's
//! C) belongs to the region's element.

use std::ops::Range;

use super::contract::{Contraction, broadcast_at};
use super::series::{Formula, Series};
use super::{Inputs, Stop, Subject, TensorType, Term, bits_at};
use crate::dtype::DType;
use crate::reference::evaluate_elementwise;
use crate::region::{Product, Region};
use crate::tensor::{Tensor, TensorView};

/// The products of a step as steps of their own: the inputs that each takes, and the type that all have.
pub(super) struct Parts<'a> {
    region: &'a Region,
    ty: Vec<TensorType>,
}

impl<'a> Parts<'a> {
    pub fn new(subject: &Subject<'a>) -> Result<Parts<'a>, Stop> {
        let region = subject.region.ok_or(Stop::NoTerm)?;
        if subject.inputs.len() != region.input_count() {
            return Err(Stop::NoTerm);
        }
        Ok(Parts { region, ty: vec![TensorType::new(DType::F32, &subject.output(0)?.shape)] })
    }

    /// Each product as a step.
    pub fn subjects(&self, subject: &Subject<'a>) -> Vec<Subject<'_>> {
        let inputs = subject.inputs;
        let one = |(product, range): (&'a Product, Range<usize>)| Subject {
            def: product.def(),
            attrs: &product.attrs,
            region: None,
            inputs: &inputs[range],
            outputs: &self.ty,
        };
        self.region.products().map(one).collect()
    }
}

/// A step of products and a region over them.
pub(super) struct Products<'a> {
    subject: &'a Subject<'a>,
    region: &'a Region,
    contractions: Vec<Contraction<'a>>,
}

impl<'a> Products<'a> {
    /// `products` are those of [`Parts::subjects`].
    pub fn new(
        subject: &'a Subject<'a>,
        parts: &'a Parts<'_>,
        products: &'a [Subject<'a>],
    ) -> Result<Self, Stop> {
        let contractions = products.iter().map(Contraction::new).collect::<Result<_, _>>()?;
        Ok(Products { subject, region: parts.region, contractions })
    }

    fn contraction(&self, series: u8) -> Result<(&Contraction<'a>, usize), Stop> {
        let index = usize::from(series);
        let first = self.region.products().nth(index).ok_or(Stop::NoTerm)?.1.start;
        Ok((self.contractions.get(index).ok_or(Stop::NoTerm)?, first))
    }
}

impl Formula<f32> for Products<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<f32>> {
        let (contraction, _) = self.contraction(series).ok()?;
        Formula::<f32>::series(contraction, 0, row)
    }

    fn factors(
        &self,
        series: u8,
        row: usize,
        at: usize,
        claims: &[f32],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(f32, f32)>, Stop> {
        let (contraction, first) = self.contraction(series)?;
        contraction.factors(0, row, at, claims, &mut Shifted { first, inputs })
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let sum = |series: usize| {
            let series = series as u8;
            Ok(self.series(series, element).ok_or(Stop::NoTerm)?.top(series, element))
        };
        (0..self.contractions.len()).map(sum).collect()
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[f32],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let mut params = Vec::with_capacity(self.region.params.len());
        for index in 0..self.contractions.len() {
            let (contraction, first) = self.contraction(index as u8)?;
            let sum = claims.get(index..=index).ok_or(Stop::NoTerm)?;
            let bits = contraction.output(0, element, sum, &mut Shifted { first, inputs })?;
            params.push(scalar(DType::F32, bits)?);
        }
        let full = &self.subject.output(output)?.shape;
        for index in self.region.first_elementwise()..self.subject.inputs.len() {
            let ty = self.subject.input(index)?;
            let bits = inputs.element(index, broadcast_at(&ty.shape, full, element) as u64)?;
            params.push(scalar(ty.dtype, bits)?);
        }
        let views: Vec<Option<TensorView<'_>>> = params.iter().map(|t| Some(t.view())).collect();
        let found = evaluate_elementwise(self.region, &views)?;
        let tensor = found.get(output as usize).ok_or(Stop::NoTerm)?;
        bits_at(tensor.dtype(), tensor.bytes(), 0).ok_or(Stop::NoTerm)
    }
}

fn scalar(dtype: DType, bits: u64) -> Result<Tensor, Stop> {
    Ok(Tensor::from_bytes(dtype, &[], &bits.to_le_bytes()[..dtype.size()])?)
}

/// The inputs of a step from one on, as those of a product.
struct Shifted<'a> {
    first: usize,
    inputs: &'a mut dyn Inputs,
}

impl Inputs for Shifted<'_> {
    fn element(&mut self, input: usize, at: u64) -> Result<u64, Stop> {
        self.inputs.element(self.first + input, at)
    }

    fn whole(&mut self, input: usize) -> Result<Tensor, Stop> {
        self.inputs.whole(self.first + input)
    }
}
