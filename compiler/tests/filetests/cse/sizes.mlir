// constant i64[1]: 0
// constant i64[1]: 1
// constant i64[]: 0
// constant i64[]: 3
// Shapes computed from different tensors, yet the same expressions.
module {
  repops.program ["x", "y"] -> ["a", "b", "c"] {
  ^bb0(%x: tensor<?x8xf32, ["N", "8"]>, %y: tensor<?x3xf32, ["N", "3"]>):
    %axis = repops.constant 0 : tensor<1xi64>
    %one = repops.constant 1 : tensor<1xi64>
    %first = repops.constant 2 : tensor<i64>
    %three = repops.constant 3 : tensor<i64>
    %sx = repops.apply "Shape"(%x) with {start = 0 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> tensor<2xi64> loc("sx"("Shape":0:15))
    %nx = repops.apply "Gather"(%sx, %first) with {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64> loc("nx"("Gather":1:13))
    %ux = repops.apply "Unsqueeze"(%nx, %axis) : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64> loc("ux"("Unsqueeze":2:13))
    %sy = repops.apply "Shape"(%y) with {start = 0 : i64} : (tensor<?x3xf32, ["N", "3"]>) -> tensor<2xi64> loc("sy"("Shape":3:15))
    %ny = repops.apply "Gather"(%sy, %first) with {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64> loc("ny"("Gather":4:13))
    %uy = repops.apply "Unsqueeze"(%ny, %axis) : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64> loc("uy"("Unsqueeze":5:13))
    %m = repops.apply "Mul"(%ny, %three) : (tensor<i64>, tensor<i64>) -> tensor<i64> loc("m"("Mul":6:14))
    repops.output %ux, %uy, %m : tensor<1xi64>, tensor<1xi64>, tensor<i64>
  }
}
// ----- after
module {
  repops.program ["x", "y"] -> ["a", "b", "c"] {
  ^bb0(%arg0: tensor<?x8xf32, ["N", "8"]>, %arg1: tensor<?x3xf32, ["N", "3"]>):
    %0 = repops.constant 0 : tensor<1xi64>
    %1 = repops.constant 1 : tensor<1xi64>
    %2 = repops.constant 2 : tensor<i64>
    %3 = repops.constant 3 : tensor<i64>
    %4 = repops.apply "Shape"(%arg0) with {start = 0 : i64} : (tensor<?x8xf32, ["N", "8"]>) -> tensor<2xi64>
    %5 = repops.apply "Gather"(%4, %2) with {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
    %6 = repops.apply "Unsqueeze"(%5, %0) : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
    %7 = repops.apply "Shape"(%arg1) with {start = 0 : i64} : (tensor<?x3xf32, ["N", "3"]>) -> tensor<2xi64>
    %8 = repops.apply "Mul"(%5, %3) : (tensor<i64>, tensor<i64>) -> tensor<i64>
    repops.output %6, %6, %8 : tensor<1xi64>, tensor<1xi64>, tensor<i64>
  }
}
