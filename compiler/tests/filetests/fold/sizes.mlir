// constant i64[]: 1
// The second extent is constant, the first is not.
module {
  repops.program ["x"] -> ["a", "b"] {
  ^bb0(%x: tensor<?x8xf32, ["N", "8"]>):
    %one = repops.constant 0 : tensor<i64>
    %s = repops.apply "Shape"(%x) with {start = 0 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> !repops.unknown
    %n = repops.apply "Gather"(%s, %one) with {axis = 0 : i64} : (!repops.unknown, tensor<i64>) -> !repops.unknown
    %m = repops.apply "Mul"(%n, %n) : (!repops.unknown, !repops.unknown) -> !repops.unknown
    repops.output %m, %s : !repops.unknown, !repops.unknown
  }
}
// ----- after
module {
  repops.program ["x"] -> ["a", "b"] {
  ^bb0(%arg0: tensor<?x8xf32, ["N", "8"]>):
    %0 = repops.constant 0 : tensor<i64>
    %1 = repops.apply "Shape"(%arg0) with {start = 0 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> tensor<2xi64>
    %2 = repops.constant 1 : tensor<i64>
    %3 = repops.constant 2 : tensor<i64>
    repops.output %3, %1 : tensor<i64>, tensor<2xi64>
  }
}
// i64[] RowMajor: [8]
// i64[] RowMajor: [64]
