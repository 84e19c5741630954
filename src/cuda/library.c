/* library.c - where NVIDIA's libraries are found. */
#include <stdio.h>
#include <stdlib.h>
#include "base/library.h"
#include "base/mem.h"
#include "cuda/cuda_int.h"

#define SITE "/lib*/python3*/site-packages"

void *gr_cuda_library(const char *file, const char *wheel, gram_err *err)
{
    static const int here;
    const char *venv = getenv("VIRTUAL_ENV");
    char up[2][64], beside[512], above[512], site[3][512];

    snprintf(up[0], sizeof up[0], "/..%s", wheel);              /* of a wheel of gram */
    snprintf(up[1], sizeof up[1], "/../..%s", wheel);
    snprintf(site[0], sizeof *site, "%s" SITE "%s", venv ? venv : "", wheel);
    snprintf(site[1], sizeof *site, "~/.local" SITE "%s", wheel);
    snprintf(site[2], sizeof *site, "/usr/local" SITE "%s", wheel);
    return gr_library_open(file, (const char *const[]){
        getenv("GRAM_CUDA_PATH"), "",
        gr_library_folder(&here, up[0], beside, sizeof beside) ? beside : NULL,
        gr_library_folder(&here, up[1], above, sizeof above) ? above : NULL,
        venv ? site[0] : NULL, "/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", site[1], site[2] }, 9, err);
}
