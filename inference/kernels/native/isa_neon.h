// NEON with the dot products of Armv8.2: sdot takes what a quad is, four rows of four columns.
#pragma once
#include <arm_neon.h>
#include <stdint.h>

struct Neon {
  struct W {
    int8x16_t at[4];  // four rows each
  };
  struct I {
    int32x4_t at[4];
  };
  struct F {
    float32x4_t at[4];
  };
  static constexpr int bias = 0;
  static constexpr int block_tiles = 1, block_rows = 4, lift_rows = 4;
  static constexpr int few_rows = 4, few_plain_rows = 16;

  static W load(const uint8_t *from) {
    W w;
    for (int part = 0; part < 4; part++) w.at[part] = vreinterpretq_s8_u8(vld1q_u8(from + 16 * part));
    return w;
  }
  static void store(uint8_t *to, const W &w) {
    for (int part = 0; part < 4; part++) vst1q_u8(to + 16 * part, vreinterpretq_u8_s8(w.at[part]));
  }
  static W load_signed(const int8_t *from) { return load(reinterpret_cast<const uint8_t *>(from)); }

  // Bits shift .. of each byte, as many as mask has.
  static uint8x16_t field(const uint8_t *from, int shift, int mask) {
    uint8x16_t moved = vshlq_u8(vld1q_u8(from), vdupq_n_s8(static_cast<int8_t>(-shift)));
    return vandq_u8(moved, vdupq_n_u8(static_cast<uint8_t>(mask)));
  }

  template <int BITS>
  static inline __attribute__((always_inline)) void expand(const uint8_t *unit,
                                                           const uint8_t *tables, W w[8]) {
    if constexpr (BITS == 8) {
      for (int quad = 0; quad < 8; quad++) w[quad] = load(unit + 64 * quad);
    } else {
      constexpr int bit[8] = {2, 0, 3, 1, 4, 5, 6, 7};
      int8x16_t palette = vreinterpretq_s8_u8(vld1q_u8(tables));
      for (int quad = 0; quad < 8; quad++)
        for (int part = 0; part < 4; part++) {
          const uint8_t *from = unit + 16 * part;
          uint8x16_t codes;
          if constexpr (BITS == 4)
            codes = field(from + 64 * (quad / 2), 4 * (quad % 2), 15);
          else
            codes = field(from + 64 * (quad / 4), 2 * (quad % 4), 3);
          if constexpr (BITS == 3)
            codes = vorrq_u8(codes, vshlq_n_u8(field(from + 128, bit[quad], 1), 2));
          w[quad].at[part] = vqtbl1q_s8(palette, codes);
        }
    }
  }

  static I zero() { return splat(0); }
  static I splat(int32_t value) {
    int32x4_t four = vdupq_n_s32(value);
    return {{four, four, four, four}};
  }
  static I add(I a, const I &b) {
    for (int part = 0; part < 4; part++) a.at[part] = vaddq_s32(a.at[part], b.at[part]);
    return a;
  }
  static I mul(I a, const I &b) {
    for (int part = 0; part < 4; part++) a.at[part] = vmulq_s32(a.at[part], b.at[part]);
    return a;
  }
  static I widen(const int8_t *from) {
    int8x16_t all = vld1q_s8(from);
    int16x8_t low = vmovl_s8(vget_low_s8(all)), high = vmovl_s8(vget_high_s8(all));
    return {{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
             vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))}};
  }
  static I dot(I sum, const W &w, const int8_t *x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(four));
    for (int part = 0; part < 4; part++) sum.at[part] = vdotq_s32(sum.at[part], w.at[part], all);
    return sum;
  }

  static F fzero() { return fsplat(0); }
  static F fsplat(float value) {
    float32x4_t four = vdupq_n_f32(value);
    return {{four, four, four, four}};
  }
  static F fload(const float *from) {
    F value;
    for (int part = 0; part < 4; part++) value.at[part] = vld1q_f32(from + 4 * part);
    return value;
  }
  static void fstore(float *to, const F &value) {
    for (int part = 0; part < 4; part++) vst1q_f32(to + 4 * part, value.at[part]);
  }
  static F fmul(F a, const F &b) {
    for (int part = 0; part < 4; part++) a.at[part] = vmulq_f32(a.at[part], b.at[part]);
    return a;
  }
  static F fmax(F a, const F &b) {  // the number, if the other is NaN
    for (int part = 0; part < 4; part++) a.at[part] = vmaxnmq_f32(a.at[part], b.at[part]);
    return a;
  }
  static F fabs(F a) {
    for (float32x4_t &part : a.at) part = vabsq_f32(part);
    return a;
  }
  static float most(const F &a) {
    float32x4_t low = vmaxnmq_f32(a.at[0], a.at[1]), high = vmaxnmq_f32(a.at[2], a.at[3]);
    return vmaxnmvq_f32(vmaxnmq_f32(low, high));
  }
  // Nearest whole number, to even, within -127..127; NaN gives 0.
  static I nearest(const F &value) {
    I whole;
    for (int part = 0; part < 4; part++) {
      int32x4_t one = vcvtnq_s32_f32(value.at[part]);  // saturates
      whole.at[part] = vmaxq_s32(vminq_s32(one, vdupq_n_s32(127)), vdupq_n_s32(-127));
    }
    return whole;
  }
  static void narrow(int8_t *to, const I &value) {
    int16x8_t low = vcombine_s16(vqmovn_s32(value.at[0]), vqmovn_s32(value.at[1]));
    int16x8_t high = vcombine_s16(vqmovn_s32(value.at[2]), vqmovn_s32(value.at[3]));
    vst1q_s8(to, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
  }
  static int32_t total(const I &value) {
    int32x4_t low = vaddq_s32(value.at[0], value.at[1]);
    return vaddvq_s32(vaddq_s32(low, vaddq_s32(value.at[2], value.at[3])));
  }
  static F fma(const F &a, const F &b, F c) {
    for (int part = 0; part < 4; part++) c.at[part] = vfmaq_f32(c.at[part], a.at[part], b.at[part]);
    return c;
  }
  static F real(const I &value) {
    F out;
    for (int part = 0; part < 4; part++) out.at[part] = vcvtq_f32_s32(value.at[part]);
    return out;
  }
  static F real_u8(const uint8_t *from) {
    uint8x16_t all = vld1q_u8(from);
    uint16x8_t low = vmovl_u8(vget_low_u8(all)), high = vmovl_u8(vget_high_u8(all));
    uint16x4_t fours[] = {vget_low_u16(low), vget_high_u16(low), vget_low_u16(high),
                          vget_high_u16(high)};
    F out;
    for (int part = 0; part < 4; part++) out.at[part] = vcvtq_f32_u32(vmovl_u16(fours[part]));
    return out;
  }
  static F bfloat16(const uint16_t *from) {
    F out;
    for (int part = 0; part < 4; part++)
      out.at[part] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from + 4 * part), 16));
    return out;
  }
};
