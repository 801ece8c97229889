module {
  repops.program ["x", "k"] -> ["y", "z"] {
  ^bb0(%x: tensor<8x4xf32>, %k: tensor<?x4xf32, ["N", "4"]>):
    %a = repops.apply "Softmax"(%x) with {axis = 0 : i64} {version = 2 : i64} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %b = repops.apply "Softmax"(%a) with {axis = 0 : i64} {version = 2 : i64} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    // %a is dead: its slot is taken again. The view keeps %c alive until %e.
    %c = repops.apply "Softmax"(%b) with {axis = 0 : i64} {version = 2 : i64} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %v = repops.apply "Identity"(%c) : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %d = repops.apply "Softmax"(%b) with {axis = 0 : i64} {version = 2 : i64} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %e = repops.apply "Gemm"(%v, %d) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 1 : i64, transB = 0 : i64} : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
    %f = repops.apply "MatMul"(%k, %e) : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %g = repops.apply "MatMul"(%f, %e) : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %h = repops.apply "MatMul"(%g, %e) : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %i = repops.apply "MatMul"(%h, %e) : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %u = repops.apply "Identity"(%h) : (tensor<?x4xf32, ["N", "4"]>) -> tensor<?x4xf32, ["N", "4"]>
    repops.output %i, %u : tensor<?x4xf32, ["N", "4"]>, tensor<?x4xf32, ["N", "4"]>
  }
}
// ----- after
module {
  repops.program ["x", "k"] -> ["y", "z"] {
  ^bb0(%arg0: tensor<8x4xf32>, %arg1: tensor<?x4xf32, ["N", "4"]>):
    %0 = repops.apply "Softmax" version 2(%arg0) with {axis = 0 : i64} {slots = array<i64: 0>} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %1 = repops.apply "Softmax" version 2(%0) with {axis = 0 : i64} {slots = array<i64: 1>} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %2 = repops.apply "Softmax" version 2(%1) with {axis = 0 : i64} {slots = array<i64: 0>} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %3 = repops.apply "Identity"(%2) {slots = array<i64: -1>} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %4 = repops.apply "Softmax" version 2(%1) with {axis = 0 : i64} {slots = array<i64: 2>} : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %5 = repops.apply "Gemm"(%3, %4) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 1 : i64, transB = 0 : i64} {slots = array<i64: 1>} : (tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
    %6 = repops.apply "MatMul"(%arg1, %5) {slots = array<i64: 3>} : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %7 = repops.apply "MatMul"(%6, %5) {slots = array<i64: 4>} : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %8 = repops.apply "MatMul"(%7, %5) {slots = array<i64: -1>} : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %9 = repops.apply "MatMul"(%8, %5) {slots = array<i64: -1>} : (tensor<?x4xf32, ["N", "4"]>, tensor<4x4xf32>) -> tensor<?x4xf32, ["N", "4"]>
    %10 = repops.apply "Identity"(%8) {slots = array<i64: -1>} : (tensor<?x4xf32, ["N", "4"]>) -> tensor<?x4xf32, ["N", "4"]>
    repops.output %9, %10 : tensor<?x4xf32, ["N", "4"]>, tensor<?x4xf32, ["N", "4"]>
  }
}
