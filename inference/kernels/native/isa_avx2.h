// AVX2. Signed products by the sign trick: |w| * (x with w's sign), pairs of which fit 16 bits
// because no value of x is below -127.
#pragma once
#include <immintrin.h>
#include <stdint.h>

struct Avx2 {
  struct W {
    __m256i low, high;  // rows 0-7, rows 8-15
  };
  using I = W;
  struct F {
    __m256 low, high;
  };
  static constexpr int bias = 0;
  static constexpr int block_tiles = 1, block_rows = 4, lift_rows = 4;
  static constexpr int few_rows = 4, few_plain_rows = 16;

  static __m256i load256(const void *from) {
    return _mm256_loadu_si256(static_cast<const __m256i *>(from));
  }
  static W load(const uint8_t *from) { return {load256(from), load256(from + 32)}; }
  static void store(uint8_t *to, W w) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), w.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + 32), w.high);
  }
  static W load_signed(const int8_t *from) { return load(reinterpret_cast<const uint8_t *>(from)); }

  static __m256i field(__m256i codes, int shift, int mask) {
    __m128i by = _mm_cvtsi32_si128(shift);
    return _mm256_and_si256(_mm256_srl_epi16(codes, by), _mm256_set1_epi8(static_cast<char>(mask)));
  }
  static W field(W codes, int shift, int mask) {
    return {field(codes.low, shift, mask), field(codes.high, shift, mask)};
  }
  static W look(W index, __m256i palette) {
    return {_mm256_shuffle_epi8(palette, index.low), _mm256_shuffle_epi8(palette, index.high)};
  }
  // The third bit of a code, from where docs/packed-format.md puts it.
  static W third(W c, int at) {
    W bit = field(c, at, 1);
    return {_mm256_slli_epi16(bit.low, 2), _mm256_slli_epi16(bit.high, 2)};
  }
  static W join(W a, W b) {
    return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
  }

  template <int BITS>
  static inline __attribute__((always_inline)) void expand(const uint8_t *unit,
                                                           const uint8_t *tables, W w[8]) {
    if constexpr (BITS == 8) {
      for (int quad = 0; quad < 8; quad++) w[quad] = load(unit + 64 * quad);
      return;
    }
    __m256i palette = BITS == 8 ? _mm256_setzero_si256() : load256(tables);
    if constexpr (BITS == 4) {
      for (int pair = 0; pair < 4; pair++) {
        W codes = load(unit + 64 * pair);
        w[2 * pair] = look(field(codes, 0, 15), palette);
        w[2 * pair + 1] = look(field(codes, 4, 15), palette);
      }
    } else if constexpr (BITS == 2) {
      for (int quad = 0; quad < 8; quad++)
        w[quad] = look(field(load(unit + 64 * (quad / 4)), 2 * (quad % 4), 3), palette);
    } else if constexpr (BITS == 3) {
      constexpr int bit[8] = {2, 0, 3, 1, 4, 5, 6, 7};
      W c = load(unit + 128);
      for (int quad = 0; quad < 8; quad++) {
        W low = field(load(unit + 64 * (quad / 4)), 2 * (quad % 4), 3);
        w[quad] = look(join(low, third(c, bit[quad])), palette);
      }
    }
  }

  static I zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static I splat(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
  static I add(I a, I b) {
    return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
  }
  static I mul(I a, I b) {
    return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)};
  }
  static I widen(const int8_t *from) {
    __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from));
    return {_mm256_cvtepi8_epi32(raw), _mm256_cvtepi8_epi32(_mm_srli_si128(raw, 8))};
  }
  static __m256i dot(__m256i sum, __m256i w, __m256i x) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static I dot(I sum, W w, const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    __m256i all = _mm256_set1_epi32(four);
    return {dot(sum.low, w.low, all), dot(sum.high, w.high, all)};
  }

  static F fzero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F fsplat(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static F fload(const float *from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static void fstore(float *to, F value) {
    _mm256_storeu_ps(to, value.low);
    _mm256_storeu_ps(to + 8, value.high);
  }
  static F fmul(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static F fmax(F a, F b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static F fabs(F a) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
  }
  static float most(F a) {
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  // Nearest whole number, to even, within -127..127; NaN gives -127.
  static __m256i nearest(__m256 value) {
    __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(value, _mm256_set1_ps(127)));
    return _mm256_max_epi32(whole, _mm256_set1_epi32(-127));
  }
  static I nearest(F value) { return {nearest(value.low), nearest(value.high)}; }
  static void narrow(int8_t *to, I value) {
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_packs_epi32(value.low, value.high), 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), bytes);
  }
  static int32_t total(I value) {
    __m256i eight = _mm256_add_epi32(value.low, value.high);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_hadd_epi32(four, four);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(four, four));
  }
  static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static F real(I value) { return {_mm256_cvtepi32_ps(value.low), _mm256_cvtepi32_ps(value.high)}; }
  static F real_u8(const uint8_t *from) {
    __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from));
    return real({_mm256_cvtepu8_epi32(raw), _mm256_cvtepu8_epi32(_mm_srli_si128(raw, 8))});
  }
  static F bfloat16(const uint16_t *from) {
    __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from + 8)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
  }
};
