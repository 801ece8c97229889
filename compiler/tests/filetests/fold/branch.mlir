// constant bool[]: true
module {
  repops.program ["x"] -> ["y"] {
  ^bb0(%x: tensor<4xf32>):
    %yes = repops.constant 0 : tensor<i1>
    %y = repops.if %yes : (tensor<i1>) -> tensor<4xf32> {
      %z = repops.if %yes : (tensor<i1>) -> tensor<4xf32> {
        %a = repops.apply "Softmax"(%x) with {axis = 0 : i64} {version = 2 : i64} : (tensor<4xf32>) -> tensor<4xf32>
        repops.yield %a : tensor<4xf32>
      } else {
        repops.yield %x : tensor<4xf32>
      }
      %b = repops.apply "Identity"(%z) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %b : tensor<4xf32>
    } else {
      repops.yield %x : tensor<4xf32>
    }
    repops.output %y : tensor<4xf32>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y"] {
  ^bb0(%arg0: tensor<4xf32>):
    %0 = repops.constant 0 : tensor<i1>
    %1 = repops.apply "Softmax" version 2(%arg0) with {axis = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    %2 = repops.apply "Identity"(%1) : (tensor<4xf32>) -> tensor<4xf32>
    repops.output %2 : tensor<4xf32>
  }
}
