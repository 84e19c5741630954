/* fuzz_pip.c - any bytes as pip.conf, and as a page of links: an error or texts. */
#include <stdlib.h>
#include <string.h>
#include "file/pip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gr_pip pip = { .value = { NULL } };
    char *copy = malloc(size + !size), *link;       /* as long as it is: no NUL behind it hides a read too far */
    gram_err err;

    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (!gr_pip_parse(&pip, "pip.conf", copy, size, &err))
        for (size_t i = 0; i < GR_PIP_SETTINGS; i++)
            if (pip.value[i] && strlen(pip.value[i]) > size)
                abort();
    gr_pip_clear(&pip);
    if (!gr_pip_link(&link, copy, size, "p_q-1.0", &err) && link) {
        if (!strstr(link, "p_q-1.0-"))
            abort();
        free(link);
    }
    free(copy);
    return 0;
}
