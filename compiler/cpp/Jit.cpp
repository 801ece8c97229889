// From a module of the LLVM dialect to code in this process.
//
// What is compiled is checked instruction by instruction, before and after
// optimization (Exact.cpp). The code is linked against nothing but memcpy,
// memmove and memset, so a call the code generator might invent fails to link
// instead of changing bits.

#include "Exact.h"

#include "llvm/ExecutionEngine/Orc/AbsoluteSymbols.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/TargetSelect.h"

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
  std::unique_ptr<Module> module = lowered(source, *context, *self->machine, nullptr, error);
  if (!module)
    return nullptr;
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
