// Compiled with this instruction set's flags where the processor family has it, empty elsewhere.
#include "kernels.h"

#ifdef __AVX512VNNI__
#include "isa_avx512.h"

namespace {
using T = Avx512;
}

#include "entry.h"

const lanai_kernels *lanai_kernels_avx512() { return &KERNELS; }
#else
const lanai_kernels *lanai_kernels_avx512() { return nullptr; }
#endif
