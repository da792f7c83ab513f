// AVX-512 with VNNI and VBMI. Weights are held as value + 128, as vpdpbusd wants its left side.
//
// Codes are looked up by vpermb, which reads six bits of an index: a table of 64 entries can hold
// the palette for code bits at any of those positions, so that most fields need no shift.
#pragma once
#include <immintrin.h>
#include <stdint.h>

struct Avx512 {
  using W = __m512i;  // 16 rows of 4 columns
  using I = __m512i;
  using F = __m512;
  static constexpr int bias = 128;
  static constexpr int block_tiles = 2, block_rows = 6, lift_rows = 8;
  static constexpr int few_rows = 8, few_plain_rows = 32;

  static W load(const uint8_t *from) { return _mm512_loadu_si512(from); }
  static void store(uint8_t *to, W w) { _mm512_storeu_si512(to, w); }
  static W load_signed(const int8_t *from) {
    return _mm512_xor_si512(_mm512_loadu_si512(from), _mm512_set1_epi8(-128));
  }
  static W table(const uint8_t *tables, int at) { return load(tables + 64 + 64 * at); }
  static W look(W index, W table) { return _mm512_permutexvar_epi8(index, table); }
  // Bits of low where mask is set, of high elsewhere.
  static W blend(W mask, W low, W high) { return _mm512_ternarylogic_epi32(mask, low, high, 0xca); }

  template <int BITS>
  static inline __attribute__((always_inline)) void expand(const uint8_t *unit,
                                                           const uint8_t *tables, W w[8]) {
    if constexpr (BITS == 8) {
      for (int quad = 0; quad < 8; quad++)
        w[quad] = load_signed(reinterpret_cast<const int8_t *>(unit) + 64 * quad);
    } else if constexpr (BITS == 4) {
      W palette = table(tables, 0);
      for (int pair = 0; pair < 4; pair++) {
        W codes = load(unit + 64 * pair);
        w[2 * pair] = look(codes, palette);
        w[2 * pair + 1] = look(_mm512_srli_epi16(codes, 4), palette);
      }
    } else if constexpr (BITS == 2) {
      W at0 = table(tables, 0), at2 = table(tables, 1), at4 = table(tables, 2);
      for (int half = 0; half < 2; half++) {
        W codes = load(unit + 64 * half);
        w[4 * half] = look(codes, at0);
        w[4 * half + 1] = look(codes, at2);
        w[4 * half + 2] = look(codes, at4);
        w[4 * half + 3] = look(_mm512_srli_epi16(codes, 4), at2);
      }
    } else {
      W a = load(unit), b = load(unit + 64), c = load(unit + 128);
      W m0 = _mm512_set1_epi8(0x03), m2 = _mm512_set1_epi8(0x0c), m4 = _mm512_set1_epi8(0x30);
      W c4 = _mm512_srli_epi16(c, 4);
      w[0] = look(blend(m0, a, c), table(tables, 0));
      w[1] = look(blend(m2, a, c), table(tables, 1));
      w[2] = look(blend(m4, a, c), table(tables, 2));
      w[3] = look(blend(m2, _mm512_srli_epi16(a, 4), c), table(tables, 3));
      w[4] = look(blend(m0, b, c), table(tables, 4));
      w[5] = look(blend(m2, b, c), table(tables, 5));
      w[6] = look(blend(m4, b, c4), table(tables, 6));
      w[7] = look(blend(m0, _mm512_srli_epi16(b, 6), c4), table(tables, 7));
    }
  }

  static I zero() { return _mm512_setzero_si512(); }
  static I splat(int32_t value) { return _mm512_set1_epi32(value); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static I widen(const int8_t *from) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
  }
  static I dot(I sum, W w, const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
  }

  static F fzero() { return _mm512_setzero_ps(); }
  static F fsplat(float value) { return _mm512_set1_ps(value); }
  static F fload(const float *from) { return _mm512_loadu_ps(from); }
  static void fstore(float *to, F value) { _mm512_storeu_ps(to, value); }
  static F fmul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fmax(F a, F b) { return _mm512_max_ps(a, b); }  // b, if one is NaN
  static F fabs(F a) { return _mm512_abs_ps(a); }
  static float most(F a) { return _mm512_reduce_max_ps(a); }
  // Nearest whole number, to even, within -127..127; NaN gives -127.
  static I nearest(F value) {
    I whole = _mm512_cvtps_epi32(_mm512_min_ps(value, fsplat(127)));
    return _mm512_max_epi32(whole, splat(-127));
  }
  static void narrow(int8_t *to, I value) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_cvtepi32_epi8(value));
  }
  static int32_t total(I value) { return _mm512_reduce_add_epi32(value); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F real(I value) { return _mm512_cvtepi32_ps(value); }
  static F real_u8(const uint8_t *from) {
    return real(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
  }
  static F bfloat16(const uint16_t *from) {
    __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
  }
};
