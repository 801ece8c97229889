// What every way of compiling shares: modules of LLVM IR of which each
// instruction has one result on every target, before and after optimization.

#pragma once

#include "mlir/CAPI/IR.h"

#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"

#include <memory>
#include <string>

// A text for the other side, which frees it.
char *copied(const std::string &text);
char *copied(llvm::Error error);

// The LLVM IR of a module of the LLVM dialect, for a machine, optimized; null
// and an error if it cannot be translated, or if an instruction may not keep
// bits. `prepare` is called before optimization.
std::unique_ptr<llvm::Module> lowered(MlirModule source, llvm::LLVMContext &context, llvm::TargetMachine &machine,
                                      void (*prepare)(llvm::Module &), char **error);
