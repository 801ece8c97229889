//! The cases on which every shipped entry is run: odd shapes, several chunks, tiles at the edge, numbers at the edges.
//!
//! Invariant: what the reference says is computed once for a case, so that a faulty text is judged as fast as it runs.
#![allow(dead_code, reason = "not every test uses every part")]

mod combined;
mod contract;
mod elementwise;
mod images;
mod loops;
mod movement;
mod operations;
mod others;
mod quantize;
mod rows;
mod sampling;
mod warpgroups;
mod ways;
mod windows;

use std::sync::OnceLock;

use repops::attrs::Attrs;
use repops::tensor::Tensor;
use repops_cuda::launch::contract::integer::Way;
use repops_ptx::Interpreter;
use repops_ptx::suite::{Case, Wanted};

/// Something to launch and to compare.
pub enum What {
    Operator(Box<Case>, OnceLock<Wanted>),
    /// Anything else that a launch function does.
    Other(Box<dyn Fn(&Interpreter) -> Result<(), String> + Send + Sync>),
}

pub struct Check {
    pub name: String,
    /// Of the device, which chooses between twins of a module.
    pub architecture: u32,
    pub what: What,
}

impl Check {
    pub fn run(&self, device: &Interpreter) -> Result<(), String> {
        match &self.what {
            What::Operator(case, wanted) => {
                if wanted.get().is_none() {
                    let computed = case.wanted().map_err(|failure| failure.to_string())?;
                    let _ = wanted.set(computed);
                }
                let wanted = wanted.get().expect("just set");
                case.check_against(device, wanted).map_err(|failure| failure.to_string())
            }
            What::Other(run) => run(device),
        }
    }
}

impl From<Case> for Check {
    fn from(case: Case) -> Check {
        let shapes: Vec<String> = case
            .inputs
            .iter()
            .map(|input| input.as_ref().map_or("-".to_owned(), |t| format!("{}{:?}", t.dtype(), t.shape())))
            .collect();
        let way = if case.way == Way::Best { String::new() } else { format!("{:?} ", case.way) };
        let name = format!("{} {way}{}", case.op, shapes.join(" "));
        Check { name, architecture: 75, what: What::Operator(Box::new(case), OnceLock::new()) }
    }
}

/// Those of every test run, and with `long` those that take minutes, too. `REPOPS_CASES` keeps those whose name has it.
pub fn checks(long: bool) -> Vec<Check> {
    let cases = [
        elementwise::cases(),
        movement::cases(),
        rows::cases(),
        contract::cases(),
        windows::cases(),
        quantize::cases(),
        ways::cases(),
        loops::cases(),
        images::cases(),
        combined::cases(),
    ];
    let mut out: Vec<Check> = cases.into_iter().flatten().map(Check::from).collect();
    out.extend(others::checks(long));
    out.extend(operations::checks());
    out.extend(sampling::checks(long));
    if long {
        out.extend(ways::long().into_iter().chain(loops::long()).chain(images::long()).map(Check::from));
    }
    let twins = contract::twins().into_iter().map(Check::from);
    out.extend(twins.map(|check| Check { architecture: 80, ..check }));
    let mut hopper = warpgroups::cases();
    if long {
        hopper.extend(warpgroups::long());
    }
    out.extend(hopper.into_iter().map(Check::from).map(|check| Check { architecture: 90, ..check }));
    if let Ok(part) = std::env::var("REPOPS_CASES") {
        out.retain(|check| check.name.contains(&part));
    }
    out
}

fn case(op: &'static str, inputs: Vec<Tensor>) -> Case {
    Case::new(op, Attrs::new(), inputs)
}

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values)
}
