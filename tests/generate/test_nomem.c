/* test_nomem.c - a step that fails for memory loses nothing: whoever goes on has the bits of a run without failure. */
#include <string.h>
#include "device.h"
#include "generate/write.h"
#include "nomem.h"

enum { TEXTS = 6, PROMPT = 40, NEW = 9 };

static struct result { int32_t id[NEW]; float raw[NEW], tempered[NEW]; size_t n; gr_finish finish; } result[2][TEXTS];
static int32_t prompt[TEXTS][PROMPT];

static gram_status take(void *arg, gr_text *t, gram_err *err)
{
    struct result *r = t->ask.arg;

    (void)err;
    if (t->finish == GR_WRITING)
        return GRAM_OK;
    *r = (struct result){ .n = t->n_answer, .finish = t->finish };
    memcpy(r->id, t->ids.p + t->ask.prompt.n, t->n_answer * sizeof *r->id);
    memcpy(r->raw, t->raw, t->n_answer * sizeof *r->raw);
    memcpy(r->tempered, t->tempered, t->n_answer * sizeof *r->tempered);
    gr_write_end(arg, t);
    return GRAM_OK;
}

/* All texts, some prompts alike, a step after the other whatever became of the one before. The fails-th allocation
 * behind the opening fails, and no other; below 0: none. How many steps failed. */
static size_t write_all(const gr_write_setup *setup, struct result *r, long fails)
{
    static const gr_stops none = { 0 };
    gr_write *w;
    gr_text *t;
    bool more = true;
    size_t failed = 0;

    gr_kv_forget(setup->kv);
    CHECK_OK(gr_write_open(&w, setup, &check_err));
    for (size_t i = 0; i < TEXTS; i++)
        CHECK_OK(gr_write_add(w, &(gr_ask){ { prompt[i / 2], 25 + 2 * (i / 2) }, &gr_sampling_neutral, &none, NEW - i,
                                            setup->guesses ? 0 : 2, i, &r[i], false }, &t, &check_err));
    nomem_left = fails;
    for (size_t i = 0; more && i < 1000; i++) {
        gram_status rc = gr_write_step(w, take, w, &more, &check_err);
        if (rc && rc != GRAM_ENOMEM)
            fail_msg("allocation %ld: %s", fails, check_err.text);
        failed += rc != GRAM_OK;
    }
    if (more)
        fail_msg("allocation %ld: the texts have no end", fails);
    gr_write_close(w);
    return failed;
}

/* Work and tree are opened anew, so that all that grows in them grows in the run. */
static bool write_anew(const gr_model *m, gr_rows_way way, size_t guesses, size_t prefill, long fails)
{
    gr_write_setup s = { .m = m, .live = 4, .prefill = prefill, .guesses = guesses };
    size_t failed;

    CHECK_OK(gr_work_open(&s.work, m, NULL, way, check_device(1), &check_err));
    CHECK_OK(gr_model_kv_open(&s.kv, m, check_device(1), 1 << 20, &check_err));
    failed = write_all(&s, result[fails >= 0], fails);
    gr_kv_close(s.kv);
    gr_work_close(s.work);
    if (fails < 0)
        return true;
    if (failed > 1)
        fail_msg("allocation %ld: %zu steps failed", fails, failed);
    for (size_t i = 0; i < TEXTS; i++)
        if (memcmp(&result[1][i], &result[0][i], sizeof result[0][i]))
            fail_msg("allocation %ld: text %zu has %zu tokens, %zu wanted, or others", fails, i, result[1][i].n,
                     result[0][i].n);
    if (nomem_left >= 0) {                          /* there were not so many */
        nomem_left = -1;
        return false;
    }
    return true;
}

static void whoever_goes_on_after_a_failure_loses_nothing(void **state)
{
    static const struct { gr_rows_way way; size_t guesses, prefill; } each[] = {
        { GR_ROWS_FEW, 0, 4096 }, { GR_ROWS_ALIKE, 0, 7 }, { GR_ROWS_FEW, 3, 4096 },
    };
    gr_weights *weights;
    gr_config cfg;
    gr_model *m;

    (void)state;
    for (size_t i = 0; i < TEXTS; i++)
        for (size_t t = 0; t < PROMPT; t++)
            prompt[i][t] = (int32_t)((t % 9 * 7 + (t > 10 ? 5 * i : 0)) % 61);
    CHECK_OK(gr_weights_open_dir(&weights, "tests/golden/models/qwen3", &check_err));
    CHECK_OK(gr_config_read(&cfg, "tests/golden/models/qwen3", &check_err));
    CHECK_OK(gr_model_open(&m, check_device(1), weights, &cfg, GR_LINEAR_F32, &check_err));
    for (size_t k = 0; k < GR_COUNT(each); k++) {
        write_anew(m, each[k].way, each[k].guesses, each[k].prefill, -1);
        for (long n = 0; NOMEM_COUNTED && write_anew(m, each[k].way, each[k].guesses, each[k].prefill, n); n++)
            ;
    }
    gr_model_close(m);
    gr_weights_close(weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whoever_goes_on_after_a_failure_loses_nothing) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
