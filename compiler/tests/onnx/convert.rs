//! Older versions of operators become the newest form. The expectation is the graph's text.

use repops_compiler::onnx::proto::*;

use crate::build::*;

/// One node over inputs `x` (f32[2, 3, 4]) and `i` (i64[2]), under an opset; the text of its graph
/// without the lines of the inputs and the output.
fn converted(opset: i64, node: NodeProto, initializers: Vec<TensorProto>) -> String {
    let outputs: Vec<String> = node.output.iter().filter(|o| !o.is_empty()).cloned().collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let inputs: &[(&str, i32, &[&str])] = &[("x", F32, &["2", "3", "4"]), ("i", I64, &["2"])];
    let mut graph = graph(inputs, vec![node], &outputs);
    graph.initializer = initializers;
    let text = text(&model(opset, graph));
    let kept = text.lines().filter(|l| !l.starts_with("param") && !l.starts_with("output"));
    kept.map(|l| format!("{l}\n")).collect()
}

#[track_caller]
fn check(opset: i64, node: NodeProto, expected: &[&str]) {
    check_with(opset, node, vec![], expected);
}

#[track_caller]
fn check_with(opset: i64, node: NodeProto, initializers: Vec<TensorProto>, expected: &[&str]) {
    let expected: String = expected.iter().map(|l| format!("{l}\n")).collect();
    assert_eq!(converted(opset, node, initializers), expected);
}

#[test]
fn reductions() {
    let sum = |attributes| node("ReduceSum", &["x"], &["y"], attributes);
    check(
        11,
        sum(vec![ints("axes", &[1, -1]), int("keepdims", 0)]),
        &[
            "const c0 \"\": i64[2] = [1, -1]",
            "%y = ReduceSum(%x, c0) {keepdims = 0, noop_with_empty_axes = 0}",
        ],
    );
    check(11, sum(vec![]), &["%y = ReduceSum(%x) {keepdims = 1, noop_with_empty_axes = 0}"]);
    check(
        17,
        node("ReduceMean", &["x"], &["y"], vec![ints("axes", &[2])]),
        &["const c0 \"\": i64[1] = [2]", "%y = ReduceMean(%x, c0) {keepdims = 1, noop_with_empty_axes = 0}"],
    );
    check(
        18,
        node("ReduceMean", &["x", "i"], &["y"], vec![]),
        &["%y = ReduceMean(%x, %i) {keepdims = 1, noop_with_empty_axes = 0}"],
    );
    let error = converted(18, node("ReduceMean", &["x"], &["y"], vec![ints("axes", &[2])]), vec![]);
    assert!(error.contains("axes") && error.contains("no such attribute"), "{error}");
}

#[test]
fn operands_before_version_7() {
    let axis = || vec![int("broadcast", 1), int("axis", 1)];
    let weight = || vec![raw("w", F32, &[3], &[0; 12])];
    check_with(
        6,
        node("Mul", &["x", "w"], &["y"], axis()),
        weight(),
        &[
            "const c0 \"w\": f32[3] = 0x000000000000000000000000",
            "const c1 \"\": i64[1] = [1]",
            "%Mul_node#4 = Unsqueeze(c0, c1)",
            "%y = Mul(%x, %Mul_node#4)",
        ],
    );
    check(6, node("Mul", &["x", "x"], &["y"], vec![]), &["%y = Mul(%x, %x)"]);
    let error = converted(6, node("Mul", &["x", "x"], &["y"], axis()), vec![]);
    assert!(error.contains("axis") && error.contains("does not fit"), "{error}");
}

#[test]
fn squeeze_and_unsqueeze() {
    let axes = || vec![ints("axes", &[0, 2])];
    check(
        11,
        node("Unsqueeze", &["x"], &["y"], axes()),
        &["const c0 \"\": i64[2] = [0, 2]", "%y = Unsqueeze(%x, c0)"],
    );
    check(11, node("Squeeze", &["x"], &["y"], vec![]), &["%y = Squeeze(%x)"]);
    check(13, node("Squeeze", &["x", "i"], &["y"], vec![]), &["%y = Squeeze(%x, %i)"]);
}

#[test]
fn slice() {
    let attributes = vec![ints("axes", &[1]), ints("starts", &[0]), ints("ends", &[-1])];
    check(
        9,
        node("Slice", &["x"], &["y"], attributes),
        &[
            "const c0 \"\": i64[1] = [0]",
            "const c1 \"\": i64[1] = [-1]",
            "const c2 \"\": i64[1] = [1]",
            "%y = Slice(%x, c0, c1, c2)",
        ],
    );
    check(10, node("Slice", &["x", "i", "i"], &["y"], vec![]), &["%y = Slice(%x, %i, %i)"]);
}

#[test]
fn clip() {
    check(
        6 + 1,
        node("Clip", &["x"], &["y"], vec![float("min", 0.0), float("max", 6.0)]),
        &["const c0 \"\": f32[] = 0x00000000", "const c1 \"\": f32[] = 0x0000c040", "%y = Clip(%x, c0, c1)"],
    );
    check(
        10,
        node("Clip", &["x"], &["y"], vec![float("max", 6.0)]),
        &["const c0 \"\": f32[] = 0x0000c040", "%y = Clip(%x, -, c0)"],
    );
}

#[test]
fn softmax() {
    check(13, node("Softmax", &["x"], &["y"], vec![]), &["%y = Softmax(%x) {axis = -1}"]);
    check(11, node("Softmax", &["x"], &["y"], vec![int("axis", 2)]), &["%y = Softmax(%x) {axis = -1}"]);
    check(11, node("Softmax", &["x"], &["y"], vec![int("axis", -1)]), &["%y = Softmax(%x) {axis = -1}"]);
    // The default was 1, and all axes from there on were one.
    check(
        8,
        node("LogSoftmax", &["x"], &["y"], vec![]),
        &[
            "%LogSoftmax_node#2 = Shape(%x) {start = 0}",
            "%LogSoftmax_node#3 = Flatten(%x) {axis = 1}",
            "%LogSoftmax_node#4 = LogSoftmax(%LogSoftmax_node#3) {axis = -1}",
            "%y = Reshape(%LogSoftmax_node#4, %LogSoftmax_node#2) {allowzero = 1}",
        ],
    );
}

#[test]
fn normalization_and_dropout() {
    let batch = |outputs: &[&str], attributes| {
        node("BatchNormalization", &["x", "x", "x", "x", "x"], outputs, attributes)
    };
    let expected =
        "%y = BatchNormalization(%x, %x, %x, %x, %x) {epsilon = 1e-5f, momentum = 0.9f, training_mode = 0}";
    check(7, batch(&["y"], vec![int("spatial", 1)]), &[expected]);
    check(15, batch(&["y"], vec![]), &[expected]);
    let error = converted(9, batch(&["y", "mean"], vec![]), vec![]);
    assert!(error.contains("\"mean\", which nothing defines"), "{error}");
    let training = converted(14, batch(&["y", "m", "v"], vec![int("training_mode", 1)]), vec![]);
    assert_eq!(training.matches("ReduceMean").count(), 2, "{training}");
    assert!(training.contains("%v = Add("), "{training}");

    check(7, node("Dropout", &["x"], &["y"], vec![float("ratio", 0.5)]), &["%y = Identity(%x)"]);
    check(
        13,
        node("Dropout", &["x", "r"], &["y"], vec![]),
        &["error: node \"Dropout_node\" (Dropout) uses \"r\", which nothing defines"],
    );
    check(
        10,
        node("Dropout", &["x"], &["y", "m"], vec![]),
        &[
            "const c0 \"\": bool[] = 0x01",
            "%y = Identity(%x)",
            "%Dropout_node#3 = Shape(%x) {start = 0}",
            "%m = Expand(c0, %Dropout_node#3)",
        ],
    );
    let mode = |on: u8| vec![raw("r", F32, &[], &0.5f32.to_le_bytes()), raw("t", 9, &[], &[on])];
    let training = || node("Dropout", &["x", "r", "t"], &["y"], vec![]);
    assert!(converted(13, training(), mode(0)).ends_with("%y = Identity(%x)\n"));
    let text = converted(13, training(), mode(1));
    assert!(text.contains("RandomUniformLike(%x)") && text.contains("%y = Where("), "{text}");
}

#[test]
fn upsample_and_resize() {
    let scales = [1.0f32, 1.0, 2.0];
    let attributes = vec![string("mode", "nearest"), floats("scales", &scales)];
    let found = converted(7, node("Upsample", &["x"], &["y"], attributes), vec![]);
    assert!(found.contains("Resize(%x, -, c0)") && found.contains("\"asymmetric\""), "{found}");
    assert!(found.contains("mode = \"nearest\", nearest_mode = \"floor\""), "{found}");

    let raw_floats = |values: &[f32]| {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        raw("s", F32, &[values.len() as i64], &data)
    };
    let resize = || node("Resize", &["x", "s"], &["y"], vec![]);
    assert!(converted(10, resize(), vec![raw_floats(&[1.0, 0.5, 0.5])]).contains("nearest_mode = \"ceil\""));
    assert!(converted(10, resize(), vec![raw_floats(&[1.0, 2.0, 2.0])]).contains("nearest_mode = \"floor\""));
    assert!(converted(10, resize(), vec![raw_floats(&[1.0, 2.0, 0.5])]).contains("grow some axes"));

    // Empty tensors stand for inputs that are not given.
    let node = node("Resize", &["x", "roi", "roi", "n"], &["y"], vec![string("mode", "linear")]);
    let tensors = vec![raw("roi", F32, &[0], &[]), raw_ints("n", &[2, 3, 8])];
    assert!(converted(11, node, tensors).contains("= Resize(%x, -, -, c1)"));
}

#[test]
fn constants() {
    check_with(
        12,
        node("Constant", &[], &["y"], vec![tensor_attribute("value", raw_ints("", &[5, -6]))]),
        vec![],
        &["const c0 \"y\": i64[2] = [5, -6]"],
    );
    check(12, node("Constant", &[], &["y"], vec![int("value_int", 7)]), &["const c0 \"\": i64[] = [7]"]);
    check(
        12,
        node("Constant", &[], &["y"], vec![ints("value_ints", &[7])]),
        &["const c0 \"\": i64[1] = [7]"],
    );
    check(
        12,
        node("Constant", &[], &["y"], vec![float("value_float", 1.0)]),
        &["const c0 \"\": f32[] = 0x0000803f"],
    );
    check(
        12,
        node("Constant", &[], &["y"], vec![floats("value_floats", &[1.0, f32::from_bits(0xffff_ffff)])]),
        &["const c0 \"\": f32[2] = 0x0000803f0000c07f"],
    );
    check(9, node("ConstantOfShape", &["i"], &["y"], vec![]), &["%y = ConstantOfShape(%i)"]);
    let value = tensor_attribute("value", raw_ints("", &[3]));
    check(
        9,
        node("ConstantOfShape", &["i"], &["y"], vec![value]),
        &["const c0 \"y\": i64[1] = [3]", "%y = ConstantOfShape(%i, c0)"],
    );
    let text = converted(12, node("Constant", &[], &["y"], vec![string("value_string", "a")]), vec![]);
    assert!(text.contains("packed[8] = 0x0100000100000061"), "{text}");
    assert!(converted(12, node("Constant", &[], &["y"], vec![]), vec![]).contains("0 values"));
}

#[test]
fn casts() {
    check(
        13,
        node("Cast", &["x"], &["y"], vec![int("to", 7)]),
        &["%y = Cast(%x) {round_mode = \"up\", saturate = 1, to = 7}"],
    );
    check(
        15,
        node("CastLike", &["x", "i"], &["y"], vec![]),
        &["%y = Cast(%x) {round_mode = \"up\", saturate = 1, to = 7}"],
    );
}

#[test]
fn floats_of_initializers_are_canonical() {
    let payload = f32::from_bits(0xffc0_0001).to_le_bytes();
    check_with(
        17,
        node("Add", &["x", "w"], &["y"], vec![]),
        vec![raw("w", F32, &[1], &payload)],
        &["const c0 \"w\": f32[1] = 0x0000c07f", "%y = Add(%x, c0)"],
    );
    // f16 in the bits of int32_data.
    let tensor = TensorProto {
        name: Some("w".to_string()),
        data_type: Some(10),
        dims: vec![2],
        int32_data: vec![0x3c00, 0xfe01],
        ..Default::default()
    };
    check_with(
        17,
        node("Identity", &["w"], &["y"], vec![]),
        vec![tensor],
        &["const c0 \"w\": f16[2] = 0x003c007e", "%y = Identity(c0)"],
    );
}

#[test]
fn inputs_with_initializers_are_constants() {
    let mut graph = graph(
        &[("x", F32, &["?", "-1", "N", ""]), ("w", F32, &["1"])],
        vec![node("Add", &["x", "w"], &["y"], vec![])],
        &["y"],
    );
    graph.initializer.push(raw("w", F32, &[1], &[0; 4]));
    assert_eq!(
        text(&model(8, graph)),
        "const c0 \"w\": f32[1] = 0x00000000\nparam %x: f32[x.0, x.1, N, x.3]\n%y = Add(%x, c0)\noutput \"y\": ? = %y\n"
    );
}

#[test]
fn branches_see_the_names_around_them() {
    let branch = |from: &str| graph(&[], vec![node("Identity", &[from], &["z"], vec![])], &["z"]);
    let attributes =
        vec![graph_attribute("then_branch", branch("x")), graph_attribute("else_branch", branch("late"))];
    let nodes = vec![
        node("If", &["c"], &["y"], attributes),
        // What a branch reads counts for the order too.
        node("Neg", &["x"], &["late"], vec![]),
    ];
    let inputs: &[(&str, i32, &[&str])] = &[("x", F32, &["2"]), ("c", 9, &[])];
    let expected = "param %x: f32[2]\nparam %c: bool[]\n%late = Neg(%x)\n%y = If(%c)\n  block\n    %z = Identity(%x)\n    results %z\n  block\n    %z = Identity(%late)\n    results %z\noutput \"y\": ? = %y\n";
    assert_eq!(text(&model(17, graph(inputs, nodes, &["y"]))), expected);
}

#[test]
fn loops_without_limits_get_them() {
    let body = graph(
        &[("n", I64, &[]), ("c_in", 9, &[]), ("v", F32, &["2"])],
        vec![node("Identity", &["c_in"], &["c_out"], vec![]), node("Neg", &["v"], &["w"], vec![])],
        &["c_out", "w", "v"],
    );
    let node = node("Loop", &["", "", "x"], &["last"], vec![graph_attribute("body", body)]);
    let found = text(&model(17, graph(&[("x", F32, &["2"])], vec![node], &["last"])));
    assert!(found.contains("const c0 \"\": i64[] = [9223372036854775807]"), "{found}");
    assert!(found.contains("%last, %Loop_node#9 = Loop(c0, c1, %x)"), "{found}");
    assert!(found.contains("    param %v: f32[2]"), "{found}");
}

#[test]
fn functions_are_inlined() {
    let mut call = node("twice", &["x"], &["y"], vec![int("by", 2)]);
    call.domain = Some("local".to_string());
    let mut soft = node("Softmax", &["m"], &["out"], vec![]);
    soft.attribute.push(AttributeProto {
        name: Some("axis".to_string()),
        ref_attr_name: Some("by".to_string()),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        ..Default::default()
    });
    let body = vec![node("Neg", &["a"], &["m"], vec![]), soft];
    let mut function = function("twice", &["a", "absent"], body, &["out"]);
    function.attribute.push("by".to_string());
    let mut model = model(11, graph(&[("x", F32, &["2", "3", "4"])], vec![call.clone()], &["y"]));
    model.functions.push(function);
    let expected = "%twice_node/m = Neg(%x)\n%twice_node/out = Softmax(%twice_node/m) {axis = 2}\n";
    let found = text(&model);
    assert!(found.contains(expected), "{found}");
    // The body is under the function's own opset: 17, not the model's 11.
    let nodes = import_model(&model).unwrap().main.nodes;
    assert_eq!((nodes[1].origin.name.as_str(), nodes[1].origin.opset), ("twice_node/Softmax_node", 17));
    model.graph.as_mut().unwrap().node[0].attribute.push(int("other", 1));
    assert!(text(&model).contains("other: is not declared by the function"));
}

#[test]
fn operators_defined_by_others() {
    let text = converted(28, node("SwiGLU", &["x", "x"], &["y"], vec![float("alpha", 2.0)]), vec![]);
    assert!(text.contains("Swish(%x) {alpha = 2.0f}") && text.contains("%y = Mul("), "{text}");
    let loss = node("SoftmaxCrossEntropyLoss", &["x", "i"], &["y", "p"], vec![string("reduction", "sum")]);
    let text = converted(13, loss, vec![]);
    assert!(text.contains("%p = LogSoftmax(%x) {axis = 1}"), "{text}");
    assert!(text.contains("%y = NegativeLogLikelihoodLoss(%p, %i) {reduction = \"sum\"}"), "{text}");
    let weight = || vec![raw("w", F32, &[3, 1, 2], &[0; 24])];
    let convolution = |more: &[&str], attributes| {
        let inputs = [&["x", "w"], more].concat();
        converted(27, node("CausalConvWithState", &inputs, &["y", "s"], attributes), weight())
    };
    let text = convolution(&[], vec![string("activation", "silu")]);
    assert!(
        text.contains("Pad(%x") && text.contains("%y = Swish(") && text.contains("%s = Slice("),
        "{text}"
    );
    let text = convolution(&["", "x"], vec![]);
    assert!(text.contains("Concat(%x, %x) {axis = 2}") && text.contains("%y = Conv("), "{text}");
    let text = convolution(&[], vec![string("activation", "gelu")]);
    assert!(text.contains("activation: \"gelu\" is not known"), "{text}");
    let text = converted(17, node("DFT", &["x"], &["y"], vec![int("axis", 1)]), vec![]);
    assert!(text.contains("%y = DFT(%x, -, c0)"), "{text}");
}

#[test]
fn sparse_constants() {
    let ends = [0i64, 2].iter().flat_map(|index| index.to_le_bytes()).collect::<Vec<u8>>();
    let halves = [1.5f32, 2.5].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let sparse = AttributeProto {
        name: Some("sparse_value".to_string()),
        r#type: Some(attribute_proto::AttributeType::SparseTensor as i32),
        sparse_tensor: Some(SparseTensorProto {
            values: Some(raw("", F32, &[2], &halves)),
            indices: Some(raw("", I64, &[2], &ends)),
            dims: vec![3],
        }),
        ..Default::default()
    };
    check(
        17,
        node("Constant", &[], &["y"], vec![sparse]),
        &["const c0 \"y\": f32[3] = 0x0000c03f0000000000002040"],
    );
}
