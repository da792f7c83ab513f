// Plain C++ that any compiler turns into what its processor has. Also the reference of the others.
#pragma once
#include <stdint.h>

struct Portable {
  struct W {
    int8_t at[64];
  };
  struct I {
    int32_t at[16];
  };
  struct F {
    float at[16];
  };
  static constexpr int bias = 0;
  static constexpr int block_tiles = 1, block_rows = 2, lift_rows = 2;
  static constexpr int few_rows = 4, few_plain_rows = 4;

  static W load(const uint8_t *from) {
    W w;
    __builtin_memcpy(w.at, from, 64);
    return w;
  }
  static void store(uint8_t *to, const W &w) { __builtin_memcpy(to, w.at, 64); }
  static W load_signed(const int8_t *from) { return load(reinterpret_cast<const uint8_t *>(from)); }

  template <int BITS>
  static inline void expand(const uint8_t *unit, const uint8_t *tables, W w[8]) {
    constexpr int bit[8] = {2, 0, 3, 1, 4, 5, 6, 7};
    const int8_t *palette = reinterpret_cast<const int8_t *>(tables);
    for (int quad = 0; quad < 8; quad++)
      for (int at = 0; at < 64; at++) {
        if constexpr (BITS == 8)
          w[quad].at[at] = static_cast<int8_t>(unit[64 * quad + at]);
        else if constexpr (BITS == 4)
          w[quad].at[at] = palette[unit[64 * (quad / 2) + at] >> 4 * (quad % 2) & 15];
        else {
          int code = unit[64 * (quad / 4) + at] >> 2 * (quad % 4) & 3;
          if constexpr (BITS == 3) code |= (unit[128 + at] >> bit[quad] & 1) << 2;
          w[quad].at[at] = palette[code];
        }
      }
  }

  template <class T>
  static T splat_of(decltype(T::at[0] + 0) value) {
    T all;
    for (auto &lane : all.at) lane = value;
    return all;
  }
  static I zero() { return splat(0); }
  static I splat(int32_t value) { return splat_of<I>(value); }
  static I add(I a, const I &b) {
    for (int row = 0; row < 16; row++) a.at[row] += b.at[row];
    return a;
  }
  static I mul(I a, const I &b) {
    for (int row = 0; row < 16; row++) a.at[row] *= b.at[row];
    return a;
  }
  static I widen(const int8_t *from) {
    I wide;
    for (int row = 0; row < 16; row++) wide.at[row] = from[row];
    return wide;
  }
  static I dot(I sum, const W &w, const int8_t *x) {
    for (int row = 0; row < 16; row++)
      for (int column = 0; column < 4; column++)
        sum.at[row] += w.at[4 * row + column] * x[column];
    return sum;
  }

  static F fzero() { return fsplat(0); }
  static F fsplat(float value) { return splat_of<F>(value); }
  static F fload(const float *from) {
    F value;
    __builtin_memcpy(value.at, from, sizeof value.at);
    return value;
  }
  static void fstore(float *to, const F &value) { __builtin_memcpy(to, value.at, sizeof value.at); }
  static F fmul(F a, const F &b) {
    for (int row = 0; row < 16; row++) a.at[row] *= b.at[row];
    return a;
  }
  static F fmax(F a, const F &b) {
    for (int row = 0; row < 16; row++) a.at[row] = a.at[row] > b.at[row] ? a.at[row] : b.at[row];
    return a;
  }
  static F fabs(F a) {
    for (int row = 0; row < 16; row++) a.at[row] = __builtin_fabsf(a.at[row]);
    return a;
  }
  static float most(const F &a) {
    float most = a.at[0];
    for (float one : a.at) most = one > most ? one : most;
    return most;
  }
  // Nearest whole number, to even, within -127..127; NaN gives 127.
  static I nearest(const F &value) {
    I whole;
    for (int row = 0; row < 16; row++) {
      float one = value.at[row] < 127 ? value.at[row] : 127;
      whole.at[row] = static_cast<int32_t>(__builtin_rintf(one > -127 ? one : -127));
    }
    return whole;
  }
  static void narrow(int8_t *to, const I &value) {
    for (int row = 0; row < 16; row++) to[row] = static_cast<int8_t>(value.at[row]);
  }
  static int32_t total(const I &value) {
    int32_t sum = 0;
    for (int32_t one : value.at) sum += one;
    return sum;
  }
  static F fma(const F &a, const F &b, F c) {
    for (int row = 0; row < 16; row++) c.at[row] += a.at[row] * b.at[row];
    return c;
  }
  static F real(const I &value) {
    F out;
    for (int row = 0; row < 16; row++) out.at[row] = static_cast<float>(value.at[row]);
    return out;
  }
  static F real_u8(const uint8_t *from) {
    F out;
    for (int row = 0; row < 16; row++) out.at[row] = from[row];
    return out;
  }
  static F bfloat16(const uint16_t *from) {
    F out;
    for (int row = 0; row < 16; row++) {
      uint32_t bits = static_cast<uint32_t>(from[row]) << 16;
      __builtin_memcpy(&out.at[row], &bits, 4);
    }
    return out;
  }
};
