// The plain C interface of Lanai's kernels. Mirrored by inference/kernels/structures.py.
// Layouts of matrices are those of docs/packed-format.md.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define LANAI_KERNELS_ABI 4
#define LANAI_TILE 16         // rows of a tile, positions of a key tile
#define LANAI_UNIT 32         // columns of a unit, 8 quads
#define LANAI_TABLE_BYTES 576 // what lanai_tables writes
#define LANAI_MOST_ADAPTERS 2 // in one pass
#define LANAI_MOST_PRODUCTS 3 // of one input
#define LANAI_MOST_THREADS 256

#ifdef __cplusplus
#pragma GCC visibility push(default)
extern "C" {
#endif

// From 0 up, for each family of processors: what has one has those before it.
enum lanai_isa {
  LANAI_PORTABLE = 0,
  LANAI_AVX2 = 1,
  LANAI_AVX512 = 2,
  LANAI_NEON = 1,
  LANAI_LAST_ISA = 2
};
enum lanai_error { LANAI_OK = 0, LANAI_BAD_ARGUMENT = 1, LANAI_CACHE_FULL = 2 };
enum lanai_activation { LANAI_SILU = 0, LANAI_GELU_TANH = 1 };

// Weight [row][column] = row_scale[row] * scale[tile][group][row % 16] * (palette[code] + offset).
// 8-bit matrices have no palette, scales or offsets: the code is the int8 value itself.
typedef struct {
  const uint8_t *codes;
  const uint8_t *tables;  // of lanai_tables; null for 8 bits
  const uint8_t *scales;  // null for 8 bits
  const int8_t *offsets;  // null when there are none
  const uint16_t *row_scale;  // bfloat16
  int32_t rows, columns, bits, reserved;
} lanai_matrix;

typedef struct {
  lanai_matrix q, k, v, output, gate, up, down;
  const float *attention_norm, *ffn_norm;
  const float *attention_post_norm, *ffn_post_norm;  // of what is added; null for most families
  const float *q_norm, *k_norm;  // of single heads; null when the family has none
  const float *q_bias, *k_bias, *v_bias;  // null when there is none
  const float *cosine, *sine;  // [positions][head_width / 2]
  int32_t heads, kv_heads, head_width, ffn_width;
  int32_t window;  // 0: sees everything before it
  float score_scale;
} lanai_layer;

typedef struct {
  int32_t abi, isa, layers, width, vocabulary, group, max_rows, activation;
  int32_t positions, reserved;
  float epsilon, embedding_scale;
  const lanai_layer *layer;
  lanai_matrix embedding, head;
  const float *final_norm;
  void *scratch;  // lanai_scratch_bytes, aligned to 64
  void *pool;
} lanai_plan;

// A change of one matrix: y[row] += b_scale[row] * sum over j of b[row][j] * (a x)[j].
typedef struct {
  lanai_matrix a;         // 8 bits, rows: the rank in whole tiles; codes null: no change
  const int8_t *b;        // [row / 16][rank][16]
  const float *b_scale;   // [row], whole tiles
  int32_t rank, reserved;
} lanai_low_rank;

typedef struct {
  lanai_low_rank q, k, v, output, gate, up, down;
} lanai_adapter_layer;

// The adapters of a pass, summed. inner: room for LANAI_MOST_PRODUCTS * count * max_rows * stride
// floats; stride: the largest a.rows.
typedef struct {
  const lanai_adapter_layer *layers[LANAI_MOST_ADAPTERS];
  float *inner;
  int32_t count, stride;
} lanai_adapters;

// Keys lie in tiles of 16 positions, [kv_head][position / 16][head_width / 4][16][4];
// values by position, [kv_head][position][head_width]. Scales: [kv_head][position].
typedef struct {
  int8_t *keys, *values;
  float *key_scale, *value_scale;
} lanai_cache_layer;

typedef struct {
  int32_t capacity, length;  // capacity: a multiple of 16
  const lanai_cache_layer *layer;
} lanai_cache;

int lanai_abi(void);
int lanai_best_isa(void);  // the best of lanai_isa this processor runs
void *lanai_pool_new(int threads);  // null for no such number, or no such many to be had
void lanai_pool_free(void *pool);
void lanai_tables(int bits, const int8_t *palette, uint8_t *out);
size_t lanai_scratch_bytes(const lanai_plan *plan, int capacity, int threads);

// Appends n tokens to the cache (its length moves). logits: [all_logits ? n : 1][vocabulary];
// hidden: the last token's state after the final norm, [width]. adapters: null for none.
int lanai_forward(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *cache,
                  const int64_t *ids, int n, int all_logits, float *logits, float *hidden);

// Appends ids[i] to caches[i], all different, each of them with room for it: n passes of one token in
// one. logits: [n][vocabulary]; hidden: [n][width]. A row gets what lanai_forward gives it alone, to
// the last bit. scratch: enough for the largest capacity. On a refusal no cache has moved.
int lanai_step(const lanai_plan *plan, const lanai_adapters *adapters, lanai_cache *const *caches,
               const int64_t *ids, int n, float *logits, float *hidden);

// y = x W^T for tests and profiles: x [n][columns], y [n][rows]. work: lanai_product_bytes, which
// are enough for every instruction set of this processor.
size_t lanai_product_bytes(const lanai_matrix *matrix, int group, int n, int threads);
int lanai_product(int isa, void *pool, const lanai_matrix *matrix, int group, const float *x, int n,
                  float *y, void *work);

// y += the change of x, [n][rows], likewise. inner: [n][change->a.rows] floats; work: that of a.
int lanai_lift(int isa, void *pool, const lanai_low_rank *change, int group, const float *x, int n,
               float *y, int rows, float *inner, void *work);

// Reads every byte of data, as a product reads weights; gives a sum so that it cannot be left out.
uint64_t lanai_read(void *pool, const void *data, size_t bytes);

#ifdef __cplusplus
}
#pragma GCC visibility pop
#endif
