//===- Repops.td - the repops dialect ------------------------------------===//
//
// The structure of a model between import and emission. Only structure lives
// here: which operators exist, what they mean and which attributes they take
// is said once, by the operator table of the `repops` crate. `repops.apply`
// names a row of that table; the compiler checks it against the table after
// every pass.
//
// Everything is free of side effects: a model is a function. Weights are
// references into the constant store of a compilation, never attributes.
//
//===----------------------------------------------------------------------===//

#ifndef REPOPS_TD
#define REPOPS_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Repops_Dialect : Dialect {
  let name = "repops";
  let cppNamespace = "::repops";
  let summary = "Structure of a model: operators of the table, regions, control flow.";
  let useDefaultTypePrinterParser = 1;
}

def Repops_UnknownType : TypeDef<Repops_Dialect, "Unknown"> {
  let mnemonic = "unknown";
  let summary = "The type of a value before inference, or of one known only at run time.";
}

// The version and attributes of the operator table's row.
def Repops_Version : DefaultValuedAttr<ConfinedAttr<I64Attr, [IntPositive]>, "1">;
def Repops_Attrs : OptionalAttr<DictionaryAttr>;

class Repops_Op<string mnemonic, list<Trait> traits = []>
    : Op<Repops_Dialect, mnemonic, traits>;

// A subgraph reads values of the graph around it, as ONNX subgraphs do, and
// is as free of effects as what it holds.
class Repops_ControlOp<string mnemonic>
    : Repops_Op<mnemonic, [SingleBlock, RecursiveMemoryEffects,
                           RecursivelySpeculatable]>;

//===----------------------------------------------------------------------===//
// The program
//===----------------------------------------------------------------------===//

def Repops_ProgramOp : Repops_Op<"program", [IsolatedFromAbove, SingleBlock]> {
  let summary = "The main graph; its block's arguments are the model's inputs.";
  let description = [{
    `inputs` and `outputs` name them, in order, as the model does. Further
    facts about the model (producer, opset, metadata) ride in the ordinary
    attribute dictionary.
  }];
  let arguments = (ins StrArrayAttr:$inputs, StrArrayAttr:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$inputs `->` $outputs attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Repops_OutputOp
    : Repops_Op<"output", [Pure, Terminator, HasParent<"ProgramOp">]> {
  let summary = "Ends the program; the operands are the model's outputs.";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Repops_YieldOp
    : Repops_Op<"yield", [Pure, Terminator,
                          ParentOneOf<["RegionOp", "IfOp", "LoopOp", "ScanOp"]>]> {
  let summary = "Ends a subgraph or a fused region; the operands are its results.";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

def Repops_ConstantOp : Repops_Op<"constant", [Pure]> {
  let summary = "A reference to a tensor of the constant store.";
  let description = [{
    `id` is the tensor's index in the constant store.
  }];
  let arguments = (ins ConfinedAttr<I64Attr, [IntNonNegative]>:$id);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$id attr-dict `:` type($result)";
}

def Repops_NoneOp : Repops_Op<"none", [Pure]> {
  let summary = "Stands for an optional input that is absent.";
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Repops_ApplyOp : Repops_Op<"apply", [Pure]> {
  let summary = "One operator of the table, applied.";
  let description = [{
    Inside of `repops.region` operands and results are scalars, elsewhere
    tensors (or `none` for an absent optional operand), or `!repops.unknown`.
  }];
  let arguments = (ins StrAttr:$op,
                       Repops_Version:$version,
                       Repops_Attrs:$attrs,
                       Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$results);
  let assemblyFormat = [{
    $op (`version` $version^)? `(` $inputs `)` (`with` $attrs^)? attr-dict
    `:` functional-type($inputs, $results)
  }];
}

//===----------------------------------------------------------------------===//
// Fusion
//===----------------------------------------------------------------------===//

def Repops_RegionOp
    : Repops_Op<"region", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "Element-wise operators evaluated together, element by element.";
  let description = [{
    The body computes one element of every result from one element of every
    operand; operands broadcast to the results' common shape as in ONNX. It may
    begin with products (MatMul, Conv ...), which take the first operands as
    tensors, in order, and give their element at the place in question.
  }];
  let arguments = (ins Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` attr-dict `:` functional-type($inputs, $results) $body
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

def Repops_IfOp : Repops_ControlOp<"if"> {
  let summary = "Evaluates one of two subgraphs.";
  let arguments = (ins Repops_Version:$version, Repops_Attrs:$attrs, AnyType:$condition);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$then_body, SizedRegion<1>:$else_body);
  let assemblyFormat = [{
    $condition (`version` $version^)? (`with` $attrs^)? attr-dict
    `:` functional-type($condition, $results) $then_body `else` $else_body
  }];
  let hasVerifier = 1;
}

def Repops_LoopOp : Repops_ControlOp<"loop"> {
  let summary = "Repeats a subgraph while a condition holds, up to a trip count.";
  let description = [{
    Operands: maximal trip count and initial condition (`none` where absent),
    then the carried values. The body's arguments are the iteration number, the
    condition and the carried values; it yields the next condition, the carried
    values and one slice of every scan output. Results: the carried values,
    then the scan outputs, stacked along a new first axis.
  }];
  let arguments = (ins Repops_Version:$version, Repops_Attrs:$attrs, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` (`version` $version^)? (`with` $attrs^)? attr-dict
    `:` functional-type($inputs, $results) $body
  }];
  let hasVerifier = 1;
}

def Repops_ScanOp : Repops_ControlOp<"scan"> {
  let summary = "Maps a subgraph with state over the slices of tensors.";
  let description = [{
    Operands: the states, then the scan inputs; results: the states, then the
    scan outputs. The attributes are those of the operator table's row.
  }];
  let arguments = (ins Repops_Version:$version, Repops_Attrs:$attrs, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` (`version` $version^)? (`with` $attrs^)? attr-dict
    `:` functional-type($inputs, $results) $body
  }];
  let hasVerifier = 1;
}

#endif // REPOPS_TD
