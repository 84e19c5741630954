/* test_written.c - the log-probabilities that are stored with an answer are those of the trainer's forced pass over
 * prompt and answer: policy gradients divide the one by the other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "check.h"
#include "device.h"
#include "generate/write.h"
#include "model/trainee.h"

enum { NEW = 24, PROMPT = 30, ASKS = 6 };

/* The two compute in another order, which moves a log-probability by about 1e-6; what trains must not see more than
 * 1e-4, as a ratio of 1.0001 is already taken for a step. */
#define NEAR 1e-4

struct answer { int32_t id[PROMPT + NEW]; size_t asked, n; float raw[NEW], tempered[NEW]; };

static gram_status take(void *arg, gr_text *t, gram_err *err)
{
    struct answer *a = t->ask.arg;

    (void)err;
    if (t->finish == GR_WRITING)
        return GRAM_OK;
    assert_true(t->finish == GR_STOP || t->finish == GR_LENGTH);
    a->n = t->n_answer;
    memcpy(a->id + a->asked, t->ids.p + a->asked, a->n * sizeof *a->id);
    memcpy(a->raw, t->raw, a->n * sizeof *a->raw);
    memcpy(a->tempered, t->tempered, a->n * sizeof *a->tempered);
    gr_write_end(*(gr_write **)arg, t);
    return GRAM_OK;
}

static void write_answers(const gr_model *m, gr_rows_way way, const gr_sampling *how, struct answer *a)
{
    const int32_t end = 5;
    const gr_stops stops = { .id = &end, .n_ids = 1 };
    gr_device *d;
    gr_work *work;
    gr_kv_tree *kv;
    gr_write *w;
    bool more = true;

    CHECK_OK(gr_device_open(&d, NULL, 2, &check_err));
    CHECK_OK(gr_work_open(&work, m, NULL, way, d, &check_err));
    CHECK_OK(gr_model_kv_open(&kv, m, d, 1 << 24, &check_err));
    CHECK_OK(gr_write_open(&w, &(gr_write_setup){ m, work, NULL, kv, 96, 512, 0 }, &check_err));
    for (size_t i = 0; i < ASKS; i++) {
        const gr_ask ask = { { a[i].id, a[i].asked }, how, &stops, NEW, 0, 9 + i, &a[i] };
        CHECK_OK(gr_write_add(w, &ask, &(gr_text *){ NULL }, &check_err));
    }
    while (more)
        CHECK_OK(gr_write_step(w, take, &w, &more, &check_err));
    gr_write_close(w);
    gr_kv_close(kv);
    gr_work_close(work);
    gr_device_close(d);
}

/* log softmax(z / T) of one id, z the trainee's logits at a hidden state. */
static double log_prob(gr_trainee *t, const gr_config *c, const float *hidden, int32_t id, double T)
{
    double *z = calloc(c->vocabulary, sizeof *z), top = -INFINITY, sum = 0, p;

    for (size_t v = 0; v < c->vocabulary; v++) {
        const float *row = gr_trainee_head(t, (int32_t)v);
        for (size_t k = 0; k < c->width; k++)
            z[v] += (double)row[k] * hidden[k];
        z[v] /= (double)c->logit_div;
        z[v] = (c->logit_cap > 0 ? c->logit_cap * tanh(z[v] / c->logit_cap) : z[v]) / T;
        top = fmax(top, z[v]);
    }
    for (size_t v = 0; v < c->vocabulary; v++)
        sum += exp(z[v] - top);
    p = z[id] - top - log(sum);
    free(z);
    return p;
}

/* One forced pass of the trainer over an answer; the largest difference. */
static double difference(gr_trainee *t, const gr_config *c, const struct answer *a, double T)
{
    const gr_seq seq = { a->id, a->asked + a->n };
    size_t want[NEW];
    const float *hidden;
    gr_forest f;
    double most = 0;

    CHECK_OK(gr_forest_init(&f, &seq, 1, c->far.after, NULL, GR_SAVE_SHARED, &check_err));
    for (size_t k = 0; k < a->n; k++)
        want[k] = gr_forest_row(&f, 0, a->asked - 1 + k);
    CHECK_OK(gr_trainee_forward(t, &f, want, a->n, &hidden, &check_err));
    for (size_t k = 0; k < a->n; k++) {
        int32_t id = a->id[a->asked + k];
        most = fmax(most, fabs(a->raw[k] - log_prob(t, c, hidden + k * c->width, id, 1)));
        most = fmax(most, fabs(a->tempered[k] - log_prob(t, c, hidden + k * c->width, id, T)));
    }
    gr_forest_clear(&f, true);
    return most;
}

static void check_family(const char *name)
{
    char dir[128];
    gr_weights *weights;
    gr_config cfg, again;
    gr_model *fixed, *trained;
    gr_trainee *t;
    const gr_config *c;
    uint64_t seed = 1;

    snprintf(dir, sizeof dir, "tests/golden/models/%s", name);
    CHECK_OK(gr_weights_open_dir(&weights, dir, &check_err));
    CHECK_OK(gr_config_read(&cfg, dir, &check_err));
    CHECK_OK(gr_config_read(&again, dir, &check_err));
    CHECK_OK(gr_model_open(&fixed, check_device(1), weights, &cfg, GR_LINEAR_F32, &check_err));
    CHECK_OK(gr_model_open_writable(&trained, check_device(1), weights, &again, &check_err));
    CHECK_OK(gr_trainee_open(&t, trained, check_device(1), &check_err));
    c = gr_model_config(trained);
    for (int way = 0; way < 2; way++)
        for (int warm = 0; warm < 2; warm++) {
            struct answer a[ASKS] = { 0 };
            gr_sampling how = gr_sampling_neutral;
            how.temperature = warm ? 0.7 : 1;
            for (size_t i = 0; i < ASKS; i++) {
                a[i].asked = 3 + gr_random_below(&seed, PROMPT - 3);
                for (size_t k = 0; k < a[i].asked; k++)
                    a[i].id[k] = (int32_t)gr_random_below(&seed, c->vocabulary);
            }
            write_answers(fixed, way ? GR_ROWS_FEW : GR_ROWS_ALIKE, &how, a);
            for (size_t i = 0; i < ASKS; i++) {
                double most = difference(t, c, &a[i], how.temperature);
                if (!(a[i].n > 0 && most < NEAR))
                    fail_msg("%s, way %d, answer %zu of %zu tokens: %g apart", name, way, i, a[i].n, most);
            }
        }
    gr_trainee_close(t);
    gr_model_close(trained);
    gr_model_close(fixed);
    gr_weights_close(weights);
}

static void stored_log_probabilities_are_the_trainers(void **state)
{
    static const char *const family[] = { "llama_gqa", "qwen2", "qwen3", "mistral_window", "gemma", "gemma2", "gemma3",
                                          "granite",
                                          "smollm3", "olmo2", "internlm2", "phi3" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(family); i++)
        check_family(family[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(stored_log_probabilities_are_the_trainers) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
