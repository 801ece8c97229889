// constant f32[2, 3]: 1, 2, 3, 4, 5, 6
// constant f32[3, 1]: 1, 10, 100
// constant i64[1]: -1
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%x: tensor<2xf32>):
    %a = repops.constant 0 : tensor<2x3xf32>
    %b = repops.constant 1 : tensor<3x1xf32>
    %s = repops.constant 2 : tensor<1xi64>
    %p = repops.apply "MatMul"(%a, %b) : (tensor<2x3xf32>, tensor<3x1xf32>) -> !repops.unknown loc("mm"("MatMul":1:13))
    %r = repops.apply "Reshape"(%p, %s) with {allowzero = 0 : i64} : (!repops.unknown, tensor<1xi64>) -> !repops.unknown loc("rs"("Reshape":2:13))
    %q = repops.apply "MatMul"(%x, %r) : (tensor<2xf32>, !repops.unknown) -> !repops.unknown loc("mm2"("MatMul":3:13))
    repops.output %q, %r : !repops.unknown, !repops.unknown
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y", "z"] {
  ^bb0(%arg0: tensor<2xf32>):
    %0 = repops.constant 0 : tensor<2x3xf32>
    %1 = repops.constant 1 : tensor<3x1xf32>
    %2 = repops.constant 2 : tensor<1xi64>
    %3 = repops.constant 3 : tensor<2x1xf32>
    %4 = repops.constant 4 : tensor<2xf32>
    %5 = repops.apply "MatMul"(%arg0, %4) : (tensor<2xf32>, tensor<2xf32>) -> tensor<f32>
    repops.output %5, %4 : tensor<f32>, tensor<2xf32>
  }
}
// f32[2, 1] RowMajor: [321.0, 654.0]
// f32[2] RowMajor: [321.0, 654.0]
