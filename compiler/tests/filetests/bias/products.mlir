// constant f32[3, 4]: 1
// constant f32[4]: 2
// constant f32[1, 4]: 3
// constant f32[1, 1]: 4
module {
  repops.program ["x", "r", "h"] -> ["a", "b", "c", "d", "e", "f", "g", "i", "j"] {
  ^bb0(%x: tensor<?x3xf32, ["S", "3"]>, %r: tensor<?x4xf32, ["S", "4"]>, %h: tensor<?x3xf16, ["S", "3"]>):
    %w = repops.constant 0 : tensor<3x4xf32>
    %four = repops.constant 1 : tensor<4xf32>
    %line = repops.constant 2 : tensor<1x4xf32>
    %one = repops.constant 3 : tensor<1x1xf32>
    // A residual, on either side; a bias of columns, of one line, of one number.
    %a0 = repops.apply "Gemm"(%x, %w) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %a = repops.apply "Add"(%a0, %r) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %b0 = repops.apply "Gemm"(%x, %w) {attrs = {alpha = 2.000000e+00 : f32}} : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %b = repops.apply "Add"(%a, %b0) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %c0 = repops.apply "Gemm"(%x, %w) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %c = repops.apply "Add"(%four, %c0) : (tensor<4xf32>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %d0 = repops.apply "Gemm"(%x, %w) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %d = repops.apply "Add"(%d0, %line) : (tensor<?x4xf32, ["S", "4"]>, tensor<1x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %e0 = repops.apply "Gemm"(%x, %w) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %e = repops.apply "Add"(%e0, %one) : (tensor<?x4xf32, ["S", "4"]>, tensor<1x1xf32>) -> tensor<?x4xf32, ["S", "4"]>
    // A product that has a C, one that would be multiplied by a beta, one that is read elsewhere too: all stay.
    %f0 = repops.apply "Gemm"(%x, %w, %four) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %f = repops.apply "Add"(%f0, %r) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %g0 = repops.apply "Gemm"(%x, %w) {attrs = {beta = 5.000000e-01 : f32}} : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %g = repops.apply "Add"(%g0, %r) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %i0 = repops.apply "Gemm"(%x, %w) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %i1 = repops.apply "Add"(%i0, %r) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %i = repops.apply "Mul"(%i0, %i1) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    // f16 rounds before the Add, not in Gemm.
    %hw = repops.apply "Cast"(%w) {attrs = {to = 10 : i64}} : (tensor<3x4xf32>) -> tensor<3x4xf16>
    %j0 = repops.apply "Gemm"(%h, %hw) : (tensor<?x3xf16, ["S", "3"]>, tensor<3x4xf16>) -> tensor<?x4xf16, ["S", "4"]>
    %j1 = repops.apply "Gemm"(%h, %hw) : (tensor<?x3xf16, ["S", "3"]>, tensor<3x4xf16>) -> tensor<?x4xf16, ["S", "4"]>
    %j = repops.apply "Add"(%j0, %j1) : (tensor<?x4xf16, ["S", "4"]>, tensor<?x4xf16, ["S", "4"]>) -> tensor<?x4xf16, ["S", "4"]>
    repops.output %a, %b, %c, %d, %e, %f, %g, %i, %j : tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf16, ["S", "4"]>
  }
}
// ----- after
module {
  repops.program ["x", "r", "h"] -> ["a", "b", "c", "d", "e", "f", "g", "i", "j"] {
  ^bb0(%arg0: tensor<?x3xf32, ["S", "3"]>, %arg1: tensor<?x4xf32, ["S", "4"]>, %arg2: tensor<?x3xf16, ["S", "3"]>):
    %0 = repops.constant 0 : tensor<3x4xf32>
    %1 = repops.constant 1 : tensor<4xf32>
    %2 = repops.constant 2 : tensor<1x4xf32>
    %3 = repops.constant 3 : tensor<1x1xf32>
    %4 = repops.apply "Gemm"(%arg0, %0, %arg1) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %5 = repops.apply "Gemm"(%arg0, %0, %4) with {alpha = 2.000000e+00 : f32} : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %6 = repops.apply "Gemm"(%arg0, %0, %1) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %7 = repops.apply "Gemm"(%arg0, %0, %2) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %8 = repops.apply "Gemm"(%arg0, %0, %3) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<1x1xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %9 = repops.apply "Gemm"(%arg0, %0, %1) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>, tensor<4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %10 = repops.apply "Add"(%9, %arg1) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %11 = repops.apply "Gemm"(%arg0, %0) with {beta = 5.000000e-01 : f32} : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %12 = repops.apply "Add"(%11, %arg1) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %13 = repops.apply "Gemm"(%arg0, %0) : (tensor<?x3xf32, ["S", "3"]>, tensor<3x4xf32>) -> tensor<?x4xf32, ["S", "4"]>
    %14 = repops.apply "Add"(%13, %arg1) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %15 = repops.apply "Mul"(%13, %14) : (tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>) -> tensor<?x4xf32, ["S", "4"]>
    %16 = repops.apply "Cast"(%0) with {to = 10 : i64} : (tensor<3x4xf32>) -> tensor<3x4xf16>
    %17 = repops.apply "Gemm"(%arg2, %16) : (tensor<?x3xf16, ["S", "3"]>, tensor<3x4xf16>) -> tensor<?x4xf16, ["S", "4"]>
    %18 = repops.apply "Gemm"(%arg2, %16) : (tensor<?x3xf16, ["S", "3"]>, tensor<3x4xf16>) -> tensor<?x4xf16, ["S", "4"]>
    %19 = repops.apply "Add"(%17, %18) : (tensor<?x4xf16, ["S", "4"]>, tensor<?x4xf16, ["S", "4"]>) -> tensor<?x4xf16, ["S", "4"]>
    repops.output %4, %5, %6, %7, %8, %10, %12, %15, %19 : tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf32, ["S", "4"]>, tensor<?x4xf16, ["S", "4"]>
  }
}
