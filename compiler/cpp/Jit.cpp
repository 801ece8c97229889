// From a module of the LLVM dialect to code in this process.
//
// What is compiled is checked instruction by instruction, before and after
// optimization: no fast-math flag, no fmuladd, no call out of the module. The
// code is linked against nothing but memcpy, memmove and memset, so a call the
// code generator might invent fails to link instead of changing bits.

#include "mlir/CAPI/IR.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

#include <cstdlib>
#include <cstring>
#include <string>

using namespace llvm;

struct RepopsJit {
  std::unique_ptr<TargetMachine> machine;
  std::unique_ptr<orc::LLJIT> jit;
  // Numbers the libraries, one for each compiled module.
  unsigned count = 0;
};

static char *copied(const std::string &text) {
  char *copy = static_cast<char *>(std::malloc(text.size() + 1));
  if (copy)
    std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

static char *copied(Error error) { return copied(toString(std::move(error))); }

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

extern "C" {

// A compiler for this machine's CPU, or null and an error.
RepopsJit *repopsJitCreate(char **error) {
  static bool initialized = [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)initialized;

  Expected<orc::JITTargetMachineBuilder> host = orc::JITTargetMachineBuilder::detectHost();
  if (!host) {
    *error = copied(host.takeError());
    return nullptr;
  }
  host->setCodeGenOptLevel(CodeGenOptLevel::Aggressive);
  host->getOptions().AllowFPOpFusion = FPOpFusion::Strict;

  Expected<std::unique_ptr<TargetMachine>> machine = host->createTargetMachine();
  if (!machine) {
    *error = copied(machine.takeError());
    return nullptr;
  }
  Expected<std::unique_ptr<orc::LLJIT>> jit = orc::LLJITBuilder()
                                                  .setJITTargetMachineBuilder(*host)
                                                  .setPlatformSetUp(orc::setUpInactivePlatform)
                                                  .setLinkProcessSymbolsByDefault(false)
                                                  .create();
  if (!jit) {
    *error = copied(jit.takeError());
    return nullptr;
  }
  return new RepopsJit{std::move(*machine), std::move(*jit)};
}

void repopsJitDestroy(RepopsJit *jit) { delete jit; }

void repopsStringFree(char *text) { std::free(text); }

// Compiles a module of the LLVM dialect; gives the address of its function
// `entry`, or null and an error. With `text` not null, the optimized LLVM IR.
void *repopsJitCompile(RepopsJit *self, MlirModule source, const char *entry, char **text, char **error) {
  auto context = std::make_unique<LLVMContext>();
  std::unique_ptr<Module> module =
      mlir::translateModuleToLLVMIR(unwrap(source).getOperation(), *context, "region");
  if (!module) {
    *error = copied("the module cannot be translated to LLVM IR");
    return nullptr;
  }
  module->setDataLayout(self->machine->createDataLayout());
  module->setTargetTriple(self->machine->getTargetTriple());

  std::string wrong = inexact(*module);
  if (wrong.empty()) {
    PassBuilder builder(self->machine.get());
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
  if (text) {
    std::string printed;
    raw_string_ostream stream(printed);
    stream << *module;
    *text = copied(printed);
  }

  Expected<orc::JITDylib &> library = self->jit->createJITDylib("region" + std::to_string(self->count++));
  if (!library) {
    *error = copied(library.takeError());
    return nullptr;
  }
  orc::SymbolMap allowed;
  auto allow = [&](StringRef name, auto *function) {
    allowed[self->jit->mangleAndIntern(name)] = {orc::ExecutorAddr::fromPtr(function), JITSymbolFlags::Exported};
  };
  allow("memcpy", static_cast<void *(*)(void *, const void *, size_t)>(std::memcpy));
  allow("memmove", static_cast<void *(*)(void *, const void *, size_t)>(std::memmove));
  allow("memset", static_cast<void *(*)(void *, int, size_t)>(std::memset));
  if (Error failed = library->define(orc::absoluteSymbols(std::move(allowed)))) {
    *error = copied(std::move(failed));
    return nullptr;
  }
  if (Error failed = self->jit->addIRModule(
          *library, orc::ThreadSafeModule(std::move(module), orc::ThreadSafeContext(std::move(context))))) {
    *error = copied(std::move(failed));
    return nullptr;
  }
  Expected<orc::ExecutorAddr> address = self->jit->lookup(*library, entry);
  if (!address) {
    *error = copied(address.takeError());
    return nullptr;
  }
  return address->toPtr<void *>();
}

} // extern "C"
