// Products of rows with packed matrices. A few rows: codes are looked up and used at once, for four
// rows at a time. More: tiles are expanded to bytes once and meet the rows in blocks that fit the
// registers; the rest that fills no block are a few rows.
// Either way a row's arithmetic is the same: a group's sum in whole numbers, times the product of
// both scales, added group after group, and the scale of the matrix's row last. So its product is
// the same for any number of rows, to the last bit.

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

// A few rows: codes are looked up once for all.
template <int BITS, int ROWS>
void tile_of_few(const lanai_matrix &m, int group, int tile, const Rows &x, T::F *out) {
  const uint8_t *codes = m.codes + tile * tile_bytes(m, group);
  T::F y[ROWS];
  for (auto &value : y) value = T::fzero();
  for (int at = 0; at < x.groups; at++) {
    size_t group_at = static_cast<size_t>(tile) * x.groups + at;
    T::I even[ROWS], odd[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
      even[r] = start_of(m, group_at, x.sums(r)[at]);
      odd[r] = T::zero();
    }
    for (int unit = at * group; unit < (at + 1) * group; unit += LANAI_UNIT, codes += 64 * BITS) {
      T::W w[8];
      T::template expand<BITS>(codes, m.tables, w);
#pragma GCC unroll 4
      for (int quad = 0; quad < 8; quad += 2) {
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; r++) {
          const int8_t *values = x.row(r) + unit + 4 * quad;
          even[r] = T::dot(even[r], w[quad], values);
          odd[r] = T::dot(odd[r], w[quad + 1], values + 4);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
      T::F scale = T::fsplat(x.scales(r)[at]);
      if (BITS != 8) scale = T::fmul(scale, T::real_u8(m.scales + 16 * group_at));
      y[r] = T::fma(T::real(T::add(even[r], odd[r])), scale, y[r]);
    }
  }
  for (int r = 0; r < ROWS; r++) out[r] = T::fmul(y[r], T::bfloat16(m.row_scale + 16 * tile));
}

template <int ROWS>
void few_tile(const lanai_matrix &m, int group, int tile, const Rows &x, T::F *out) {
  switch (m.bits) {
    case 2: return tile_of_few<2, ROWS>(m, group, tile, x, out);
    case 3: return tile_of_few<3, ROWS>(m, group, tile, x, out);
    case 4: return tile_of_few<4, ROWS>(m, group, tile, x, out);
    default: return tile_of_few<8, ROWS>(m, group, tile, x, out);
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
  for (int at = 0; at < padded / group; at++) {
    size_t group_at = static_cast<size_t>(tile) * (padded / group) + at;
    T::fstore(to.scales + 16 * at, BITS == 8 ? T::fsplat(1) : T::real_u8(m.scales + 16 * group_at));
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

  Out from(int row) const { return {at + static_cast<size_t>(row) * stride, stride, add}; }
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
        y[t][r] = T::fma(T::real(sum[t][r]), T::fmul(T::fsplat(x.scales(row + r)[at]), scale),
                         y[t][r]);
    }
  }
  for (int t = 0; t < TILES; t++) {
    T::F scale = T::bfloat16(m.row_scale + 16 * (tile + t));
    for (int r = 0; r < ROWS; r++) out.put(row + r, t, T::fmul(y[t][r], scale));
  }
}

// Gives how many rows are done: where few rows are cheaper, those that fill no block are left.
template <int TILES>
int blocks(const lanai_matrix &m, int group, int tile, const Expanded *w, const Rows &x, int n,
           const Out &out) {
  int row = 0;
  for (; row + T::block_rows <= n; row += T::block_rows)
    block<TILES, T::block_rows>(m, group, tile, w, x, row, out);
  if constexpr (T::few_rows <= 4)
    for (; row < n; row++) block<TILES, 1>(m, group, tile, w, x, row, out);
  return row;
}

constexpr int MOST_TILES = T::block_tiles;

// So many rows are cheaper without the expanded tile, four after four: measured. There is nothing
// to look up in 8 bits.
inline int few_rows(const lanai_matrix &m) { return m.bits == 8 ? T::few_plain_rows : T::few_rows; }

template <int ROWS>
void few_tiles(const lanai_matrix &m, int group, int tile, int count, const Rows &x,
               const Out &out) {
  for (int t = 0; t < count; t++) {
    T::F y[ROWS];
    few_tile<ROWS>(m, group, tile + t, x, y);
    for (int r = 0; r < ROWS; r++) out.put(r, t, y[r]);
  }
}

// Rows row .. n - 1.
void fours(const lanai_matrix &m, int group, int tile, int count, const Rows &x, int row, int n,
           const Out &out) {
  for (; n - row > 4; row += 4)
    few_tiles<4>(m, group, tile, count, x.from(row), out.from(row));
  switch (n - row) {
    case 1: return few_tiles<1>(m, group, tile, count, x.from(row), out.from(row));
    case 2: return few_tiles<2>(m, group, tile, count, x.from(row), out.from(row));
    case 3: return few_tiles<3>(m, group, tile, count, x.from(row), out.from(row));
    case 4: return few_tiles<4>(m, group, tile, count, x.from(row), out.from(row));
    default: return;
  }
}

// Tiles tile .. tile + count - 1 (count <= MOST_TILES) of y = x W^T for n rows, to out.
// work: MOST_TILES * expanded_bytes.
void some_tiles(const lanai_matrix &m, int group, int tile, int count, const Rows &x, int n,
                const Out &out, uint8_t *work) {
  if (n <= few_rows(m)) return fours(m, group, tile, count, x, 0, n, out);
  Expanded w[MOST_TILES];
  for (int t = 0; t < count; t++) {
    w[t] = expanded_at(work + t * expanded_bytes(x.padded, x.groups), x.padded);
    expand(m, group, tile + t, x.padded, w[t]);
  }
  int done = 0;
  if (count == MOST_TILES)
    done = blocks<MOST_TILES>(m, group, tile, w, x, n, out);
  else
    for (int t = 0; t < count; t++)
      done = blocks<1>(m, group, tile + t, w + t, x, n, {out.at + 16 * t, out.stride, out.add});
  fours(m, group, tile, count, x, done, n, out);
}
