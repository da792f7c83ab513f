// What each instruction set's translation unit offers to dispatch.cpp.
#pragma once
#include "interface.h"

struct lanai_kernels {
  int (*forward)(const lanai_plan *, const lanai_adapters *, lanai_cache *, const int64_t *, int, int,
                 float *, float *);
  int (*step)(const lanai_plan *, const lanai_adapters *, lanai_cache *const *, const int64_t *, int,
              float *, float *);
  size_t (*scratch_bytes)(const lanai_plan *, int, int);
  size_t (*product_bytes)(const lanai_matrix *, int, int, int);
  int (*product)(void *, const lanai_matrix *, int, const float *, int, float *, void *);
  int (*lift)(void *, const lanai_low_rank *, int, const float *, int, float *, int, float *, void *);
};

const lanai_kernels *lanai_kernels_portable();
const lanai_kernels *lanai_kernels_avx2();    // null where it was not compiled
const lanai_kernels *lanai_kernels_avx512();
const lanai_kernels *lanai_kernels_neon();
