//! Hostile and broken files: each ends in an error that names what is wrong.

use std::path::PathBuf;

use prost::Message;
use repops_compiler::onnx::proto::*;
use repops_compiler::onnx::{ImportError, import, load};

use crate::build::*;

/// Importing fails, and the message contains all of `parts`.
fn refused(model: &ModelProto, parts: &[&str]) {
    let error = import_model(model).expect_err("the model is bad").to_string();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

fn identity_model() -> ModelProto {
    let nodes = vec![node("Identity", &["x"], &["y"], vec![])];
    model(17, graph(&[("x", F32, &["N", "3"])], nodes, &["y"]))
}

/// The identity model with an initializer `w`.
fn with_tensor(tensor: TensorProto) -> ModelProto {
    let mut model = identity_model();
    model.graph.as_mut().unwrap().initializer.push(tensor);
    model
}

fn nodes_model(nodes: Vec<NodeProto>) -> ModelProto {
    model(17, graph(&[("x", F32, &["N", "3"])], nodes, &["y"]))
}

#[test]
fn a_small_model_is_imported() {
    let graph = import_model(&identity_model()).unwrap();
    assert_eq!(graph.to_string(), "param %x: f32[N, 3]\n%y = Identity(%x)\noutput \"y\": ? = %y\n");
    assert_eq!(graph.sources[0].name, "model.onnx");
}

#[test]
fn every_truncation_is_an_error_with_a_place() {
    let bytes = identity_model().encode_to_vec();
    for length in 0..bytes.len() {
        match import("m", bytes[..length].to_vec().into(), None) {
            Err(ImportError::Malformed { offset, .. }) => assert!(offset <= length),
            // Cut between two fields the rest is protobuf, but no complete model.
            Err(ImportError::NoGraph | ImportError::NoOpset) => {}
            other => panic!("{length} bytes: {:?}", other.map(|g| g.to_string())),
        }
    }
}

#[test]
fn a_cut_inside_of_a_node_names_the_field() {
    let bytes = identity_model().encode_to_vec();
    let at = bytes.windows(8).position(|w| w == b"Identity").unwrap();
    let mut cut = bytes.clone();
    // The node's op_type now claims more bytes than the node has.
    cut[at - 1] = 100;
    let error = import("m", cut.into(), None).unwrap_err().to_string();
    assert_eq!(error, format!("byte {at}, model.graph.node: field 3 declares 100 bytes where 23 are left"));
}

#[test]
fn other_files_are_no_models() {
    for bytes in [&b"GGUF\x03\0\0\0"[..], b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"{\"a\": 1}", &[0; 64]] {
        let error = import("m", bytes.to_vec().into(), None).unwrap_err();
        assert!(matches!(error, ImportError::Malformed { .. }), "{error}");
    }
    assert!(matches!(import("m", Vec::new().into(), None), Err(ImportError::NoGraph)));
}

#[test]
fn names_that_are_not_utf8_are_refused_with_the_field() {
    let mut bytes = identity_model().encode_to_vec();
    let at = bytes.windows(8).position(|w| w == b"Identity").unwrap();
    bytes[at] = 0xff;
    let error = import("m", bytes.into(), None).unwrap_err().to_string();
    assert!(error.contains("NodeProto.name") && error.contains("UTF-8"), "{error}");
}

#[test]
fn opsets_are_checked() {
    let mut old = identity_model();
    old.opset_import[0].version = Some(0);
    refused(&old, &["opset 0 of ai.onnx", "1 to 28"]);
    old.opset_import[0].version = Some(29);
    refused(&old, &["opset 29 of ai.onnx", "1 to 28"]);
    old.opset_import.clear();
    refused(&old, &["does not say which opsets"]);
    let ml = |version| OperatorSetIdProto { domain: Some("ai.onnx.ml".to_string()), version: Some(version) };
    old.opset_import = vec![ml(2)];
    refused(&old, &["Identity of ai.onnx version 0", "does not import this domain"]);
    let twice = |version| OperatorSetIdProto { domain: Some("ai.onnx".to_string()), version: Some(version) };
    old.opset_import = vec![twice(17), twice(18)];
    refused(&old, &["ai.onnx twice, as version 17 and 18"]);
    // A domain that nothing uses is no error.
    old.opset_import = vec![twice(17), twice(17), ml(2)];
    import_model(&old).unwrap();
}

#[test]
fn unknown_operators_are_named() {
    let model = nodes_model(vec![node("Frobnicate", &["x"], &["y"], vec![])]);
    refused(&model, &["Frobnicate_node", "Frobnicate of ai.onnx version 17"]);
    let mut other = node("Gelu", &["x"], &["y"], vec![]);
    other.domain = Some("com.example".to_string());
    refused(&nodes_model(vec![other]), &["Gelu of com.example", "no operator of this domain"]);
    // Known, but not in this version.
    refused(
        &nodes_model(vec![node("Upsample", &["x"], &["y"], vec![])]),
        &["Upsample of ai.onnx version 17", "7, 9"],
    );
    refused(&nodes_model(vec![node("Swish", &["x"], &["y"], vec![])]), &["Swish", "versions 24"]);
}

#[test]
fn undefined_and_twice_defined_names_are_named() {
    refused(
        &nodes_model(vec![node("Identity", &["z"], &["y"], vec![])]),
        &["node \"Identity_node\"", "\"z\", which nothing defines"],
    );
    let mut model = identity_model();
    model.graph.as_mut().unwrap().output[0].name = Some("w".to_string());
    refused(&model, &["output of graph \"g\"", "\"w\""]);
    let twice = vec![node("Identity", &["x"], &["y"], vec![]), node("Identity", &["x"], &["y"], vec![])];
    refused(&nodes_model(twice), &["\"y\" is defined twice", "Identity_node"]);
    let mut shadow = node("Identity", &["w"], &["x"], vec![]);
    shadow.name = Some("shadow".to_string());
    let mut model = nodes_model(vec![shadow]);
    model.graph.as_mut().unwrap().initializer.push(raw("w", F32, &[1], &[0; 4]));
    refused(&model, &["\"x\" is defined twice", "shadow"]);
    let mut model = with_tensor(raw("w", F32, &[1], &[0; 4]));
    model.graph.as_mut().unwrap().initializer.push(raw("w", F32, &[1], &[0; 4]));
    refused(&model, &["\"w\" is defined twice", "initializer"]);
}

#[test]
fn cycles_name_a_node_on_them() {
    let mut nodes = vec![
        node("Add", &["x", "b"], &["a"], vec![]),
        node("Relu", &["a"], &["b"], vec![]),
        node("Neg", &["b"], &["y"], vec![]),
    ];
    nodes[2].name = Some("waits".to_string());
    let error = import_model(&nodes_model(nodes)).unwrap_err().to_string();
    assert!(error.contains("cycle") && !error.contains("waits"), "{error}");
    refused(&nodes_model(vec![node("Neg", &["y"], &["y"], vec![])]), &["cycle", "Neg_node"]);
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let nodes = vec![
        node("Identity", &["b"], &["y"], vec![]),
        node("Identity", &["x"], &["a"], vec![]),
        node("Identity", &["a"], &["b"], vec![]),
    ];
    let expected = "param %x: f32[N, 3]\n%a = Identity(%x)\n%b = Identity(%a)\n%y = Identity(%b)\n";
    assert!(text(&nodes_model(nodes)).starts_with(expected));
}

#[test]
fn tensors_hold_what_they_declare() {
    refused(&with_tensor(raw("w", F32, &[2, 3], &[0; 20])), &["\"w\"", "24 bytes", "20"]);
    // A gigabyte declared in a kilobyte, and more than any memory.
    refused(&with_tensor(raw("w", F32, &[1 << 28], &[0; 4])), &["\"w\"", "1073741824"]);
    refused(&with_tensor(raw("w", F32, &[1 << 31, 1 << 31], &[])), &["\"w\"", "larger than"]);
    refused(&with_tensor(raw("w", F32, &[i64::MAX], &[])), &["\"w\"", "larger than"]);
    refused(&with_tensor(raw("w", F32, &[i64::MIN], &[])), &["\"w\"", "dimension 0 is -9223372036854775808"]);
    refused(&with_tensor(raw("w", F32, &[1; 17], &[0; 4])), &["\"w\"", "17 axes"]);
    refused(&with_tensor(raw("w", 8, &[1], &[])), &["\"w\"", "string_data holds 0"]);
    refused(&with_tensor(raw("w", 200, &[1], &[1])), &["\"w\"", "200"]);
    refused(&with_tensor(raw("w", 99, &[1], &[])), &["\"w\"", "data type 99"]);
    refused(&with_tensor(raw("w", 9, &[2], &[1, 2])), &["\"w\"", "byte 1 of a bool tensor is 0x02"]);
    let mut both = raw("w", F32, &[1], &[0; 4]);
    both.float_data = vec![0.0];
    refused(&with_tensor(both), &["\"w\"", "both raw_data and float_data"]);
    let typed = |dtype, int32_data: &[i32]| TensorProto {
        name: Some("w".to_string()),
        data_type: Some(dtype),
        dims: vec![2],
        int32_data: int32_data.to_vec(),
        ..Default::default()
    };
    refused(&with_tensor(typed(2, &[255, 256])), &["\"w\"", "element 1 of int32_data is 256", "u8"]);
    refused(&with_tensor(typed(9, &[0, 2])), &["\"w\"", "element 1", "bool"]);
    refused(&with_tensor(typed(6, &[0, 2, 3])), &["\"w\"", "2 elements", "holds 3"]);
    refused(&with_tensor(typed(F32, &[0, 2])), &["\"w\"", "int32_data"]);
    import_model(&with_tensor(typed(3, &[-128, 127]))).unwrap();
}

#[test]
fn declared_types_are_checked() {
    let input = |dtype, shape: &[&str]| {
        let nodes = vec![node("Identity", &["x"], &["y"], vec![])];
        model(17, graph(&[("x", dtype, shape)], nodes, &["y"]))
    };
    refused(&input(F32, &["9223372036854775807"]), &["input \"x\"", "larger than"]);
    refused(&input(F32, &["-9223372036854775808"]), &["input \"x\"", "dimension 0 is -9223372036854775808"]);
    refused(&input(14, &["1"]), &["input \"x\"", "COMPLEX64"]);
    // The number of packed values is ours alone.
    refused(&input(200, &["1"]), &["input \"x\"", "200"]);
    refused(&input(F32, &["1"; 17]), &["input \"x\"", "17 axes"]);
    let mut map = input(F32, &["1"]);
    let value_type = Some(Box::new(TypeProto::default()));
    let value = type_proto::Value::MapType(Box::new(type_proto::Map { key_type: Some(7), value_type }));
    map.graph.as_mut().unwrap().input[0].r#type.as_mut().unwrap().value = Some(value);
    refused(&map, &["input \"x\"", "a map"]);
}

#[test]
fn attributes_are_checked() {
    let with = |attributes| nodes_model(vec![node("Softmax", &["x"], &["y"], attributes)]);
    refused(&with(vec![float("axis", 1.0)]), &["Softmax_node", "axis", "Int"]);
    refused(&with(vec![int("axes", 1)]), &["Softmax_node", "axes", "no such attribute"]);
    refused(&with(vec![int("axis", 1), int("axis", 2)]), &["Softmax_node", "axis", "twice"]);
    refused(&nodes_model(vec![node("Relu", &["x", "x"], &["y"], vec![])]), &["Relu_node", "1 inputs"]);
    refused(&nodes_model(vec![node("Add", &["x"], &["y"], vec![])]), &["Add_node", "2 inputs"]);
    refused(&nodes_model(vec![node("Add", &["", "x"], &["y"], vec![])]), &["Add_node", "input 0 is missing"]);
}

#[test]
fn depth_and_number_are_bounded() {
    // Subgraphs inside of subgraphs.
    let mut inner = graph(&[], vec![node("Identity", &["x"], &["y"], vec![])], &["y"]);
    for _ in 0..40 {
        let branches = vec![
            graph_attribute("then_branch", inner.clone()),
            graph_attribute("else_branch", graph(&[], vec![], &["x"])),
        ];
        inner = graph(&[], vec![node("If", &["x"], &["y"], branches)], &["y"]);
    }
    inner.input.push(value("x", 9, &[]));
    refused(&model(17, inner), &["depth of nested messages", "60"]);

    // Each function calls the one below twice.
    let mut bomb = identity_model();
    for level in 0..40 {
        let callee = format!("f{}", level - 1);
        let call = |from: &str, to: &str| {
            let mut call = node(&callee, &[from], &[to], vec![]);
            call.domain = Some("local".to_string());
            call
        };
        let body = match level {
            0 => vec![node("Identity", &["x"], &["y"], vec![])],
            _ => vec![call("x", "m"), call("m", "y")],
        };
        bomb.functions.push(function(&format!("f{level}"), &["x"], body, &["y"]));
    }
    let mut call = node("f39", &["x"], &["y"], vec![]);
    call.domain = Some("local".to_string());
    bomb.graph.as_mut().unwrap().node = vec![call];
    refused(&bomb, &["nodes, functions inlined", "1000000"]);
}

#[test]
fn functions_have_bodies() {
    let call = || {
        let mut call = node("f", &["x"], &["y"], vec![]);
        call.domain = Some("local".to_string());
        call
    };
    refused(&nodes_model(vec![call()]), &["f_node", "f of local"]);
    let mut model = nodes_model(vec![call()]);
    model.functions.push(function("f", &["x"], vec![], &["y"]));
    refused(&model, &["\"y\", which nothing defines"]);
}

#[test]
fn contradictory_shapes_name_the_node() {
    let nodes = || vec![node("Add", &["x", "w"], &["y"], vec![])];
    let three = raw("w", F32, &[4], &[0; 16]);
    let mut model = model(17, graph(&[("x", F32, &["2", "3"])], nodes(), &["y"]));
    model.graph.as_mut().unwrap().initializer.push(three);
    let error = match import_model(&model) {
        Err(error) => error.to_string(),
        Ok(graph) => {
            let options = repops_compiler::CompileOptions::default();
            let error = repops_compiler::compile(graph, &options, &mut |_, _| ()).map(|_| ());
            error.expect_err("3 does not broadcast with 4").to_string()
        }
    };
    assert!(error.contains("Add_node") && error.contains("3 does not broadcast with 4"), "{error}");
}

#[test]
fn an_output_that_contradicts_its_declaration_names_the_node() {
    let declared = |dtype, shape: &[&str]| {
        let mut graph = graph(&[("x", F32, &["2", "N"])], vec![node("Neg", &["x"], &["y"], vec![])], &["y"]);
        graph.output[0] = value("y", dtype, shape);
        model(17, graph)
    };
    refused(&declared(F32, &["3", "N"]), &["output \"y\"", "Neg_node", "f32[3, N]"]);
    refused(&declared(F32, &["2"]), &["Neg_node"]);
    refused(&declared(I64, &["2", "N"]), &["Neg_node", "i64"]);
    assert!(import_model(&declared(F32, &["2", "7"])).is_ok(), "N may be 7");
}

#[test]
fn sparse_tensors_are_checked() {
    let sparse = |dims: &[i64], shape: &[i64], indices: &[i64]| {
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        let mut graph = graph(&[("x", F32, &["6"])], vec![node("Add", &["x", "w"], &["y"], vec![])], &["y"]);
        graph.sparse_initializer.push(SparseTensorProto {
            values: Some(raw("w", F32, &[2], &[0; 8])),
            indices: Some(raw("", I64, shape, &bytes)),
            dims: dims.to_vec(),
        });
        model(17, graph)
    };
    assert!(import_model(&sparse(&[6], &[2], &[0, 5])).is_ok());
    assert!(import_model(&sparse(&[1, 6], &[2, 2], &[0, 1, 0, 5])).is_ok());
    refused(&sparse(&[6], &[2], &[0, 6]), &["\"w\"", "[6]", "not in"]);
    refused(&sparse(&[6], &[2], &[-1, 5]), &["[-1]"]);
    refused(&sparse(&[1, 6], &[2, 2], &[0, 1, 1, 0]), &["[1, 0]"]);
    refused(&sparse(&[6], &[2], &[5, 5]), &["after"]);
    refused(&sparse(&[6], &[3], &[0, 1, 2]), &["indices of shape [3]"]);
    refused(&sparse(&[-6], &[2], &[0, 5]), &["dimension 0 is -6"]);
    refused(&sparse(&[1 << 30], &[2], &[0, 5]), &["at most 268435456"]);
    refused(&sparse(&[1 << 40, 1 << 40], &[2], &[0, 5]), &["\"w\""]);
}

#[test]
fn inner_graphs_must_not_define_outer_names() {
    let branch = |nodes, output: &str| graph(&[], nodes, &[output]);
    let shadowing = branch(vec![node("Neg", &["z"], &["x"], vec![])], "x");
    let plain = branch(vec![node("Abs", &["z"], &["v"], vec![])], "v");
    let branches = vec![graph_attribute("then_branch", shadowing), graph_attribute("else_branch", plain)];
    let nodes = vec![node("If", &["c"], &["y"], branches)];
    let inputs: &[(&str, i32, &[&str])] = &[("c", 9, &[]), ("x", F32, &["3"]), ("z", F32, &["3"])];
    refused(&model(17, graph(inputs, nodes, &["y"])), &["\"x\" is defined twice", "Neg_node"]);
}

#[test]
fn recursive_functions_are_refused() {
    let mut call = node("f", &["x"], &["y"], vec![]);
    call.domain = Some("local".to_string());
    let mut model = nodes_model(vec![call.clone()]);
    model.functions.push(function("f", &["x"], vec![call], &["y"]));
    refused(&model, &["function f calls itself"]);
}

// External data.

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("repops-import-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("model")).unwrap();
        Folder(path)
    }

    /// A model with a tensor of two f32 in another file, described by `entries`.
    fn import(&self, entries: &[(&str, &str)]) -> Result<repops_compiler::graph::Graph, ImportError> {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.to_string()),
            value: Some(value.to_string()),
        };
        let model = with_tensor(TensorProto {
            name: Some("w".to_string()),
            data_type: Some(F32),
            dims: vec![2],
            data_location: Some(tensor_proto::DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..Default::default()
        });
        let path = self.0.join("model/m.onnx");
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        load(&path)
    }

    fn refused(&self, entries: &[(&str, &str)], parts: &[&str]) {
        let error = self.import(entries).expect_err("the data are not there").to_string();
        for part in parts.iter().chain(&["\"w\""]) {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn external_data_are_read_in_place() {
    let folder = Folder::new("good");
    let data: Vec<u8> = [0.5f32, 1.0, 2.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::create_dir_all(folder.0.join("model/sub")).unwrap();
    std::fs::write(folder.0.join("model/sub/w.bin"), data).unwrap();
    let graph = folder.import(&[("location", "sub/w.bin"), ("offset", "4"), ("length", "8")]).unwrap();
    assert_eq!(graph.constants[0].to_tensor().unwrap().as_slice::<f32>(), [1.0, 2.0]);
    let names: Vec<&str> = graph.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["m.onnx", "w.bin"]);
    // The offset is 0 and the length the tensor's when they are not given.
    let graph = folder.import(&[("location", "sub/w.bin")]).unwrap();
    assert_eq!(graph.constants[0].to_tensor().unwrap().as_slice::<f32>(), [0.5, 1.0]);
}

#[test]
fn external_data_stay_in_the_folder() {
    let folder = Folder::new("outside");
    std::fs::write(folder.0.join("secret"), [0; 8]).unwrap();
    let absolute = folder.0.join("secret");
    for location in ["../secret", "sub/../../secret", absolute.to_str().unwrap(), "", "C:\\w", "..\\secret"] {
        folder.refused(&[("location", location)], &["not a relative path inside"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.0.join("model/link")).unwrap();
        folder.refused(&[("location", "link")], &["not a relative path inside", "link"]);
    }
    folder.refused(&[("location", "missing.bin")], &["missing.bin"]);
    folder.refused(&[("location", ".")], &["regular file"]);
    folder.refused(&[], &["no location"]);
}

#[test]
fn external_ranges_are_checked() {
    let folder = Folder::new("ranges");
    std::fs::write(folder.0.join("model/w"), [0; 10]).unwrap();
    folder.refused(&[("location", "w"), ("offset", "3")], &["3 to 11", "has 10"]);
    folder.refused(&[("location", "w"), ("offset", "18446744073709551615")], &["has 10"]);
    folder.refused(&[("location", "w"), ("length", "4")], &["0 to 4", "takes 8"]);
    folder.refused(&[("location", "w"), ("offset", "-1")], &["offset is \"-1\""]);
    // Bytes that came from no file have no folder.
    let mut model = with_tensor(raw("w", F32, &[1], &[]));
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    tensor.data_location = Some(1);
    tensor.external_data =
        vec![StringStringEntryProto { key: Some("location".to_string()), value: Some("w".to_string()) }];
    refused(&model, &["\"w\"", "cannot be found"]);
}

#[test]
fn missing_files_are_named() {
    let error = load(std::path::Path::new("no/such/model.onnx")).unwrap_err().to_string();
    assert!(error.contains("no/such/model.onnx"), "{error}");
}
