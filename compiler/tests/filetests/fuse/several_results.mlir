// constant f32[]: 0.00001
// A layer normalization, spelled out: the difference is read by the square and, behind it, by the quotient.
module {
  repops.program ["x", "r"] -> ["y"] {
  ^bb0(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>):
    %epsilon = repops.constant 0 : tensor<f32>
    %axes = repops.constant 0 : tensor<f32>
    %sum = repops.apply "Add"(%x, %r) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %mean = repops.apply "Softmax"(%sum) with {axis = -1 : i64} {version = 2 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %difference = repops.apply "Sub"(%sum, %mean) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %square = repops.apply "Mul"(%difference, %difference) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %variance = repops.apply "Softmax"(%square) with {axis = -1 : i64} {version = 2 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %shifted = repops.apply "Add"(%variance, %epsilon) : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>
    %root = repops.apply "Sqrt"(%shifted) : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %quotient = repops.apply "Div"(%difference, %root) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    repops.output %quotient : tensor<4x8xf32>
  }
}
// ----- after
module {
  repops.program ["x", "r"] -> ["y"] {
  ^bb0(%arg0: tensor<4x8xf32>, %arg1: tensor<4x8xf32>):
    %0 = repops.constant 0 : tensor<f32>
    %1 = repops.constant 0 : tensor<f32>
    %2 = repops.apply "Add"(%arg0, %arg1) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
    %3 = repops.apply "Softmax" version 2(%2) with {axis = -1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %4:2 = repops.region(%2, %3) : (tensor<4x8xf32>, tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
    ^bb0(%arg2: f32, %arg3: f32):
      %7 = repops.apply "Sub"(%arg2, %arg3) : (f32, f32) -> f32
      %8 = repops.apply "Mul"(%7, %7) : (f32, f32) -> f32
      repops.yield %7, %8 : f32, f32
    }
    %5 = repops.apply "Softmax" version 2(%4#1) with {axis = -1 : i64} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %6 = repops.region(%5, %0, %4#0) : (tensor<4x8xf32>, tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32> {
    ^bb0(%arg2: f32, %arg3: f32, %arg4: f32):
      %7 = repops.apply "Add"(%arg2, %arg3) : (f32, f32) -> f32
      %8 = repops.apply "Sqrt"(%7) : (f32) -> f32
      %9 = repops.apply "Div"(%arg4, %8) : (f32, f32) -> f32
      repops.yield %9 : f32
    }
    repops.output %6 : tensor<4x8xf32>
  }
}
