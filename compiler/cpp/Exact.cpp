// Which instructions keep bits: no fast-math flag, no fmuladd, no call out of
// the module, none of an intrinsic that is not known here.

#include "Exact.h"

#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/IntrinsicsNVPTX.h"
#include "llvm/IR/Operator.h"
#include "llvm/Passes/PassBuilder.h"

#include <cstdlib>
#include <cstring>

using namespace llvm;

char *copied(const std::string &text) {
  char *copy = static_cast<char *>(std::malloc(text.size() + 1));
  if (copy)
    std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

char *copied(Error error) { return copied(toString(std::move(error))); }

// Intrinsics with one result for every input, on every target.
static bool isExact(Intrinsic::ID id) {
  switch (id) {
  case Intrinsic::fma:
  case Intrinsic::sqrt:
  case Intrinsic::fabs:
  case Intrinsic::copysign:
  case Intrinsic::floor:
  case Intrinsic::ceil:
  case Intrinsic::trunc:
  case Intrinsic::rint:
  case Intrinsic::nearbyint:
  case Intrinsic::roundeven:
  case Intrinsic::is_fpclass:
  case Intrinsic::fptosi_sat:
  case Intrinsic::fptoui_sat:
  case Intrinsic::abs:
  case Intrinsic::smin:
  case Intrinsic::smax:
  case Intrinsic::umin:
  case Intrinsic::umax:
  case Intrinsic::ctlz:
  case Intrinsic::cttz:
  case Intrinsic::ctpop:
  case Intrinsic::bswap:
  case Intrinsic::bitreverse:
  case Intrinsic::fshl:
  case Intrinsic::fshr:
  case Intrinsic::sadd_sat:
  case Intrinsic::uadd_sat:
  case Intrinsic::ssub_sat:
  case Intrinsic::usub_sat:
  case Intrinsic::masked_load:
  case Intrinsic::masked_store:
  case Intrinsic::masked_gather:
  case Intrinsic::vector_insert:
  case Intrinsic::vector_extract:
  case Intrinsic::vector_reduce_or:
  case Intrinsic::vector_reduce_and:
  case Intrinsic::memcpy:
  case Intrinsic::memmove:
  case Intrinsic::memset:
  case Intrinsic::assume:
  case Intrinsic::lifetime_start:
  case Intrinsic::lifetime_end:
  case Intrinsic::experimental_noalias_scope_decl:
  case Intrinsic::nvvm_read_ptx_sreg_tid_x:
  case Intrinsic::nvvm_read_ptx_sreg_ntid_x:
  case Intrinsic::nvvm_read_ptx_sreg_ctaid_x:
  case Intrinsic::nvvm_read_ptx_sreg_nctaid_x:
    return true;
  default:
    return false;
  }
}

static bool isExact(Instruction &instruction) {
  if (auto *op = dyn_cast<FPMathOperator>(&instruction))
    if (op->getFastMathFlags().any())
      return false;
  auto *call = dyn_cast<CallBase>(&instruction);
  if (!call)
    return true;
  Function *callee = call->getCalledFunction();
  return callee && (!callee->isDeclaration() || isExact(callee->getIntrinsicID()));
}

// Empty if every instruction keeps bits, else the first that may not.
static std::string inexact(Module &module) {
  for (Function &function : module) {
    if (function.hasFnAttribute("unsafe-fp-math") || function.hasFnAttribute("denormal-fp-math"))
      return "a function attribute that relaxes arithmetic";
    for (Instruction &instruction : instructions(function)) {
      if (isExact(instruction))
        continue;
      std::string text;
      raw_string_ostream stream(text);
      stream << instruction;
      return text;
    }
  }
  return "";
}

std::unique_ptr<Module> lowered(MlirModule source, LLVMContext &context, TargetMachine &machine,
                                void (*prepare)(Module &), char **error) {
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(unwrap(source).getOperation(), context, "region");
  if (!module) {
    *error = copied("the module cannot be translated to LLVM IR");
    return nullptr;
  }
  module->setDataLayout(machine.createDataLayout());
  module->setTargetTriple(machine.getTargetTriple());
  if (prepare)
    prepare(*module);

  std::string wrong = inexact(*module);
  if (wrong.empty()) {
    PassBuilder builder(&machine);
    LoopAnalysisManager loops;
    FunctionAnalysisManager functions;
    CGSCCAnalysisManager calls;
    ModuleAnalysisManager modules;
    builder.registerModuleAnalyses(modules);
    builder.registerCGSCCAnalyses(calls);
    builder.registerFunctionAnalyses(functions);
    builder.registerLoopAnalyses(loops);
    builder.crossRegisterProxies(loops, functions, calls, modules);
    builder.buildPerModuleDefaultPipeline(OptimizationLevel::O3).run(*module, modules);
    wrong = inexact(*module);
  }
  if (!wrong.empty()) {
    *error = copied("inexact instruction: " + wrong);
    return nullptr;
  }
  return module;
}
