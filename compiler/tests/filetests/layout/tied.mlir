// constant f16[3, 20]: 1
// constant f16[3, 20]: 2
// constant bf16[20, 3]: 3
module {
  repops.program ["tokens", "h"] -> ["a", "b", "c", "d", "e"] {
  ^bb0(%tokens: tensor<?xi64, ["S"]>, %h: tensor<?x20xf16, ["S", "20"]>):
    // Read by an Embedding and a product: one constant in panels.
    %tied = repops.constant 0 : tensor<3x20xf16>
    // Read by an Embedding alone, and by a product of f16: rows.
    %alone = repops.constant 1 : tensor<3x20xf16>
    %w = repops.constant 2 : tensor<20x3xbf16>
    %a = repops.apply "Embedding"(%tokens, %tied) with {columns = 3 : i64, format = "dense", transposed = 1 : i64} : (tensor<?xi64, ["S"]>, tensor<3x20xf16>) -> tensor<?x20xf32, ["S", "20"]>
    %b = repops.apply "Gemm"(%a, %tied) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 0 : i64, transB = 1 : i64} : (tensor<?x20xf32, ["S", "20"]>, tensor<3x20xf16>) -> tensor<?x3xf32, ["S", "3"]>
    %c = repops.apply "Embedding"(%tokens, %alone) with {columns = 3 : i64, format = "dense", transposed = 1 : i64} : (tensor<?xi64, ["S"]>, tensor<3x20xf16>) -> tensor<?x20xf32, ["S", "20"]>
    %d = repops.apply "MatMul"(%a, %w) : (tensor<?x20xf32, ["S", "20"]>, tensor<20x3xbf16>) -> tensor<?x3xf32, ["S", "3"]>
    %e = repops.apply "Gemm"(%h, %alone) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 0 : i64, transB = 1 : i64} : (tensor<?x20xf16, ["S", "20"]>, tensor<3x20xf16>) -> tensor<?x3xf16, ["S", "3"]>
    repops.output %a, %b, %c, %d, %e : tensor<?x20xf32, ["S", "20"]>, tensor<?x3xf32, ["S", "3"]>, tensor<?x20xf32, ["S", "20"]>, tensor<?x3xf32, ["S", "3"]>, tensor<?x3xf16, ["S", "3"]>
  }
}
// ----- after
module {
  repops.program ["tokens", "h"] -> ["a", "b", "c", "d", "e"] {
  ^bb0(%arg0: tensor<?xi64, ["S"]>, %arg1: tensor<?x20xf16, ["S", "20"]>):
    %0 = repops.constant 3 : tensor<20x3xf16>
    %1 = repops.constant 1 : tensor<3x20xf16>
    %2 = repops.constant 4 : tensor<20x3xbf16>
    %3 = repops.apply "Embedding"(%arg0, %0) with {columns = 3 : i64, format = "dense", transposed = 0 : i64} : (tensor<?xi64, ["S"]>, tensor<20x3xf16>) -> tensor<?x20xf32, ["S", "20"]>
    %4 = repops.apply "Gemm"(%3, %0) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 0 : i64, transB = 0 : i64} : (tensor<?x20xf32, ["S", "20"]>, tensor<20x3xf16>) -> tensor<?x3xf32, ["S", "3"]>
    %5 = repops.apply "Embedding"(%arg0, %1) with {columns = 3 : i64, format = "dense", transposed = 1 : i64} : (tensor<?xi64, ["S"]>, tensor<3x20xf16>) -> tensor<?x20xf32, ["S", "20"]>
    %6 = repops.apply "MatMul"(%3, %2) : (tensor<?x20xf32, ["S", "20"]>, tensor<20x3xbf16>) -> tensor<?x3xf32, ["S", "3"]>
    %7 = repops.apply "Gemm"(%arg1, %1) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 0 : i64, transB = 1 : i64} : (tensor<?x20xf16, ["S", "20"]>, tensor<3x20xf16>) -> tensor<?x3xf16, ["S", "3"]>
    repops.output %3, %4, %5, %6, %7 : tensor<?x20xf32, ["S", "20"]>, tensor<?x3xf32, ["S", "3"]>, tensor<?x20xf32, ["S", "20"]>, tensor<?x3xf32, ["S", "3"]>, tensor<?x3xf16, ["S", "3"]>
  }
}
// f16[20, 3] Panel16
// bf16[20, 3] Panel16
