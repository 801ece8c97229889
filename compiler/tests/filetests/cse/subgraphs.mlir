module {
  repops.program ["x", "c"] -> ["y"] {
  ^bb0(%x: tensor<4xf32>, %c: tensor<i1>):
    %a = repops.apply "Exp" (%x) : (tensor<4xf32>) -> tensor<4xf32>
    %y = repops.if %c : (tensor<i1>) -> tensor<4xf32> {
      %b = repops.apply "Exp" (%x) : (tensor<4xf32>) -> tensor<4xf32>
      %n = repops.apply "Neg" (%b) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %n : tensor<4xf32>
    } else {
      %n = repops.apply "Neg" (%a) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %n : tensor<4xf32>
    }
    %z = repops.apply "LeakyRelu" (%y) with {alpha = 1.000000e-01 : f32} : (tensor<4xf32>) -> tensor<4xf32>
    repops.output %z : tensor<4xf32>
  }
}
// ----- after
module {
  repops.program ["x", "c"] -> ["y"] {
  ^bb0(%arg0: tensor<4xf32>, %arg1: tensor<i1>):
    %0 = repops.apply "Exp"(%arg0) : (tensor<4xf32>) -> tensor<4xf32>
    %1 = repops.if %arg1 : (tensor<i1>) -> tensor<4xf32> {
      %3 = repops.apply "Neg"(%0) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %3 : tensor<4xf32>
    } else {
      %3 = repops.apply "Neg"(%0) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %3 : tensor<4xf32>
    }
    %2 = repops.apply "LeakyRelu"(%1) with {alpha = 1.000000e-01 : f32} : (tensor<4xf32>) -> tensor<4xf32>
    repops.output %2 : tensor<4xf32>
  }
}
