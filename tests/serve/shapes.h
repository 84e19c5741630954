/* shapes.h - requests without a socket, for the tests of what the server answers. The engine is fake.h's. */
#ifndef SHAPES_H
#define SHAPES_H

#include "check.h"
#include <jansson.h>
#include <stdio.h>
#include "fake.h"
#include "serve/serve.h"

static gr_engine engine;
static gr_serve_options options;

static inline int setup(void **state)
{
    (void)state;
    engine = fake_engine("fake");
    options = (gr_serve_options){ .name = "fake", .max_rows = 8, .max_pairs = 20, .max_new_tokens = 16, .quiet = true };
    return engine.open(&engine, NULL);
}

static inline int teardown(void **state)
{
    (void)state;
    engine.close(&engine);
    return 0;
}

static inline int ask_status(const char *path, const char *body, json_t **out)
{
    char *text;
    int status = gr_serve_try(&options, &engine, path, body, strlen(body), &text);

    assert_non_null(text);
    *out = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!*out)
        fail_msg("%s answered %s", path, text);
    free(text);
    return status;
}

static inline json_t *ask(const char *path, const char *body)
{
    json_t *out;
    int status = ask_status(path, body, &out);

    if (status != 200)
        fail_msg("%s %s: %d %s", path, body, status, json_dumps(out, 0));
    return out;
}

/* What is at a path such as "data.0.score". */
static inline json_t *at(json_t *j, const char *path)
{
    char part[64];

    for (size_t n; *path; path += n + (path[n] == '.')) {
        n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(part)) : json_object_get(j, part);
    }
    return j;
}

static inline double number(json_t *j, const char *path)
{
    j = at(j, path);
    if (!json_is_number(j))
        fail_msg("no number at %s", path);
    return json_number_value(j);
}

static inline const char *string(json_t *j, const char *path)
{
    j = at(j, path);
    if (!json_is_string(j))
        fail_msg("no string at %s", path);
    return json_string_value(j);
}

static inline double preference(const char *a, const char *b)
{
    return 1 / (1 + exp(fake_strength(b) - fake_strength(a)));
}

#define CLOSE(a, b) assert_true(fabs((a) - (b)) < 1e-12)
#define FRONT "<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n"
#define CHAT(answer) FRONT answer "<|im_end|>\\n"

/* From here on a model with PURM's head; use_judge() ends that. */
static gr_engine judge;

static inline void use_head(double lambda)
{
    judge = engine;
    engine = fake_engine("head");
    engine.options.lambda = lambda;
    CHECK_OK(engine.open(&engine, &check_err));
}

static inline void use_judge(void)
{
    engine.close(&engine);
    engine = judge;
}

#endif
