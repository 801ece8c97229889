// constant f32[192, 30, 3, 3]: 1
// constant f32[192, 20, 3, 3]: 2
// constant f32[200, 30, 3, 3]: 3
module {
  repops.program ["x", "z"] -> ["a", "b", "c", "d"] {
  ^bb0(%x: tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, %z: tensor<?x20x8x8xf32, ["N", "20", "8", "8"]>):
    %w = repops.constant 0 : tensor<192x30x3x3xf32>
    // Too few terms, and channels that are no whole panels: they stay as they are.
    %few = repops.constant 1 : tensor<192x20x3x3xf32>
    %odd = repops.constant 2 : tensor<200x30x3x3xf32>
    %a = repops.apply "Conv"(%x, %w) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, tensor<192x30x3x3xf32>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    %b = repops.apply "Conv"(%z, %few) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x20x8x8xf32, ["N", "20", "8", "8"]>, tensor<192x20x3x3xf32>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    %c = repops.apply "Conv"(%x, %odd) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, tensor<200x30x3x3xf32>) -> tensor<?x200x6x6xf32, ["N", "200", "6", "6"]>
    %d = repops.apply "Relu"(%a) : (tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    repops.output %a, %b, %c, %d : tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>, tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>, tensor<?x200x6x6xf32, ["N", "200", "6", "6"]>, tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
  }
}
// ----- after
module {
  repops.program ["x", "z"] -> ["a", "b", "c", "d"] {
  ^bb0(%arg0: tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, %arg1: tensor<?x20x8x8xf32, ["N", "20", "8", "8"]>):
    %0 = repops.constant 3 : tensor<192x30x3x3xf32>
    %1 = repops.constant 1 : tensor<192x20x3x3xf32>
    %2 = repops.constant 2 : tensor<200x30x3x3xf32>
    %3 = repops.apply "Conv"(%arg0, %0) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, tensor<192x30x3x3xf32>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    %4 = repops.apply "Conv"(%arg1, %1) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x20x8x8xf32, ["N", "20", "8", "8"]>, tensor<192x20x3x3xf32>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    %5 = repops.apply "Conv"(%arg0, %2) with {auto_pad = "NOTSET", group = 1 : i64} : (tensor<?x30x8x8xf32, ["N", "30", "8", "8"]>, tensor<200x30x3x3xf32>) -> tensor<?x200x6x6xf32, ["N", "200", "6", "6"]>
    %6 = repops.apply "Relu"(%3) : (tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>) -> tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
    repops.output %3, %4, %5, %6 : tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>, tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>, tensor<?x200x6x6xf32, ["N", "200", "6", "6"]>, tensor<?x192x6x6xf32, ["N", "192", "6", "6"]>
  }
}
// f32[192, 30, 3, 3] Filters16
