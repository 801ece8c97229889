// constant i64[3]: 0, -1, 4
// constant f32[12, 5]: 1
module {
  repops.program ["x", "s"] -> ["y", "z"] {
  ^bb0(%x: tensor<?x?x12xf32, ["batch", "2*seq", "12"]>, %s: tensor<2xi64>):
    %shape = repops.constant 0 : tensor<3xi64>
    %w = repops.constant 1 : tensor<12x5xf32>
    %a = repops.apply "MatMul"(%x, %w) : (tensor<?x?x12xf32, ["batch", "2*seq", "12"]>, tensor<12x5xf32>) -> !repops.unknown
    %b = repops.apply "Reshape"(%a, %shape) with {allowzero = 0 : i64} : (!repops.unknown, tensor<3xi64>) -> !repops.unknown
    %c = repops.apply "Reshape"(%a, %s) with {allowzero = 0 : i64} : (!repops.unknown, tensor<2xi64>) -> !repops.unknown
    %d = repops.apply "Identity"(%c) : (!repops.unknown) -> !repops.unknown
    repops.output %b, %d : !repops.unknown, !repops.unknown
  }
}
// ----- after
module {
  repops.program ["x", "s"] -> ["y", "z"] {
  ^bb0(%arg0: tensor<?x?x12xf32, ["batch", "2*seq", "12"]>, %arg1: tensor<2xi64>):
    %0 = repops.constant 0 : tensor<3xi64>
    %1 = repops.constant 1 : tensor<12x5xf32>
    %2 = repops.apply "MatMul"(%arg0, %1) : (tensor<?x?x12xf32, ["batch", "2*seq", "12"]>, tensor<12x5xf32>) -> tensor<?x?x5xf32, ["batch", "2*seq", "5"]>
    %3 = repops.apply "Reshape"(%2, %0) with {allowzero = 0 : i64} : (tensor<?x?x5xf32, ["batch", "2*seq", "5"]>, tensor<3xi64>) -> tensor<?x?x4xf32, ["batch", "floordiv(10*batch*seq, 4*batch)", "4"]>
    %4 = repops.apply "Reshape"(%2, %arg1) with {allowzero = 0 : i64} : (tensor<?x?x5xf32, ["batch", "2*seq", "5"]>, tensor<2xi64>) -> !repops.unknown
    %5 = repops.apply "Identity"(%4) : (!repops.unknown) -> !repops.unknown
    repops.output %3, %5 : tensor<?x?x4xf32, ["batch", "floordiv(10*batch*seq, 4*batch)", "4"]>, !repops.unknown
  }
}
