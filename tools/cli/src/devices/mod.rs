//! `repops devices`: what programs can run on here, and how fast a GPU's kernels are.

mod measure;

use repops_cuda::driver::{self, About, Driver};
use repops_runtime::Isa;
use serde_json::json;

use crate::arguments::Devices;
use crate::report::{note, print, print_json, table};
use crate::{Answer, Result};

pub fn devices(arguments: &Devices) -> Result<Answer> {
    if let Some(index) = arguments.measure {
        return measured(&Driver::open(index)?, arguments.json);
    }
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

/// Measures an opened GPU.
fn measured(device: &Driver, json: bool) -> Result<Answer> {
    let about = device.about();
    let rows = measure::measure(device, measure::Scale::FULL)?;
    if json {
        print_json(&json!({ "device": about.to_string(), "measured": rows }));
        return Ok(Answer::Yes);
    }
    print(&about.to_string());
    let heads = ["work", "shape", "median ms", "rate", "of the roof"].map(str::to_owned).to_vec();
    let lines = rows.iter().map(|row| {
        let unit = match row.unit {
            measure::Unit::Operations => "TFLOP/s",
            measure::Unit::Bytes => "GB/s",
        };
        vec![
            row.work.to_owned(),
            row.shape.clone(),
            format!("{:.3}", row.median_ms),
            format!("{:.1} {unit}", row.rate),
            row.of_roof.map_or_else(String::new, |part| format!("{part:.2}")),
        ]
    });
    print(&table(&std::iter::once(heads).chain(lines).collect::<Vec<_>>()));
    Ok(Answer::Yes)
}
