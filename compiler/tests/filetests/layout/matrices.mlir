// constant f32[20, 17]: 1
// constant f32[17, 20]: 2
// constant f32[20, 20]: 3
// constant f32[20]: 4
module {
  repops.program ["x"] -> ["a", "b", "c", "d"] {
  ^bb0(%x: tensor<?x20xf32, ["N", "20"]>):
    %w = repops.constant 0 : tensor<20x17xf32>
    %t = repops.constant 1 : tensor<17x20xf32>
    %both = repops.constant 2 : tensor<20x20xf32>
    %vector = repops.constant 3 : tensor<20xf32>
    %a = repops.apply "MatMul"(%x, %w) : (tensor<?x20xf32, ["N", "20"]>, tensor<20x17xf32>) -> tensor<?x17xf32, ["N", "17"]>
    %b = repops.apply "Gemm"(%x, %t) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 0 : i64, transB = 1 : i64} : (tensor<?x20xf32, ["N", "20"]>, tensor<17x20xf32>) -> tensor<?x17xf32, ["N", "17"]>
    // Read as a left operand too: stays as it is.
    %c = repops.apply "MatMul"(%both, %both) : (tensor<20x20xf32>, tensor<20x20xf32>) -> tensor<20x20xf32>
    %d = repops.apply "MatMul"(%x, %vector) : (tensor<?x20xf32, ["N", "20"]>, tensor<20xf32>) -> tensor<?xf32, ["N"]>
    repops.output %a, %b, %c, %d : tensor<?x17xf32, ["N", "17"]>, tensor<?x17xf32, ["N", "17"]>, tensor<20x20xf32>, tensor<?xf32, ["N"]>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["a", "b", "c", "d"] {
  ^bb0(%arg0: tensor<?x20xf32, ["N", "20"]>):
    %0 = repops.constant 4 : tensor<20x17xf32>
    %1 = repops.constant 5 : tensor<20x17xf32>
    %2 = repops.constant 2 : tensor<20x20xf32>
    %3 = repops.constant 3 : tensor<20xf32>
    %4 = repops.apply "MatMul"(%arg0, %0) : (tensor<?x20xf32, ["N", "20"]>, tensor<20x17xf32>) -> tensor<?x17xf32, ["N", "17"]>
    %5 = repops.apply "Gemm"(%arg0, %1) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 0 : i64, transB = 0 : i64} : (tensor<?x20xf32, ["N", "20"]>, tensor<20x17xf32>) -> tensor<?x17xf32, ["N", "17"]>
    %6 = repops.apply "MatMul"(%2, %2) : (tensor<20x20xf32>, tensor<20x20xf32>) -> tensor<20x20xf32>
    %7 = repops.apply "MatMul"(%arg0, %3) : (tensor<?x20xf32, ["N", "20"]>, tensor<20xf32>) -> tensor<?xf32, ["N"]>
    repops.output %4, %5, %6, %7 : tensor<?x17xf32, ["N", "17"]>, tensor<?x17xf32, ["N", "17"]>, tensor<20x20xf32>, tensor<?xf32, ["N"]>
  }
}
// f32[20, 17] Panel16
// f32[20, 17] Panel16
