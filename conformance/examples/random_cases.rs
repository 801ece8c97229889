//! Writes random graphs as cases, for `conformance/random_cases.py` to add what ONNX Runtime computes.
//!
//! `cargo run -p repops-conformance --example random_cases -- FOLDER COUNT [FIRST [OPSET]]`

use std::path::Path;

use prost::Message;
use repops_conformance::random::{Graph, Taste, tensor_proto};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, rest @ ..] = args.as_slice() else {
        return Err("usage: random_cases FOLDER COUNT [FIRST [OPSET]]".into());
    };
    let first: u64 = rest.first().map_or(Ok(0), |text| text.parse())?;
    let opset: i64 = rest.get(1).map_or(Ok(22), |text| text.parse())?;
    for seed in first..first + count.parse::<u64>()? {
        let graph = Graph::draw(seed, Taste { opset, wild: false });
        let data = Path::new(folder).join(format!("drawn_{seed:06}/test_data_set_0"));
        std::fs::create_dir_all(&data)?;
        std::fs::write(data.with_file_name("model.onnx"), graph.to_onnx())?;
        for (index, (name, tensor)) in graph.inputs().iter().enumerate() {
            std::fs::write(
                data.join(format!("input_{index}.pb")),
                tensor_proto(name, tensor).encode_to_vec(),
            )?;
        }
    }
    Ok(())
}
