//! The runtime gives the reference's outputs and traces: on every instruction set, with every number of
//! threads, with regions by tiles and operator by operator.

mod build;

use std::sync::LazyLock;

use proptest::prelude::*;

use repops::exec::{Executor, HashLevel, Observer, Unobserved};
use repops::ops;
use repops::program::Program;
use repops::reference::Reference;
use repops::trace::StepRecord;
use repops::{Layout, Tensor};
use repops_runtime::{Isa, Regions, Runtime, RuntimeOptions};

use build::{convolution, dividing, layer, looping, values, views};

fn runtimes() -> Vec<(String, Runtime)> {
    let mut list = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 2, 7] {
            for (name, regions) in [("tiles", Regions::Tiles), ("unfused", Regions::Unfused)] {
                let options = RuntimeOptions { threads, isa: Some(isa), regions };
                list.push((format!("{} {threads} {name}", isa.name()), Runtime::new(options).unwrap()));
            }
        }
    }
    list
}

/// Collects the records as they are passed on.
#[derive(Default)]
struct Collect {
    records: Vec<StepRecord>,
    steps: usize,
}

impl Observer for Collect {
    fn step(&mut self, event: repops::exec::StepEvent<'_>) {
        assert_eq!(event.index, self.steps);
        self.steps += 1;
    }
    fn record(&mut self, record: &StepRecord) {
        self.records.push(record.clone());
    }
}

fn check(program: &Program, inputs: &[Tensor], runtimes: &[(String, Runtime)]) {
    let expected = Reference.execute(program, inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    for (name, runtime) in runtimes {
        // Three times, so that memory is reused, that of the results too, whatever they hold by then.
        for _ in 0..3 {
            let mut seen = Collect::default();
            let found = runtime.execute(program, inputs, HashLevel::Operators, &mut seen).unwrap();
            assert_eq!(found.result, expected.result, "{name}");
            assert_eq!(found.trace, expected.trace, "{name}");
            assert_eq!(seen.records, found.trace.unwrap().records, "{name}");
            let mut results = found.result.unwrap_or_default();
            results.iter_mut().for_each(|result| result.bytes_mut().fill(0xa5));
            runtime.give_back(results);
        }
        let quiet = runtime.execute(program, inputs, HashLevel::None, &mut Unobserved).unwrap();
        assert_eq!(quiet.result, expected.result, "{name}");
        assert!(quiet.trace.is_none());
    }
}

#[test]
fn a_layer_on_every_machine() {
    let runtimes = runtimes();
    for (rows, k, n) in [(1, 1, 1), (3, 300, 17), (37, 513, 70), (0, 4, 4), (130, 256, 200)] {
        for layout in [Layout::RowMajor, Layout::Panel16] {
            let x = Tensor::from_slice(&[rows, k], &values(rows * k, 3));
            check(&layer(k, n, layout), &[x], &runtimes);
        }
    }
}

/// Filters as they come and in blocks: the same results, whatever reads them.
#[test]
fn a_convolution_on_every_machine() {
    let runtimes = runtimes();
    let mut found = Vec::new();
    for layout in [Layout::RowMajor, Layout::Filters16] {
        let x = Tensor::from_slice(&[2, 20, 7, 9], &values(2 * 20 * 63, 3));
        let program = convolution(layout);
        check(&program, std::slice::from_ref(&x), &runtimes);
        found.push(Reference.execute(&program, &[x], HashLevel::None, &mut Unobserved).unwrap().result);
    }
    assert_eq!(found[0], found[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Odd remainders of every tile, several chunks of a contraction, rows for more threads than there are.
    #[test]
    fn drawn_layers_on_every_machine(rows in 1usize..40, k in 1usize..900, n in 1usize..80, panels: bool) {
        static RUNTIMES: LazyLock<Vec<(String, Runtime)>> = LazyLock::new(runtimes);
        let layout = if panels { Layout::Panel16 } else { Layout::RowMajor };
        let x = Tensor::from_slice(&[rows, k], &values(rows * k, (rows * k * n) as u64));
        check(&layer(k, n, layout), &[x], &RUNTIMES);
    }
}

#[test]
fn a_nan_payload_that_enters_is_made_canonical() {
    let mut x = Tensor::from_slice(&[1, 2], &[1.0f32, 0.0]);
    x.bytes_mut()[4..].copy_from_slice(&0xffc1_2345u32.to_le_bytes());
    check(&layer(2, 3, Layout::RowMajor), &[x], &runtimes());
}

/// Views of a constant, of a view, of an input and in the shape they had, each used again.
#[test]
fn views_have_digests_of_their_own() {
    check(&views(), &[Tensor::from_slice(&[500, 6], &values(3000, 5))], &runtimes());
}

#[test]
fn loops_leave_the_same_trace() {
    for trips in [1i64, 5] {
        let inputs = [Tensor::scalar(trips), Tensor::from_slice(&[5000], &values(5000, 4))];
        check(&looping(), &inputs, &runtimes());
        let run = Reference.execute(&looping(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
        assert_eq!(run.trace.unwrap().records.len() as i64, 2 * trips + 2);
    }
}

#[test]
fn a_fault_is_the_last_record() {
    let program = dividing();
    let inputs = [Tensor::from_slice(&[2], &[6i64, 7]), Tensor::from_slice(&[2], &[3i64, 0])];
    check(&program, &inputs, &runtimes());
    let run = Reference.execute(&program, &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap_err().fault, ops::Fault::DivisionByZero);
    assert_eq!(run.trace.unwrap().records.len(), 2);
}

#[test]
fn too_many_threads_are_refused() {
    for threads in [repops_runtime::THREADS_MAX + 1, usize::MAX] {
        let options = RuntimeOptions { threads, ..RuntimeOptions::default() };
        assert!(matches!(Runtime::new(options), Err(repops_runtime::RuntimeError::TooManyThreads { .. })));
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let program = layer(4, 4, Layout::RowMajor);
    let run = |inputs: &[Tensor]| {
        runtime.execute(&program, inputs, HashLevel::None, &mut Unobserved).unwrap_err().to_string()
    };
    assert_eq!(run(&[]), "the program has 1 inputs; 0 were given");
    assert!(run(&[Tensor::from_slice(&[1, 3], &[0.0f32; 3])]).contains("input X has shape [1, 3]"));
    assert!(run(&[Tensor::from_slice(&[1, 4], &[0i64; 4])]).contains("input X is i64"));
}
