// Launches the kernel on the CPU.

#include "prepare.cu"

extern "C" void launch(const unsigned int *grid, const unsigned int *block, const Source *sources, void *target,
                       int width, int height, int colour, int channels_last, int type, int pad, float mean_0,
                       float mean_1, float mean_2, float scale_0, float scale_1, float scale_2) {
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                    for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                        prepare(sources, target, width, height, colour, channels_last, type, pad, mean_0, mean_1,
                                mean_2, scale_0, scale_1, scale_2);
}
