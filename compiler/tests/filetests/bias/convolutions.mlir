// constant f32[3, 2, 1, 1]: 1
// constant f32[1, 3, 1, 1]: 2
// constant f32[3, 1, 1]: 3
// constant f32[1, 1, 1, 1]: 4
// constant f32[3]: 5
// constant f32[3, 3, 1, 1]: 6
module {
  repops.program ["x"] -> ["a", "b", "c", "d", "e"] {
  ^bb0(%x: tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>):
    %w = repops.constant 0 : tensor<3x2x1x1xf32>
    %four = repops.constant 1 : tensor<1x3x1x1xf32>
    %three = repops.constant 2 : tensor<3x1x1xf32>
    %one = repops.constant 3 : tensor<1x1x1x1xf32>
    %bias = repops.constant 4 : tensor<3xf32>
    %w3 = repops.constant 5 : tensor<3x3x1x1xf32>
    %a0 = repops.apply "Conv"(%x, %w) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %a = repops.apply "Add"(%a0, %four) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    // The other way round.
    %b0 = repops.apply "Conv"(%a, %w3) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<3x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %b = repops.apply "Add"(%three, %b0) : (tensor<3x1x1xf32>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    // One number for all channels, a convolution that has a bias, one that is read elsewhere too: all stay.
    %c0 = repops.apply "Conv"(%x, %w) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %c = repops.apply "Add"(%c0, %one) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x1x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %d0 = repops.apply "Conv"(%x, %w, %bias) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>, tensor<3xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %d = repops.apply "Add"(%d0, %four) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %e0 = repops.apply "Conv"(%x, %w) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %e1 = repops.apply "Add"(%e0, %four) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %e = repops.apply "Mul"(%e0, %e1) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    repops.output %a, %b, %c, %d, %e : tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["a", "b", "c", "d", "e"] {
  ^bb0(%arg0: tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>):
    %0 = repops.constant 0 : tensor<3x2x1x1xf32>
    %1 = repops.constant 6 : tensor<3xf32>
    %2 = repops.constant 1 : tensor<1x3x1x1xf32>
    %3 = repops.constant 7 : tensor<3xf32>
    %4 = repops.constant 3 : tensor<1x1x1x1xf32>
    %5 = repops.constant 4 : tensor<3xf32>
    %6 = repops.constant 5 : tensor<3x3x1x1xf32>
    %7 = repops.apply "Conv"(%arg0, %0, %1) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>, tensor<3xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %8 = repops.apply "Conv"(%7, %6, %3) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<3x3x1x1xf32>, tensor<3xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %9 = repops.apply "Conv"(%arg0, %0) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %10 = repops.apply "Add"(%9, %4) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x1x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %11 = repops.apply "Conv"(%arg0, %0, %5) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>, tensor<3xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %12 = repops.apply "Add"(%11, %2) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %13 = repops.apply "Conv"(%arg0, %0) : (tensor<?x2x?x?xf32, ["N", "2", "H", "W"]>, tensor<3x2x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %14 = repops.apply "Add"(%13, %2) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<1x3x1x1xf32>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    %15 = repops.apply "Mul"(%13, %14) : (tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>) -> tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
    repops.output %7, %8, %10, %12, %15 : tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>, tensor<?x3x?x?xf32, ["N", "3", "H", "W"]>
  }
}
// f32[3] RowMajor: [2.0, 2.0, 2.0]
// f32[3] RowMajor: [3.0, 3.0, 3.0]
