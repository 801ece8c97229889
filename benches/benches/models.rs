//! Whole programs, with and without hashing: every `.rep` in the folder that `REPOPS_BENCH_PROGRAMS` names, on
//! drawn inputs. `cargo xtask bench` compiles them there.

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::{DType, Program, Tensor};
use repops_benches::drawn;
use repops_runtime::{Runtime, RuntimeOptions};

fn models(c: &mut Criterion) {
    let Some(folder) = std::env::var_os("REPOPS_BENCH_PROGRAMS") else {
        println!("no models are timed: REPOPS_BENCH_PROGRAMS names no folder of programs");
        return;
    };
    let entries = std::fs::read_dir(&folder).expect("the folder of programs");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rep"));
    paths.sort();
    for path in paths {
        time(c, &path);
    }
}

fn time(c: &mut Criterion, path: &Path) {
    let program = repops_runtime::load(path).expect("a program");
    let inputs = draw(&program);
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut group = c.benchmark_group(name);
    group.sample_size(20);
    for (level, hashing) in [(HashLevel::None, "unhashed"), (HashLevel::Operators, "hashed")] {
        for threads in [1, 0] {
            let options = RuntimeOptions { threads, ..Default::default() };
            let runtime = Runtime::new(options).expect("a runtime");
            let name = format!("{hashing}, {} threads", runtime.threads());
            let mut run = || runtime.execute(&program, &inputs, level, &mut Unobserved).expect("runs");
            group.bench_function(name, |bencher| bencher.iter(&mut run));
        }
    }
    group.finish();
}

/// Inputs of the declared types; free sizes are those of the models that are timed here.
fn draw(program: &Program) -> Vec<Tensor> {
    let mut inputs = Vec::new();
    for declared in &program.main().params {
        let declared = declared.as_ref().expect("inputs with a type");
        let rank = declared.shape.len();
        let free = |axis: usize| match (rank, axis) {
            (_, 0) => 1,
            (4, 2) => 640,
            (4, 3) if declared.shape[2].as_const().is_some() => 320,
            (4, 3) => 640,
            _ => 128,
        };
        let size = |(axis, dim): (usize, &repops::DimExpr)| dim.as_const().map_or(free(axis), |c| c as usize);
        let shape: Vec<usize> = declared.shape.iter().enumerate().map(size).collect();
        let count: usize = shape.iter().product();
        inputs.push(match declared.dtype {
            DType::F32 => drawn(&shape),
            DType::I32 => Tensor::from_slice(&shape, &(0..count as i32).map(|i| i % 256).collect::<Vec<_>>()),
            DType::I64 => Tensor::from_slice(&shape, &vec![1i64; count]),
            other => panic!("no inputs of type {other:?} are drawn"),
        });
    }
    inputs
}

criterion_group!(benches, models);
criterion_main!(benches);
