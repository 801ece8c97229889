module {
  repops.program ["x", "n"] -> ["y", "z"] attributes {producer = "test"} {
  ^bb0(%x: tensor<4xf32>, %n: tensor<i64>):
    %unused = repops.constant 7 : tensor<128xf32>
    %a = repops.apply "Exp" (%x) : (tensor<4xf32>) -> tensor<4xf32>
    %b = repops.apply "Neg" (%a) : (tensor<4xf32>) -> tensor<4xf32>
    %none = repops.none
    %carried, %scanned = repops.loop (%n, %none, %x) : (tensor<i64>, none, tensor<4xf32>) -> (tensor<4xf32>, tensor<?x4xf32, ["n", "4"]>) {
    ^bb0(%i: tensor<i64>, %go: tensor<i1>, %v: tensor<4xf32>):
      %dead = repops.apply "Exp" (%v) : (tensor<4xf32>) -> tensor<4xf32>
      %live = repops.apply "Neg" (%v) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %go, %live, %live : tensor<i1>, tensor<4xf32>, tensor<4xf32>
    }
    %state, %all = repops.scan (%carried, %x) with {num_scan_inputs = 1 : i64, scan_output_directions = array<i64: 1>} : (tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
    ^bb0(%s: tensor<4xf32>, %e: tensor<f32>):
      %sum = repops.apply "Add" (%s, %e) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
      repops.yield %sum, %e : tensor<4xf32>, tensor<f32>
    }
    %r = repops.region (%state, %x) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%p: f32, %q: f32):
      %m = repops.apply "Mul" (%p, %q) : (f32, f32) -> f32
      repops.yield %m : f32
    }
    repops.output %r, %scanned : tensor<4xf32>, tensor<?x4xf32, ["n", "4"]>
  }
}
// ----- after
module {
  repops.program ["x", "n"] -> ["y", "z"] attributes {producer = "test"} {
  ^bb0(%arg0: tensor<4xf32>, %arg1: tensor<i64>):
    %0 = repops.none
    %1:2 = repops.loop(%arg1, %0, %arg0) : (tensor<i64>, none, tensor<4xf32>) -> (tensor<4xf32>, tensor<?x4xf32, ["n", "4"]>) {
    ^bb0(%arg2: tensor<i64>, %arg3: tensor<i1>, %arg4: tensor<4xf32>):
      %4 = repops.apply "Neg"(%arg4) : (tensor<4xf32>) -> tensor<4xf32>
      repops.yield %arg3, %4, %4 : tensor<i1>, tensor<4xf32>, tensor<4xf32>
    }
    %2:2 = repops.scan(%1#0, %arg0) with {num_scan_inputs = 1 : i64, scan_output_directions = array<i64: 1>} : (tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
    ^bb0(%arg2: tensor<4xf32>, %arg3: tensor<f32>):
      %4 = repops.apply "Add"(%arg2, %arg3) : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
      repops.yield %4, %arg3 : tensor<4xf32>, tensor<f32>
    }
    %3 = repops.region(%2#0, %arg0) : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%arg2: f32, %arg3: f32):
      %4 = repops.apply "Mul"(%arg2, %arg3) : (f32, f32) -> f32
      repops.yield %4 : f32
    }
    repops.output %3, %1#1 : tensor<4xf32>, tensor<?x4xf32, ["n", "4"]>
  }
}
