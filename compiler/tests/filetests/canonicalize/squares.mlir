// constant f32[]: 2
// constant f32[1, 1]: 2
// constant f32[2]: 2, 2
// constant i64[]: 2
module {
  repops.program ["x", "w"] -> ["a", "b", "c", "d", "e", "f"] {
  ^bb0(%x: tensor<?x2xf32, ["N", "2"]>, %w: tensor<3xf64, ["3"]>):
    %two = repops.constant 0 : tensor<f32>
    %spread = repops.constant 1 : tensor<1x1xf32>
    %twos = repops.constant 2 : tensor<2xf32>
    %integer = repops.constant 3 : tensor<i64>
    // Squares.
    %a = repops.apply "Pow"(%x, %two) : (tensor<?x2xf32, ["N", "2"]>, tensor<f32>) -> tensor<?x2xf32, ["N", "2"]>
    %b = repops.apply "Pow"(%x, %spread) : (tensor<?x2xf32, ["N", "2"]>, tensor<1x1xf32>) -> tensor<?x2xf32, ["N", "2"]>
    %c = repops.apply "Pow"(%x, %integer) : (tensor<?x2xf32, ["N", "2"]>, tensor<i64>) -> tensor<?x2xf32, ["N", "2"]>
    // One for each of several elements, another type, another base: left as they are.
    %d = repops.apply "Pow"(%x, %twos) : (tensor<?x2xf32, ["N", "2"]>, tensor<2xf32>) -> tensor<?x2xf32, ["N", "2"]>
    %e = repops.apply "Pow"(%w, %two) : (tensor<3xf64, ["3"]>, tensor<f32>) -> tensor<3xf64, ["3"]>
    %f = repops.apply "Pow"(%two, %x) : (tensor<f32>, tensor<?x2xf32, ["N", "2"]>) -> tensor<?x2xf32, ["N", "2"]>
    repops.output %a, %b, %c, %d, %e, %f : tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<3xf64, ["3"]>, tensor<?x2xf32, ["N", "2"]>
  }
}
// ----- after
module {
  repops.program ["x", "w"] -> ["a", "b", "c", "d", "e", "f"] {
  ^bb0(%arg0: tensor<?x2xf32, ["N", "2"]>, %arg1: tensor<3xf64, ["3"]>):
    %0 = repops.constant 0 : tensor<f32>
    %1 = repops.constant 1 : tensor<1x1xf32>
    %2 = repops.constant 2 : tensor<2xf32>
    %3 = repops.constant 3 : tensor<i64>
    %4 = repops.apply "Mul"(%arg0, %arg0) : (tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>) -> tensor<?x2xf32, ["N", "2"]>
    %5 = repops.apply "Mul"(%arg0, %arg0) : (tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>) -> tensor<?x2xf32, ["N", "2"]>
    %6 = repops.apply "Mul"(%arg0, %arg0) : (tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>) -> tensor<?x2xf32, ["N", "2"]>
    %7 = repops.apply "Pow"(%arg0, %2) : (tensor<?x2xf32, ["N", "2"]>, tensor<2xf32>) -> tensor<?x2xf32, ["N", "2"]>
    %8 = repops.apply "Pow"(%arg1, %0) : (tensor<3xf64, ["3"]>, tensor<f32>) -> tensor<3xf64, ["3"]>
    %9 = repops.apply "Pow"(%0, %arg0) : (tensor<f32>, tensor<?x2xf32, ["N", "2"]>) -> tensor<?x2xf32, ["N", "2"]>
    repops.output %4, %5, %6, %7, %8, %9 : tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<?x2xf32, ["N", "2"]>, tensor<3xf64, ["3"]>, tensor<?x2xf32, ["N", "2"]>
  }
}
