// constant f32[]: 0.5
// locations
module {
  repops.program ["x", "y"] -> ["a", "b"] {
  ^bb0(%x: tensor<?x8xf32, ["N", "8"]>, %y: tensor<8xf32>):
    %half = repops.constant 0 : tensor<f32>
    %a = repops.apply "Mul"(%x, %half) : (tensor<?x8xf32, ["N", "8"]>, tensor<f32>) -> tensor<?x8xf32, ["N", "8"]> loc("mul"("Mul":0:14))
    %b = repops.apply "Erf"(%a) : (tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xf32, ["N", "8"]> loc("erf"("Erf":1:13))
    %c = repops.apply "Add"(%b, %y) : (tensor<?x8xf32, ["N", "8"]>, tensor<8xf32>) -> tensor<?x8xf32, ["N", "8"]> loc("add"("Add":2:14))
    // %a is read twice, by members alone.
    %d = repops.apply "Mul"(%c, %a) : (tensor<?x8xf32, ["N", "8"]>, tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xf32, ["N", "8"]> loc("mul_1"("Mul":3:14))
    %s = repops.apply "Softmax"(%d) with {axis = -1 : i64} {version = 2 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xf32, ["N", "8"]> loc("softmax"("Softmax":4:13))
    // %s is read from outside, so it is an input. The smaller %e is none's member.
    %e = repops.apply "Exp"(%y) : (tensor<8xf32>) -> tensor<8xf32> loc("exp"("Exp":5:13))
    %f = repops.apply "Add"(%s, %e) : (tensor<?x8xf32, ["N", "8"]>, tensor<8xf32>) -> tensor<?x8xf32, ["N", "8"]> loc("add_1"("Add":6:14))
    %g = repops.apply "Relu"(%f) : (tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xf32, ["N", "8"]> loc("relu"("Relu":7:14))
    %h = repops.apply "Greater"(%g, %s) : (tensor<?x8xf32, ["N", "8"]>, tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xi1, ["N", "8"]> loc("greater"("Greater":8:13))
    %i = repops.apply "Where"(%h, %g, %half) : (tensor<?x8xi1, ["N", "8"]>, tensor<?x8xf32, ["N", "8"]>, tensor<f32>) -> tensor<?x8xf32, ["N", "8"]> loc("where"("Where":9:16))
    repops.output %i, %s : tensor<?x8xf32, ["N", "8"]>, tensor<?x8xf32, ["N", "8"]>
  }
}
// ----- after
module {
  repops.program ["x", "y"] -> ["a", "b"] {
  ^bb0(%arg0: tensor<?x8xf32, ["N", "8"]>, %arg1: tensor<8xf32>):
    %0 = repops.constant 0 : tensor<f32>
    %1 = repops.region(%arg0, %0, %arg1) : (tensor<?x8xf32, ["N", "8"]>, tensor<f32>, tensor<8xf32>) -> tensor<?x8xf32, ["N", "8"]> {
    ^bb0(%arg2: f32, %arg3: f32, %arg4: f32):
      %5 = repops.apply "Mul"(%arg2, %arg3) : (f32, f32) -> f32
      %6 = repops.apply "Erf"(%5) : (f32) -> f32
      %7 = repops.apply "Add"(%6, %arg4) : (f32, f32) -> f32
      %8 = repops.apply "Mul"(%7, %5) : (f32, f32) -> f32
      repops.yield %8 : f32
    }
    %2 = repops.apply "Softmax" version 2(%1) with {axis = -1 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> tensor<?x8xf32, ["N", "8"]>
    %3 = repops.apply "Exp"(%arg1) : (tensor<8xf32>) -> tensor<8xf32>
    %4 = repops.region(%2, %3, %0) : (tensor<?x8xf32, ["N", "8"]>, tensor<8xf32>, tensor<f32>) -> tensor<?x8xf32, ["N", "8"]> {
    ^bb0(%arg2: f32, %arg3: f32, %arg4: f32):
      %5 = repops.apply "Add"(%arg2, %arg3) : (f32, f32) -> f32
      %6 = repops.apply "Relu"(%5) : (f32) -> f32
      %7 = repops.apply "Greater"(%6, %arg2) : (f32, f32) -> i1
      %8 = repops.apply "Where"(%7, %6, %arg4) : (i1, f32, f32) -> f32
      repops.yield %8 : f32
    }
    repops.output %4, %2 : tensor<?x8xf32, ["N", "8"]>, tensor<?x8xf32, ["N", "8"]>
  }
}
