//! ONNX to MLIR to Program, and fused regions to native code.
