#pragma once
// Instruction sets of the micro-kernels, and which of them this machine can run.
// A new one (NEON, SVE): add it here and write its micro-kernel file; nothing else names them.

#include <string>
#include <vector>

namespace mlpwatt {

enum class Isa {
  kGeneric,    ///< portable C++, whatever the compiler's baseline is
  kAvx2NoFma,  ///< AVX2 with separate multiply and add: what Valgrind simulates quickly
  kAvx2,       ///< AVX2 + FMA
  kAvx512,     ///< AVX-512 F, VL, BW, DQ
};

/// Whether or not this machine can run it. Errors: std::invalid_argument when the name is unknown.
Isa parse_isa(const std::string& name);
const std::string& isa_name(Isa isa);  ///< "generic", "avx2_nofma", "avx2", "avx512"
/// Every name, slowest first.
std::vector<std::string> isa_names();
/// What this machine can run, slowest first.
std::vector<Isa> available_isas();
/// What a processor that is interpreted (Valgrind) runs soonest, of what this machine can run: `wanted` only
/// when that is "generic".
Isa simulated_isa(const std::string& wanted);
/// `wanted` if given, else $MLPWATT_ISA, else the fastest the machine has.
/// Errors: std::invalid_argument when the name is unknown or the machine cannot run it; never another one
/// instead.
Isa choose_isa(const std::string& wanted);

}  // namespace mlpwatt
