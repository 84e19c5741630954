/* logits.h - what a tiny model makes of its golden tokens. */
#ifndef TEST_API_LOGITS_H
#define TEST_API_LOGITS_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "check.h"
#include "gram/gram.h"

#define MODELS "tests/golden/models/"

/* Of the tokens of `name`, by the model at path; *n numbers, free() them. */
static inline float *golden_logits(const char *name, const char *path, gram_dtype dtype, size_t *n)
{
    const gram_options o = { .dtype = dtype };
    int32_t token[256];
    gram_model *m;
    json_t *list;
    float *out;
    char *ids;
    size_t T;

    assert_true(asprintf(&ids, MODELS "%s/tokens.json", name) > 0);
    list = json_load_file(ids, 0, NULL);
    free(ids);
    T = json_array_size(list);
    assert_true(T > 0 && T <= GR_COUNT(token));
    for (size_t i = 0; i < T; i++)
        token[i] = (int32_t)json_integer_value(json_array_get(list, i));
    json_decref(list);
    CHECK_OK(gram_open(&m, path, &o, &check_err));
    *n = T * gram_vocabulary(m);
    out = calloc(*n, sizeof *out);
    CHECK_OK(gram_logits(m, token, T, out, &check_err));
    gram_close(m);
    return out;
}

#endif
