// constant i64[2]: 6, -1
// constant i64[3]: 2, 3, 4
// constant i64[2]: 0, -1
module {
  repops.program ["x"] -> ["a", "b", "c", "d"] {
  ^bb0(%x: tensor<2x3x4xf32>):
    %six = repops.constant 0 : tensor<2xi64>
    %back = repops.constant 1 : tensor<3xi64>
    %keep = repops.constant 2 : tensor<2xi64>
    %i = repops.apply "Identity"(%x) : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    %r = repops.apply "Reshape"(%i, %six) with {allowzero = 0 : i64} : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
    // There and back again.
    %s = repops.apply "Reshape"(%r, %back) with {allowzero = 0 : i64} : (tensor<6x4xf32>, tensor<3xi64>) -> tensor<2x3x4xf32>
    // Copies an extent of the view, so the view stays.
    %t = repops.apply "Reshape"(%r, %keep) with {allowzero = 0 : i64} : (tensor<6x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
    %u = repops.apply "Softmax"(%r) with {axis = -1 : i64} {version = 2 : i64} : (tensor<6x4xf32>) -> tensor<6x4xf32>
    %v = repops.apply "Reshape"(%u, %back) with {allowzero = 0 : i64} : (tensor<6x4xf32>, tensor<3xi64>) -> tensor<2x3x4xf32>
    %w = repops.apply "Reshape"(%v, %six) with {allowzero = 0 : i64} : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
    repops.output %s, %t, %w, %v : tensor<2x3x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>, tensor<2x3x4xf32>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["a", "b", "c", "d"] {
  ^bb0(%arg0: tensor<2x3x4xf32>):
    %0 = repops.constant 0 : tensor<2xi64>
    %1 = repops.constant 1 : tensor<3xi64>
    %2 = repops.constant 2 : tensor<2xi64>
    %3 = repops.apply "Reshape"(%arg0, %0) with {allowzero = 0 : i64} : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<6x4xf32>
    %4 = repops.apply "Softmax" version 2(%3) with {axis = -1 : i64} : (tensor<6x4xf32>) -> tensor<6x4xf32>
    %5 = repops.apply "Reshape"(%4, %1) with {allowzero = 0 : i64} : (tensor<6x4xf32>, tensor<3xi64>) -> tensor<2x3x4xf32>
    repops.output %arg0, %3, %4, %5 : tensor<2x3x4xf32>, tensor<6x4xf32>, tensor<6x4xf32>, tensor<2x3x4xf32>
  }
}
