//! Embeds the runtime: loads a program, runs it on zeros, and reads the trace.
//!
//! `cargo run -p repops-runtime --example embed -- model.rep [SIZE=N ...]`

use std::error::Error;
use std::path::Path;

use repops::exec::{Executor, HashLevel, Unobserved};
use repops::{Tensor, exec::node_name};
use repops_runtime::{Runtime, RuntimeOptions, load};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: embed PROGRAM.rep [SIZE=N ...]")?;
    let mut sizes = Vec::new();
    for arg in args {
        let (name, value) = arg.split_once('=').ok_or("a size is given as NAME=N")?;
        sizes.push((name.to_string(), value.parse::<i64>()?));
    }
    let program = load(Path::new(&path))?;
    println!("program {}", program.digest());

    // One tensor for each input; sizes that were not given are 1.
    let size = |name: &str| Some(sizes.iter().find(|(n, _)| n == name).map_or(1, |(_, v)| *v));
    let mut inputs = Vec::new();
    for (name, ty) in program.header().inputs.iter().zip(&program.main().params) {
        let ty = ty.as_ref().ok_or_else(|| format!("input {name} has no declared type"))?;
        let shape: Option<Vec<usize>> = ty.shape.iter().map(|d| d.bind(&size).as_extent()).collect();
        inputs.push(Tensor::zeros(ty.dtype, &shape.ok_or_else(|| format!("sizes of input {name}"))?)?);
    }

    let runtime = Runtime::new(RuntimeOptions::default())?;
    let run = runtime.execute(&program, &inputs, HashLevel::Operators, &mut Unobserved)?;
    let trace = run.trace.expect("asked for");
    for record in &trace.records {
        let frame = record.path.last().expect("a record has a path");
        let step = &program.blocks()[frame.block as usize].steps[frame.step as usize];
        let output = record.outputs.first().map_or_else(String::new, |d| d.to_hex());
        println!(
            "{:>6} {:<24} {} {}",
            frame.step,
            step.def().name,
            &output[..16.min(output.len())],
            node_name(step)
        );
    }
    println!("trace root {}", trace.root());
    for (name, output) in program.header().outputs.iter().zip(run.result.map_err(|f| f.fault)?) {
        println!("{name}: {}{:?}", output.dtype(), output.shape());
    }
    Ok(())
}
