// From pictures in device memory to the rows of a network's input tensor, in one pass: resize, padding, colour,
// mean and scale, layout, dtype.
//
// The resize is that of OpenCV for bytes, bit for bit on x86-64: INTER_LINEAR in fixed point with weights of 11 bits
// (and the mean of four pixels where a picture is halved exactly), INTER_NEAREST by the floor of the position.
// Every rounding is spelled out with an intrinsic, so that no compiler fuses or reorders it: twin.py is the same
// in NumPy, and what both must equal is vision/placing.py and engines/front.py.
//
// `make kernel` builds prepare.fatbin and prepare.ptx from this file.

#include <cuda_fp16.h>

// A row's picture; kernel.SOURCE is the same in NumPy. A placed size of 0 x 0 leaves the row to its padding.
struct Source {
    unsigned long long pixels;  // address of uint8 [height, width, 3], BGR or RGB
    double scale_x, scale_y;    // pixels of the picture to one placed pixel
    int pitch;                  // bytes from one line to the next
    int width, height;
    int left, top, placed_width, placed_height;  // where it comes to lie in the input, in pixels
    int method;                                  // Method
    int rgb;                                     // whether its order is RGB
    int unused;
};
static_assert(sizeof(Source) == 64, "twin and host count on 64 bytes");

enum Method { NEAREST = 0, LINEAR = 1, HALVE = 2 };
enum Colour { BGR = 0, RGB = 1, GREY = 2 };
enum Type { UINT8 = 0, FLOAT16 = 1, FLOAT32 = 2 };

namespace {

constexpr int ONE = 2048;  // OpenCV's weights have 11 bits

struct Pixel {
    int value[3];
};

__device__ __forceinline__ int clamp(int value, int last) { return min(max(value, 0), last); }

__device__ __forceinline__ const unsigned char *at(const Source &source, int x, int y) {
    return reinterpret_cast<const unsigned char *>(source.pixels) + static_cast<long long>(y) * source.pitch + 3 * x;
}

__device__ Pixel nearest(const Source &source, int x, int y) {
    const int from_x = min(__double2int_rd(__dmul_rn(x, source.scale_x)), source.width - 1);
    const int from_y = min(__double2int_rd(__dmul_rn(y, source.scale_y)), source.height - 1);
    const unsigned char *pixel = at(source, from_x, from_y);
    return {{pixel[0], pixel[1], pixel[2]}};
}

__device__ Pixel halve(const Source &source, int x, int y) {
    const unsigned char *upper = at(source, 2 * x, 2 * y), *lower = upper + source.pitch;
    Pixel pixel;
    for (int n = 0; n < 3; ++n) pixel.value[n] = (upper[n] + upper[n + 3] + lower[n] + lower[n + 3] + 2) >> 2;
    return pixel;
}

// Splits a placed pixel's position into the picture's pixel before it and the distance from there.
__device__ __forceinline__ int before(int placed, double scale, float *distance) {
    const float position = __double2float_rn(__dadd_rn(__dmul_rn(placed + 0.5, scale), -0.5));
    const int pixel = __float2int_rd(position);
    *distance = __fsub_rn(position, static_cast<float>(pixel));
    return pixel;
}

__device__ __forceinline__ int weight(float share) { return __float2int_rn(__fmul_rn(share, ONE)); }

__device__ Pixel linear(const Source &source, int x, int y) {
    float right, below;
    int from_x = before(x, source.scale_x, &right);
    const int from_y = before(y, source.scale_y, &below);
    if (from_x < 0 || from_x >= source.width - 1) {  // OpenCV does this to columns, and not to lines
        from_x = clamp(from_x, source.width - 1);
        right = 0.0f;
    }
    const unsigned char *upper = at(source, from_x, clamp(from_y, source.height - 1));
    const unsigned char *lower = at(source, from_x, clamp(from_y + 1, source.height - 1));
    const int next = from_x + 1 < source.width ? 3 : 0;
    const int left_weight = weight(__fsub_rn(1.0f, right)), right_weight = weight(right);
    const int upper_weight = weight(__fsub_rn(1.0f, below)), lower_weight = weight(below);
    Pixel pixel;
    for (int n = 0; n < 3; ++n) {
        const int above = (upper[n] * left_weight + upper[n + next] * right_weight) >> 4;
        const int under = (lower[n] * left_weight + lower[n + next] * right_weight) >> 4;
        const int sum = ((above * upper_weight) >> 16) + ((under * lower_weight) >> 16);
        pixel.value[n] = min((sum + 2) >> 2, 255);
    }
    return pixel;
}

// The pixel of the padded picture, BGR.
__device__ Pixel placed(const Source &source, int x, int y, int pad) {
    const int inner_x = x - source.left, inner_y = y - source.top;
    if (inner_x < 0 || inner_y < 0 || inner_x >= source.placed_width || inner_y >= source.placed_height)
        return {{pad & 255, (pad >> 8) & 255, (pad >> 16) & 255}};
    Pixel pixel = source.method == LINEAR  ? linear(source, inner_x, inner_y)
                  : source.method == HALVE ? halve(source, inner_x, inner_y)
                                           : nearest(source, inner_x, inner_y);
    if (source.rgb) {
        const int red = pixel.value[0];
        pixel.value[0] = pixel.value[2];
        pixel.value[2] = red;
    }
    return pixel;
}

// ITU-R BT.601, in the order of the channels.
__device__ __forceinline__ float grey(const Pixel &pixel) {
    const float blue = __fmul_rn(pixel.value[0], 0.114f), green = __fmul_rn(pixel.value[1], 0.587f);
    return __fadd_rn(__fadd_rn(blue, green), __fmul_rn(pixel.value[2], 0.299f));
}

__device__ __forceinline__ void store(void *target, size_t index, int type, float value, float mean, float scale) {
    if (type == UINT8) {
        static_cast<unsigned char *>(target)[index] = static_cast<unsigned char>(clamp(__float2int_rn(value), 255));
    } else if (type == FLOAT16) {
        // Float32 has more than twice a half float's bits, so rounding its result to half is half arithmetic.
        const __half less = __float2half_rn(__fsub_rn(__half2float(__float2half_rn(value)), mean));
        static_cast<__half *>(target)[index] = __float2half_rn(__fmul_rn(__half2float(less), scale));
    } else {
        static_cast<float *>(target)[index] = __fmul_rn(__fsub_rn(value, mean), scale);
    }
}

}  // namespace

// One thread a pixel of the input, blockIdx.z the row. `pad` is 0xRRGGBB; mean and scale are in the order of the
// tensor's channels, rounded to its type.
extern "C" __global__ void prepare(const Source *sources, void *target, int width, int height, int colour,
                                   int channels_last, int type, int pad, float mean_0, float mean_1, float mean_2,
                                   float scale_0, float scale_1, float scale_2) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const Pixel pixel = placed(sources[blockIdx.z], x, y, pad);
    const size_t area = static_cast<size_t>(width) * height, place = static_cast<size_t>(y) * width + x;
    if (colour == GREY) {  // one channel: both layouts are one
        store(target, blockIdx.z * area + place, type, grey(pixel), mean_0, scale_0);
        return;
    }
    const float means[] = {mean_0, mean_1, mean_2}, scales[] = {scale_0, scale_1, scale_2};
    const size_t row = 3 * blockIdx.z * area;
#pragma unroll
    for (int channel = 0; channel < 3; ++channel) {
        const size_t index = row + (channels_last ? 3 * place + channel : channel * area + place);
        const float value = colour == RGB ? pixel.value[2 - channel] : pixel.value[channel];
        store(target, index, type, value, means[channel], scales[channel]);
    }
}
