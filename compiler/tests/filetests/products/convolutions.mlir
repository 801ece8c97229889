// constant f32[4,3,3,3]: 0.5
// constant f32[4]: 0.25
// constant f32[1,4,1,1]: 2
module {
  repops.program ["x"] -> ["y", "z", "v"] {
  ^bb0(%x: tensor<1x3x8x8xf32>):
    %w = repops.constant 0 : tensor<4x3x3x3xf32>
    %b = repops.constant 1 : tensor<4xf32>
    %c = repops.constant 2 : tensor<1x4x1x1xf32>
    %none = repops.none
    %conv = repops.apply "Conv"(%x, %w, %b) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<4xf32>) -> tensor<1x4x8x8xf32>
    %y = repops.apply "Relu"(%conv) : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    // Of two convolutions the last.
    %d = repops.apply "Conv"(%x, %w, %b) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<4xf32>) -> tensor<1x4x8x8xf32>
    %e = repops.apply "Conv"(%x, %w) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x8x8xf32>
    %z = repops.apply "Add"(%e, %d) : (tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    // An absent bias, and a result that is larger than the product: neither is taken in.
    %f = repops.apply "Conv"(%x, %w, %none) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, none) -> tensor<1x4x8x8xf32>
    %g = repops.apply "Exp"(%f) : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    %h = repops.apply "Conv"(%x, %w) with {pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 8, 8>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x1x1xf32>
    %i = repops.apply "Mul"(%h, %g) : (tensor<1x4x1x1xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    repops.output %y, %z, %i : tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y", "z", "v"] {
  ^bb0(%arg0: tensor<1x3x8x8xf32>):
    %0 = repops.constant 0 : tensor<4x3x3x3xf32>
    %1 = repops.constant 1 : tensor<4xf32>
    %2 = repops.constant 2 : tensor<1x4x1x1xf32>
    %3 = repops.none
    %4 = repops.region(%arg0, %0, %1) : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<4xf32>) -> tensor<1x4x8x8xf32> {
    ^bb0(%arg1: tensor<1x3x8x8xf32>, %arg2: tensor<4x3x3x3xf32>, %arg3: tensor<4xf32>):
      %11 = repops.apply "Conv"(%arg1, %arg2, %arg3) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<4xf32>) -> f32
      %12 = repops.apply "Relu"(%11) : (f32) -> f32
      repops.yield %12 : f32
    }
    %5 = repops.apply "Conv"(%arg0, %0, %1) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<4xf32>) -> tensor<1x4x8x8xf32>
    %6 = repops.region(%arg0, %0, %5) : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32> {
    ^bb0(%arg1: tensor<1x3x8x8xf32>, %arg2: tensor<4x3x3x3xf32>, %arg3: f32):
      %11 = repops.apply "Conv"(%arg1, %arg2) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> f32
      %12 = repops.apply "Add"(%11, %arg3) : (f32, f32) -> f32
      repops.yield %12 : f32
    }
    %7 = repops.apply "Conv"(%arg0, %0, %3) with {pads = array<i64: 1, 1, 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>, none) -> tensor<1x4x8x8xf32>
    %8 = repops.apply "Exp"(%7) : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    %9 = repops.apply "Conv"(%arg0, %0) with {pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 8, 8>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x1x1xf32>
    %10 = repops.apply "Mul"(%9, %8) : (tensor<1x4x1x1xf32>, tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
    repops.output %4, %6, %10 : tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>, tensor<1x4x8x8xf32>
  }
}
