// constant f16[2, 3]: 1, 2, 3, 4, 5, 6
// constant f16[3]: 1, 2, 3
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%x: tensor<?x2xf32, ["N", "2"]>):
    %w = repops.constant 0 : tensor<2x3xf16>
    %v = repops.constant 1 : tensor<3xf16>
    // The product widens it, for half of the bytes.
    %wide = repops.apply "Cast"(%w) with {round_mode = "up", saturate = 1 : i64, to = 1 : i64} : (tensor<2x3xf16>) -> tensor<2x3xf32>
    %y = repops.apply "MatMul"(%x, %wide) : (tensor<?x2xf32, ["N", "2"]>, tensor<2x3xf32>) -> tensor<?x3xf32, ["N", "3"]>
    // No matrix: computed now.
    %sum = repops.apply "Cast"(%v) with {round_mode = "up", saturate = 1 : i64, to = 1 : i64} : (tensor<3xf16>) -> tensor<3xf32>
    %z = repops.apply "Add"(%y, %sum) : (tensor<?x3xf32, ["N", "3"]>, tensor<3xf32>) -> tensor<?x3xf32, ["N", "3"]>
    repops.output %y, %z : tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%arg0: tensor<?x2xf32, ["N", "2"]>):
    %0 = repops.constant 0 : tensor<2x3xf16>
    %1 = repops.constant 1 : tensor<3xf16>
    %2 = repops.apply "Cast"(%0) with {round_mode = "up", saturate = 1 : i64, to = 1 : i64} : (tensor<2x3xf16>) -> tensor<2x3xf32>
    %3 = repops.apply "MatMul"(%arg0, %0) : (tensor<?x2xf32, ["N", "2"]>, tensor<2x3xf16>) -> tensor<?x3xf32, ["N", "3"]>
    %4 = repops.apply "Cast"(%1) with {round_mode = "up", saturate = 1 : i64, to = 1 : i64} : (tensor<3xf16>) -> tensor<3xf32>
    %5 = repops.apply "Add"(%3, %4) : (tensor<?x3xf32, ["N", "3"]>, tensor<3xf32>) -> tensor<?x3xf32, ["N", "3"]>
    repops.output %3, %5 : tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>
  }
}
