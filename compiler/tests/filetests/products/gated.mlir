// locations
// constant f32[8,16]: 0.5
// constant f32[8,16]: 0.25
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%x: tensor<?x8xf32, ["N", "8"]>):
    %wg = repops.constant 0 : tensor<8x16xf32>
    %wu = repops.constant 1 : tensor<8x16xf32>
    %gate = repops.apply "MatMul"(%x, %wg) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> tensor<?x16xf32, ["N", "16"]> loc("gate"("MatMul":0:13))
    %up = repops.apply "MatMul"(%x, %wu) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> tensor<?x16xf32, ["N", "16"]> loc("up"("MatMul":1:13))
    %y = repops.region(%gate, %up) : (tensor<?x16xf32, ["N", "16"]>, tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> {
    ^bb0(%a: f32, %b: f32):
      %s = repops.apply "Sigmoid"(%a) : (f32) -> f32
      %t = repops.apply "Mul"(%a, %s) : (f32, f32) -> f32
      %m = repops.apply "Mul"(%t, %b) : (f32, f32) -> f32
      repops.yield %m : f32
    } loc("act"("Mul":2:14))
    // %p is read twice, so it is stored.
    %p = repops.apply "MatMul"(%x, %wu) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> tensor<?x16xf32, ["N", "16"]> loc("shared"("MatMul":3:13))
    %q = repops.apply "Relu"(%p) : (tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("relu"("Relu":4:14))
    %s = repops.apply "Softmax"(%p) with {axis = -1 : i64} {version = 2 : i64} : (tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("softmax"("Softmax":5:13))
    %z = repops.apply "Add"(%q, %s) : (tensor<?x16xf32, ["N", "16"]>, tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("add"("Add":6:14))
    repops.output %y, %z : tensor<?x16xf32, ["N", "16"]>, tensor<?x16xf32, ["N", "16"]>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%arg0: tensor<?x8xf32, ["N", "8"]> loc("-":6:8)):
    %0 = repops.constant 0 : tensor<8x16xf32> loc("-":7:11)
    %1 = repops.constant 1 : tensor<8x16xf32> loc("-":8:11)
    %2 = repops.region(%arg0, %0, %arg0, %1) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>, tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> tensor<?x16xf32, ["N", "16"]> {
    ^bb0(%arg1: tensor<?x8xf32, ["N", "8"]> loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)]), %arg2: tensor<8x16xf32> loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)]), %arg3: tensor<?x8xf32, ["N", "8"]> loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)]), %arg4: tensor<8x16xf32> loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)])):
      %7 = repops.apply "MatMul"(%arg1, %arg2) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> f32 loc("gate"("MatMul":0:13))
      %8 = repops.apply "MatMul"(%arg3, %arg4) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> f32 loc("up"("MatMul":1:13))
      %9 = repops.apply "Sigmoid"(%7) : (f32) -> f32 loc("-":13:12)
      %10 = repops.apply "Mul"(%7, %9) : (f32, f32) -> f32 loc("-":14:12)
      %11 = repops.apply "Mul"(%10, %8) : (f32, f32) -> f32 loc("-":15:12)
      repops.yield %11 : f32 loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)])
    } loc(fused["gate"("MatMul":0:13), "up"("MatMul":1:13), "act"("Mul":2:14)])
    %3 = repops.apply "MatMul"(%arg0, %1) : (tensor<?x8xf32, ["N", "8"]>, tensor<8x16xf32>) -> tensor<?x16xf32, ["N", "16"]> loc("shared"("MatMul":3:13))
    %4 = repops.apply "Relu"(%3) : (tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("relu"("Relu":4:14))
    %5 = repops.apply "Softmax" version 2(%3) with {axis = -1 : i64} : (tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("softmax"("Softmax":5:13))
    %6 = repops.apply "Add"(%4, %5) : (tensor<?x16xf32, ["N", "16"]>, tensor<?x16xf32, ["N", "16"]>) -> tensor<?x16xf32, ["N", "16"]> loc("add"("Add":6:14))
    repops.output %2, %6 : tensor<?x16xf32, ["N", "16"]>, tensor<?x16xf32, ["N", "16"]> loc("-":23:5)
  } loc("-":5:3)
} loc("-":4:1)
