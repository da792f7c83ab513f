// The forward pass of a Llama-family decoder over packed matrices.
//
// The rows of a pass are neighbours, the next tokens of one cache, or each the next of its own cache.
// A row's numbers depend on its own token and cache only, not on how many rows there are or on what
// they hold: to the last bit.
//
// Plan, for each block of at most max_rows rows:
//   1. embed
//   2. for each layer: norm, queries/keys/values, rotate and store, attend, output, residual;
//      norm, gate and up, activate, down, residual
//   3. final norm and head, for the last row or for all
// Products, attention and (for several rows) the steps between them are shared among the threads.

struct Scratch {
  float *x, *normed, *q, *k, *v, *mixed, *gate, *up;
  int8_t *query;
  float *query_scale;
  Rows wide, tall, inner;  // of width, of the attention's width, of the feed-forward's width
  uint8_t *workers;        // [threads][worker_bytes]
  size_t worker_bytes, total;
};

struct Sizes {
  int width = 0, attention = 0, kv = 0, ffn = 0, heads = 0;
};

Sizes sizes_of(const lanai_plan &plan) {
  Sizes most;
  auto grow = [](int &to, int value) { to = to < value ? value : to; };
  most.width = plan.width;
  for (int at = 0; at < plan.layers; at++) {
    const lanai_layer &layer = plan.layer[at];
    grow(most.attention, layer.heads * layer.head_width);
    grow(most.kv, layer.kv_heads * layer.head_width);
    grow(most.ffn, layer.ffn_width);
    grow(most.heads, layer.heads);
  }
  return most;
}

struct Carver {
  uint8_t *base;
  size_t used = 0;
  template <class V>
  V *take(size_t count) {
    V *at = reinterpret_cast<V *>(base + used);
    used += (count * sizeof(V) + 63) / 64 * 64;
    return at;
  }
  Rows rows(int n, int columns, int group) {
    int padded = round_up(columns, group), groups = padded / group;
    size_t count = static_cast<size_t>(n);
    return {take<int8_t>(count * padded), take<float>(count * groups), take<int32_t>(count * groups),
            padded, groups};
  }
};

Scratch carve(const lanai_plan &plan, int capacity, int threads) {
  Sizes most = sizes_of(plan);
  Carver carver{static_cast<uint8_t *>(plan.scratch)};
  size_t n = plan.max_rows;
  auto floats = [&](int columns) { return carver.take<float>(n * round_up(columns, LANAI_TILE)); };
  Scratch s;
  s.x = floats(most.width);
  s.normed = floats(most.width);
  s.q = floats(most.attention);
  s.k = floats(most.kv);
  s.v = floats(most.kv);
  s.mixed = floats(most.attention);
  s.gate = floats(most.ffn);
  s.up = floats(most.ffn);
  s.query = carver.take<int8_t>(n * most.attention);
  s.query_scale = carver.take<float>(n * most.heads);
  s.wide = carver.rows(plan.max_rows, most.width, plan.group);
  s.tall = carver.rows(plan.max_rows, most.attention, plan.group);
  s.inner = carver.rows(plan.max_rows, most.ffn, plan.group);
  int widest = most.ffn > most.width ? most.ffn : most.width;
  widest = round_up(widest > most.attention ? widest : most.attention, plan.group);
  size_t tiles = MOST_TILES * expanded_bytes(widest, widest / plan.group);
  size_t scores = sizeof(float) * QUERIES_AT_ONCE * static_cast<size_t>(capacity);
  s.worker_bytes = ((tiles > scores ? tiles : scores) + 63) / 64 * 64;
  s.workers = carver.take<uint8_t>(s.worker_bytes * threads);
  s.total = carver.used;
  return s;
}

// Layers may be narrower than the widest: the same memory with this layer's own row length.
inline Rows fitted(Rows rows, int columns, int group) {
  rows.padded = round_up(columns, group);
  rows.groups = rows.padded / group;
  return rows;
}

// A product whose tiles the threads share: `count` matrices of the same input.
struct Target {
  const lanai_matrix *matrix;
  float *out;
  int stride;
  Lift lifts[LANAI_MOST_ADAPTERS] = {};  // changes added to the product
};

// Where the rows of a block belong.
struct Seats {
  lanai_cache *const *caches;  // one of each row, or one of all
  bool neighbours;

  lanai_cache &cache(int row) const { return *caches[neighbours ? 0 : row]; }
  int position(int row) const { return cache(row).length + (neighbours ? row : 0); }
  void advance(int n) const {
    if (neighbours) caches[0]->length += n;
    for (int row = 0; !neighbours && row < n; row++) caches[row]->length++;
  }
};

class Pass {
 public:
  // capacity: the largest of the caches'
  Pass(const lanai_plan &plan, const lanai_adapters *adapters, int capacity)
      : plan_(plan), adapters_(adapters), pool_(static_cast<lanai::Pool *>(plan.pool)),
        threads_(lanai::pool_threads(pool_)), s_(carve(plan, capacity, threads_)) {}

  void block(const Seats &seats, const int64_t *ids, int n) {
    seats_ = seats;
    embed(ids, n);
    for (int layer = 0; layer < plan_.layers; layer++) {
      attention(layer, n);
      feed_forward(layer, n);
    }
    seats_.advance(n);
  }

  // Of the block's last `rows` rows, n in all: the states after the final norm stay in the scratch
  // memory, where they are given from.
  const float *head(int n, int rows, float *logits) {
    Rows to = fitted(s_.wide, plan_.width, plan_.group);
    each_row(rows, [&](int row) {
      const float *x = s_.x + static_cast<size_t>(n - rows + row) * plan_.width;
      float *out = s_.normed + static_cast<size_t>(row) * plan_.width;
      norm(x, plan_.final_norm, plan_.width, plan_.epsilon, out);
      quantize(out, plan_.width, plan_.group, to, row);
    });
    Target target{&plan_.head, logits, plan_.vocabulary};
    products(&target, 1, to, rows);
    return s_.normed;
  }

 private:
  static constexpr int ROWS_AT_ONCE = 4;
  using Part = lanai_low_rank lanai_adapter_layer::*;

  uint8_t *work(int worker) const { return s_.workers + worker * s_.worker_bytes; }

  // Work on each row; small, so one row is done here and now.
  template <class Work>
  void each_row(int n, const Work &work) {
    constexpr int SHARE = 4;
    if (n == 1) return work(0);
    lanai::run(pool_, (n + SHARE - 1) / SHARE, [&](int piece, int) {
      int last = (piece + 1) * SHARE < n ? (piece + 1) * SHARE : n;
      for (int row = piece * SHARE; row < last; row++) work(row);
    });
  }

  void products(const Target *targets, int count, const Rows &x, int n, bool add = false) {
    int tiles = 0;
    for (int at = 0; at < count; at++) tiles += tiles_of(*targets[at].matrix);
    int share = (tiles + 2 * threads_ - 1) / (2 * threads_);
    share = round_up(share, MOST_TILES);
    lanai::run(pool_, (tiles + share - 1) / share, [&](int piece, int worker) {
      int first = piece * share, end = first + share < tiles ? first + share : tiles, base = 0;
      for (int at = 0; at < count; at++) {
        int here = tiles_of(*targets[at].matrix);
        int from = first > base ? first - base : 0, to = end - base < here ? end - base : here;
        if (from < to) range(targets[at], from, to, x, n, add, worker);
        base += here;
      }
    });
  }

  // A x of the changes of the targets' matrices, so that `products` can add B of it.
  void lower(int layer, const Part *parts, Target *targets, int count, const Rows &x, int n) {
    Target inner[LANAI_MOST_PRODUCTS * LANAI_MOST_ADAPTERS];
    int used = 0;
    for (int at = 0; adapters_ && at < count; at++)
      for (int which = 0; which < adapters_->count; which++) {
        const lanai_low_rank &of = adapters_->layers[which][layer].*parts[at];
        if (!of.a.codes) continue;
        size_t room = static_cast<size_t>(plan_.max_rows) * adapters_->stride;
        float *out = adapters_->inner + used * room;
        targets[at].lifts[which] = {&of, out};
        inner[used++] = {&of.a, out, of.a.rows};
      }
    if (n > 1 && used) return products(inner, used, x, n);
    for (int at = 0; at < used; at++) range(inner[at], 0, tiles_of(*inner[at].matrix), x, 1, false, 0);
  }

  void range(const Target &target, int from, int to, const Rows &x, int n, bool add, int worker) {
    const lanai_matrix &m = *target.matrix;
    for (int tile = from; tile < to; tile += MOST_TILES) {
      int count = to - tile < MOST_TILES ? to - tile : MOST_TILES;
      if (16 * (tile + count) <= m.rows)
        some_tiles(m, plan_.group, tile, count, x, n,
                   {target.out + 16 * tile, target.stride, add}, work(worker));
      else
        edge(target, tile, count, x, n, add, worker);
      lift(target, tile, count, n);
    }
  }

  void lift(const Target &target, int tile, int count, int n) {
    for (const Lift &lift : target.lifts) {
      if (!lift.of) continue;
      for (int at = tile; at < tile + count; at++) {
        int left = target.matrix->rows - LANAI_TILE * at;
        lift_tile(lift, at, n, target.out + LANAI_TILE * at, target.stride,
                  left < LANAI_TILE ? left : LANAI_TILE);
      }
    }
  }

  // The last tiles of a matrix whose rows are not whole tiles, through a small buffer.
  void edge(const Target &target, int tile, int count, const Rows &x, int n, bool add, int worker) {
    constexpr int STRIDE = 16 * MOST_TILES, AT_ONCE = 24;
    float buffer[AT_ONCE * STRIDE];
    int columns = target.matrix->rows - 16 * tile;
    columns = columns < 16 * count ? columns : 16 * count;
    for (int first = 0; first < n; first += AT_ONCE) {
      int rows = n - first < AT_ONCE ? n - first : AT_ONCE;
      some_tiles(*target.matrix, plan_.group, tile, count, x.from(first), rows,
                 {buffer, STRIDE, false}, work(worker));
      for (int row = 0; row < rows; row++) {
        float *out = target.out + static_cast<size_t>(first + row) * target.stride + 16 * tile;
        for (int at = 0; at < columns; at++)
          out[at] = buffer[row * STRIDE + at] + (add ? out[at] : 0);
      }
    }
  }

  void embed(const int64_t *ids, int n) {
    const lanai_matrix &m = plan_.embedding;
    size_t bytes = tile_bytes(m, plan_.group);
    each_row(n, [&](int row) {
      int tile = static_cast<int>(ids[row] / 16), lane = static_cast<int>(ids[row] % 16);
      uint32_t bits = static_cast<uint32_t>(m.row_scale[ids[row]]) << 16;
      float scale, *out = s_.x + static_cast<size_t>(row) * plan_.width;
      __builtin_memcpy(&scale, &bits, 4);
      scale *= plan_.embedding_scale;
      const uint8_t *codes = m.codes + tile * bytes + 4 * lane;
      for (int at = 0; at < plan_.width; at++)
        out[at] = scale * static_cast<int8_t>(codes[at / 4 * 64 + at % 4]);
    });
  }

  // Norm of x into 8 bits.
  Rows normed(const float *factors, int n) {
    Rows to = fitted(s_.wide, plan_.width, plan_.group);
    each_row(n, [&](int row) {
      size_t at = static_cast<size_t>(row) * plan_.width;
      norm(s_.x + at, factors, plan_.width, plan_.epsilon, s_.normed + at);
      quantize(s_.normed + at, plan_.width, plan_.group, to, row);
    });
    return to;
  }

  Rows quantized(const float *x, int columns, int stride, const Rows &room, int n) {
    Rows to = fitted(room, columns, plan_.group);
    each_row(n, [&](int row) {
      quantize(x + static_cast<size_t>(row) * stride, columns, plan_.group, to, row);
    });
    return to;
  }

  void attention(int at, int n) {
    const lanai_layer &layer = plan_.layer[at];
    int wide = layer.heads * layer.head_width, kv = layer.kv_heads * layer.head_width;
    Rows x = normed(layer.attention_norm, n);
    Target qkv[] = {{&layer.q, s_.q, wide}, {&layer.k, s_.k, kv}, {&layer.v, s_.v, kv}};
    constexpr Part PARTS[] = {&lanai_adapter_layer::q, &lanai_adapter_layer::k,
                              &lanai_adapter_layer::v};
    lower(at, PARTS, qkv, 3, x, n);
    products(qkv, 3, x, n);
    each_row(n, [&](int row) { place(layer, at, row); });
    // Neighbouring rows share what they read of the cache.
    int together = seats_.neighbours ? ROWS_AT_ONCE : 1, blocks = (n + together - 1) / together;
    lanai::run(pool_, blocks * layer.kv_heads, [&](int piece, int worker) {
      // Late neighbours see most: they go first, so that the threads end together.
      int row = (blocks - 1 - piece / layer.kv_heads) * together;
      look(layer, at, row, row + together < n ? row + together : n, piece % layer.kv_heads, worker);
    });
    Rows mixed = quantized(s_.mixed, wide, wide, s_.tall, n);
    add(at, layer.output, &lanai_adapter_layer::output, layer.attention_post_norm, mixed, n);
  }

  // x += the product, or its norm where a family has one behind it.
  void add(int at, const lanai_matrix &matrix, Part part, const float *post_norm, const Rows &from,
           int n) {
    Target target{&matrix, post_norm ? s_.normed : s_.x, plan_.width};
    lower(at, &part, &target, 1, from, n);
    products(&target, 1, from, n, !post_norm);
    if (!post_norm) return;
    each_row(n, [&](int row) {
      float *change = s_.normed + static_cast<size_t>(row) * plan_.width;
      float *x = s_.x + static_cast<size_t>(row) * plan_.width;
      norm(change, post_norm, plan_.width, plan_.epsilon, change);
      for (int lane = 0; lane < plan_.width; lane++) x[lane] += change[lane];
    });
  }

  // Bias, head norm and rotation of one token; its key and value go to the cache.
  void place(const lanai_layer &layer, int at, int row) {
    int width = layer.head_width, position = seats_.position(row);
    const float *cosine = layer.cosine + static_cast<size_t>(position) * (width / 2);
    const float *sine = layer.sine + static_cast<size_t>(position) * (width / 2);
    for (int head = 0; head < layer.heads; head++) {
      size_t first = (static_cast<size_t>(row) * layer.heads + head) * width;
      float *q = s_.q + first;
      ready(q, layer.q_bias, head, layer.q_norm, width, cosine, sine);
      float scale = to_int8(q, width, s_.query + first).scale;
      s_.query_scale[static_cast<size_t>(row) * layer.heads + head] = scale * layer.score_scale;
    }
    for (int head = 0; head < layer.kv_heads; head++) {
      size_t first = (static_cast<size_t>(row) * layer.kv_heads + head) * width;
      ready(s_.k + first, layer.k_bias, head, layer.k_norm, width, cosine, sine);
      if (layer.v_bias)
        for (int lane = 0; lane < width; lane++) s_.v[first + lane] += layer.v_bias[head * width + lane];
      keep(seats_.cache(row), at, head, position, s_.k + first, s_.v + first, width);
    }
  }

  void ready(float *x, const float *bias, int head, const float *factors, int width,
             const float *cosine, const float *sine) {
    if (bias)
      for (int lane = 0; lane < width; lane++) x[lane] += bias[head * width + lane];
    if (factors) norm(x, factors, width, plan_.epsilon, x);
    int half = width / 2;
    for (int lane = 0; lane < half; lane++) {
      float a = x[lane], b = x[half + lane];
      x[lane] = a * cosine[lane] - b * sine[lane];
      x[half + lane] = b * cosine[lane] + a * sine[lane];
    }
  }

  void keep(const lanai_cache &cache, int at, int head, int position, const float *key,
            const float *value, int width) {
    const lanai_cache_layer &layer = cache.layer[at];
    size_t first = static_cast<size_t>(head) * cache.capacity, index = first + position;
    layer.value_scale[index] = to_int8(value, width, layer.values + index * width).scale;
    int8_t codes[1024];
    layer.key_scale[index] = to_int8(key, width, codes).scale;
    int8_t *tile = layer.keys + (first + position / 16 * 16) * width + position % 16 * 4;
    for (int lane = 0; lane < width; lane += 4)
      __builtin_memcpy(tile + static_cast<size_t>(lane) * 16, codes + lane, 4);
  }

  // Rows row .. last - 1, of one cache.
  void look(const lanai_layer &layer, int at, int row, int last, int kv_head, int worker) {
    int width = layer.head_width, shared = layer.heads / layer.kv_heads;
    const lanai_cache &cache = seats_.cache(row);
    HeadCache head = head_cache(cache, at, kv_head, width);
    float *scores = reinterpret_cast<float *>(work(worker));
    Query queries[QUERIES_AT_ONCE];
    int count = 0;
    auto flush = [&] {
      attend(head, queries, count, width, scores, cache.capacity);
      count = 0;
    };
    for (; row < last; row++) {
      int end = seats_.position(row) + 1;
      int first = layer.window > 0 && end > layer.window ? end - layer.window : 0;
      for (int one = 0; one < shared; one++) {
        size_t index = static_cast<size_t>(row) * layer.heads + kv_head * shared + one;
        queries[count++] = {s_.query + index * width, s_.query_scale[index], first, end,
                            s_.mixed + index * width};
        if (count == QUERIES_AT_ONCE) flush();
      }
    }
    flush();
  }

  void feed_forward(int at, int n) {
    const lanai_layer &layer = plan_.layer[at];
    int ffn = layer.ffn_width;
    Rows x = normed(layer.ffn_norm, n);
    Target gate_up[] = {{&layer.gate, s_.gate, ffn}, {&layer.up, s_.up, ffn}};
    constexpr Part PARTS[] = {&lanai_adapter_layer::gate, &lanai_adapter_layer::up};
    lower(at, PARTS, gate_up, 2, x, n);
    products(gate_up, 2, x, n);
    Rows inner = fitted(s_.inner, ffn, plan_.group);
    each_row(n, [&](int row) {
      size_t first = static_cast<size_t>(row) * ffn;
      gated(s_.gate + first, s_.up + first, ffn, plan_.activation, s_.gate + first);
      quantize(s_.gate + first, ffn, plan_.group, inner, row);
    });
    add(at, layer.down, &lanai_adapter_layer::down, layer.ffn_post_norm, inner, n);
  }

  const lanai_plan &plan_;
  const lanai_adapters *adapters_;
  Seats seats_{};
  lanai::Pool *pool_;
  int threads_;
  Scratch s_;
};
