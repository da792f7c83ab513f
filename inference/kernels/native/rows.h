// Rows of activations: 8 bits with a scale for each group of columns, and the small float loops.
// Included once by each instruction set's translation unit, inside its anonymous namespace.

// What one row and several run is the same code: a copy the compiler makes in another place may
// round in another order, and guessed tokens are verified among several rows.
#define SAME __attribute__((noinline))

// n rows as the products want them. sum: of the int8 values of each group.
struct Rows {
  int8_t *values;  // [n][padded]
  float *scale;    // [n][groups]
  int32_t *sum;    // [n][groups]
  int padded, groups;

  Rows from(int at) const {
    size_t first = static_cast<size_t>(at);
    return {values + first * padded, scale + first * groups, sum + first * groups, padded, groups};
  }
  const int8_t *row(int at) const { return values + static_cast<size_t>(at) * padded; }
  const float *scales(int at) const { return scale + static_cast<size_t>(at) * groups; }
  const int32_t *sums(int at) const { return sum + static_cast<size_t>(at) * groups; }
};

inline int round_up(int value, int to) { return (value + to - 1) / to * to; }

// Of count values, and of floor.
inline float most_of(const float *x, int count, float floor) {
  T::F lanes = T::fsplat(floor);
  int at = 0;
  for (; at + 16 <= count; at += 16) lanes = T::fmax(T::fload(x + at), lanes);
  float most = T::most(lanes);
  for (; at < count; at++) most = x[at] > most ? x[at] : most;
  return most;
}

// Of count sizes. Across the lanes once, at the end: that is what takes long.
inline float largest(const float *x, int count) {
  T::F lanes = T::fzero();
  int at = 0;
  for (; at + 16 <= count; at += 16) lanes = T::fmax(T::fabs(T::fload(x + at)), lanes);
  float most = T::most(lanes);
  for (; at < count; at++) most = __builtin_fabsf(x[at]) > most ? __builtin_fabsf(x[at]) : most;
  return most;
}

struct Quantized {
  float scale;
  int32_t sum;
};

// Nearest int8 in -127..127 of each value of count; out has room for whole sixteens, zero behind.
inline Quantized to_int8(const float *x, int count, int8_t *out) {
  float most = largest(x, count), inverse = most > 0 ? 127 / most : 0;
  if (!(inverse < 3e38f)) inverse = 0;  // denormal or not finite: nothing to keep
  T::I sum = T::zero();
  for (int first = 0; first < count; first += 16) {
    T::F lanes;
    if (first + 16 <= count) {
      lanes = T::fload(x + first);
    } else {
      float rest[16] = {};
      for (int at = first; at < count; at++) rest[at - first] = x[at];
      lanes = T::fload(rest);
    }
    T::I whole = T::nearest(T::fmul(lanes, T::fsplat(inverse)));
    T::narrow(out + first, whole);
    sum = T::add(sum, whole);
  }
  return {inverse > 0 ? most / 127 : 0, T::total(sum)};
}

void quantize(const float *x, int columns, int group, const Rows &to, int row) {
  int8_t *values = to.values + static_cast<size_t>(row) * to.padded;
  for (int at = 0; at < to.groups; at++) {
    int first = at * group, count = columns - first < group ? columns - first : group;
    size_t index = static_cast<size_t>(row) * to.groups + at;
    Quantized done = to_int8(x + first, count, values + first);
    for (int rest = round_up(count, 16); rest < group; rest++) values[first + rest] = 0;
    to.scale[index] = done.scale;
    to.sum[index] = done.sum;
  }
}

// In an order of its own: a loop left to the compiler adds by how the row lies in memory.
SAME float sum_of_squares(const float *x, int count) {
  T::F lanes = T::fzero();
  int at = 0;
  for (; at + 16 <= count; at += 16) {
    T::F value = T::fload(x + at);
    lanes = T::fma(value, value, lanes);
  }
  float each[16], sum = 0;
  T::fstore(each, lanes);
  for (int lane = 0; at < count; at++, lane++) each[lane] += x[at] * x[at];
  for (float one : each) sum += one;
  return sum;
}

// RMS norm (Zhang & Sennrich 2019).
SAME void norm(const float *x, const float *factors, int width, float epsilon, float *out) {
  float squares = sum_of_squares(x, width);
  float inverse = 1 / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon);
  for (int at = 0; at < width; at++) out[at] = x[at] * inverse * factors[at];
}

// e^x to about 1e-6 relative, x clamped to ±87: 2^n times a polynomial of the rest.
inline float exponential(float x) {
  x = x < -87 ? -87 : x;
  x = x < 87 ? x : 87;
  float scaled = x * 1.44269504f;
  int32_t whole = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
  float rest = (scaled - static_cast<float>(whole)) * 0.693147181f;
  float power = 1 + rest * (1 + rest * (0.5f + rest * (0.166666672f + rest * (0.0416664853f +
                rest * (0.00833336077f + rest * 0.00139304355f)))));
  uint32_t bits = static_cast<uint32_t>(whole + 127) << 23;
  float scale;
  __builtin_memcpy(&scale, &bits, 4);
  return power * scale;
}

inline float silu(float x) { return x / (1 + exponential(-x)); }

inline float gelu_tanh(float x) {
  float inner = 0.797884561f * (x + 0.044715f * x * x * x);
  return x / (1 + exponential(-2 * inner));
}

// out = activation(gate) * up
SAME void gated(const float *gate, const float *up, int count, int activation, float *out) {
  if (activation == LANAI_SILU)
    for (int at = 0; at < count; at++) out[at] = silu(gate[at]) * up[at];
  else
    for (int at = 0; at < count; at++) out[at] = gelu_tanh(gate[at]) * up[at];
}
