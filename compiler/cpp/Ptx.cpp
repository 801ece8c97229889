// From a module of the LLVM dialect to PTX, checked as code for this process
// is (Exact.cpp). Without flags NVPTX neither contracts nor approximates, and
// says `.rn`; whoever asked looks at the text again.

#include "Exact.h"

#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"

using namespace llvm;

// Every function with a body is an entry, for blocks of so many threads at most.
static void makeEntries(Module &module) {
  for (Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.setCallingConv(CallingConv::PTX_Kernel);
    function.addFnAttr("nvvm.maxntid", "128");
  }
}

extern "C" {

// The PTX of a module of the LLVM dialect, or null and an error.
char *repopsPtx(MlirModule source, const char *chip, const char *features, char **error) {
  static bool initialized = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialized;

  Triple triple("nvptx64-nvidia-cuda");
  std::string wrong;
  const Target *target = TargetRegistry::lookupTarget(triple, wrong);
  if (!target) {
    *error = copied(wrong);
    return nullptr;
  }
  TargetOptions options;
  options.AllowFPOpFusion = FPOpFusion::Strict;
  std::unique_ptr<TargetMachine> machine(
      target->createTargetMachine(triple, chip, features, options, std::nullopt, std::nullopt,
                                  CodeGenOptLevel::Aggressive));
  if (!machine) {
    *error = copied("no code can be generated for this chip");
    return nullptr;
  }
  LLVMContext context;
  std::unique_ptr<Module> module = lowered(source, context, *machine, makeEntries, error);
  if (!module)
    return nullptr;

  SmallString<0> text;
  raw_svector_ostream stream(text);
  legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr, CodeGenFileType::AssemblyFile)) {
    *error = copied("PTX cannot be written");
    return nullptr;
  }
  passes.run(*module);
  return copied(text.str().str());
}

} // extern "C"
