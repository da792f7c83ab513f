// The C interface: checks what can be checked, and hands over to the chosen instruction set.
#include <atomic>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "interface.h"
#include "kernels.h"
#include "pool.h"

namespace {

bool runs(int isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == LANAI_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
  if (isa == LANAI_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long DOT_PRODUCTS = 1 << 20;  // HWCAP_ASIMDDP
  if (isa == LANAI_NEON) return getauxval(AT_HWCAP) & DOT_PRODUCTS;
#endif
  return isa == LANAI_PORTABLE;
}

const lanai_kernels *kernels(int isa) {
  if (!runs(isa)) return nullptr;
  switch (isa) {
#if defined(__aarch64__)
    case LANAI_NEON: return lanai_kernels_neon();
#else
    case LANAI_AVX512: return lanai_kernels_avx512();
    case LANAI_AVX2: return lanai_kernels_avx2();
#endif
    case LANAI_PORTABLE: return lanai_kernels_portable();
    default: return nullptr;
  }
}

// Entry i holds the palette value of the code whose low bits lie at `low` of i, and whose third
// bit, if it has one, at `high`.
void table(int bits, const int8_t *palette, int low, int high, uint8_t *out) {
  int mask = bits == 4 ? 15 : 3;
  for (int index = 0; index < 64; index++) {
    int code = index >> low & mask;
    if (bits == 3) code |= (index >> high & 1) << 2;
    out[index] = static_cast<uint8_t>(palette[code] + 128);
  }
}

// The kernels of the plan for n ids behind each other or of n caches; null for what is refused.
const lanai_kernels *checked(const lanai_plan *plan, const lanai_adapters *adapters,
                             const int64_t *ids, int n) {
  if (plan->abi != LANAI_KERNELS_ABI || plan->max_rows < 1 || n < 1) return nullptr;
  if (adapters && (adapters->count < 0 || adapters->count > LANAI_MOST_ADAPTERS)) return nullptr;
  for (int at = 0; at < n; at++)
    if (ids[at] < 0 || ids[at] >= plan->vocabulary) return nullptr;
  return kernels(plan->isa);
}

int refusal(const lanai_plan *plan, const lanai_cache *cache, int n) {
  if (cache->length < 0) return LANAI_BAD_ARGUMENT;
  if (n > cache->capacity - cache->length || n > plan->positions - cache->length)
    return LANAI_CACHE_FULL;
  return LANAI_OK;
}

}  // namespace

extern "C" {

int lanai_abi(void) { return LANAI_KERNELS_ABI; }

int lanai_best_isa(void) {
  for (int isa = LANAI_LAST_ISA; isa > LANAI_PORTABLE; isa--)
    if (kernels(isa)) return isa;
  return LANAI_PORTABLE;
}

void *lanai_pool_new(int threads) { return lanai::pool_new(threads); }
void lanai_pool_free(void *pool) { lanai::pool_free(static_cast<lanai::Pool *>(pool)); }

// First 64 bytes: the palette as it is, again and again. Then the tables of isa_avx512.h.
void lanai_tables(int bits, const int8_t *palette, uint8_t *out) {
  static const int low[8] = {0, 2, 4, 2, 0, 2, 4, 0}, high[8] = {2, 0, 3, 1, 4, 5, 2, 3};
  for (int at = 0; at < 64; at++)
    out[at] = static_cast<uint8_t>(palette[at % 16 % (1 << bits)]);
  for (int at = 0; at < 8; at++)
    table(bits, palette, bits == 4 ? 0 : low[at], high[at], out + 64 + 64 * at);
}

size_t lanai_scratch_bytes(const lanai_plan *plan, int capacity, int threads) {
  const lanai_kernels *of = kernels(plan->isa);
  return of ? of->scratch_bytes(plan, capacity, threads) : 0;
}

int lanai_forward(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *cache,
                  const int64_t *ids, int n, int all_logits, float *logits, float *hidden) {
  const lanai_kernels *of = checked(plan, adapters, ids, n);
  if (!of) return LANAI_BAD_ARGUMENT;
  if (int refused = refusal(plan, cache, n)) return refused;
  return of->forward(plan, adapters, cache, ids, n, all_logits, logits, hidden);
}

int lanai_step(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *const *caches,
               const int64_t *ids, int n, float *logits, float *hidden) {
  const lanai_kernels *of = checked(plan, adapters, ids, n);
  if (!of) return LANAI_BAD_ARGUMENT;
  for (int row = 0; row < n; row++) {
    if (int refused = refusal(plan, caches[row], 1)) return refused;
    for (int other = 0; other < row; other++)
      if (caches[other] == caches[row]) return LANAI_BAD_ARGUMENT;
  }
  return of->step(plan, adapters, caches, ids, n, logits, hidden);
}

size_t lanai_product_bytes(const lanai_matrix *matrix, int group, int n, int threads) {
  size_t most = 0;
  for (int isa = LANAI_PORTABLE; isa <= LANAI_LAST_ISA; isa++)
    if (const lanai_kernels *of = kernels(isa)) {
      size_t bytes = of->product_bytes(matrix, group, n, threads);
      most = most < bytes ? bytes : most;
    }
  return most;
}

int lanai_product(int isa, void *pool, const lanai_matrix *matrix, int group, const float *x, int n,
                  float *y, void *work) {
  const lanai_kernels *of = kernels(isa);
  if (!of || n < 1) return LANAI_BAD_ARGUMENT;
  return of->product(pool, matrix, group, x, n, y, work);
}

int lanai_lift(int isa, void *pool, const lanai_low_rank *change, int group, const float *x, int n,
               float *y, int rows, float *inner, void *work) {
  const lanai_kernels *of = kernels(isa);
  if (!of || n < 1 || rows < 1) return LANAI_BAD_ARGUMENT;
  return of->lift(pool, change, group, x, n, y, rows, inner, work);
}

uint64_t lanai_read(void *pool, const void *data, size_t bytes) {
  constexpr size_t PIECE = 1 << 18;  // 64-bit words
  const uint64_t *words = static_cast<const uint64_t *>(data);
  size_t count = bytes / sizeof(uint64_t);
  std::atomic<uint64_t> total{0};
  int pieces = static_cast<int>((count + PIECE - 1) / PIECE);
  lanai::run(static_cast<lanai::Pool *>(pool), pieces, [&](int piece, int) {
    size_t at = piece * PIECE, end = at + PIECE < count ? at + PIECE : count;
    uint64_t sums[8] = {};
    for (; at + 8 <= end; at += 8)
      for (size_t lane = 0; lane < 8; lane++) sums[lane] += words[at + lane];
    for (; at < end; at++) sums[0] += words[at];
    for (size_t lane = 1; lane < 8; lane++) sums[0] += sums[lane];
    total += sums[0];
  });
  return total;
}

}  // extern "C"
