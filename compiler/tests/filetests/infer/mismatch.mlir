// constant f32[11, 5]: 1
module {
  repops.program ["x"] -> ["y"] {
  ^bb0(%x: tensor<3x12xf32>):
    %w = repops.constant 0 : tensor<11x5xf32>
    %a = repops.apply "MatMul"(%x, %w) : (tensor<3x12xf32>, tensor<11x5xf32>) -> !repops.unknown loc("/fc/MatMul"("MatMul":7:13))
    repops.output %a : !repops.unknown
  }
}
// ----- after
// error: node "/fc/MatMul" (MatMul): shapes do not fit: A has 12 columns, B has 11 rows
