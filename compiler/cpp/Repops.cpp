// Registers the dialect, verifies what ties an operation to its regions, and
// gives the two changes of IR that the C API lacks. Operators are not known
// here: the Rust side checks `repops.apply` against the operator table.

#include "Repops.h"

#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Registration.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace repops;

#include "RepopsDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "RepopsTypes.cpp.inc"

#define GET_OP_CLASSES
#include "RepopsOps.cpp.inc"

void RepopsDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "RepopsTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "RepopsOps.cpp.inc"
      >();
}

// The terminator of `body` is `repops.yield` with `count` values.
static LogicalResult verifyYield(Operation *op, Region &body, size_t count) {
  Block &block = body.front();
  if (block.empty() || !isa<YieldOp>(block.back()))
    return op->emitOpError("needs a body that ends with 'repops.yield'");
  if (size_t found = block.back().getNumOperands(); found != count)
    return op->emitOpError("needs a body that yields ")
           << count << " values, found " << found;
  return success();
}

static LogicalResult verifyArguments(Operation *op, Region &body, size_t count) {
  if (size_t found = body.front().getNumArguments(); found != count)
    return op->emitOpError("needs a body with ")
           << count << " arguments, found " << found;
  return success();
}

LogicalResult ProgramOp::verify() {
  if (failed(verifyArguments(*this, getBody(), getInputs().size())))
    return failure();
  Block &block = getBody().front();
  if (block.empty() || !isa<OutputOp>(block.back()))
    return emitOpError("needs a body that ends with 'repops.output'");
  if (size_t found = block.back().getNumOperands(); found != getOutputs().size())
    return emitOpError("names ")
           << getOutputs().size() << " outputs, but its body has " << found;
  return success();
}

LogicalResult RegionOp::verify() {
  if (failed(verifyArguments(*this, getBody(), getInputs().size())))
    return failure();
  for (Operation &op : getBody().front().without_terminator())
    if (!isa<ApplyOp, ConstantOp>(op))
      return op.emitOpError("cannot stand in a 'repops.region'");
  return verifyYield(*this, getBody(), getNumResults());
}

LogicalResult IfOp::verify() {
  for (Region *body : {&getThenBody(), &getElseBody()})
    if (failed(verifyArguments(*this, *body, 0)) ||
        failed(verifyYield(*this, *body, getNumResults())))
      return failure();
  return success();
}

LogicalResult LoopOp::verify() {
  size_t inputs = getInputs().size();
  if (inputs < 2 || getNumResults() < inputs - 2)
    return emitOpError("needs a trip count, a condition, and a result for every carried value");
  if (failed(verifyArguments(*this, getBody(), inputs)))
    return failure();
  return verifyYield(*this, getBody(), 1 + getNumResults());
}

LogicalResult ScanOp::verify() {
  if (failed(verifyArguments(*this, getBody(), getInputs().size())))
    return failure();
  return verifyYield(*this, getBody(), getNumResults());
}

//===----------------------------------------------------------------------===//
// C functions (declared in src/mlir/ffi.rs)
//===----------------------------------------------------------------------===//

extern "C" {

MLIR_DEFINE_CAPI_DIALECT_REGISTRATION(Repops, repops, repops::RepopsDialect)

// Takes `op` out of its block and removes every operand it and what it holds
// have, so that it can be kept for a while without counting as a user.
// (dropAllReferences would leave null operands behind.)
void repopsOperationDetach(MlirOperation op) {
  Operation *operation = unwrap(op);
  operation->walk([](Operation *inner) { inner->setOperands({}); });
  operation->remove();
}

bool repopsValueHasUses(MlirValue value) { return !unwrap(value).use_empty(); }

} // extern "C"
