// Low-rank changes of matrices (LoRA, Hu et al. 2021): y += scale * B (A x). A x is an ordinary
// product of 8 bits; what follows adds B of that, a tile of 16 rows of y at a time.
// Included once by each instruction set's translation unit, inside its anonymous namespace.

// Change `of` of the matrix whose product stands in a target; inner: A x, [row][of->a.rows].
struct Lift {
  const lanai_low_rank *of;
  const float *inner;
};

// out[row * stride + lane] += (B inner[row])[16 * tile + lane], for ROWS rows and lanes < columns.
template <int ROWS>
void lift_rows(const lanai_low_rank &of, const float *inner, int tile, float *out, int stride,
               int columns) {
  const int8_t *b = of.b + static_cast<size_t>(tile) * of.rank * LANAI_TILE;
  T::F sum[ROWS];
  for (auto &one : sum) one = T::fzero();
  for (int at = 0; at < of.rank; at++) {
    T::F wide = T::real(T::widen(b + LANAI_TILE * at));
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++)
      sum[row] = T::fma(wide, T::fsplat(inner[row * of.a.rows + at]), sum[row]);
  }
  T::F scale = T::fload(of.b_scale + LANAI_TILE * tile);
  for (int row = 0; row < ROWS; row++) {
    float *to = out + static_cast<size_t>(row) * stride;
    if (columns == LANAI_TILE) {
      T::fstore(to, T::fma(sum[row], scale, T::fload(to)));
      continue;
    }
    float lanes[LANAI_TILE];
    T::fstore(lanes, T::fmul(sum[row], scale));
    for (int lane = 0; lane < columns; lane++) to[lane] += lanes[lane];
  }
}

void lift_tile(const Lift &lift, int tile, int n, float *out, int stride, int columns) {
  constexpr int AT_ONCE = T::lift_rows;
  const lanai_low_rank &of = *lift.of;
  int row = 0;
  for (; row + AT_ONCE <= n; row += AT_ONCE)
    lift_rows<AT_ONCE>(of, lift.inner + static_cast<size_t>(row) * of.a.rows, tile,
                       out + static_cast<size_t>(row) * stride, stride, columns);
  for (; row < n; row++)
    lift_rows<1>(of, lift.inner + static_cast<size_t>(row) * of.a.rows, tile,
                 out + static_cast<size_t>(row) * stride, stride, columns);
}
