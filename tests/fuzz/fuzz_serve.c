/* fuzz_serve.c - bodies of requests, to the end: what comes back must be an error in its one form, or a whole answer.
 * The first byte chooses the path and whether the model has a reward head. The engine is tests/serve/fake.h's, which is
 * fast and fails on certain words. */
#include <assert.h>
#include <jansson.h>
#include "serve/req.h"
#include "serve/serve.h"
#include "../serve/fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static gr_engine engines[2];
    gr_engine *engine = &engines[n > 0 && data[0] & 0x80];
    const gr_serve_options opt = { .name = "fake", .max_body = 65536, .max_rows = 16, .max_pairs = 64,
                                   .max_new_tokens = 8, .quiet = true, .timeout = 1 };
    json_t *out;
    char *text;
    int status;

    if (!engine->self) {
        *engine = fake_engine(engine == engines ? "fake" : "head");
        if (engine->open(engine, NULL))
            return 0;
    }
    if (n == 0 || memmem(data, n, "SLOW", 4))
        return 0;
    status = gr_serve_try(&opt, engine, gr_routes[(data[0] & 0x7f) % gr_n_routes].path, (const char *)data + 1, n - 1,
                          &text);
    assert(text);
    if (status != 200) {
        out = json_loads(text, 0, NULL);
        assert(json_integer_value(json_object_get(json_object_get(out, "error"), "code")) == status);
        json_decref(out);
    }
    free(text);
    return 0;
}
