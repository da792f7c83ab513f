// Attention of a few query heads, of one token or of neighbours, that share one key head's cache.

struct HeadCache {
  const int8_t *keys, *values;
  const float *key_scale, *value_scale;
};

inline HeadCache head_cache(const lanai_cache &cache, int layer, int head, int width) {
  const lanai_cache_layer &at = cache.layer[layer];
  size_t first = static_cast<size_t>(head) * cache.capacity;
  return {at.keys + first * width, at.values + first * width, at.key_scale + first,
          at.value_scale + first};
}

// One query head: it sees positions first .. end - 1.
struct Query {
  const int8_t *values;  // [width]
  float scale;           // of the values, times the scale of products
  int first, end;
  float *out;  // [width]
};

// Raw scores of tiles low .. high - 1 (multiples of 16): scores[query * stride + position].
template <int COUNT>
void key_scores(const HeadCache &cache, const Query *queries, int width, int low, int high,
                float *scores, int stride) {
  int32_t start[COUNT];
  for (int query = 0; query < COUNT; query++) {
    int32_t sum = 0;
    for (int at = 0; at < width; at++) sum += queries[query].values[at];
    start[query] = -T::bias * sum;
  }
  for (int tile = low; tile < high; tile += LANAI_TILE) {
    const int8_t *keys = cache.keys + static_cast<size_t>(tile) * width;
    T::I sum[COUNT];
#pragma GCC unroll 6
    for (int query = 0; query < COUNT; query++) sum[query] = T::splat(start[query]);
    for (int lane = 0; lane < width; lane += 4) {
      T::W key = T::load_signed(keys + 16 * lane);
#pragma GCC unroll 6
      for (int query = 0; query < COUNT; query++)
        sum[query] = T::dot(sum[query], key, queries[query].values + lane);
    }
    T::F scale = T::fload(cache.key_scale + tile);
#pragma GCC unroll 6
    for (int query = 0; query < COUNT; query++)
      T::fstore(scores + static_cast<size_t>(query) * stride + tile,
                T::fmul(T::real(sum[query]), T::fmul(scale, T::fsplat(queries[query].scale))));
  }
}

// Scores to weights of values, in place; the values' scales are folded in. What the query does not
// see gets a weight of nothing. Gives the plain sum.
SAME float softmax(const Query &query, const float *value_scale, int low, int high, float *scores) {
  for (int at = low; at < query.first; at++) scores[at] = -1e30f;
  for (int at = query.end; at < high; at++) scores[at] = -1e30f;
  float most = most_of(scores + low, high - low, -1e30f), sum = 0;
  for (int at = low; at < high; at++) {
    float weight = exponential(scores[at] - most);
    sum += weight;
    scores[at] = weight * value_scale[at];
  }
  // Nothing at all, so that a query's result does not depend on which others share its tiles.
  for (int at = low; at < query.first; at++) scores[at] = 0;
  for (int at = query.end; at < high; at++) scores[at] = 0;
  return sum;
}

// A value is turned into floats once for all queries.
template <int COUNT>
void weigh(const HeadCache &cache, const Query *queries, const float *inverse, int width, int low,
           int end, const float *weights, int stride) {
  for (int lane = 0; lane < width; lane += 16) {
    T::F sum[COUNT];
#pragma GCC unroll 6
    for (int query = 0; query < COUNT; query++) sum[query] = T::fzero();
    const int8_t *values = cache.values + lane;
    for (int at = low; at < end; at++) {
      T::F value = T::real(T::widen(values + static_cast<size_t>(at) * width));
#pragma GCC unroll 6
      for (int query = 0; query < COUNT; query++)
        sum[query] = T::fma(value, T::fsplat(weights[query * stride + at]), sum[query]);
    }
#pragma GCC unroll 6
    for (int query = 0; query < COUNT; query++)
      T::fstore(queries[query].out + lane, T::fmul(sum[query], T::fsplat(inverse[query])));
  }
}

template <int COUNT>
void attend_some(const HeadCache &cache, const Query *queries, int width, float *scores,
                 int stride) {
  int low = queries[0].first, end = queries[0].end;
  for (int query = 1; query < COUNT; query++) {
    low = queries[query].first < low ? queries[query].first : low;
    end = queries[query].end > end ? queries[query].end : end;
  }
  low = low / LANAI_TILE * LANAI_TILE;
  int high = round_up(end, LANAI_TILE);
  key_scores<COUNT>(cache, queries, width, low, high, scores, stride);
  float inverse[COUNT];
  for (int query = 0; query < COUNT; query++)
    inverse[query] = 1 / softmax(queries[query], cache.value_scale, low, high,
                                 scores + static_cast<size_t>(query) * stride);
  weigh<COUNT>(cache, queries, inverse, width, low, end, scores, stride);
}

constexpr int QUERIES_AT_ONCE = 6;

// scores: room for QUERIES_AT_ONCE * stride floats. width: a multiple of 16.
void attend(const HeadCache &cache, const Query *queries, int count, int width, float *scores,
            int stride) {
  for (; count >= QUERIES_AT_ONCE; count -= QUERIES_AT_ONCE, queries += QUERIES_AT_ONCE)
    attend_some<QUERIES_AT_ONCE>(cache, queries, width, scores, stride);
  switch (count) {
    case 1: return attend_some<1>(cache, queries, width, scores, stride);
    case 2: return attend_some<2>(cache, queries, width, scores, stride);
    case 3: return attend_some<3>(cache, queries, width, scores, stride);
    case 4: return attend_some<4>(cache, queries, width, scores, stride);
    case 5: return attend_some<5>(cache, queries, width, scores, stride);
    default: return;
  }
}
