// locations
module {
  repops.program ["x"] -> ["y"] {
  ^bb0(%x: tensor<?x128xf32, ["batch", "128"]>):
    %w = repops.constant 0 : tensor<128xf32>
    %v = repops.constant 0 : tensor<128xf32>
    %a = repops.apply "Add" (%x, %w) : (tensor<?x128xf32, ["batch", "128"]>, tensor<128xf32>) -> tensor<?x128xf32, ["batch", "128"]> loc("/layer.0/Add"("Add":3:0))
    %b = repops.apply "Add" (%x, %v) : (tensor<?x128xf32, ["batch", "128"]>, tensor<128xf32>) -> tensor<?x128xf32, ["batch", "128"]> loc("/layer.0/Add_1"("Add":4:0))
    %c = repops.apply "Sub" (%x, %v) : (tensor<?x128xf32, ["batch", "128"]>, tensor<128xf32>) -> tensor<?x128xf32, ["batch", "128"]> loc("/layer.0/Sub"("Sub":5:0))
    %d = repops.apply "Sum" (%a, %b, %c) : (tensor<?x128xf32, ["batch", "128"]>, tensor<?x128xf32, ["batch", "128"]>, tensor<?x128xf32, ["batch", "128"]>) -> tensor<?x128xf32, ["batch", "128"]> loc("Sum":6:0)
    repops.output %d : tensor<?x128xf32, ["batch", "128"]>
  }
}
// ----- after
module {
  repops.program ["x"] -> ["y"] {
  ^bb0(%arg0: tensor<?x128xf32, ["batch", "128"]> loc("-":4:8)):
    %0 = repops.constant 0 : tensor<128xf32> loc(fused["-":5:10, "-":6:10])
    %1 = repops.apply "Add"(%arg0, %0) : (tensor<?x128xf32, ["batch", "128"]>, tensor<128xf32>) -> tensor<?x128xf32, ["batch", "128"]> loc(fused["/layer.0/Add"("Add":3:0), "/layer.0/Add_1"("Add":4:0)])
    %2 = repops.apply "Sub"(%arg0, %0) : (tensor<?x128xf32, ["batch", "128"]>, tensor<128xf32>) -> tensor<?x128xf32, ["batch", "128"]> loc("/layer.0/Sub"("Sub":5:0))
    %3 = repops.apply "Sum"(%1, %1, %2) : (tensor<?x128xf32, ["batch", "128"]>, tensor<?x128xf32, ["batch", "128"]>, tensor<?x128xf32, ["batch", "128"]>) -> tensor<?x128xf32, ["batch", "128"]> loc("Sum":6:0)
    repops.output %3 : tensor<?x128xf32, ["batch", "128"]> loc("-":11:5)
  } loc("-":3:3)
} loc("-":2:1)
