// constant i64[2]: 4, 5
// constant i64[2]: 2, 0
// A division by zero is left to the run, which commits to the fault.
module {
  repops.program ["x"] -> ["a"] {
  ^bb0(%x: tensor<2xi64>):
    %a = repops.constant 0 : tensor<2xi64>
    %b = repops.constant 1 : tensor<2xi64>
    %q = repops.apply "Div"(%a, %b) : (tensor<2xi64>, tensor<2xi64>) -> !repops.unknown
    %y = repops.apply "Add"(%x, %q) : (tensor<2xi64>, !repops.unknown) -> !repops.unknown
    repops.output %y : !repops.unknown
  }
}
// ----- after
module {
  repops.program ["x"] -> ["a"] {
  ^bb0(%arg0: tensor<2xi64>):
    %0 = repops.constant 0 : tensor<2xi64>
    %1 = repops.constant 1 : tensor<2xi64>
    %2 = repops.apply "Div"(%0, %1) : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
    %3 = repops.apply "Add"(%arg0, %2) : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
    repops.output %3 : tensor<2xi64>
  }
}
