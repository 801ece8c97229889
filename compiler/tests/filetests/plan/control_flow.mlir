module {
  repops.program ["x", "c", "n"] -> ["y"] {
  ^bb0(%x: tensor<8xf32>, %c: tensor<i1>, %n: tensor<i64>):
    %none = repops.none
    // Needed inside of the branch, so alive until the end of the repops.if; blocks have slots of their own.
    %a = repops.apply "Exp"(%x) : (tensor<8xf32>) -> tensor<8xf32>
    %b = repops.apply "Exp"(%a) : (tensor<8xf32>) -> tensor<8xf32>
    %r = repops.if %c : (tensor<i1>) -> tensor<8xf32> {
      %p = repops.apply "Add"(%a, %x) : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
      %q = repops.apply "Exp"(%p) : (tensor<8xf32>) -> tensor<8xf32>
      %s = repops.apply "Exp"(%q) : (tensor<8xf32>) -> tensor<8xf32>
      repops.yield %s : tensor<8xf32>
    } else {
      repops.yield %x : tensor<8xf32>
    }
    %d = repops.apply "Add"(%b, %r) : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
    %e = repops.apply "Exp"(%d) : (tensor<8xf32>) -> tensor<8xf32>
    repops.output %e : tensor<8xf32>
  }
}
// ----- after
module {
  repops.program ["x", "c", "n"] -> ["y"] {
  ^bb0(%arg0: tensor<8xf32>, %arg1: tensor<i1>, %arg2: tensor<i64>):
    %0 = repops.none
    %1 = repops.apply "Exp"(%arg0) {slots = array<i64: 0>} : (tensor<8xf32>) -> tensor<8xf32>
    %2 = repops.apply "Exp"(%1) {slots = array<i64: 1>} : (tensor<8xf32>) -> tensor<8xf32>
    %3 = repops.if %arg1 {slots = array<i64: 2>} : (tensor<i1>) -> tensor<8xf32> {
      %6 = repops.apply "Add"(%1, %arg0) {slots = array<i64: 3>} : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
      %7 = repops.apply "Exp"(%6) {slots = array<i64: 4>} : (tensor<8xf32>) -> tensor<8xf32>
      %8 = repops.apply "Exp"(%7) {slots = array<i64: -1>} : (tensor<8xf32>) -> tensor<8xf32>
      repops.yield %8 : tensor<8xf32>
    } else {
      repops.yield %arg0 : tensor<8xf32>
    }
    %4 = repops.apply "Add"(%2, %3) {slots = array<i64: 0>} : (tensor<8xf32>, tensor<8xf32>) -> tensor<8xf32>
    %5 = repops.apply "Exp"(%4) {slots = array<i64: -1>} : (tensor<8xf32>) -> tensor<8xf32>
    repops.output %5 : tensor<8xf32>
  }
}
