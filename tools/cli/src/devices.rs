//! `repops devices`: what programs can run on here.

use repops_cuda::driver::{self, About};
use repops_runtime::Isa;
use serde_json::json;

use crate::arguments::Devices;
use crate::report::{note, print, print_json};
use crate::{Answer, Result};

pub fn devices(arguments: &Devices) -> Result<Answer> {
    // A machine without a GPU is a usual one.
    let (gpus, problem) = match driver::devices() {
        Ok(gpus) => (gpus, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let (arch, isa) = (std::env::consts::ARCH, Isa::detect().name());
    if arguments.json {
        let gpu = |about: &About| {
            let (major, minor) = about.capability;
            json!({
                "device": format!("cuda:{}", about.index),
                "name": about.name,
                "architecture": format!("sm_{major}{minor}"),
                "memory_bytes": about.memory_bytes,
                "driver": about.driver,
            })
        };
        let cpu = json!({ "device": "cpu", "name": format!("{arch} {isa}") });
        let devices: Vec<_> = std::iter::once(cpu).chain(gpus.iter().map(gpu)).collect();
        print_json(&json!({ "devices": devices, "problem": problem }));
    } else {
        print(&format!("cpu {arch} {isa}"));
        gpus.iter().for_each(|about| print(&about.to_string()));
        problem.iter().for_each(|problem| note(problem));
    }
    Ok(Answer::Yes)
}
