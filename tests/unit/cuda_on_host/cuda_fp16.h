// What prepare.cu uses of CUDA, for a compiler of C++: its source runs on the CPU, one thread after the other.
// Build with -ffp-contract=off: each of CUDA's intrinsics here rounds once, as there.

#pragma once

#include <cmath>

#define __device__
#define __global__
#define __forceinline__ inline

struct Index {
    unsigned int x, y, z;
};
inline Index blockIdx, blockDim, threadIdx;

using __half = _Float16;

template <typename T>
T min(T one, T other) {
    return one < other ? one : other;
}
template <typename T>
T max(T one, T other) {
    return one > other ? one : other;
}

inline double __dmul_rn(double one, double other) { return one * other; }
inline double __dadd_rn(double one, double other) { return one + other; }
inline float __fmul_rn(float one, float other) { return one * other; }
inline float __fadd_rn(float one, float other) { return one + other; }
inline float __fsub_rn(float one, float other) { return one - other; }
inline float __double2float_rn(double value) { return static_cast<float>(value); }
inline int __double2int_rd(double value) { return static_cast<int>(std::floor(value)); }
inline int __float2int_rd(float value) { return static_cast<int>(std::floor(value)); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline __half __float2half_rn(float value) { return static_cast<__half>(value); }
inline float __half2float(__half value) { return static_cast<float>(value); }
