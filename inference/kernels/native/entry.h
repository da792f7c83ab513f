// Included once by each instruction set's translation unit, after its `using T`: the same code for
// all of them. Everything is in an anonymous namespace and nothing of the standard library is
// used, so that the linker cannot give one set's code to another.
#include "interface.h"
#include "kernels.h"
#include "pool.h"

namespace {

#include "rows.h"
#include "product.h"
#include "attention.h"
#include "adapter.h"
#include "forward.h"

int forward(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *cache,
            const int64_t *ids, int n, int all_logits, float *logits, float *hidden) {
  Pass pass(*plan, adapters, cache->capacity);
  size_t width = plan->width, vocabulary = plan->vocabulary;
  for (int first = 0; first < n; first += plan->max_rows) {
    int count = n - first < plan->max_rows ? n - first : plan->max_rows;
    pass.block({&cache, true}, ids + first, count);
    bool last = first + count == n;
    if (!all_logits && !last) continue;
    int rows = all_logits ? count : 1;
    const float *states = pass.head(count, rows, all_logits ? logits + first * vocabulary : logits);
    if (last) __builtin_memcpy(hidden, states + (rows - 1) * width, sizeof(float) * width);
  }
  return LANAI_OK;
}

int step(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *const *caches,
         const int64_t *ids, int n, float *logits, float *hidden) {
  int capacity = 0;
  for (int row = 0; row < n; row++)
    capacity = caches[row]->capacity > capacity ? caches[row]->capacity : capacity;
  Pass pass(*plan, adapters, capacity);
  size_t width = plan->width, vocabulary = plan->vocabulary;
  for (int first = 0; first < n; first += plan->max_rows) {
    int count = n - first < plan->max_rows ? n - first : plan->max_rows;
    pass.block({caches + first, false}, ids + first, count);
    const float *states = pass.head(count, count, logits + first * vocabulary);
    __builtin_memcpy(hidden + first * width, states, sizeof(float) * count * width);
  }
  return LANAI_OK;
}

size_t scratch_bytes(const lanai_plan *plan, int capacity, int threads) {
  return carve(*plan, capacity, threads).total;
}

size_t product_bytes(const lanai_matrix *m, int group, int n, int threads) {
  int padded = round_up(m->columns, group);
  Carver carver{nullptr};
  carver.rows(n, m->columns, group);
  carver.take<float>(static_cast<size_t>(n) * 16 * tiles_of(*m));
  carver.take<uint8_t>(threads * MOST_TILES * expanded_bytes(padded, padded / group));
  return carver.used;
}

int product(void *pool, const lanai_matrix *m, int group, const float *x, int n, float *y,
            void *work) {
  lanai::Pool *threads = static_cast<lanai::Pool *>(pool);
  int stride = 16 * tiles_of(*m), padded = round_up(m->columns, group);
  size_t room = MOST_TILES * expanded_bytes(padded, padded / group);
  Carver carver{static_cast<uint8_t *>(work)};
  Rows rows = carver.rows(n, m->columns, group);
  float *out = carver.take<float>(static_cast<size_t>(n) * stride);
  uint8_t *tiles = carver.take<uint8_t>(lanai::pool_threads(threads) * room);
  for (int row = 0; row < n; row++)
    quantize(x + static_cast<size_t>(row) * m->columns, m->columns, group, rows, row);
  int count = tiles_of(*m), pieces = (count + MOST_TILES - 1) / MOST_TILES;
  lanai::run(threads, pieces, [&](int piece, int worker) {
    int tile = piece * MOST_TILES, some = count - tile < MOST_TILES ? count - tile : MOST_TILES;
    some_tiles(*m, group, tile, some, rows, n, {out + 16 * tile, stride, false},
               tiles + worker * room);
  });
  for (int row = 0; row < n; row++)
    __builtin_memcpy(y + static_cast<size_t>(row) * m->rows, out + static_cast<size_t>(row) * stride,
                     sizeof(float) * m->rows);
  return LANAI_OK;
}

int lift(void *pool, const lanai_low_rank *change, int group, const float *x, int n, float *y,
         int rows, float *inner, void *work) {
  if (int failed = product(pool, &change->a, group, x, n, inner, work)) return failed;
  for (int tile = 0; LANAI_TILE * tile < rows; tile++) {
    int left = rows - LANAI_TILE * tile;
    lift_tile({change, inner}, tile, n, y + LANAI_TILE * tile, rows,
              left < LANAI_TILE ? left : LANAI_TILE);
  }
  return LANAI_OK;
}

constexpr lanai_kernels KERNELS = {forward, step, scratch_bytes, product_bytes, product, lift};

}  // namespace
