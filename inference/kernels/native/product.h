// Products of rows with packed matrices. One row: codes are looked up and used at once. Several
// rows: two tiles are expanded to bytes once and meet the rows in blocks that fit the registers.

inline size_t tile_bytes(const lanai_matrix &m, int group) {
  return static_cast<size_t>(round_up(m.columns, group)) / LANAI_UNIT * 64 * m.bits;
}

inline int tiles_of(const lanai_matrix &m) { return round_up(m.rows, LANAI_TILE) / LANAI_TILE; }

// What the sum of a group starts with: (offset - bias) * sum of x.
inline T::I start_of(const lanai_matrix &m, size_t group_at, int32_t sum) {
  if (!m.offsets) return T::splat(-T::bias * sum);
  T::I offset = T::add(T::widen(m.offsets + 16 * group_at), T::splat(-T::bias));
  return T::mul(offset, T::splat(sum));
}

template <int BITS>
T::F tile_of_one(const lanai_matrix &m, int group, int tile, const Rows &x) {
  const uint8_t *codes = m.codes + tile * tile_bytes(m, group);
  const int8_t *values = x.values;
  T::F y = T::fzero();
  for (int at = 0; at < x.groups; at++) {
    size_t group_at = static_cast<size_t>(tile) * x.groups + at;
    T::I even = start_of(m, group_at, x.sum[at]), odd = T::zero();
    for (int unit = 0; unit < group; unit += LANAI_UNIT, codes += 64 * BITS, values += LANAI_UNIT) {
      T::W w[8];
      T::template expand<BITS>(codes, m.tables, w);
#pragma GCC unroll 4
      for (int quad = 0; quad < 8; quad += 2) {
        even = T::dot(even, w[quad], values + 4 * quad);
        odd = T::dot(odd, w[quad + 1], values + 4 * quad + 4);
      }
    }
    T::F scale = T::fsplat(x.scale[at]);
    if (BITS != 8) scale = T::fmul(scale, T::real_u8(m.scales + 16 * group_at));
    y = T::fma(T::real(T::add(even, odd)), scale, y);
  }
  return T::fmul(y, T::bfloat16(m.row_scale + 16 * tile));
}

T::F one_tile(const lanai_matrix &m, int group, int tile, const Rows &x) {
  switch (m.bits) {
    case 2: return tile_of_one<2>(m, group, tile, x);
    case 3: return tile_of_one<3>(m, group, tile, x);
    case 4: return tile_of_one<4>(m, group, tile, x);
    default: return tile_of_one<8>(m, group, tile, x);
  }
}

// A tile as bytes, its scales as floats: what several rows share.
struct Expanded {
  uint8_t *codes;  // [quads][64]
  float *scales;   // [groups][16]
};

inline size_t expanded_bytes(int padded, int groups) {
  return static_cast<size_t>(padded) * 16 + static_cast<size_t>(groups) * 64;
}

inline Expanded expanded_at(uint8_t *work, int padded) {
  return {work, reinterpret_cast<float *>(work + static_cast<size_t>(padded) * 16)};
}

template <int BITS>
void expand_tile(const lanai_matrix &m, int group, int tile, int padded, const Expanded &to) {
  const uint8_t *codes = m.codes + tile * tile_bytes(m, group);
  uint8_t *out = to.codes;
  for (int unit = 0; unit < padded; unit += LANAI_UNIT, codes += 64 * BITS) {
    T::W w[8];
    T::template expand<BITS>(codes, m.tables, w);
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; quad++, out += 64) T::store(out, w[quad]);
  }
  T::F row = T::bfloat16(m.row_scale + 16 * tile);
  for (int at = 0; at < padded / group; at++) {
    size_t group_at = static_cast<size_t>(tile) * (padded / group) + at;
    T::F scale = BITS == 8 ? row : T::fmul(row, T::real_u8(m.scales + 16 * group_at));
    T::fstore(to.scales + 16 * at, scale);
  }
}

void expand(const lanai_matrix &m, int group, int tile, int padded, const Expanded &to) {
  switch (m.bits) {
    case 2: return expand_tile<2>(m, group, tile, padded, to);
    case 3: return expand_tile<3>(m, group, tile, padded, to);
    case 4: return expand_tile<4>(m, group, tile, padded, to);
    default: return expand_tile<8>(m, group, tile, padded, to);
  }
}

// Where products go, and whether they are added to what is there.
struct Out {
  float *at;  // [row * stride + 16 * tile]
  int stride;
  bool add;

  void put(int row, int tile, T::F value) const {
    float *to = at + static_cast<size_t>(row) * stride + 16 * tile;
    T::fstore(to, add ? T::fma(T::fsplat(1), value, T::fload(to)) : value);
  }
};

// TILES tiles, ROWS rows from `row` on.
template <int TILES, int ROWS>
void block(const lanai_matrix &m, int group, int tile, const Expanded *w, const Rows &x, int row,
           const Out &out) {
  T::F y[TILES][ROWS];
  for (auto &of_tile : y)
    for (auto &value : of_tile) value = T::fzero();
  for (int at = 0; at < x.groups; at++) {
    T::I sum[TILES][ROWS];
#pragma GCC unroll 2
    for (int t = 0; t < TILES; t++) {
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++)
        sum[t][r] = start_of(m, static_cast<size_t>(tile + t) * x.groups + at, x.sums(row + r)[at]);
    }
    for (int column = at * group; column < (at + 1) * group; column += 4) {
      T::W codes[TILES];
#pragma GCC unroll 2
      for (int t = 0; t < TILES; t++) codes[t] = T::load(w[t].codes + 16 * column);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
        for (int t = 0; t < TILES; t++)
          sum[t][r] = T::dot(sum[t][r], codes[t], x.row(row + r) + column);
      }
    }
#pragma GCC unroll 2
    for (int t = 0; t < TILES; t++) {
      T::F scale = T::fload(w[t].scales + 16 * at);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++)
        y[t][r] = T::fma(T::real(sum[t][r]), T::fmul(scale, T::fsplat(x.scales(row + r)[at])),
                         y[t][r]);
    }
  }
  for (int t = 0; t < TILES; t++)
    for (int r = 0; r < ROWS; r++) out.put(row + r, t, y[t][r]);
}

template <int TILES>
void blocks(const lanai_matrix &m, int group, int tile, const Expanded *w, const Rows &x, int n,
            const Out &out) {
  int row = 0;
  for (; row + T::block_rows <= n; row += T::block_rows)
    block<TILES, T::block_rows>(m, group, tile, w, x, row, out);
  for (; row < n; row++) block<TILES, 1>(m, group, tile, w, x, row, out);
}

constexpr int MOST_TILES = T::block_tiles;

// Tiles tile .. tile + count - 1 (count <= MOST_TILES) of y = x W^T for n rows, to out.
// work: MOST_TILES * expanded_bytes.
void some_tiles(const lanai_matrix &m, int group, int tile, int count, const Rows &x, int n,
                const Out &out, uint8_t *work) {
  if (n == 1) {
    for (int t = 0; t < count; t++) out.put(0, t, one_tile(m, group, tile + t, x));
    return;
  }
  Expanded w[MOST_TILES];
  for (int t = 0; t < count; t++) {
    w[t] = expanded_at(work + t * expanded_bytes(x.padded, x.groups), x.padded);
    expand(m, group, tile + t, x.padded, w[t]);
  }
  if (count == MOST_TILES) return blocks<MOST_TILES>(m, group, tile, w, x, n, out);
  for (int t = 0; t < count; t++)
    blocks<1>(m, group, tile + t, w + t, x, n, {out.at + 16 * t, out.stride, out.add});
}
