module {
  repops.program ["x", "n", "c"] -> ["y", "z", "u", "v", "w"] {
  ^bb0(%x: tensor<?x3xf32, ["N", "3"]>, %n: tensor<i64>, %c: tensor<i1>):
    %none = repops.none
    %if = repops.if %c : (tensor<i1>) -> !repops.unknown {
      %t = repops.apply "Identity"(%x) : (tensor<?x3xf32, ["N", "3"]>) -> !repops.unknown
      repops.yield %t : !repops.unknown
    } else {
      %t = repops.apply "Gemm"(%x, %x) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 1 : i64, transB = 0 : i64} : (tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>) -> !repops.unknown
      repops.yield %t : !repops.unknown
    }
    // The carried value keeps its type; the scan output is stacked.
    %l:2 = repops.loop(%n, %none, %x) : (tensor<i64>, none, tensor<?x3xf32, ["N", "3"]>) -> (!repops.unknown, !repops.unknown) {
    ^bb0(%i: !repops.unknown, %go: !repops.unknown, %v: !repops.unknown):
      %t = repops.apply "Identity"(%v) : (!repops.unknown) -> !repops.unknown
      repops.yield %go, %t, %t : !repops.unknown, !repops.unknown, !repops.unknown
    }
    // The carried value changes its extent at every iteration.
    %m = repops.loop(%n, %none, %x) : (tensor<i64>, none, tensor<?x3xf32, ["N", "3"]>) -> (!repops.unknown) {
    ^bb0(%i: !repops.unknown, %go: !repops.unknown, %v: !repops.unknown):
      %t = repops.apply "Gemm"(%v, %v) with {alpha = 1.0 : f32, beta = 1.0 : f32, transA = 1 : i64, transB = 0 : i64} : (!repops.unknown, !repops.unknown) -> !repops.unknown
      repops.yield %go, %t : !repops.unknown, !repops.unknown
    }
    %s:2 = repops.scan(%x, %x) with {num_scan_inputs = 1 : i64, scan_output_axes = array<i64: 1>} : (tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>) -> (!repops.unknown, !repops.unknown) {
    ^bb0(%state: !repops.unknown, %slice: !repops.unknown):
      repops.yield %state, %slice : !repops.unknown, !repops.unknown
    }
    repops.output %if, %l#0, %l#1, %m, %s#1 : !repops.unknown, !repops.unknown, !repops.unknown, !repops.unknown, !repops.unknown
  }
}
// ----- after
module {
  repops.program ["x", "n", "c"] -> ["y", "z", "u", "v", "w"] {
  ^bb0(%arg0: tensor<?x3xf32, ["N", "3"]>, %arg1: tensor<i64>, %arg2: tensor<i1>):
    %0 = repops.none
    %1 = repops.if %arg2 : (tensor<i1>) -> tensor<?x3xf32, ["?0", "3"]> {
      %5 = repops.apply "Identity"(%arg0) : (tensor<?x3xf32, ["N", "3"]>) -> tensor<?x3xf32, ["N", "3"]>
      repops.yield %5 : tensor<?x3xf32, ["N", "3"]>
    } else {
      %5 = repops.apply "Gemm"(%arg0, %arg0) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 1 : i64, transB = 0 : i64} : (tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>) -> tensor<3x3xf32>
      repops.yield %5 : tensor<3x3xf32>
    }
    %2:2 = repops.loop(%arg1, %0, %arg0) : (tensor<i64>, none, tensor<?x3xf32, ["N", "3"]>) -> (tensor<?x3xf32, ["N", "3"]>, tensor<?x?x3xf32, ["?1", "N", "3"]>) {
    ^bb0(%arg3: tensor<i64>, %arg4: tensor<i1>, %arg5: tensor<?x3xf32, ["N", "3"]>):
      %5 = repops.apply "Identity"(%arg5) : (tensor<?x3xf32, ["N", "3"]>) -> tensor<?x3xf32, ["N", "3"]>
      repops.yield %arg4, %5, %5 : tensor<i1>, tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>
    }
    %3 = repops.loop(%arg1, %0, %arg0) : (tensor<i64>, none, tensor<?x3xf32, ["N", "3"]>) -> tensor<?x3xf32, ["?3", "3"]> {
    ^bb0(%arg3: tensor<i64>, %arg4: tensor<i1>, %arg5: tensor<?x3xf32, ["?2", "3"]>):
      %5 = repops.apply "Gemm"(%arg5, %arg5) with {alpha = 1.000000e+00 : f32, beta = 1.000000e+00 : f32, transA = 1 : i64, transB = 0 : i64} : (tensor<?x3xf32, ["?2", "3"]>, tensor<?x3xf32, ["?2", "3"]>) -> tensor<3x3xf32>
      repops.yield %arg4, %5 : tensor<i1>, tensor<3x3xf32>
    }
    %4:2 = repops.scan(%arg0, %arg0) with {num_scan_inputs = 1 : i64, scan_output_axes = array<i64: 1>} : (tensor<?x3xf32, ["N", "3"]>, tensor<?x3xf32, ["N", "3"]>) -> (tensor<?x3xf32, ["N", "3"]>, tensor<3x?xf32, ["3", "N"]>) {
    ^bb0(%arg3: tensor<?x3xf32, ["N", "3"]>, %arg4: tensor<3xf32>):
      repops.yield %arg3, %arg4 : tensor<?x3xf32, ["N", "3"]>, tensor<3xf32>
    }
    repops.output %1, %2#0, %2#1, %3, %4#1 : tensor<?x3xf32, ["?0", "3"]>, tensor<?x3xf32, ["N", "3"]>, tensor<?x?x3xf32, ["?1", "N", "3"]>, tensor<?x3xf32, ["?3", "3"]>, tensor<3x?xf32, ["3", "N"]>
  }
}
