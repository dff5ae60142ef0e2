/* A driver's library with one GPU, as far as `framewire doctor` asks it. INIT is what cuInit does. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef INIT
#define INIT return 0
#endif
#ifndef CONTEXT
#define CONTEXT 0
#endif

int cuInit(unsigned flags) { INIT; }
int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Stand-in", length); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8ull << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 9; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)7; return CONTEXT; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxPushCurrent_v2(void *context) { return context == (void *)7 ? 0 : 201; }
int cuCtxPopCurrent_v2(void **context) { *context = (void *)7; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = 6ull << 30; *total = 8ull << 30; return 0; }
int cuGetErrorName(int error, const char **name) {
    *name = error == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : 0;
    return *name ? 0 : 1;
}
